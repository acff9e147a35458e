//! Seat reservation: what was seen to go wrong in the system that this replaces, and must not here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use boxoffice::error::Invalid;
use boxoffice::layout::Layout;
use boxoffice::venue::{CustomerId, Rejection, SeatStatus, Venue, VenueCommand, VenueEvent, VenueServices};
use boxoffice::{Engine, Error, Limits, Options, Part};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::halls::{
    Eye, HALL, Watched, audited, concert_hall, counts, holder, reason, slow, three_seats, watched,
    while_deciding,
};
use crate::support::board::{Ask, Board, Put, boards};
use crate::support::{Door, Meeting, Polled, at_once, briefly, error_of, modes};

/// Theirs had up to three handlers inside one lock. Here eight stand in line for one seat, threads and tasks, each
/// with a handle of its own as from a pool.
#[test]
fn only_one_handler_is_inside_a_lock() {
    static INSIDE: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static DECIDED: AtomicUsize = AtomicUsize::new(0);
    static DOOR: std::sync::Mutex<Option<Arc<Door>>> = std::sync::Mutex::new(None);
    enum Gauge {}
    impl Eye for Gauge {
        const TYPE: &'static str = "venue.gauge";
        fn around<T>(command: &VenueCommand, decide: impl FnOnce() -> T) -> T {
            if !matches!(command, VenueCommand::Reserve { .. }) {
                return decide();
            }
            DECIDED.fetch_add(1, Ordering::SeqCst);
            MOST.fetch_max(INSIDE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let door = DOOR.lock().unwrap().clone();
            if let Some(door) = door {
                door.pass();
            }
            thread::yield_now();
            let decision = decide();
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            decision
        }
    }

    for round in 0..20 {
        let (engine, venues) = watched::<Gauge>(Engine::builder(), Options::pessimistic());
        let door = Door::new();
        *DOOR.lock().unwrap() = Some(Arc::clone(&door));
        DECIDED.store(0, Ordering::SeqCst);
        let pool: Vec<_> =
            (0..8).map(|_| engine.handle::<Watched<Gauge>>(VenueServices::default()).unwrap()).collect();
        let asks: Vec<_> = (0..8).map(|customer| VenueCommand::reserve(customer, ["A1"])).collect();
        let won = thread::scope(|scope| {
            let first = scope.spawn(|| pool[0].execute(HALL, &asks[0]).unwrap());
            door.await_arrivals(1);
            let mut tasks: Vec<_> =
                (1..5).map(|n| Polled::new(pool[n].execute_async(HALL, &asks[n]))).collect();
            assert!(tasks.iter_mut().all(|task| task.poll().is_none()), "round {round}");
            let start = Meeting::new(4);
            let threads: Vec<_> = (5..8)
                .map(|n| {
                    let (pool, asks, start) = (&pool, &asks, Arc::clone(&start));
                    scope.spawn(move || {
                        start.wait();
                        pool[n].execute(HALL, &asks[n]).unwrap()
                    })
                })
                .collect();
            start.wait();
            assert_eq!(door.arrivals(), 1, "round {round}: somebody else is inside");
            door.open();
            let mut outcomes = vec![first.join().unwrap()];
            outcomes.extend(tasks.into_iter().map(|task| task.finish().unwrap()));
            outcomes.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
            outcomes.iter().filter(|outcome| outcome.is_accepted()).count()
        });
        assert_eq!((won, MOST.load(Ordering::SeqCst)), (1, 1), "round {round}");
        assert_eq!(DECIDED.load(Ordering::SeqCst), 8, "round {round}: each of them decided once");
        assert_eq!(venues.read(HALL).unwrap().sold(), 1);
        engine.close().unwrap();
    }
}

/// Theirs leaked locks. Here nobody who waited, gave up, was dropped or was refused leaves one.
#[test]
fn no_lock_is_left_however_a_call_ends() {
    for (mode, options) in modes() {
        let (engine, venues) = concert_hall(options);
        for round in 0..10 {
            let door = Door::new();
            let behind = engine.handle::<Venue>(slow(&door)).unwrap().with(Options::pessimistic());
            let ask = VenueCommand::reserve(7, ["A1"]);
            let carts = [vec!["A1"], vec!["A2", "A1"], vec!["A1", "A2", "A3"]];
            while_deciding((&behind, &door), (HALL, &ask), || {
                for cart in &carts {
                    let late = VenueCommand::reserve(8, cart);
                    let never = error_of(venues.with(at_once(options)).execute(HALL, &late));
                    assert!(matches!(never, Error::WouldBlock { .. }), "{mode}: {never}");
                    let timed_out = error_of(venues.with(briefly(options)).execute(HALL, &late));
                    assert!(matches!(timed_out, Error::LockTimeout { .. }), "{mode}: {timed_out}");
                    let mut dropped = Polled::new(venues.execute_async(HALL, &late));
                    assert!(dropped.poll().is_none(), "{mode}");
                    drop(dropped);
                    let mut unit = engine.begin(at_once(Options::pessimistic()));
                    let refused = error_of(unit.execute(&venues, HALL, &late).map(drop));
                    assert!(matches!(refused, Error::WouldBlock { .. }), "{mode}: {refused}");
                }
                // Dropped between the grant and the decision: it was woken, and never looked.
                let late = VenueCommand::reserve(8, ["A1"]);
                let mut granted = Polled::new(venues.execute_async(HALL, &late));
                assert!(granted.poll().is_none(), "{mode}");
                door.open();
                granted.await_wake(0);
                drop(granted);
            });
            // Needs the whole, and does not wait: every lock of the venue is free.
            let free = venues.with(at_once(Options::pessimistic()));
            assert_eq!(reason(&free, HALL, &three_seats()), Some("already_created"), "{mode}, round {round}");
            assert_eq!(reason(&free, HALL, &VenueCommand::release(7, ["A1"])), None, "{mode}, round {round}");
        }
        engine.close().unwrap();
    }
}

/// A handler that fails, in whatever way, gives its lock to whoever stands next in line.
#[test]
fn a_handler_that_fails_frees_its_lock() {
    type Expected = fn(&Error) -> bool;
    type Case = (&'static str, fn() -> Ask, Option<Expected>);
    let cases: [Case; 4] = [
        ("says no", || Ask::reject(1), None),
        (
            "leaves its scope",
            || Ask::on([1], |_| Ok(vec![Put::cell(2, 1)])),
            Some(|error| matches!(error, Error::OutOfScope { .. })),
        ),
        (
            "decides too much",
            || Ask::puts([Put::cell(1, 1).padded(5_000)]),
            Some(|error| matches!(error, Error::TooLarge { .. })),
        ),
        ("breaks a policy", || Ask::set(1, 100), Some(|error| matches!(error, Error::PolicyViolated { .. }))),
    ];
    for (mode, options) in modes() {
        for (name, bad, expected) in cases {
            let limits = Limits { entry_bytes: 4_096, ..Limits::default() };
            let builder = Engine::builder().aggregate::<Board>().limits(limits);
            let builder = builder.policy::<Board>("below 100", |_, _, after| after.get(1) < 100);
            let engine = builder.in_memory().unwrap();
            let handle = boards(&engine, options);
            assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
            let door = Door::new();
            let inside = Arc::clone(&door);
            let (bad, good) = (bad().first(move |_, _| inside.pass()), Ask::add(1));
            thread::scope(|scope| {
                let failing = scope.spawn(|| handle.execute("b", &bad));
                door.await_arrivals(1);
                let mut next = Polled::new(handle.execute_async("b", &good));
                let early = next.poll();
                assert!(mode == "optimistic" || early.is_none(), "{mode}: {name}");
                door.open();
                match (failing.join().unwrap(), expected) {
                    (Ok(outcome), None) => assert!(!outcome.is_accepted(), "{mode}: {name}"),
                    (Err(error), Some(expected)) => assert!(expected(&error), "{mode}: {name}: {error}"),
                    (other, _) => panic!("{mode}: {name}: {other:?}"),
                }
                let next = early.unwrap_or_else(|| next.finish()).unwrap();
                assert_eq!(next.events(), [Put::cell(1, 1)], "{mode}: {name}");
            });
            let whole = Ask::whole(|_| Ok(vec![Put { whole: true, ..Put::cell(1, 2) }]));
            let free = handle.with(at_once(Options::pessimistic()));
            assert!(free.execute("b", &whole).unwrap().is_accepted(), "{mode}: {name}: a lock was left");
            engine.close().unwrap();
        }
    }
}

/// Theirs cut keys at 64 characters, so that long ids shared a lock. Here nothing of a name is cut: neither of a
/// venue's, nor of a customer's, whose count is a lock of its own.
#[test]
fn names_that_share_64_characters_share_nothing() {
    for (mode, options) in modes() {
        for shared in [64, 254] {
            let engine = Engine::builder()
                .aggregate_with::<Venue>(options)
                .aggregate_with::<Venue<SmolStr>>(options)
                .in_memory()
                .unwrap();
            let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
            let [one, two] = ["1", "2"].map(|last| "v".repeat(shared) + last);
            for id in [&one, &two] {
                assert_eq!(reason(&venues, id, &three_seats()), None);
            }
            let door = Door::new();
            let behind = engine.handle::<Venue>(slow(&door)).unwrap().with(Options::pessimistic());
            let (reserve, quick) = (VenueCommand::reserve(7, ["A1"]), venues.with(at_once(options)));
            while_deciding((&behind, &door), (&one, &reserve), || {
                let same = error_of(quick.execute(&one, &reserve));
                assert!(matches!(same, Error::WouldBlock { .. }), "{mode}: {same}");
                assert_eq!(reason(&quick, &two, &reserve), None, "{mode}: they share a lock");
            });
            assert_eq!((counts(&venues, &one), counts(&venues, &two)), ((2, 0), (2, 0)), "{mode}");

            let named = engine.handle::<Venue<SmolStr>>(VenueServices::default()).unwrap();
            let [ada, bob] = ["1", "2"].map(|last| SmolStr::from("c".repeat(shared) + last));
            let layout = Layout::from_labels(["A1", "A2", "A3"]).unwrap();
            assert_eq!(reason(&named, HALL, &VenueCommand::create_with_limit(layout, 1)), None);
            let door = Door::new();
            let behind = engine.handle::<Venue<SmolStr>>(slow(&door)).unwrap().with(Options::pessimistic());
            let quick = named.with(at_once(options));
            while_deciding((&behind, &door), (HALL, &VenueCommand::reserve(ada.clone(), ["A1"])), || {
                let same = error_of(quick.execute(HALL, &VenueCommand::reserve(ada.clone(), ["A2"])));
                assert!(matches!(same, Error::WouldBlock { .. }), "{mode}: {same}");
                let other = VenueCommand::reserve(bob.clone(), ["A2"]);
                assert_eq!(reason(&quick, HALL, &other), None, "{mode}: they share a counter");
            });
            for customer in [ada, bob] {
                assert_eq!(named.read(HALL).unwrap().count(&customer), Some(1), "{mode}");
                let more = VenueCommand::reserve(customer, ["A3"]);
                assert_eq!(reason(&named, HALL, &more), Some("limit_reached"), "{mode}");
            }
            engine.close().unwrap();
        }
    }
}

/// Theirs recorded the release of a seat that nobody had as if it had happened.
#[test]
fn a_release_of_what_one_does_not_have_is_refused_and_changes_nothing() {
    for (mode, options) in modes() {
        let (engine, venues) = concert_hall(options);
        assert_eq!(reason(&venues, HALL, &VenueCommand::reserve(8, ["A2"])), None);
        let an_hour = Duration::from_secs(3_600);
        let held = venues.execute(HALL, &VenueCommand::hold(9, ["A3"], an_hour)).unwrap();
        let token = held.events()[0].hold().unwrap().token;
        let before = venues.read(HALL).unwrap();
        let cases = [
            (VenueCommand::release(7, ["A1"]), "seat_not_reserved"),
            (VenueCommand::release(7, ["A2"]), "not_holder"),
            (VenueCommand::release(9, ["A3"]), "seat_held"),
            (VenueCommand::release(8, ["A2", "A1"]), "seat_not_reserved"),
            (VenueCommand::release(8, ["Z9"]), "seat_not_found"),
            (VenueCommand::force_release(["A1"], "swept"), "seat_not_reserved"),
            (VenueCommand::force_release(["A2", "A1"], "swept"), "seat_not_reserved"),
            (VenueCommand::release_hold(8, token), "not_holder"),
        ];
        for (command, word) in &cases {
            let outcome = venues.execute(HALL, command).unwrap();
            assert_eq!(outcome.rejection().map(Rejection::reason), Some(*word), "{mode}: {command:?}");
            assert!(outcome.events().is_empty(), "{mode}: {command:?}");
            assert!(*venues.read(HALL).unwrap() == *before, "{mode}: {command:?} changed something");
        }
        assert_eq!(counts(&venues, HALL), (3, cases.len()), "{mode}");
        assert_eq!(holder(&before, "A2"), Some(8));

        // Given back twice is given back once.
        let release = VenueCommand::release(8, ["A2"]);
        assert_eq!(reason(&venues, HALL, &release), None, "{mode}");
        assert_eq!(reason(&venues, HALL, &release), Some("seat_not_reserved"), "{mode}");
        assert_eq!(counts(&venues, HALL), (4, cases.len() + 1), "{mode}");
        let state = venues.read(HALL).unwrap();
        let taken = state.statuses(boxoffice::clock::Timestamp(0)).filter(|(_, it)| *it != SeatStatus::Free);
        assert_eq!((taken.count(), state.sold()), (1, 0), "{mode}: only the hold is left");
        audited(&venues, HALL);
        engine.close().unwrap();
    }
}

static COPIES: AtomicUsize = AtomicUsize::new(0);

/// A customer who counts how often he is copied, and with him his seat.
#[derive(PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct Guest(u64);

impl Clone for Guest {
    fn clone(&self) -> Self {
        COPIES.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CustomerId for Guest {
    const VENUE: &'static str = "venue.guests";

    fn part(&self, kind: u32) -> Part {
        Part::number(kind, self.0)
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

const SEATS: u64 = 1_000;

fn a_thousand_seats() -> Layout {
    Layout::from_labels((1..=SEATS).map(|seat| format!("S{seat}"))).unwrap()
}

/// Theirs replayed the stream for every command: 7 reservations a second of a venue of 1,000 seats. Here an event is
/// applied once, whatever came before it.
#[test]
fn a_thousand_seats_are_sold_without_a_replay() {
    static APPLIED: AtomicUsize = AtomicUsize::new(0);
    enum Applied {}
    impl Eye for Applied {
        const TYPE: &'static str = "venue.applied";
        fn applies() {
            APPLIED.fetch_add(1, Ordering::Relaxed);
        }
    }
    for (mode, options) in modes() {
        let engine = Engine::builder().aggregate_with::<Watched<Applied>>(options).in_memory().unwrap();
        let venues = engine.handle::<Watched<Applied>>(VenueServices::default()).unwrap();
        APPLIED.store(0, Ordering::Relaxed);
        assert!(venues.execute(HALL, &VenueCommand::create(a_thousand_seats())).unwrap().is_accepted());
        for customer in 1..=SEATS {
            let reserve = VenueCommand::reserve(customer, [format!("S{customer}")]);
            for accepted in [true, false] {
                let receipt = venues.submit(HALL, &reserve).unwrap();
                assert_eq!(receipt.provisional().unwrap().is_accepted(), accepted, "{mode}");
            }
        }
        engine.wait_durable(engine.position()).unwrap();
        assert_eq!(APPLIED.load(Ordering::Relaxed) as u64, 1 + SEATS, "{mode}");
        assert_eq!(u64::from(venues.read(HALL).unwrap().sold()), SEATS);
        engine.close().unwrap();
    }
}

/// Theirs copied every seat for every command. Here a sold-out venue changes in place, and while somebody still looks
/// at what it was, a small part of it is copied once.
#[test]
fn a_thousand_seats_are_sold_without_copying_them() {
    for (mode, options) in modes() {
        let engine = Engine::builder().aggregate_with::<Venue<Guest>>(options).in_memory().unwrap();
        let venues = engine.handle::<Venue<Guest>>(VenueServices::default()).unwrap();
        let seat = |customer: u64| [format!("S{customer}")];
        let done = |command: VenueCommand<Guest>| {
            let receipt = venues.submit(HALL, &command).unwrap();
            assert!(receipt.provisional().unwrap().is_accepted(), "{mode}: {command:?}");
        };
        done(VenueCommand::create(a_thousand_seats()));
        (1..=SEATS).for_each(|customer| done(VenueCommand::reserve(Guest(customer), seat(customer))));
        let copies = |command: VenueCommand<Guest>| {
            COPIES.store(0, Ordering::Relaxed);
            done(command);
            COPIES.load(Ordering::Relaxed)
        };
        // The customer of the event, of the state and of the answer.
        assert!(copies(VenueCommand::release(Guest(500), seat(500))) < 10, "{mode}");
        assert!(copies(VenueCommand::reserve(Guest(500), seat(500))) < 10, "{mode}");
        let view = venues.read(HALL).unwrap();
        let first = copies(VenueCommand::release(Guest(500), seat(500)));
        assert!((2..SEATS as usize / 4).contains(&first), "{mode}: {first} copies while somebody looks");
        let second = copies(VenueCommand::reserve(Guest(500), seat(500)));
        assert!(second < 10, "{mode}: {second} copies though that part was copied already");
        assert_eq!(u64::from(view.sold()), SEATS, "{mode}: what was read stays what it was");
        engine.close().unwrap();
    }
}

/// The event that a seat's holder is in is no copy either: what theirs called "seats" is shared.
#[test]
fn the_chart_of_a_venue_is_not_copied_by_its_commands() {
    for (mode, options) in modes() {
        let (engine, venues) = concert_hall(options);
        let before = Arc::clone(venues.read(HALL).unwrap().layout().unwrap());
        let outcome = venues.execute(HALL, &VenueCommand::reserve(7, ["A1"])).unwrap();
        assert!(matches!(outcome.events(), [VenueEvent::Reserved { .. }]), "{mode}");
        assert!(Arc::ptr_eq(&before, venues.read(HALL).unwrap().layout().unwrap()), "{mode}");
        engine.close().unwrap();
    }
}

//! Seat reservation: three customers, one seat, slow handlers, and locks that are there exactly as long as they must.
//!
//! What was wrong in the system that this replaces is in `seat_reservation_faults.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::error::Advice;
use boxoffice::layout::Layout;
use boxoffice::options::Wait;
use boxoffice::venue::{Refusal, Rejection, Request, Venue, VenueCommand, VenueEvent, VenueServices};
use boxoffice::{Engine, Error, Options, Outcome};

use crate::halls::{
    Eye, HALL, Watched, audited, concert_hall, counts, file, holder, reason, slow, three_seats,
    while_deciding,
};
use crate::support::{Door, HookClock, Meeting, Polled, at_next_look, at_once, briefly, error_of, modes};

/// How many got the seat; the others were told `seat_reserved`.
fn reserved<E: Eye>(outcomes: &[Outcome<Watched<E>>]) -> usize {
    for outcome in outcomes {
        if let Some(no) = outcome.rejection() {
            assert_eq!(no.reason(), "seat_reserved", "{outcome:?}");
        }
    }
    outcomes.iter().filter(|outcome| outcome.is_accepted()).count()
}

fn asks() -> [VenueCommand; 3] {
    [7, 8, 9].map(|customer| VenueCommand::reserve(customer, ["A1"]))
}

#[test]
fn three_customers_one_seat() {
    static DECIDED: AtomicUsize = AtomicUsize::new(0);
    static DOOR: Mutex<Option<Arc<Door>>> = Mutex::new(None);
    enum Locks {}
    impl Eye for Locks {
        const TYPE: &'static str = "venue.locks";
        fn around<T>(command: &VenueCommand, decide: impl FnOnce() -> T) -> T {
            if matches!(command, VenueCommand::Reserve { .. }) {
                DECIDED.fetch_add(1, Ordering::SeqCst);
                let door = DOOR.lock().unwrap().clone();
                if let Some(door) = door {
                    door.pass();
                }
            }
            decide()
        }
    }

    let (_folder, path) = file();
    let engine = Engine::builder().aggregate::<Watched<Locks>>().open(&path).unwrap();
    let venues = engine.handle::<Watched<Locks>>(VenueServices::default()).unwrap();
    assert!(venues.execute(HALL, &three_seats()).unwrap().is_accepted());
    let asks = asks();

    // The moment, held: one is deciding, two stand in line behind it.
    let door = Door::new();
    *DOOR.lock().unwrap() = Some(Arc::clone(&door));
    let outcomes = thread::scope(|scope| {
        let first = scope.spawn(|| venues.execute(HALL, &asks[0]).unwrap());
        door.await_arrivals(1);
        let mut second = Polled::new(venues.execute_async(HALL, &asks[1]));
        let mut third = Polled::new(venues.execute_async(HALL, &asks[2]));
        assert!(second.poll().is_none() && third.poll().is_none());
        assert_eq!(door.arrivals(), 1, "nobody else decides meanwhile");
        door.open();
        [first.join().unwrap(), second.finish().unwrap(), third.finish().unwrap()]
    });
    *DOOR.lock().unwrap() = None;
    assert!(reserved(&outcomes) == 1 && outcomes[0].is_accepted());
    assert_eq!(DECIDED.load(Ordering::SeqCst), 3, "exactly three decisions");
    assert!(outcomes.iter().all(|outcome| outcome.effort().conflicts == 0), "no retry");

    // The moment as it comes: 100 times, released after each, with every thread let go at once.
    let (start, end) = (Meeting::new(3), Meeting::new(3));
    assert!(venues.execute(HALL, &VenueCommand::release(7, ["A1"])).unwrap().is_accepted());
    DECIDED.store(0, Ordering::SeqCst);
    let winners = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (customer, ask) in (7_u64..).zip(&asks) {
            let (venues, start, end, winners) = (&venues, &start, &end, &winners);
            scope.spawn(move || {
                for _ in 0..100 {
                    start.wait();
                    let outcome = venues.execute(HALL, ask).unwrap();
                    assert_eq!(outcome.effort().conflicts, 0);
                    end.wait();
                    match outcome.rejection() {
                        None => {
                            winners.lock().unwrap().push(customer);
                            let release = VenueCommand::release(customer, ["A1"]);
                            assert!(venues.execute(HALL, &release).unwrap().is_accepted());
                        }
                        Some(no) => assert_eq!(no.reason(), "seat_reserved"),
                    }
                }
            });
        }
    });
    assert_eq!(winners.into_inner().unwrap().len(), 100, "one winner a round");
    assert_eq!(DECIDED.load(Ordering::SeqCst), 300);
    engine.close().unwrap();

    // It is all in the file: creation, and 101 rounds of three answers and a release.
    let engine = Engine::builder().aggregate::<Watched<Locks>>().open(&path).unwrap();
    let venues = engine.handle::<Watched<Locks>>(VenueServices::default()).unwrap();
    let view = venues.read(HALL).unwrap();
    assert_eq!((view.version(), view.sold()), (1 + 101 * 4, 0));
    assert_eq!(
        counts(&venues, HALL),
        (1 + 101 * 2, 101 * 2),
        "every round one sale, one release, two refusals"
    );
    engine.close().unwrap();
}

/// Nobody waits for a lock here: all three have seen the seat free before any of them decides.
#[test]
fn three_customers_one_seat_with_checks() {
    static DECIDED: AtomicUsize = AtomicUsize::new(0);
    enum Checks {}
    impl Eye for Checks {
        const TYPE: &'static str = "venue.checks";
        fn around<T>(command: &VenueCommand, decide: impl FnOnce() -> T) -> T {
            DECIDED.fetch_add(usize::from(matches!(command, VenueCommand::Reserve { .. })), Ordering::SeqCst);
            decide()
        }
    }

    let (_folder, path) = file();
    let builder = Engine::builder().aggregate_with::<Watched<Checks>>(Options::optimistic());
    let engine = builder.clock(HookClock::default()).open(&path).unwrap();
    let venues = engine.handle::<Watched<Checks>>(VenueServices::default()).unwrap();
    assert!(venues.execute(HALL, &three_seats()).unwrap().is_accepted());
    let (asks, meeting) = (asks(), Meeting::new(3));
    for round in 0..20 {
        DECIDED.store(0, Ordering::SeqCst);
        let outcomes = thread::scope(|scope| {
            let threads = asks.each_ref().map(|ask| {
                let (venues, meeting) = (&venues, Arc::clone(&meeting));
                scope.spawn(move || {
                    at_next_look(move || meeting.wait());
                    venues.execute(HALL, ask).unwrap()
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(reserved(&outcomes), 1, "round {round}");
        let mut lost = outcomes.each_ref().map(|outcome| outcome.effort().conflicts);
        lost.sort_unstable();
        assert_eq!(lost, [0, 1, 1], "round {round}: who lost looked once more, and saw who has it");
        assert_eq!(DECIDED.load(Ordering::SeqCst), 5, "round {round}");
        let winner = holder(&venues.read(HALL).unwrap(), "A1").unwrap();
        assert!(venues.execute(HALL, &VenueCommand::release(winner, ["A1"])).unwrap().is_accepted());
    }
    assert_eq!(counts(&venues, HALL), (1 + 20 * 2, 20 * 2));
    engine.close().unwrap();
}

#[test]
fn after_its_release_the_seat_can_be_reserved_again() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let mut customers = [7, 8, 9].into_iter().peekable();
        while let Some(customer) = customers.next() {
            // Each of them comes to the file that the one before has left.
            let engine = Engine::builder().aggregate_with::<Venue>(options).open(&path).unwrap();
            let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
            if customer == 7 {
                assert_eq!(reason(&venues, HALL, &three_seats()), None);
            } else {
                let before = customer - 1;
                let reserve = VenueCommand::reserve(customer, ["A1"]);
                assert_eq!(reason(&venues, HALL, &reserve), Some("seat_reserved"), "{mode}");
                let release = VenueCommand::release(before, ["A1"]);
                assert_eq!(reason(&venues, HALL, &release), None, "{mode}");
                assert_eq!(holder(&venues.read(HALL).unwrap(), "A1"), None, "{mode}");
            }
            assert_eq!(reason(&venues, HALL, &VenueCommand::reserve(customer, ["A1"])), None, "{mode}");
            assert_eq!(holder(&venues.read(HALL).unwrap(), "A1"), Some(customer), "{mode}");
            if customers.peek().is_none() {
                let ledger = audited(&venues, HALL);
                let holders: Vec<u64> = ledger.tenures().map(|tenure| tenure.holder).collect();
                assert_eq!(holders, [7, 8, 9], "{mode}");
            }
            engine.close().unwrap();
        }
    }
}

#[test]
fn an_unknown_seat_is_not_found() {
    for (mode, options) in modes() {
        let (engine, venues) = concert_hall(options);
        for seats in
            [vec!["Z1"], vec!["a1"], vec!["A1 "], vec![""], vec!["A1", "Z1"], vec!["A1", "A2", "A11"]]
        {
            let outcome = venues.execute(HALL, &VenueCommand::reserve(7, &seats)).unwrap();
            let no = outcome.rejection().unwrap();
            assert_eq!(no.reason(), "seat_not_found", "{mode}: {seats:?}");
            let Refusal::Seats(refused) = &no.refusal else { panic!("{mode}: {no}") };
            let named: Vec<_> = refused.iter().map(|seat| seat.label.as_str()).collect();
            assert_eq!(named, [*seats.last().unwrap()], "{mode}: exactly those that are not there");
            assert!(outcome.position().is_some(), "{mode}: the no is recorded");
            assert_eq!(venues.read(HALL).unwrap().sold(), 0, "{mode}: {seats:?}");
        }
        // A venue that is not there is the caller's mistake, and no answer of a venue.
        let unknown = error_of(venues.execute("concert-hal", &VenueCommand::reserve(7, ["A1"])));
        assert!(matches!(unknown, Error::UnknownStream { .. }), "{mode}: {unknown}");
        engine.close().unwrap();
    }
}

/// Pricing, eligibility and adjacency are asked of what the handle was given, and the time of the engine's clock.
#[test]
fn services_and_the_clock_are_injected() {
    for (mode, options) in modes() {
        let clock = Arc::new(ManualClock::new(Timestamp(500)));
        let builder = Engine::builder().aggregate_with::<Venue>(options).clock(Arc::clone(&clock));
        let engine = builder.in_memory().unwrap();
        let asked: Arc<Mutex<Vec<(&str, u64)>>> = Arc::default();
        let side_by_side = |cart: &Request<'_, u64>| {
            let beside = |pair: &[_]| cart.layout().neighbours(pair[0]).contains(&Some(pair[1]));
            cart.seats().windows(2).all(beside)
        };
        let (of_eligibility, of_pricing) = (Arc::clone(&asked), Arc::clone(&asked));
        let services = VenueServices::default()
            .with_eligibility(move |cart: &Request<'_, u64>| {
                of_eligibility.lock().unwrap().push(("eligibility", *cart.customer()));
                match cart.customer() {
                    13 => Err("no member".into()),
                    _ if !side_by_side(cart) => Err("not side by side".into()),
                    _ => Ok(()),
                }
            })
            .with_pricing(move |cart: &Request<'_, u64>| {
                of_pricing.lock().unwrap().push(("pricing", *cart.customer()));
                // Dearer by the hour.
                cart.list_price() + cart.now().0
            });
        let venues = engine.handle::<Venue>(services).unwrap();
        let layout = Layout::builder().category("stalls", 1_000).row("A", "stalls", [(1, 3), (4, 6)]);
        let create = VenueCommand::create(layout.build().unwrap());
        assert_eq!(reason(&venues, HALL, &create), None);

        let bought = |customer: u64, seats: &[&str]| {
            clock.advance(Duration::from_micros(1));
            asked.lock().unwrap().clear();
            let outcome = venues.execute(HALL, &VenueCommand::reserve(customer, seats)).unwrap();
            assert_eq!(outcome.decided_at(), boxoffice::clock::Clock::now(&*clock), "{mode}");
            let price = outcome.events().iter().find_map(|event| match event {
                VenueEvent::Reserved { price_total, .. } => Some(*price_total),
                _ => None,
            });
            let no = outcome.rejection().map(ToString::to_string);
            let asked: Vec<_> = asked.lock().unwrap().iter().map(|(what, _)| *what).collect();
            (price, no, asked)
        };
        let both = vec!["eligibility", "pricing"];
        assert_eq!(bought(7, &["A2", "A3"]), (Some(2_501), None, both), "{mode}");
        let no = |customer: u64, why: &str| Some(format!("customer {customer}: not_eligible: {why}"));
        let first = vec!["eligibility"];
        assert_eq!(bought(13, &["A1"]), (None, no(13, "no member"), first.clone()), "{mode}");
        assert_eq!(bought(8, &["A4", "A6"]), (None, no(8, "not side by side"), first), "{mode}");
        // What cannot be had needs no opinion.
        let taken = Some("customer 8: A3: seat_reserved".into());
        assert_eq!(bought(8, &["A3", "A4"]), (None, taken, Vec::new()), "{mode}");
        engine.close().unwrap();
    }
}

/// What pricing and eligibility may not look at, since it is nobody's in the cart: the seats beside it. A rule about those
/// is asked at the commit, of the state as it is then, also when both neighbours are taken at the same moment.
#[test]
fn an_adjacency_rule_about_other_peoples_seats_is_a_policy() {
    for (mode, options) in modes() {
        let meeting = Meeting::new(2);
        let services = VenueServices::default().with_eligibility(move |_: &Request<'_, u64>| {
            meeting.wait();
            Ok(())
        });
        let builder = Engine::builder().aggregate_with::<Venue>(options);
        let builder = builder.policy::<Venue>("no seat is left alone", |_, event, after| {
            let Some(layout) = after.layout() else { return true };
            let is_free = |seat| after.holder(seat).is_none();
            let alone = |seat| is_free(seat) && !layout.neighbours(seat).into_iter().flatten().any(is_free);
            !event.seats().iter().flat_map(|seat| layout.neighbours(*seat)).flatten().any(alone)
        });
        let engine = builder.in_memory().unwrap();
        let venues = engine.handle::<Venue>(services).unwrap();
        let layout = Layout::builder().category("stalls", 1).row("A", "stalls", [(1, 5)]).build().unwrap();
        assert_eq!(reason(&venues, HALL, &VenueCommand::create(layout)), None);
        // A1 and A2, or A4 and A5: each alone leaves a pair or more, both leave A3.
        let ends = thread::scope(|scope| {
            let carts = [["A1", "A2"], ["A4", "A5"]].map(|cart| {
                let venues = &venues;
                scope.spawn(move || venues.execute(HALL, &VenueCommand::reserve(7, cart)))
            });
            carts.map(|cart| cart.join().unwrap())
        });
        let refused: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
        assert!(
            matches!(refused[..], [Error::PolicyViolated { policy: "no seat is left alone", .. }]),
            "{mode}: {ends:?}"
        );
        assert_eq!((venues.read(HALL).unwrap().sold(), counts(&venues, HALL)), (2, (2, 0)), "{mode}");
        engine.close().unwrap();
    }
}

/// Beyond the wait that was agreed on: neither a conflict nor tried again, and nothing is recorded.
#[test]
fn a_lock_timeout_names_the_stream_and_the_wait() {
    assert_eq!(Options::default().wait, Wait::AtMost(Duration::from_millis(5_000)));
    for (mode, options) in modes() {
        let (engine, venues) = concert_hall(options);
        let door = Door::new();
        let behind = engine.handle::<Venue>(slow(&door)).unwrap().with(Options::pessimistic());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let services = VenueServices::default().with_eligibility(move |_: &Request<'_, u64>| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let waiting = engine.handle::<Venue>(services).unwrap().with(briefly(options));
        let late = VenueCommand::reserve(8, ["A2", "A1"]);
        while_deciding((&behind, &door), (HALL, &VenueCommand::reserve(7, ["A1"])), || {
            let before = engine.position();
            let error = error_of(waiting.execute(HALL, &late));
            let Error::LockTimeout { stream, waited } = &error else { panic!("{mode}: {error}") };
            assert_eq!(stream.to_string(), format!("venue.u64/{HALL}"), "{mode}");
            assert!(*waited >= Duration::from_millis(5), "{mode}: {waited:?}");
            assert!(error.to_string().contains(HALL), "{mode}: {error}");
            assert_eq!(error.advice(), Advice::Retry, "{mode}");
            // With checks it had decided when it met the lock; neither decides once it waits.
            let once = usize::from(mode == "optimistic");
            assert_eq!(asked.load(Ordering::SeqCst), once, "{mode}: it was tried again");
            assert_eq!(engine.position(), before, "{mode}: it was recorded");
        });
        assert_eq!(reason(&waiting, HALL, &late), Some("seat_reserved"), "{mode}: it is free again");
        assert_eq!(reason(&venues, HALL, &VenueCommand::reserve(8, ["A2"])), None, "{mode}");
        engine.close().unwrap();
    }
}

/// While one venue's handler is slow, every seat of another is sold, by callers who do not wait at all.
#[test]
fn other_venues_do_not_wait() {
    for (mode, options) in modes() {
        let (engine, venues) = concert_hall(options);
        assert_eq!(reason(&venues, "opera", &three_seats()), None);
        let door = Door::new();
        let behind = engine.handle::<Venue>(slow(&door)).unwrap().with(Options::pessimistic());
        let quick = venues.with(at_once(options));
        let all = VenueCommand::reserve(7, ["A1", "A2", "A3"]);
        while_deciding((&behind, &door), (HALL, &all), || {
            for seat in ["A1", "A2", "A3"] {
                let refused = error_of(quick.execute(HALL, &VenueCommand::reserve(8, [seat])));
                assert!(matches!(refused, Error::WouldBlock { .. }), "{mode}: {refused}");
                let outcome = quick.execute("opera", &VenueCommand::reserve(8, [seat])).unwrap();
                assert!(outcome.is_accepted() && outcome.effort().lock_waits == 0, "{mode}");
            }
            // Even what needs the whole of the other one, also to open a third.
            assert_eq!(reason(&quick, "opera", &three_seats()), Some("already_created"), "{mode}");
            assert_eq!(reason(&quick, "circus", &three_seats()), None, "{mode}");
        });
        engine.close().unwrap();
    }
}

/// A handler that panics gives its lock to whoever stands next in line, and leaves nothing behind.
#[test]
fn a_handler_that_panics_frees_its_lock() {
    for (mode, options) in modes() {
        for in_a_unit in [false, true] {
            let (engine, _) = concert_hall(options);
            let door = Door::new();
            let inside = Arc::clone(&door);
            let services = VenueServices::default().with_eligibility(move |cart: &Request<'_, u64>| {
                if *cart.customer() == 13 {
                    inside.pass();
                    panic!("the member service does not answer");
                }
                Ok(())
            });
            let venues = engine.handle::<Venue>(services).unwrap();
            let (bad, good) =
                (VenueCommand::reserve(13, ["A1", "A2"]), VenueCommand::reserve(7, ["A2", "A1"]));
            thread::scope(|scope| {
                let panics = scope.spawn(|| {
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        if in_a_unit {
                            let mut unit = engine.begin(options);
                            let _ = unit.execute(&venues, HALL, &bad);
                        } else {
                            let _ = venues.execute(HALL, &bad);
                        }
                    }))
                    .is_err()
                });
                door.await_arrivals(1);
                let mut next = Polled::new(venues.execute_async(HALL, &good));
                let early = next.poll();
                let sold = venues.read(HALL).unwrap().sold();
                assert_eq!(sold, if mode == "pessimistic" { 0 } else { 2 }, "{mode}");
                door.open();
                assert!(panics.join().unwrap(), "{mode}: it did not panic");
                let next = early.unwrap_or_else(|| next.finish()).unwrap();
                assert!(next.is_accepted(), "{mode}: {next:?}");
            });
            assert_eq!(counts(&venues, HALL), (2, 0), "{mode}: the panic left something behind");
            let whole = venues.with(at_once(Options::pessimistic())).execute(HALL, &three_seats()).unwrap();
            assert_eq!(whole.rejection().map(Rejection::reason), Some("already_created"), "{mode}");
            engine.close().unwrap();
        }
    }
}

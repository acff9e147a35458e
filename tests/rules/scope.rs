//! Rules 1, 2 and 10: what a command depends on, and what its events may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use boxoffice::layout::Layout;
use boxoffice::options::Concurrency;
use boxoffice::venue::{Request, Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Options, Scope};

use crate::support::board::{Ask, Board, Put, boards, engine, parts};
use crate::support::{Door, Meeting, Polled, at_once, error_of, modes};

#[test]
fn rule_01_an_event_outside_the_scope_is_refused() {
    for (mode, options) in modes() {
        let engine = engine();
        let boards = boards(&engine, options);
        let set = |id: &str, ask: &Ask| boards.execute(id, ask);
        assert!(set("b", &Ask::set(1, 10)).unwrap().is_accepted());

        let stray = [
            (Ask::on([1], |_| Ok(vec![Put::cell(2, 7)])), "part 0:2"),
            (Ask::on([1], |_| Ok(vec![Put { whole: true, ..Put::cell(1, 7) }])), "the whole aggregate"),
            // The first event is good; the entry is refused as one.
            (Ask::on([1], |_| Ok(vec![Put::cell(1, 7), Put::cell(3, 7)])), "part 0:3"),
            // A long scope is searched in another way.
            (Ask::on(10..60, |_| Ok(vec![Put::cell(59, 7), Put::cell(60, 7)])), "part 0:60"),
        ];
        for (ask, outside) in stray {
            for id in ["b", "new"] {
                match error_of(set(id, &ask)) {
                    Error::OutOfScope { stream, part } => {
                        assert_eq!((stream.to_string(), &*part), (format!("board/{id}"), outside), "{mode}");
                    }
                    other => panic!("{mode}: {other}"),
                }
            }
        }
        let view = boards.read("b").unwrap();
        assert_eq!((view.get(1), view.version(), engine.position()), (10, 1, 1), "{mode}: nothing is stored");
        assert_eq!(boards.ids(), ["b"], "{mode}: no stream is created");
        let free = boards.with(at_once(options)).execute("b", &Ask::set(1, 11)).unwrap();
        assert_eq!((free.version(), free.position()), (2, Some(2)), "{mode}: the lock is free");
        engine.close().unwrap();
    }
}

/// Seats are cells; a cell holds its owner, negative if the owner's hold has lapsed.
///
/// On A1 to A4 lies a lapsed hold of customer 9. `tidy` takes one seat and frees the other three of that
/// hold, which is what the rule is about; `hides` keeps quiet about it.
fn tidy(seat: u64, customer: i64, hides: bool) -> Ask {
    Ask::on([seat], move |cells| {
        if cells.get(seat) > 0 {
            return Err("taken".into());
        }
        let freed: Vec<_> = (1..=4).filter(|other| *other != seat).map(|other| (other, 0)).collect();
        let taken = Put::cell(seat, customer);
        Ok(if hides {
            vec![Put { hidden: freed, ..taken }]
        } else {
            vec![taken, Put { cells: freed, ..Put::default() }]
        })
    })
}

/// Takes one seat, lapsed or free, and nothing else.
fn take(seat: u64, customer: i64) -> Ask {
    Ask::on([seat], move |cells| {
        if cells.get(seat) > 0 { Err("taken".into()) } else { Ok(vec![Put::cell(seat, customer)]) }
    })
}

/// The schedule: both decide on the state in which A1 to A4 have lapsed; then both commit.
fn both_decide_first(boards: &Handle<Board>, one: Ask, other: Ask) -> [Result<bool, Error>; 2] {
    let meeting = Meeting::new(2);
    let run = |ask: Ask| {
        let meeting = Arc::clone(&meeting);
        let ask = ask.first(move |_, _| meeting.wait());
        boards.execute("hall", &ask).map(|outcome| outcome.is_accepted())
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| run(one));
        let other = run(other);
        [one.join().unwrap(), other]
    })
}

#[test]
fn rule_01_the_lapse_schedule_sells_no_seat_twice() {
    for (mode, options) in modes() {
        let engine = engine();
        let boards = boards(&engine, options);
        let lapsed = Ask::puts([Put { cells: (1..=4).map(|seat| (seat, -9)).collect(), ..Put::default() }]);
        assert!(boards.execute("hall", &lapsed).unwrap().is_accepted());

        // Freeing the whole lapsed hold reaches outside the scope, and is refused for both.
        for result in both_decide_first(&boards, tidy(1, 11, false), tidy(2, 22, false)) {
            assert!(matches!(result, Err(Error::OutOfScope { .. })), "{mode}: {result:?}");
        }
        // A lapse that is judged per seat needs no more than the seat.
        for result in both_decide_first(&boards, take(1, 11), take(2, 22)) {
            assert!(result.unwrap(), "{mode}");
        }
        let view = boards.read("hall").unwrap();
        assert_eq!([1, 2, 3, 4].map(|seat| view.get(seat)), [11, 22, -9, -9], "{mode}");
        for seat in [1, 2] {
            assert!(!boards.execute("hall", &take(seat, 33)).unwrap().is_accepted(), "{mode}: sold twice");
        }
        engine.close().unwrap();
    }
}

/// The control: events that hide what they free get past the rule, and the same schedule sells A1 or A2
/// twice. So the schedule above can fail.
#[test]
fn rule_01_control_a_hidden_change_sells_twice() {
    for (mode, options) in modes() {
        let engine = engine();
        let boards = boards(&engine, options);
        for result in both_decide_first(&boards, tidy(1, 11, true), tidy(2, 22, true)) {
            assert!(result.unwrap(), "{mode}: both were told that they have their seat");
        }
        let again = [1, 2].map(|seat| boards.execute("hall", &take(seat, 33)).unwrap().is_accepted());
        assert_eq!(again.iter().filter(|sold| **sold).count(), 1, "{mode}: exactly one of them was freed");
        engine.close().unwrap();
    }
}

fn limited_venue(services: VenueServices, options: Options) -> (Engine, Handle<Venue>) {
    let engine = Engine::builder().aggregate_with::<Venue>(options).in_memory().unwrap();
    let venues = engine.handle::<Venue>(services).unwrap();
    let labels = ["A1", "A2", "A3", "A4", "B1", "B2"];
    let create = VenueCommand::create_with_limit(Layout::from_labels(labels).unwrap(), 4);
    assert!(venues.execute("hall", &create).unwrap().is_accepted());
    assert!(venues.execute("hall", &VenueCommand::reserve(7, ["A2", "A3", "A4"])).unwrap().is_accepted());
    (engine, venues)
}

#[test]
fn rule_02_write_skew_on_a_customers_limit_optimistic() {
    let (meeting, asked) = (Meeting::new(2), AtomicUsize::new(0));
    let services = VenueServices::default().with_eligibility(move |cart: &Request<'_, u64>| {
        // The first cart is that of the set-up; the next two decide on one snapshot.
        let third = cart.seats().len() == 1 && asked.fetch_add(1, Ordering::SeqCst) < 2;
        if third {
            meeting.wait();
        }
        Ok(())
    });
    let (engine, venues) = limited_venue(services, Options::optimistic());
    let outcomes = thread::scope(|scope| {
        let one = scope.spawn(|| venues.execute("hall", &VenueCommand::reserve(7, ["A1"])).unwrap());
        let other = venues.execute("hall", &VenueCommand::reserve(7, ["B1"])).unwrap();
        [one.join().unwrap(), other]
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_accepted()).count(), 1, "{outcomes:?}");
    let loser = outcomes.iter().find(|outcome| !outcome.is_accepted()).unwrap();
    assert_eq!(loser.rejection().unwrap().reason(), "limit_reached");
    assert_eq!(loser.effort().conflicts, 1, "its decision was made on a counter that had changed");
    assert_eq!(venues.read("hall").unwrap().count(&7), Some(4));
    engine.close().unwrap();
}

#[test]
fn rule_02_write_skew_on_a_customers_limit_pessimistic() {
    let door = Door::new();
    let inside = Arc::clone(&door);
    let services = VenueServices::default().with_eligibility(move |cart: &Request<'_, u64>| {
        if cart.seats().len() == 1 {
            inside.pass();
        }
        Ok(())
    });
    let (engine, venues) = limited_venue(services, Options::pessimistic());
    thread::scope(|scope| {
        let one = scope.spawn(|| venues.execute("hall", &VenueCommand::reserve(7, ["A1"])).unwrap());
        door.await_arrivals(1);
        // Another seat, the same customer: it waits for the counter.
        let reserve = VenueCommand::reserve(7, ["B1"]);
        let mut other = Polled::new(venues.execute_async("hall", &reserve));
        assert!(other.poll().is_none());
        // Another seat of another customer does not.
        assert_eq!(door.arrivals(), 1);
        door.open();
        assert!(one.join().unwrap().is_accepted());
        let other = other.finish().unwrap();
        assert_eq!(other.rejection().unwrap().reason(), "limit_reached");
        assert_eq!((other.effort().conflicts, other.effort().lock_waits), (0, 1));
    });
    assert_eq!(venues.read("hall").unwrap().count(&7), Some(4));
    engine.close().unwrap();
}

/// Takes a seat for the customer whose counter is cell 100, up to a limit of 4. The counter is read in
/// any case; `declared` says whether the scope and the event name it.
fn take_within_limit(seat: u64, declared: bool) -> Ask {
    let scope = if declared { parts([seat, 100]) } else { parts([seat]) };
    Ask::new(
        move |_| scope.clone(),
        move |cells, _| {
            let has = cells.get(100);
            if has + 1 > 4 {
                return Err("limit".into());
            }
            let (seat, counter) = ((seat, 1), (100, has + 1));
            Ok(vec![if declared {
                Put { cells: vec![seat, counter], ..Put::default() }
            } else {
                Put { cells: vec![seat], hidden: vec![counter], ..Put::default() }
            }])
        },
    )
}

/// The control: a scope without the counter lets both through, so that the customer has five.
#[test]
fn rule_02_control_a_counter_outside_the_scope_is_skewed() {
    for declared in [false, true] {
        let engine = engine();
        let boards = boards(&engine, Options::optimistic());
        assert!(boards.execute("hall", &Ask::set(100, 3)).unwrap().is_accepted());
        let meeting = Meeting::new(2);
        let met = Arc::new(AtomicUsize::new(0));
        let run = |seat| {
            let (meeting, met) = (Arc::clone(&meeting), Arc::clone(&met));
            let ask = take_within_limit(seat, declared).first(move |_, _| {
                if met.fetch_add(1, Ordering::SeqCst) < 2 {
                    meeting.wait();
                }
            });
            boards.execute("hall", &ask).unwrap().is_accepted()
        };
        let taken = thread::scope(|scope| {
            let one = scope.spawn(|| run(1));
            usize::from(run(2)) + usize::from(one.join().unwrap())
        });
        assert_eq!(taken, if declared { 1 } else { 2 }, "declared: {declared}");
        engine.close().unwrap();
    }
}

/// What depends on nothing does not depend on the whole: no event is in its way, and with locks none stops the engine.
#[test]
fn rule_03_what_depends_on_nothing_meets_nothing() {
    for (mode, options) in modes() {
        let engine = engine();
        let boards = boards(&engine, options);
        assert!(boards.execute("b", &Ask::set(0, 1)).unwrap().is_accepted());
        let (other, decides) = (boards.clone(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&decides);
        let ask = Ask::on([], move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let boards = other.clone();
            let whole = Ask::whole(|_| Ok(vec![Put { whole: true, ..Put::cell(1, 2) }]));
            let committed = thread::spawn(move || boards.execute("b", &whole).unwrap().is_accepted());
            assert!(committed.join().unwrap());
            Err("no".into())
        });
        let outcome = boards.execute("b", &ask).unwrap();
        assert_eq!(
            (outcome.is_accepted(), outcome.version(), outcome.effort().conflicts),
            (false, 3, 0),
            "{mode}"
        );
        assert_eq!(decides.load(Ordering::SeqCst), 1, "{mode}");
        assert!(boards.execute("b", &Ask::set(0, 2)).unwrap().is_accepted(), "{mode}: the engine goes on");
        engine.close().unwrap();
    }
}

#[test]
fn rule_10_an_impure_aggregate_breaks_no_invariant() {
    for (mode, options) in modes() {
        let engine = engine();
        let boards = boards(&engine, options);
        assert!(boards.execute("b", &Ask::set(0, 1)).unwrap().is_accepted());
        // Another scope at every look, never the same twice; events that fit none, one or all.
        let looks = Arc::new(AtomicU64::new(0));
        for round in 0..50 {
            let looks = Arc::clone(&looks);
            let ask = Ask::new(
                move |_| match looks.fetch_add(1, Ordering::SeqCst) {
                    look if look % 7 == 3 => Scope::Whole,
                    look => parts([look % 5, look % 3]),
                },
                move |_, _| Ok(vec![Put::cell(round % 5, 1)]),
            );
            match boards.execute("b", &ask) {
                Ok(_) | Err(Error::OutOfScope { .. }) => {}
                Err(other) => panic!("{mode}: {other}"),
            }
        }
        // The engine goes on, in either mode.
        for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
            let boards = boards.with(at_once(Options { concurrency, ..options }));
            assert!(boards.execute("b", &Ask::whole(|_| Ok(vec![Put::cell(0, 2)]))).unwrap().is_accepted());
        }
        engine.close().unwrap();
    }
}

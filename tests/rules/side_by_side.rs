//! What runs at the same time: decides on different seats, reads beside a decide, and the next decision
//! on a seat beside the sync of the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use boxoffice::layout::Layout;
use boxoffice::options::Concurrency;
use boxoffice::venue::{Request, Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Handle, Options};

use crate::support::gate::GatedStorage;
use crate::support::{Door, Meeting, Polled, at_once, modes};

fn venue(
    builder: boxoffice::options::Builder,
    services: VenueServices,
    limit: Option<u32>,
) -> (Engine, Handle<Venue>) {
    let engine = builder.in_memory().unwrap();
    let venues = engine.handle::<Venue>(services).unwrap();
    create(&venues, limit);
    (engine, venues)
}

fn create(venues: &Handle<Venue>, limit_per_customer: Option<u32>) {
    let layout = Layout::builder().category("all", 100).row("A", "all", [(1, 40)]).build().unwrap();
    let create = VenueCommand::Create { layout: Arc::new(layout), limit_per_customer };
    assert!(venues.execute("hall", &create).unwrap().is_accepted());
}

/// With one decide at a time nobody would ever leave the meeting.
#[test]
fn sixteen_decides_on_sixteen_seats_of_one_venue_meet() {
    for (mode, options) in modes() {
        for limit in [None, Some(3)] {
            let meeting = Meeting::new(16);
            let asked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&asked);
            let services = VenueServices::default().with_pricing(move |cart: &Request<'_, u64>| {
                count.fetch_add(1, Ordering::SeqCst);
                meeting.wait();
                cart.list_price()
            });
            let builder = Engine::builder().aggregate_with::<Venue>(options);
            let (engine, venues) = venue(builder, services, limit);
            thread::scope(|scope| {
                for seat in 1..=16_u64 {
                    let venues = &venues;
                    scope.spawn(move || {
                        let reserve = VenueCommand::reserve(seat, [format!("A{seat}")]);
                        let outcome = venues.execute("hall", &reserve).unwrap();
                        assert!(outcome.is_accepted(), "{outcome:?}");
                        let effort = outcome.effort();
                        assert_eq!((effort.conflicts, effort.lock_waits), (0, 0), "they disturb each other");
                    });
                }
            });
            assert_eq!(asked.load(Ordering::SeqCst), 16, "{mode}: nobody decided twice");
            assert_eq!(venues.read("hall").unwrap().sold(), 16);
            engine.close().unwrap();
        }
    }
}

#[test]
fn decides_on_different_venues_meet_even_over_the_whole() {
    use crate::support::board::{Ask, Put, boards, engine};
    for (_, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let meeting = Meeting::new(8);
        thread::scope(|scope| {
            for id in 0..8 {
                let (handle, meeting) = (&handle, Arc::clone(&meeting));
                let ask = Ask::whole(move |_| {
                    meeting.wait();
                    Ok(vec![Put { whole: true, ..Put::cell(1, 1) }])
                });
                scope.spawn(move || assert!(handle.execute(format!("b{id}"), &ask).unwrap().is_accepted()));
            }
        });
        engine.close().unwrap();
    }
}

#[test]
fn a_read_returns_while_a_decide_is_blocked() {
    for (mode, options) in modes() {
        let door = Door::new();
        let inside = Arc::clone(&door);
        let services = VenueServices::default().with_eligibility(move |_: &Request<'_, u64>| {
            inside.pass();
            Ok(())
        });
        let (engine, venues) = venue(Engine::builder().aggregate_with::<Venue>(options), services, None);
        thread::scope(|scope| {
            let deciding =
                scope.spawn(|| venues.execute("hall", &VenueCommand::reserve(1, ["A1"])).unwrap().version());
            door.await_arrivals(1);
            let before = venues.read("hall").unwrap();
            assert_eq!((before.sold(), before.version(), before.is_durable()), (0, 1, true), "{mode}");
            assert_eq!(venues.history("hall").unwrap().count(), 1, "{mode}");
            assert_eq!(venues.ids(), ["hall"], "{mode}");
            door.open();
            assert_eq!(deciding.join().unwrap(), 2);
            // What was read stays what it was.
            assert_eq!((before.sold(), venues.read("hall").unwrap().sold()), (0, 1), "{mode}");
        });
        engine.close().unwrap();
    }
}

/// The lock is given back when the decision has its place, not when it is on disk: on one seat five
/// decisions follow each other while the first one's sync is held up.
#[test]
fn a_seat_goes_on_while_its_last_decision_is_being_synced() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let builder = Engine::builder().aggregate_with::<Venue>(options);
        let engine = builder.backend(storage.clone()).unwrap();
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
        create(&venues, Some(2));
        storage.close_gate();
        let first = VenueCommand::reserve(1, ["A1"]);
        let mut first = Polled::new(venues.execute_async("hall", &first));
        assert!(first.poll().is_none());
        storage.await_blocked();
        let prompt = venues.with(at_once(options));
        let next = [
            VenueCommand::release(1, ["A1"]),
            VenueCommand::reserve(2, ["A1", "A2"]),
            VenueCommand::force_release(["A1"], "no show"),
            VenueCommand::reserve(1, ["A1"]),
        ];
        let receipts: Vec<_> = next.iter().map(|next| prompt.submit("hall", next).unwrap()).collect();
        for (version, receipt) in (3..).zip(&receipts) {
            let outcome = receipt.provisional().unwrap();
            assert!(outcome.is_accepted() && outcome.version() == version, "{mode}: {outcome:?}");
            assert!(!receipt.is_durable(), "{mode}");
        }
        storage.open_gate();
        assert_eq!(first.finish().unwrap().version(), 2);
        for receipt in receipts {
            assert!(receipt.wait().unwrap().is_accepted());
        }
        engine.close().unwrap();
    }
}

/// Both modes on one venue at once, on all the same seats: every seat is sold once.
#[test]
fn both_modes_on_one_venue_sell_every_seat_once() {
    let builder = Engine::builder().aggregate_with::<Venue>(Options::default());
    let (engine, venues) = venue(builder, VenueServices::default(), None);
    let won = AtomicUsize::new(0);
    thread::scope(|scope| {
        for caller in 0..6_u64 {
            let concurrency =
                if caller % 2 == 0 { Concurrency::Optimistic } else { Concurrency::Pessimistic };
            let venues = venues.with(Options { concurrency, ..Options::default() });
            let won = &won;
            scope.spawn(move || {
                for step in 0..40_u64 {
                    let seat = format!("A{}", (step * 7 + caller) % 40 + 1);
                    let outcome = venues.execute("hall", &VenueCommand::reserve(caller, [seat])).unwrap();
                    won.fetch_add(usize::from(outcome.is_accepted()), Ordering::SeqCst);
                    if concurrency == Concurrency::Pessimistic {
                        assert_eq!(outcome.effort().conflicts, 0);
                    }
                }
            });
        }
    });
    assert_eq!((won.into_inner(), venues.read("hall").unwrap().sold()), (40, 40));
    assert_eq!(engine.position(), 1 + 6 * 40);
    engine.close().unwrap();
}

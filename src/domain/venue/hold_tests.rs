//! Holds and best seats: the rules one by one, and what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::quota::Quota;
use super::tests::{decide_at, decide_in, hall, run_at, venue};
use super::*;
use crate::clock::Timestamp;
use crate::layout::{Layout, SeatIndex};

fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn at(now: u64) -> Timestamp {
    Timestamp(now)
}

/// Holds seats, and gives the token.
fn held(state: &mut VenueState<u64>, command: &VenueCommand, now: u64) -> HoldToken {
    run_at(state, command, at(now)).unwrap()[0].hold().unwrap().token
}

fn reason(state: &VenueState<u64>, command: &VenueCommand, now: u64) -> &'static str {
    decide_at(state, command, &VenueServices::default(), at(now)).unwrap_err().reason()
}

#[test]
fn a_hold_is_there_until_its_deadline_and_not_at_it() {
    let mut state = venue(None);
    let token = held(&mut state, &VenueCommand::hold(1, ["A1", "A2"], micros(10)), 5);
    let [reserve, release] = [VenueCommand::reserve(2, ["A1"]), VenueCommand::release(1, ["A1"])];
    for seat in [SeatIndex(0), SeatIndex(1)] {
        let status = SeatStatus::Held { customer: &1, until: at(15) };
        assert_eq!(state.status(seat, at(14)), Some(status));
        assert_eq!(state.status(seat, at(15)), Some(SeatStatus::Free));
        assert_eq!((state.holder(seat), state.sales(seat)), (None, 0));
        assert_eq!(state.hold_on(seat, at(14)), state.hold(token, at(14)));
        assert_eq!((state.hold_on(seat, at(14)).unwrap().token, state.hold_on(seat, at(15))), (token, None));
    }
    assert_eq!((state.available(at(14)), state.available(at(15)), state.sold()), (4, 6, 0));
    // Also for the customer's own cart, and by its label.
    assert_eq!(reason(&state, &reserve, 14), "seat_held");
    assert_eq!(reason(&state, &VenueCommand::reserve(1, ["A1"]), 14), "seat_held");
    assert_eq!(reason(&state, &VenueCommand::hold(2, ["A2"], micros(1)), 14), "seat_held");
    assert_eq!(reason(&state, &release, 14), "seat_held");
    assert_eq!(reason(&state, &release, 15), "seat_not_reserved");
    assert_eq!(reason(&state, &VenueCommand::force_release(["A1"], "fire"), 15), "seat_not_reserved");
    assert_eq!(reason(&state, &VenueCommand::confirm(1, token), 15), "hold_expired");
    let confirmed = run_at(&mut state.clone(), &VenueCommand::confirm(1, token), at(14)).unwrap();
    assert_eq!(confirmed[0].seats(), [SeatIndex(0), SeatIndex(1)]);
    // Somebody takes one of its seats, and the other is as it was: lapsed, and free.
    run_at(&mut state, &reserve, at(15)).unwrap();
    assert!(!state.is_free(SeatIndex(0), at(15)) && state.is_free(SeatIndex(1), at(15)));
    assert_eq!(state.hold_on(SeatIndex(0), at(14)), None);
    assert_eq!(reason(&state, &VenueCommand::confirm(1, token), 15), "hold_expired");
}

#[test]
fn every_no_about_a_hold_has_its_word() {
    let mut state = venue(None);
    let time = HoldTime { ttl: micros(10), lifetime: micros(15) };
    let token = held(&mut state, &VenueCommand::hold(1, ["A1", "A2"], time), 0);
    let all = |customer, token| {
        [
            VenueCommand::confirm(customer, token),
            VenueCommand::extend(customer, token, micros(1)),
            VenueCommand::release_hold(customer, token),
        ]
    };
    let says = |state: &VenueState<u64>, customer, token, now, word| {
        for command in all(customer, token) {
            assert_eq!(reason(state, &command, now), word, "{command:?}");
        }
    };
    says(&state, 2, token, 9, "not_holder");
    says(&state, 1, token, 10, "hold_expired");
    let next = HoldToken::from_u64(token.as_u64() + 1);
    for unknown in [next, HoldToken::from_u64(u64::MAX), HoldToken::from_u64(0)] {
        says(&state, 1, unknown, 9, "hold_not_found");
    }
    let extend = VenueCommand::extend(1, token, micros(10));
    assert!(run_at(&mut state, &extend, at(0)).unwrap().is_empty(), "it is later already");
    let extended = run_at(&mut state, &extend, at(9)).unwrap();
    assert_eq!(extended[0].hold().map(|hold| hold.deadline), Some(at(15)), "to the end of its lifetime");
    assert_eq!(reason(&state, &extend, 10), "lifetime_reached");
    let mut released = state.clone();
    run_at(&mut released, &VenueCommand::release_hold(1, token), at(14)).unwrap();
    says(&released, 1, token, 14, "hold_expired");
    run_at(&mut state, &VenueCommand::confirm(1, token), at(14)).unwrap();
    says(&state, 1, token, 99, "hold_confirmed");
    says(&state, 2, token, 99, "not_holder");
    run_at(&mut state, &VenueCommand::release(1, ["A1"]), at(99)).unwrap();
    says(&state, 1, token, 99, "hold_expired");
    assert_ne!(held(&mut state, &VenueCommand::hold(1, ["A1"], micros(9)), 99), token);
}

#[test]
fn a_forced_release_ends_the_whole_hold() {
    for limit in [None, Some(4)] {
        let mut state = venue(limit);
        let token = held(&mut state, &VenueCommand::hold(1, ["A1", "A2", "B3"], micros(10)), 0);
        run_at(&mut state, &VenueCommand::reserve(1, ["B1"]), at(0)).unwrap();
        let force = VenueCommand::force_release(["B1", "A2"], "fire");
        let events = run_at(&mut state, &force, at(9)).unwrap();
        assert_eq!(events.iter().map(|event| event.seats().len()).collect::<Vec<_>>(), [1, 3]);
        assert!(matches!(&events[1], VenueEvent::HoldReleased { forced: Some(why), .. } if why == "fire"));
        assert_eq!((state.available(at(9)), state.count_held(&1, at(9))), (6, limit.map(|_| 0)));
        assert_eq!(reason(&state, &VenueCommand::confirm(1, token), 9), "hold_expired");
        // With a seat that does not exist, all that is wrong is said, and nothing changes.
        let token = held(&mut state, &VenueCommand::hold(2, ["A1", "A2"], micros(10)), 20);
        let wrong = decide_at(
            &state,
            &VenueCommand::force_release(["A1", "Z9", "B1"], ""),
            &VenueServices::default(),
            at(21),
        );
        assert_eq!(wrong.unwrap_err().to_string(), "Z9: seat_not_found, B1: seat_not_reserved");
        run_at(&mut state, &VenueCommand::confirm(2, token), at(21)).unwrap();
    }
}

#[test]
fn who_may_buy_and_at_what_price_is_asked_when_seats_are_held_and_not_again() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let services = VenueServices::default()
        .with_eligibility(|cart: &Request<'_, u64>| match cart.customer() {
            13 => Err(SmolStr::new("barred")),
            _ => Ok(()),
        })
        .with_pricing(|_: &Request<'_, u64>| 100 + u64::from(ASKED.fetch_add(1, Ordering::Relaxed)));
    let mut state = venue(Some(3));
    let mut run = |command, now| -> Result<_, Rejection> {
        let events = decide_at(&state, &command, &services, at(now))?;
        events.iter().for_each(|event| Venue::apply(&mut state, event));
        Ok(events)
    };
    assert_eq!(run(VenueCommand::hold(13, ["A1"], micros(9)), 0).unwrap_err().reason(), "not_eligible");
    assert_eq!(run(VenueCommand::hold_best(13, 1, micros(9)), 0).unwrap_err().reason(), "not_eligible");
    let held = run(VenueCommand::hold_best(1, 2, micros(9)), 0).unwrap();
    let over = run(VenueCommand::reserve(1, ["B2", "B3"]), 8).unwrap_err();
    assert_eq!(over.refusal, Refusal::LimitReached { limit: 3, has: 2, wants: 2 });
    let token = held[0].hold().unwrap().token;
    let _ = run(VenueCommand::extend(1, token, micros(20)), 8).unwrap();
    let confirmed = run(VenueCommand::confirm(1, token), 27).unwrap();
    assert!(matches!(confirmed[0], VenueEvent::Confirmed { price_total: 100, counted: true, .. }));
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    assert_eq!(run(VenueCommand::reserve(1, ["B2", "B3"]), 27).unwrap_err().reason(), "limit_reached");
}

#[test]
fn malformed_holds_are_refused_before_any_work() {
    let check =
        |command: VenueCommand| Venue::check(&command, &Limits::default()).map_err(|why| why.to_string());
    let hold = |ttl, lifetime| check(VenueCommand::hold(1, ["A1"], HoldTime { ttl, lifetime }));
    let (least, day) = (Duration::from_micros(1), MAX_HOLD);
    assert_eq!((hold(least, day), hold(day, day), hold(least, least)), (Ok(()), Ok(()), Ok(())));
    assert!(hold(Duration::from_nanos(999), day).is_err());
    assert!(hold(least * 2, least).unwrap_err().contains("lifetime"));
    assert!(hold(least, day + least).is_err() && hold(Duration::MAX, Duration::MAX).is_err());
    assert!(check(VenueCommand::hold(1, ["A1", "A1"], least)).unwrap_err().contains("A1"));
    let token = HoldToken::from_u64(7);
    assert!(check(VenueCommand::extend(1, token, Duration::ZERO)).is_err());
    assert!(check(VenueCommand::extend(1, token, day + least)).is_err());
    assert_eq!(check(VenueCommand::confirm(1, token)), Ok(()));
    for seats in [0, 1_025, u32::MAX] {
        assert!(check(VenueCommand::reserve_best(1, seats)).is_err());
        assert!(check(VenueCommand::hold_best(1, seats, least)).is_err());
    }
    assert!(check(VenueCommand::reserve_best(1, Best::of(1).in_category("x".repeat(65)))).is_err());
    assert_eq!(check(VenueCommand::reserve_best(1, 1_024)), Ok(()));
    for text in ["", "1", "-", "1-", "+1-2", "01-2", "1-+2", "1-2-3", "4294967296-1", " 1-2"] {
        assert!(text.parse::<HoldToken>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_token_is_read_as_it_is_written(number: u64) {
        let token = HoldToken::from_u64(number);
        prop_assert_eq!(token.as_u64(), number);
        prop_assert_eq!(token.to_string().parse(), Ok(token));
    }
}

#[test]
fn the_best_block_is_the_first_and_in_it_the_most_central() {
    let layout = Layout::builder().category("dear", 9).category("cheap", 1);
    let layout = layout.row("A", "dear", [(1, 3), (9, 4)]).row("B", "cheap", [(1, 7)]).build().unwrap();
    let mut state = VenueState::default();
    run_at(&mut state, &VenueCommand::create(layout), at(0)).unwrap();
    let mut best = |best: Best| -> Result<Vec<String>, &'static str> {
        let events =
            run_at(&mut state, &VenueCommand::reserve_best(1, best), at(0)).map_err(|no| no.reason())?;
        let layout = state.layout().unwrap();
        Ok(events[0].seats().iter().map(|seat| layout.label(*seat).unwrap().to_string()).collect())
    };
    let labels = |labels: &[&str]| Ok(labels.iter().map(ToString::to_string).collect());
    assert_eq!(best(Best::of(1)), labels(&["A2"]));
    assert_eq!(best(Best::of(2)), labels(&["A7", "A6"]));
    assert_eq!(best(Best::of(3).in_category("cheap")), labels(&["B3", "B4", "B5"]));
    assert_eq!(best(Best::of(3)), Err("no_such_block"));
    assert_eq!(best(Best::of(8)), Err("no_such_block"));
    assert_eq!(best(Best::of(1).in_category("none")), Err("category_not_found"));
    for _ in 0..6 {
        assert!(best(Best::of(1).in_category("dear")).is_ok());
    }
    assert_eq!(best(Best::of(1).in_category("dear")), Err("sold_out"));
    assert_eq!(best(Best::of(2)), labels(&["B1", "B2"]));
    assert_eq!(best(Best::of(2)), labels(&["B6", "B7"]));
    assert_eq!(best(Best::of(2)), Err("sold_out"));

    let mut list = VenueState::default();
    run_at(&mut list, &VenueCommand::create(Layout::from_labels(["A1", "A2"]).unwrap()), at(0)).unwrap();
    assert_eq!(reason(&list, &VenueCommand::reserve_best(1, 2), 0), "no_such_block");
    assert!(run_at(&mut list, &VenueCommand::reserve_best(1, 1), at(0)).is_ok());
}

/// A "no" of the whole hall depends on the whole hall; a "no" by the chart alone, on nothing.
#[test]
fn a_choice_locks_what_it_chose_and_a_no_what_it_says() {
    let mut state = venue(Some(6));
    let scope = |state: &VenueState<u64>, seats| Venue::scope(state, &VenueCommand::reserve_best(1, seats));
    assert_eq!(scope(&state, 2).named().len(), 3);
    assert!(scope(&state, 4).is_empty());
    run_at(&mut state, &VenueCommand::hold(2, ["A2", "B2"], micros(10)), at(0)).unwrap();
    assert_eq!(scope(&state, 2), Scope::Whole);
    assert_eq!(reason(&state, &VenueCommand::reserve_best(1, 2), 9), "no_such_block");
    // No event has told of it, and still the hold has lapsed.
    let late = run_at(&mut state.clone(), &VenueCommand::reserve_best(1, 2), at(10)).unwrap();
    assert_eq!(late[0].seats(), [SeatIndex(0), SeatIndex(1)]);
    // Whoever skips what is locked gets what is free by then, and locks no more than that.
    let command = VenueCommand::reserve_best(1, 2);
    let locked = [Part::number(SEAT, 0)].into_iter().collect();
    let scope = Venue::scope_skipping(&state, &command, &locked).unwrap();
    assert_eq!(scope.named().len(), 3);
    let services = VenueServices::default();
    assert_eq!(decide_in(&state, &command, &services, at(9), &scope).unwrap_err().reason(), "no_such_block");
    let skipped = decide_in(&state, &command, &services, at(10), &scope).unwrap();
    assert_eq!(skipped[0].seats(), [SeatIndex(1), SeatIndex(2)]);
    let all = (0..6).map(|seat| Part::number(SEAT, seat)).collect();
    assert!(Venue::scope_skipping(&state, &command, &all).unwrap().is_empty());
}

#[test]
fn a_hold_is_small_in_memory_and_in_the_log() {
    assert!(size_of::<VenueEvent<u64>>() <= 64);
    assert!(size_of::<Hold<u64>>() <= 64);
    let mut state = venue(None);
    let now = 1_700_000_000_000_000;
    let events = run_at(&mut state, &VenueCommand::hold(7, ["A1", "A2"], micros(600)), at(now)).unwrap();
    let bytes = bincode::serde::encode_to_vec(&events[0], bincode::config::standard()).unwrap();
    assert!(bytes.len() <= 40, "{}", bytes.len());
}

/// Customers who hold a seat, never come back, and are never asked about again.
#[test]
fn customers_whose_holds_lapse_are_forgotten() {
    let layout = Layout::builder().category("any", 1).row("A", "any", [(1, 1_000)]).build().unwrap();
    let mut state = VenueState::default();
    run_at(&mut state, &VenueCommand::create_with_limit(layout, 1_000), at(0)).unwrap();
    let mut next = 0;
    let mut hold = |state: &mut VenueState<u64>, customer, ttl, now| {
        next = next % 1_000 + 1;
        held(state, &VenueCommand::hold(customer, [format!("A{next}")], micros(ttl)), now);
    };
    let mut most = (0, 0);
    let mut remembered = |state: &VenueState<u64>| {
        let (holds, customers) = state.quota.as_ref().unwrap().remembered();
        most = (most.0.max(holds), most.1.max(customers));
        (holds, customers)
    };
    for customer in 0..100_000 {
        // Ten at a time are live, one in a hundred for as long as may be.
        let ttl = if customer % 100 == 0 { 1_000 } else { 10 };
        hold(&mut state, customer, ttl, customer);
        remembered(&state);
    }
    assert!(most.0 <= 30 && most.1 <= 30, "{most:?}");
    // One customer over and over, and then a thousand at once whose time is over together.
    for now in 100_000..101_000 {
        hold(&mut state, 7, 1, now);
    }
    assert!(state.quota.as_ref().unwrap().remembered().0 <= 30);
    for customer in 0..900 {
        hold(&mut state, customer, 10, 102_000);
    }
    for now in 103_000..103_900 {
        hold(&mut state, 7, 1, now);
    }
    assert_eq!(state.quota.as_ref().unwrap().remembered(), (1, 1));
    let holds = (0..1_000).filter(|seat| state.slot(SeatIndex(*seat)).unwrap().any_hold().is_some());
    assert!(holds.count() as u32 == state.held, "and what is left is in the seats, one each at most");
}

proptest! {
    /// Nobody can tell whether what has lapsed was forgotten.
    #[test]
    fn forgetting_changes_no_count(
        holds in prop::collection::vec((0u64..4, 1u64..20, 1u32..4, 0usize..3), 1..30),
    ) {
        let (mut kept, mut swept) = (Quota::<u64>::new(9), Quota::<u64>::new(9));
        for (now, (customer, ttl, seats, sweeps)) in (0..).zip(holds) {
            let hold = Hold {
                token: HoldToken::from_u64(now + 1),
                customer,
                seats: SeatList::new(),
                price_total: 0,
                deadline: at(now + ttl),
                latest: at(now + ttl),
            };
            kept.hold(&hold, seats, at(0));
            swept.hold(&hold, seats, at(now));
            (0..sweeps).for_each(|_| swept.sweep(at(now)));
            if ttl == 7 {
                kept.end(&customer, hold.token);
                swept.end(&customer, hold.token);
            }
            for later in now..now + 20 {
                for customer in 0..4 {
                    prop_assert_eq!(kept.held(&customer, at(later)), swept.held(&customer, at(later)));
                }
            }
        }
    }
}

/// A foreign log may have events about seats that are not there.
#[test]
fn holds_that_cannot_apply_change_nothing() {
    let mut state = venue(Some(9));
    let seats = SeatList::from_slice(&[SeatIndex(6), SeatIndex(u32::MAX)]);
    let token = HoldToken::from_u64(1);
    let hold = Arc::new(Hold {
        token,
        customer: 2,
        seats: seats.clone(),
        price_total: 1,
        deadline: at(99),
        latest: at(99),
    });
    for event in [
        VenueEvent::Held { hold: hold.clone(), at: at(1), counted: true },
        VenueEvent::HoldExtended { hold: hold.clone(), at: at(1), counted: true },
        VenueEvent::HoldReleased { hold: hold.clone(), forced: None, counted: true },
        VenueEvent::Confirmed { token, customer: 2, seats, price_total: 1, counted: true },
    ] {
        Venue::apply(&mut state, &event);
        assert_eq!((state.sold(), state.available(at(1))), (0, 6));
        assert_eq!((state.count(&2), state.count_held(&2, at(1))), (Some(0), Some(0)));
    }
}

#[test]
fn a_clone_of_a_hall_shares_its_holds() {
    let mut state = VenueState::default();
    run_at(&mut state, &VenueCommand::create(Arc::new(hall())), at(0)).unwrap();
    let token = held(&mut state, &VenueCommand::hold(1, ["A1"], micros(9)), 0);
    let before = state.clone();
    run_at(&mut state, &VenueCommand::confirm(1, token), at(1)).unwrap();
    assert!(before.hold(token, at(1)).is_some() && state.hold(token, at(1)).is_none());
    assert_eq!((before.sold(), state.sold()), (0, 1));
}

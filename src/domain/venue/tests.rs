//! A venue's rules one by one, driven without an engine; `model_tests` asks whatever else there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::clock::Timestamp;
use crate::layout::{Layout, SeatIndex};

const NOW: Timestamp = Timestamp(9);

pub(super) type Decided<C> = Result<Events<VenueEvent<C>>, Rejection<C>>;

/// One attempt without its commit. What it touches must lie in its scope.
fn decide<C: CustomerId>(
    state: &VenueState<C>,
    command: &VenueCommand<C>,
    services: &VenueServices<C>,
) -> Decided<C> {
    decide_at(state, command, services, NOW)
}

pub(super) fn decide_at<C: CustomerId>(
    state: &VenueState<C>,
    command: &VenueCommand<C>,
    services: &VenueServices<C>,
    now: Timestamp,
) -> Decided<C> {
    let scope = Venue::scope(state, command);
    assert_eq!(scope, Venue::scope(state, command));
    decide_in(state, command, services, now, &scope)
}

pub(super) fn decide_in<C: CustomerId>(
    state: &VenueState<C>,
    command: &VenueCommand<C>,
    services: &VenueServices<C>,
    now: Timestamp,
    scope: &Scope,
) -> Decided<C> {
    let context = Context { now, services, scope };
    let decision = Venue::decide(state, command, &context);
    for event in decision.iter().flat_map(|events| events.iter()) {
        let touched = Venue::<C>::touches(event);
        assert!(scope.first_outside(&touched).is_none(), "{touched:?} is outside {scope:?}");
    }
    decision
}

fn run(state: &mut VenueState<u64>, command: &VenueCommand<u64>) -> Decided<u64> {
    run_at(state, command, NOW)
}

pub(super) fn run_at(
    state: &mut VenueState<u64>,
    command: &VenueCommand<u64>,
    now: Timestamp,
) -> Decided<u64> {
    let decision = decide_at(state, command, &VenueServices::default(), now);
    for event in decision.iter().flat_map(|events| events.iter()) {
        Venue::apply(state, event);
    }
    decision
}

pub(super) fn hall() -> Layout {
    let layout = Layout::builder().category("cheap", 5).category("dear", 300);
    layout.row("A", "cheap", [(1, 3)]).row("B", "dear", [(1, 3)]).build().unwrap()
}

pub(super) fn venue(limit: Option<u32>) -> VenueState<u64> {
    let mut state = VenueState::default();
    let create = VenueCommand::Create { layout: Arc::new(hall()), limit_per_customer: limit };
    run(&mut state, &create).unwrap();
    assert_eq!(run(&mut state, &create).unwrap_err().reason(), "already_created");
    state
}

fn causes(decision: Decided<u64>) -> Vec<(String, &'static str)> {
    match decision.unwrap_err().refusal {
        Refusal::Seats(seats) => {
            seats.into_iter().map(|seat| (seat.label.into(), seat.cause.reason())).collect()
        }
        other => vec![(String::new(), other.reason())],
    }
}

fn expected(seats: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    seats.iter().map(|&(label, cause)| (label.to_owned(), cause)).collect()
}

#[test]
fn a_cart_is_all_or_nothing_and_names_every_conflict() {
    let mut state = venue(None);
    let event = run(&mut state, &VenueCommand::reserve(1, ["A2", "B1"])).unwrap();
    assert!(matches!(&event[0], VenueEvent::Reserved { customer: 1, price_total: 305, counted: false, .. }));
    let late = run(&mut state, &VenueCommand::reserve(2, ["A1", "A2", "Z9", "B1"]));
    assert_eq!(late.as_ref().unwrap_err().customer, Some(2));
    assert_eq!(
        late.as_ref().unwrap_err().to_string(),
        "customer 2: A2: seat_reserved, Z9: seat_not_found, B1: seat_reserved"
    );
    let conflicts = [("A2", "seat_reserved"), ("Z9", "seat_not_found"), ("B1", "seat_reserved")];
    assert_eq!(causes(late), expected(&conflicts));
    assert_eq!((state.sold(), state.available(NOW)), (2, 4));
    let release = run(&mut state, &VenueCommand::release(2, ["A1", "A2", "B1"]));
    let refused = [("A1", "seat_not_reserved"), ("A2", "not_holder"), ("B1", "not_holder")];
    assert_eq!(causes(release), expected(&refused));
    run(&mut state, &VenueCommand::release(1, ["A2"])).unwrap();
    run(&mut state, &VenueCommand::reserve(2, ["A2"])).unwrap();
    let forced = run(&mut state, &VenueCommand::force_release(["A2", "B1"], "fire")).unwrap();
    assert_eq!(forced.len(), 2);
    assert!(matches!(&forced[0], VenueEvent::Released { holder: 2, forced: Some(why), .. } if why == "fire"));
    assert_eq!((state.sold(), state.available(NOW)), (0, 6));
}

#[test]
fn malformed_carts_are_refused_before_any_work() {
    let check =
        |command: VenueCommand| Venue::check(&command, &Limits::default()).map_err(|why| why.to_string());
    let labels = |count: usize| (0..count).map(|number| format!("S{number}"));
    let bad = |command, why: &str| {
        let said = check(command).unwrap_err();
        assert!(said.contains(why), "{said}");
    };
    bad(VenueCommand::reserve(1, [""; 0]), "empty");
    bad(VenueCommand::reserve(1, ["A1", "A2", "A1"]), "A1");
    bad(VenueCommand::release(1, labels(500).chain(["S77".to_owned()])), "S77");
    bad(VenueCommand::reserve(1, labels(1_025)), "1025");
    bad(VenueCommand::reserve(1, ["x".repeat(65)]), "65");
    bad(VenueCommand::force_release(["A1"], "x".repeat(1_025)), "1025");
    bad(VenueCommand::create_with_limit(hall(), 0), "limit");
    assert_eq!(check(VenueCommand::reserve(1, labels(1_024))), Ok(()));
    assert_eq!(check(VenueCommand::force_release(["A1"], "")), Ok(()));
    assert!(CustomerId::check(&SmolStr::default()).is_err());
}

#[test]
fn services_are_asked_only_about_seats_that_can_be_had() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let services = VenueServices::default()
        .with_eligibility(|cart: &Request<'_, u64>| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            if *cart.customer() == 13 { Err(SmolStr::new("barred")) } else { Ok(()) }
        })
        .with_pricing(|cart: &Request<'_, u64>| cart.list_price() * 2 + cart.now().0);
    let mut state = venue(Some(2));
    let barred = decide(&state, &VenueCommand::reserve(13, ["A1"]), &services).unwrap_err();
    assert_eq!(
        (barred.reason(), barred.to_string().as_str()),
        ("not_eligible", "customer 13: not_eligible: barred")
    );
    let sold = decide(&state, &VenueCommand::reserve(1, ["A1", "B1"]), &services).unwrap();
    assert!(matches!(sold[0], VenueEvent::Reserved { price_total: 619, counted: true, .. }));
    Venue::apply(&mut state, &sold[0]);
    let asked = ASKED.load(Ordering::Relaxed);
    let over = decide(&state, &VenueCommand::reserve(1, ["A2"]), &services).unwrap_err();
    assert_eq!(over.refusal, Refusal::LimitReached { limit: 2, has: 2, wants: 1 });
    let taken = decide(&state, &VenueCommand::reserve(2, ["A1"]), &services).unwrap_err();
    assert_eq!(taken.reason(), "seat_reserved");
    assert_eq!(ASKED.load(Ordering::Relaxed), asked);
}

#[test]
fn events_are_small_and_layouts_are_shared() {
    assert!(size_of::<VenueEvent<u64>>() <= 64);
    let seats = SeatList::from_slice(&[SeatIndex(200)]);
    let event = VenueEvent::Reserved { customer: 7u64, seats, price_total: 200, counted: false };
    let bytes = bincode::serde::encode_to_vec(&event, bincode::config::standard()).unwrap();
    assert_eq!(bytes.len(), 6);
    let mut pool = Interner::default();
    let mut created = || {
        let event = VenueEvent::Created { layout: Arc::new(hall()), limit_per_customer: None };
        match Venue::<u64>::intern(event, &mut pool) {
            VenueEvent::Created { layout, .. } => layout,
            other => panic!("{other:?}"),
        }
    };
    let first = created();
    assert!(Arc::ptr_eq(&first, &created()));
}

#[test]
fn events_that_cannot_apply_change_nothing() {
    let seats = SeatList::from_slice(&[SeatIndex(6), SeatIndex(u32::MAX)]);
    let reserved = VenueEvent::Reserved { customer: 1, seats: seats.clone(), price_total: 0, counted: true };
    let released = VenueEvent::Released { holder: 1, seats, forced: None, counted: true };
    for mut state in [VenueState::default(), venue(Some(1))] {
        for event in [&reserved, &released] {
            Venue::apply(&mut state, event);
            assert_eq!(state.sold(), 0);
            assert_eq!(state.count(&1).unwrap_or(0), 0);
        }
    }
    let unknown =
        causes(decide(&VenueState::default(), &VenueCommand::reserve(1, ["A1"]), &VenueServices::default()));
    assert_eq!(unknown, expected(&[("A1", "seat_not_found")]));
}

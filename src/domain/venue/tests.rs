//! A venue against a plain model, driven without an engine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::layout::Layout;

const LABELS: [&str; 6] = ["A1", "A2", "A3", "B1", "B2", "B3"];

type Decided<C> = Result<Events<VenueEvent<C>>, Rejection<C>>;

/// One attempt without its commit. What it touches must lie in its scope.
fn decide<C: CustomerId>(
    state: &VenueState<C>,
    command: &VenueCommand<C>,
    services: &VenueServices<C>,
) -> Decided<C> {
    let scope = Venue::scope(state, command);
    assert_eq!(scope, Venue::scope(state, command));
    let context = Context { now: Timestamp(9), services, scope: &scope };
    let decision = Venue::decide(state, command, &context);
    for event in decision.iter().flat_map(|events| events.iter()) {
        let touched = Venue::<C>::touches(event);
        assert!(scope.first_outside(&touched).is_none(), "{touched:?} is outside {scope:?}");
    }
    decision
}

fn run(state: &mut VenueState<u64>, command: &VenueCommand<u64>) -> Decided<u64> {
    let decision = decide(state, command, &VenueServices::default());
    for event in decision.iter().flat_map(|events| events.iter()) {
        Venue::apply(state, event);
    }
    decision
}

fn hall() -> Layout {
    let layout = Layout::builder().category("cheap", 5).category("dear", 300);
    layout.row("A", "cheap", [(1, 3)]).row("B", "dear", [(1, 3)]).build().unwrap()
}

fn venue(limit: Option<u32>) -> VenueState<u64> {
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
    assert_eq!((state.sold(), state.available()), (2, 4));
    let release = run(&mut state, &VenueCommand::release(2, ["A1", "A2", "B1"]));
    let refused = [("A1", "seat_not_reserved"), ("A2", "not_holder"), ("B1", "not_holder")];
    assert_eq!(causes(release), expected(&refused));
    run(&mut state, &VenueCommand::release(1, ["A2"])).unwrap();
    run(&mut state, &VenueCommand::reserve(2, ["A2"])).unwrap();
    let forced = run(&mut state, &VenueCommand::force_release(["A2", "B1"], "fire")).unwrap();
    assert_eq!(forced.len(), 2);
    assert!(matches!(&forced[0], VenueEvent::Released { holder: 2, forced: Some(why), .. } if why == "fire"));
    assert_eq!((state.sold(), state.available()), (0, 6));
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

fn command() -> impl Strategy<Value = VenueCommand> {
    let seat = prop::sample::select([&LABELS[..], &["Z9"]].concat());
    let cart = prop::collection::btree_set(seat, 1..4)
        .prop_flat_map(|cart| Just(cart.into_iter().collect::<Vec<_>>()).prop_shuffle());
    (0u8..6, 1u64..4, cart).prop_map(|(kind, customer, cart)| match kind {
        0..3 => VenueCommand::reserve(customer, cart),
        3..5 => VenueCommand::release(customer, cart),
        _ => VenueCommand::force_release(cart, "because"),
    })
}

type Model = BTreeMap<&'static str, u64>;

/// What a venue should do, said in the plainest way; true if it accepts.
fn model(seats: &mut Model, limit: Option<u32>, command: &VenueCommand) -> bool {
    let known = |label: &SmolStr| LABELS.into_iter().find(|known| known == label);
    match command {
        VenueCommand::Reserve { customer, seats: cart } => {
            let has = seats.values().filter(|holder| *holder == customer).count();
            let fits = limit.is_none_or(|limit| has + cart.len() <= limit as usize);
            let free = cart.iter().all(|label| known(label).is_some_and(|seat| !seats.contains_key(seat)));
            if free && fits {
                seats.extend(cart.iter().filter_map(known).map(|seat| (seat, *customer)));
            }
            free && fits
        }
        VenueCommand::Release { customer, seats: cart } => {
            let held = cart.iter().all(|label| seats.get(label.as_str()) == Some(customer));
            seats.retain(|seat, _| !held || !cart.iter().any(|label| label == seat));
            held
        }
        VenueCommand::ForceRelease { seats: cart, .. } => {
            let held = cart.iter().all(|label| seats.contains_key(label.as_str()));
            seats.retain(|seat, _| !held || !cart.iter().any(|label| label == seat));
            held
        }
        VenueCommand::Create { .. } => false,
    }
}

fn assert_same(state: &VenueState<u64>, seats: &Model) {
    let layout = state.layout().unwrap();
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for (seat, holder) in state.seats() {
        assert_eq!(holder, seats.get(layout.label(seat).unwrap().as_str()));
        assert_eq!((state.holder(seat), state.is_free(seat)), (holder, holder.is_none()));
        holder.into_iter().for_each(|holder| *counts.entry(*holder).or_default() += 1);
    }
    assert_eq!(state.sold() as usize, seats.len());
    assert_eq!(state.sold() + state.available(), layout.len());
    for customer in 1..4 {
        let count = counts.get(&customer).copied().unwrap_or(0);
        assert_eq!(state.count(&customer), state.limit_per_customer().map(|_| count));
    }
}

/// The same state, with everything changed that the scope does not name.
fn perturbed(state: &VenueState<u64>, scope: &Scope, noise: u64) -> VenueState<u64> {
    let mut other = state.clone();
    for seat in 0..6 {
        if !scope.named().contains(&Part::number(SEAT, seat)) {
            *other.holders.get_mut(seat as usize).unwrap() =
                Some(noise >> seat & 3).filter(|holder| *holder > 0);
        }
    }
    if let Some(quota) = &mut other.quota {
        for customer in (1..4).filter(|customer| !scope.named().contains(&customer.part(CUSTOMER))) {
            quota.used.insert_mut(customer, u32::try_from(noise >> (3 * customer) & 7).unwrap());
        }
    }
    other.sold = u32::try_from(noise & 7).unwrap();
    other
}

proptest! {
    #[test]
    fn a_venue_does_what_the_model_does_and_depends_on_its_scope_alone(
        limit in prop::option::of(1u32..4),
        commands in prop::collection::vec((command(), any::<u64>()), 0..40),
    ) {
        let mut state = venue(limit);
        let mut seats = Model::new();
        for (command, noise) in commands {
            prop_assert!(Venue::check(&command, &Limits::default()).is_ok());
            let (before, seats_before) = (state.clone(), seats.clone());
            let scope = Venue::scope(&state, &command);
            let other = perturbed(&state, &scope, noise);
            prop_assert_eq!(&scope, &Venue::scope(&other, &command));

            let decision = run(&mut state, &command);
            prop_assert_eq!(decision.is_ok(), model(&mut seats, limit, &command));
            prop_assert_eq!(&decision, &decide(&other, &command, &VenueServices::default()));
            assert_same(&state, &seats);
            assert_same(&before, &seats_before);
            if let Ok(events) = decision {
                let bytes = bincode::serde::encode_to_vec(&events[..], bincode::config::standard()).unwrap();
                let (stored, _): (Vec<VenueEvent<u64>>, _) =
                    bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
                prop_assert_eq!(&stored[..], &events[..]);
            }
        }
    }
}

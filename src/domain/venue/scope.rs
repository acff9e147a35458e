//! The parts that a command depends on, and which seats it gets where it leaves the choice.

use std::collections::HashSet;

use smol_str::SmolStr;

use super::best::{choose, exists};
use super::{Best, CUSTOMER, CustomerId, HoldToken, SEAT, VenueCommand, VenueState};
use crate::aggregate::LockedParts;
use crate::error::Invalid;
use crate::layout::{Layout, SeatIndex};
use crate::scope::{Part, Parts, Scope};

pub(super) fn seat_part(seat: SeatIndex) -> Part {
    Part::number(SEAT, seat.0.into())
}

pub(super) fn seat_of(part: &Part) -> Option<SeatIndex> {
    let number = part.as_number().filter(|_| part.kind() == SEAT)?;
    u32::try_from(number).ok().map(SeatIndex)
}

/// The seats in the order of the cart, of the hold or of the row, then the customers whose counters change.
pub(super) fn scope<C: CustomerId>(state: &VenueState<C>, command: &VenueCommand<C>) -> Scope {
    let Some(layout) = state.layout() else { return Scope::Whole };
    match command {
        VenueCommand::Create { .. } => Scope::Whole,
        VenueCommand::Reserve { customer, seats }
        | VenueCommand::Release { customer, seats }
        | VenueCommand::Hold { customer, seats, .. } => Scope::gather(|parts| {
            put_seats(layout, seats, parts);
            put_counter(state, customer, parts);
        }),
        VenueCommand::ForceRelease { seats, .. } => {
            Scope::gather(|parts| force_release(state, layout, seats, parts))
        }
        VenueCommand::Confirm { customer, token }
        | VenueCommand::Extend { customer, token, .. }
        | VenueCommand::ReleaseHold { customer, token } => hold(state, customer, *token),
        VenueCommand::ReserveBest { customer, best } | VenueCommand::HoldBest { customer, best, .. } => {
            // The chart never changes, so a no depends on nothing.
            if !exists(layout, best) {
                return Scope::parts([]);
            }
            // Nothing is known to be free. Whether nothing is, the time will tell; a no must be true of every seat.
            match choose(state, best, state.known, |_| true).filter(super::best::Block::is_free) {
                Some(block) => with_counter(state, block.seats(), customer),
                None => Scope::Whole,
            }
        }
    }
}

/// The same choice among the seats that nobody has locked. The customer's counter is no choice: if the customer
/// has another command under way, this one waits for it.
///
/// Without a seat if every one is taken or locked. Otherwise the best block, or the one that is free first: if
/// that one is not free when the time is read, none is.
pub(super) fn scope_skipping<C: CustomerId>(
    state: &VenueState<C>,
    command: &VenueCommand<C>,
    locked: &LockedParts,
) -> Result<Scope, Invalid> {
    let Some((customer, best)) = wish(command) else {
        return Err(Invalid::new(
            "the command names its seats; only one that leaves a choice can skip what is locked",
        ));
    };
    match choose(state, best, state.known, |seat| !locked.contains(&seat_part(seat))) {
        Some(block) => Ok(with_counter(state, block.seats(), customer)),
        None => Ok(Scope::parts([])),
    }
}

pub(super) fn wish<C>(command: &VenueCommand<C>) -> Option<(&C, &Best)> {
    match command {
        VenueCommand::ReserveBest { customer, best } | VenueCommand::HoldBest { customer, best, .. } => {
            Some((customer, best))
        }
        _ => None,
    }
}

/// The seats of a cart that exist.
///
/// A seat that does not exist has no part: the chart never changes, so nothing can make it appear
/// between the snapshot and the commit.
fn put_seats(layout: &Layout, cart: &[SmolStr], parts: &mut Parts) {
    for seat in cart.iter().filter_map(|label| layout.seat(label)) {
        parts.push(seat_part(seat));
    }
}

fn put_counter<C: CustomerId>(state: &VenueState<C>, customer: &C, parts: &mut Parts) {
    if state.quota.is_some() {
        parts.push(customer.part(CUSTOMER));
    }
}

fn with_counter<C: CustomerId>(
    state: &VenueState<C>,
    seats: impl Iterator<Item = SeatIndex>,
    customer: &C,
) -> Scope {
    Scope::gather(|parts| {
        parts.extend(seats.map(seat_part));
        put_counter(state, customer, parts);
    })
}

/// A hold's own seats and its customer. Which they are cannot change without the part of its first seat, where the
/// token leads, changing too; if the hold is not there, that seat is all that says so.
fn hold<C: CustomerId>(state: &VenueState<C>, customer: &C, token: HoldToken) -> Scope {
    let Some(slot) = state.slot(token.seat()) else { return Scope::parts([]) };
    match slot.hold(token) {
        Some(hold) => with_counter(state, hold.seats.iter().copied(), customer),
        None => Scope::parts([seat_part(token.seat())]),
    }
}

/// The seats of the cart, then the other seats of the holds on them, then everybody who has one.
fn force_release<C: CustomerId>(state: &VenueState<C>, layout: &Layout, cart: &[SmolStr], parts: &mut Parts) {
    put_seats(layout, cart, parts);
    // It will be refused, for the seat that does not exist, and changes nothing.
    if parts.len() < cart.len() {
        return;
    }
    let seats: Vec<SeatIndex> = parts.iter().filter_map(seat_of).collect();
    let mut holders: HashSet<&C> = HashSet::new();
    let mut customers = Vec::new();
    let mut others: HashSet<SeatIndex> = seats.iter().copied().collect();
    let mut known: HashSet<HoldToken> = HashSet::new();
    for slot in seats.iter().filter_map(|seat| state.slot(*seat)) {
        let hold = slot.any_hold().filter(|hold| known.insert(hold.token));
        let more = hold.into_iter().flat_map(|hold| hold.seats.iter().copied());
        parts.extend(more.filter(|seat| others.insert(*seat)).map(seat_part));
        let customer = slot.holder().or(hold.map(|hold| &hold.customer));
        customers.extend(customer.filter(|customer| holders.insert(customer)));
    }
    if state.quota.is_some() {
        parts.extend(customers.into_iter().map(|customer| customer.part(CUSTOMER)));
    }
}

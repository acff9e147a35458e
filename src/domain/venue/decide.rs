//! What a venue answers, command by command.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::best::{choose, unknown_category};
use super::scope::seat_of;
use super::slot::{SeatStatus, Slot};
use super::{
    Best, Cause, CustomerId, Hold, HoldTime, HoldToken, Refusal, RefusedSeat, Request, SeatList, VenueEvent,
    VenueServices, VenueState,
};
use crate::aggregate::{Context, Events};
use crate::clock::Timestamp;
use crate::layout::SeatIndex;
use crate::scope::Scope;

pub(super) type Decision<C> = Result<Events<VenueEvent<C>>, Refusal>;

#[inline]
pub(super) fn reserve<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    seats: Result<SeatList, Refusal>,
    context: &Context<'_, VenueServices<C>>,
) -> Result<VenueEvent<C>, Refusal> {
    let seats = seats?;
    let price_total = price(state, customer, &seats, context)?;
    let counted = state.quota.is_some();
    Ok(VenueEvent::Reserved { customer: customer.clone(), seats, price_total, counted })
}

pub(super) fn hold<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    seats: Result<SeatList, Refusal>,
    time: HoldTime,
    context: &Context<'_, VenueServices<C>>,
) -> Decision<C> {
    let seats = seats?;
    let price_total = price(state, customer, &seats, context)?;
    let first = seats.first().copied().unwrap_or_default();
    let turn = state.slot(first).map_or(0, Slot::turn).wrapping_add(1);
    let at = context.now();
    let hold = Arc::new(Hold {
        token: HoldToken::new(first, turn),
        customer: customer.clone(),
        seats,
        price_total,
        deadline: at.saturating_add(time.ttl),
        latest: at.saturating_add(time.lifetime),
    });
    Ok(VenueEvent::Held { hold, at, counted: state.quota.is_some() }.into())
}

/// The seats of a cart, if nobody has any of them.
#[inline]
pub(super) fn free_cart<C: CustomerId>(
    state: &VenueState<C>,
    cart: &[SmolStr],
    context: &Context<'_, VenueServices<C>>,
) -> Result<SeatList, Refusal> {
    let now = context.now();
    resolve(state, cart, context.scope(), |seat| match state.status(seat, now) {
        Some(SeatStatus::Free) => None,
        Some(SeatStatus::Held { .. }) => Some(Cause::Held),
        Some(SeatStatus::Reserved { .. }) => Some(Cause::Reserved),
        None => Some(Cause::NotFound),
    })
}

/// The seats that the scope chose, if nobody has any of them.
pub(super) fn free_block<C: CustomerId>(
    state: &VenueState<C>,
    best: &Best,
    context: &Context<'_, VenueServices<C>>,
) -> Result<SeatList, Refusal> {
    let now = context.now();
    if let Some(category) = state.layout().and_then(|layout| unknown_category(layout, best)) {
        return Err(Refusal::CategoryNotFound { category });
    }
    if *context.scope() == Scope::Whole {
        let free = |best: &Best| choose(state, best, now, |_| true).filter(|block| block.is_free());
        return free(best).map(|block| block.list()).ok_or_else(|| {
            match free(&Best { seats: 1, ..best.clone() }) {
                Some(_) => Refusal::NoSuchBlock { wants: best.seats },
                None => Refusal::SoldOut,
            }
        });
    }
    let seats: SeatList = context.scope().named().iter().filter_map(seat_of).collect();
    let found = !seats.is_empty() && seats.iter().all(|seat| state.is_free(*seat, now));
    if found { Ok(seats) } else { Err(Refusal::NoSuchBlock { wants: best.seats }) }
}

/// What free seats cost this customer, who may have them.
fn price<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    seats: &SeatList,
    context: &Context<'_, VenueServices<C>>,
) -> Result<u64, Refusal> {
    if let Some(quota) = &state.quota {
        let limit = quota.limit;
        let has = quota.reserved(customer).saturating_add(quota.held(customer, context.now()));
        let wants = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        if has.saturating_add(wants) > limit {
            return Err(Refusal::LimitReached { limit, has, wants });
        }
    }
    let Some(layout) = state.layout() else { return Ok(0) };
    let request = Request { layout, customer, seats, now: context.now() };
    let services = context.services();
    services.check(&request).map_err(|why| Refusal::NotEligible { why })?;
    Ok(services.total(&request))
}

pub(super) fn confirm<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    token: HoldToken,
    now: Timestamp,
) -> Decision<C> {
    let hold = live_hold(state, customer, token, now)?;
    Ok(VenueEvent::Confirmed {
        token,
        customer: customer.clone(),
        seats: hold.seats.clone(),
        price_total: hold.price_total,
        counted: state.quota.is_some(),
    }
    .into())
}

pub(super) fn extend<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    token: HoldToken,
    ttl: Duration,
    now: Timestamp,
) -> Decision<C> {
    let hold = live_hold(state, customer, token, now)?;
    let wanted = now.saturating_add(ttl);
    if wanted <= hold.deadline {
        return Ok(Events::none());
    }
    if hold.deadline >= hold.latest {
        return Err(Refusal::LifetimeReached);
    }
    let hold = Arc::new(Hold { deadline: wanted.min(hold.latest), ..Hold::clone(hold) });
    Ok(VenueEvent::HoldExtended { hold, at: now, counted: state.quota.is_some() }.into())
}

pub(super) fn release_hold<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    token: HoldToken,
    now: Timestamp,
) -> Decision<C> {
    let hold = live_hold(state, customer, token, now)?;
    Ok(ended(hold, None, state.quota.is_some()).into())
}

fn ended<C: CustomerId>(hold: &Arc<Hold<C>>, forced: Option<&SmolStr>, counted: bool) -> VenueEvent<C> {
    VenueEvent::HoldReleased { hold: Arc::clone(hold), forced: forced.cloned(), counted }
}

fn live_hold<'s, C: CustomerId>(
    state: &'s VenueState<C>,
    customer: &C,
    token: HoldToken,
    now: Timestamp,
) -> Result<&'s Arc<Hold<C>>, Refusal> {
    let slot = state.slot(token.seat()).ok_or(Refusal::HoldNotFound)?;
    if let Some(hold) = slot.hold(token) {
        let whole =
            || hold.seats.iter().all(|seat| state.slot(*seat).is_some_and(|s| s.hold(token).is_some()));
        return match hold {
            hold if hold.customer != *customer => Err(Refusal::NotHolder),
            hold if hold.is_live(now) && whole() => Ok(hold),
            _ => Err(Refusal::HoldExpired),
        };
    }
    match slot {
        // Confirming takes no turn: the seat is still the one that was held.
        Slot::Reserved { turn, customer: holder, .. } if *turn == token.turn() => {
            Err(if holder == customer { Refusal::HoldConfirmed } else { Refusal::NotHolder })
        }
        slot if (1..=slot.turn()).contains(&token.turn()) => Err(Refusal::HoldExpired),
        _ => Err(Refusal::HoldNotFound),
    }
}

pub(super) fn release<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    cart: &[SmolStr],
    context: &Context<'_, VenueServices<C>>,
) -> Decision<C> {
    let now = context.now();
    let seats = resolve(state, cart, context.scope(), |seat| match state.status(seat, now) {
        Some(SeatStatus::Reserved { customer: holder }) if holder == customer => None,
        Some(SeatStatus::Reserved { .. }) => Some(Cause::NotHolder),
        Some(SeatStatus::Held { .. }) => Some(Cause::Held),
        Some(SeatStatus::Free) | None => Some(Cause::NotReserved),
    })?;
    let counted = state.quota.is_some();
    Ok(VenueEvent::Released { holder: customer.clone(), seats, forced: None, counted }.into())
}

pub(super) fn force_release<C: CustomerId>(
    state: &VenueState<C>,
    cart: &[SmolStr],
    reason: &SmolStr,
    context: &Context<'_, VenueServices<C>>,
) -> Decision<C> {
    let now = context.now();
    let free = |seat| state.is_free(seat, now).then_some(Cause::NotReserved);
    let mut by_holder: Vec<(&C, SeatList)> = Vec::new();
    let mut places: HashMap<&C, usize> = HashMap::new();
    let mut holds: Vec<&Arc<Hold<C>>> = Vec::new();
    let mut tokens: HashSet<HoldToken> = HashSet::new();
    for seat in resolve(state, cart, context.scope(), free)? {
        let Some(slot) = state.slot(seat) else { continue };
        holds.extend(slot.any_hold().filter(|hold| tokens.insert(hold.token)));
        let Some(holder) = slot.holder() else { continue };
        let place = *places.entry(holder).or_insert(by_holder.len());
        match by_holder.get_mut(place) {
            Some((_, seats)) => seats.push(seat),
            None => by_holder.push((holder, SeatList::from_slice(&[seat]))),
        }
    }
    let counted = state.quota.is_some();
    let released = |(holder, seats): (&C, SeatList)| VenueEvent::Released {
        holder: holder.clone(),
        seats,
        forced: Some(reason.clone()),
        counted,
    };
    let ended = holds.into_iter().map(|hold| ended(hold, Some(reason), counted));
    Ok(by_holder.into_iter().map(released).chain(ended).collect())
}

/// The seats of a cart, if there is nothing against any of them.
fn resolve<C: CustomerId>(
    state: &VenueState<C>,
    cart: &[SmolStr],
    scope: &Scope,
    against: impl Fn(SeatIndex) -> Option<Cause>,
) -> Result<SeatList, Refusal> {
    // The scope has looked every label up already, and named the seats first and in this order.
    if let Some(named) = scope.named().get(..cart.len()) {
        let mut seats = SeatList::new();
        for seat in named.iter().map_while(seat_of) {
            if against(seat).is_some() {
                break;
            }
            seats.push(seat);
        }
        if seats.len() == cart.len() {
            return Ok(seats);
        }
    }
    look_up(state, cart, against)
}

/// The seats of a cart, or what there is against each that cannot be had.
fn look_up<C: CustomerId>(
    state: &VenueState<C>,
    cart: &[SmolStr],
    against: impl Fn(SeatIndex) -> Option<Cause>,
) -> Result<SeatList, Refusal> {
    let mut seats = SeatList::new();
    let mut refused = Vec::new();
    for label in cart {
        let seat = state.layout().and_then(|layout| layout.seat(label));
        match seat.map_or(Some(Cause::NotFound), &against) {
            Some(cause) => refused.push(RefusedSeat { label: label.clone(), cause }),
            None => seats.extend(seat),
        }
    }
    if refused.is_empty() { Ok(seats) } else { Err(Refusal::Seats(refused)) }
}

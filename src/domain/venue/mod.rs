//! A hall with numbered seats: each is sold to at most one customer at a time.

mod command;
mod event;
mod services;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::aggregate::{Aggregate, Context, Events, Interner};
use crate::error::Invalid;
use crate::layout::SeatIndex;
use crate::limits::Limits;
use crate::scope::{Part, Scope};

pub use command::{MAX_REASON_BYTES, SeatLabels, VenueCommand};
pub use event::{Cause, Refusal, RefusedSeat, Rejection, SeatList, VenueEvent};
pub use services::{Eligibility, Pricing, Request, VenueServices};
pub use state::VenueState;

/// The kind of a seat's [`Part`]; its number is the [`SeatIndex`].
pub const SEAT: u32 = 0;
/// The kind of a customer's [`Part`]: how many seats the customer has, where the venue has a limit.
pub const CUSTOMER: u32 = 1;

/// What a venue may know its customers by: `u64` and [`SmolStr`] are ready to use.
///
/// `Eq`, `Hash` and `Clone` run while the venue's mutex is held: keep them plain and fast.
pub trait CustomerId:
    Serialize + DeserializeOwned + Clone + Eq + Hash + Debug + Display + Send + Sync + 'static
{
    /// [`Aggregate::TYPE`] of venues with these customers. Never change it once a file exists.
    const VENUE: &'static str;

    /// The part of this kind that belongs to this customer alone. It must be of the kind that was
    /// asked for, and different for different customers.
    fn part(&self, kind: u32) -> Part;

    /// Refuses an id that is malformed in itself. Default: none is.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

impl CustomerId for u64 {
    const VENUE: &'static str = "venue.u64";

    fn part(&self, kind: u32) -> Part {
        Part::number(kind, *self)
    }
}

/// 1 to 255 bytes.
impl CustomerId for SmolStr {
    const VENUE: &'static str = "venue.str";

    fn part(&self, kind: u32) -> Part {
        Part::name(kind, self)
    }

    fn check(&self) -> Result<(), Invalid> {
        command::check_bytes("a customer's id", self.len(), 1, 255)
    }
}

/// A hall with numbered seats, for one show. Reservations of different seats run side by side.
///
/// `C` is what customers are known by.
///
/// ```
/// use boxoffice::{Engine, layout::Layout, venue::{Venue, VenueCommand, VenueServices}};
///
/// let engine = Engine::builder().aggregate::<Venue>().in_memory()?;
/// let venues = engine.handle::<Venue>(VenueServices::default())?;
///
/// let layout = Layout::from_labels(["A1", "A2", "A3"]).expect("three distinct labels");
/// assert!(venues.execute("concert-hall", &VenueCommand::create(layout))?.is_accepted());
///
/// assert!(venues.execute("concert-hall", &VenueCommand::reserve(7, ["A1"]))?.is_accepted());
/// let late = venues.execute("concert-hall", &VenueCommand::reserve(8, ["A1", "A2"]))?;
/// assert_eq!(late.rejection().map(|no| no.reason()), Some("seat_reserved"));
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
pub struct Venue<C = u64>(PhantomData<fn() -> C>);

impl<C: CustomerId> Aggregate for Venue<C> {
    const TYPE: &'static str = C::VENUE;

    type State = VenueState<C>;
    type Command = VenueCommand<C>;
    type Event = VenueEvent<C>;
    type Rejection = Rejection<C>;
    type Services = VenueServices<C>;

    fn creates(command: &VenueCommand<C>) -> bool {
        matches!(command, VenueCommand::Create { .. })
    }

    fn check(command: &VenueCommand<C>, limits: &Limits) -> Result<(), Invalid> {
        command.check(limits)
    }

    fn scope(state: &VenueState<C>, command: &VenueCommand<C>) -> Scope {
        command.scope(state)
    }

    fn decide(
        state: &VenueState<C>,
        command: &VenueCommand<C>,
        context: &Context<'_, VenueServices<C>>,
    ) -> Result<Events<VenueEvent<C>>, Rejection<C>> {
        let (customer, decision) = match command {
            VenueCommand::Create { layout, limit_per_customer } => {
                let event = || {
                    let layout = layout.clone();
                    VenueEvent::Created { layout, limit_per_customer: *limit_per_customer }.into()
                };
                let exists = state.layout().is_some();
                (None, if exists { Err(Refusal::AlreadyCreated) } else { Ok(event()) })
            }
            VenueCommand::Reserve { customer, seats } => {
                (Some(customer), reserve(state, customer, seats, context))
            }
            VenueCommand::Release { customer, seats } => {
                (Some(customer), release(state, customer, seats, context.scope()))
            }
            VenueCommand::ForceRelease { seats, reason } => {
                (None, force_release(state, seats, reason, context.scope()))
            }
        };
        decision.map_err(|refusal| Rejection { customer: customer.cloned(), refusal })
    }

    fn touches(event: &VenueEvent<C>) -> Scope {
        event.touches()
    }

    fn apply(state: &mut VenueState<C>, event: &VenueEvent<C>) {
        state.apply(event);
    }

    fn intern(event: VenueEvent<C>, pool: &mut Interner) -> VenueEvent<C> {
        match event {
            VenueEvent::Created { layout, limit_per_customer } => {
                VenueEvent::Created { layout: pool.share(layout), limit_per_customer }
            }
            other => other,
        }
    }
}

type Decision<C> = Result<Events<VenueEvent<C>>, Refusal>;

fn reserve<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    cart: &[SmolStr],
    context: &Context<'_, VenueServices<C>>,
) -> Decision<C> {
    let taken = |seat| state.holder(seat).is_some().then_some(Cause::Reserved);
    let seats = resolve(state, cart, context.scope(), taken)?;
    if let Some(limit) = state.limit_per_customer() {
        let has = state.count(customer).unwrap_or(0);
        let wants = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        if has.saturating_add(wants) > limit {
            return Err(Refusal::LimitReached { limit, has, wants });
        }
    }
    let mut price_total = 0;
    if let Some(layout) = state.layout() {
        let request = Request { layout, customer, seats: &seats, now: context.now() };
        let services = context.services();
        services.check(&request).map_err(|why| Refusal::NotEligible { why })?;
        price_total = services.total(&request);
    }
    let counted = state.limit_per_customer().is_some();
    Ok(VenueEvent::Reserved { customer: customer.clone(), seats, price_total, counted }.into())
}

fn release<C: CustomerId>(
    state: &VenueState<C>,
    customer: &C,
    cart: &[SmolStr],
    scope: &Scope,
) -> Decision<C> {
    let seats = resolve(state, cart, scope, |seat| match state.holder(seat) {
        Some(holder) if holder == customer => None,
        Some(_) => Some(Cause::NotHolder),
        None => Some(Cause::NotReserved),
    })?;
    let counted = state.limit_per_customer().is_some();
    Ok(VenueEvent::Released { holder: customer.clone(), seats, forced: None, counted }.into())
}

fn force_release<C: CustomerId>(
    state: &VenueState<C>,
    cart: &[SmolStr],
    reason: &SmolStr,
    scope: &Scope,
) -> Decision<C> {
    let free = |seat| state.holder(seat).is_none().then_some(Cause::NotReserved);
    let mut by_holder: Vec<(&C, SeatList)> = Vec::new();
    let mut places: HashMap<&C, usize> = HashMap::new();
    for seat in resolve(state, cart, scope, free)? {
        let Some(holder) = state.holder(seat) else { continue };
        let place = *places.entry(holder).or_insert(by_holder.len());
        match by_holder.get_mut(place) {
            Some((_, seats)) => seats.push(seat),
            None => by_holder.push((holder, SeatList::from_slice(&[seat]))),
        }
    }
    let counted = state.limit_per_customer().is_some();
    let released = |(holder, seats): (&C, SeatList)| VenueEvent::Released {
        holder: holder.clone(),
        seats,
        forced: Some(reason.clone()),
        counted,
    };
    Ok(by_holder.into_iter().map(released).collect())
}

/// The seats of a cart, if there is nothing against any of them.
fn resolve<C: CustomerId>(
    state: &VenueState<C>,
    cart: &[SmolStr],
    scope: &Scope,
    against: impl Fn(SeatIndex) -> Option<Cause>,
) -> Result<SeatList, Refusal> {
    // The scope has looked every label up already, and named the seats first and in this order.
    let seats: SeatList = scope.named().iter().take(cart.len()).filter_map(seat_of).collect();
    if seats.len() == cart.len() && seats.iter().all(|seat| against(*seat).is_none()) {
        return Ok(seats);
    }
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

fn seat_of(part: &Part) -> Option<SeatIndex> {
    let number = part.as_number().filter(|_| part.kind() == SEAT)?;
    u32::try_from(number).ok().map(SeatIndex)
}

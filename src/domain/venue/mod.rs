//! A hall with numbered seats: each is sold to at most one customer at a time.

mod best;
mod command;
mod decide;
mod event;
mod hold;
#[cfg(test)]
mod hold_tests;
mod ledger;
#[cfg(test)]
mod model_tests;
mod quota;
mod scope;
mod services;
mod slot;
mod state;
#[cfg(test)]
mod tests;

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::aggregate::{Aggregate, Audit, Context, Events, Interner, LockedParts};
use crate::error::Invalid;
use crate::limits::Limits;
use crate::scope::{Part, Scope};

pub use best::Best;
pub use command::{MAX_REASON_BYTES, SeatLabels, VenueCommand};
pub use event::{Cause, Refusal, RefusedSeat, Rejection, SeatList, VenueEvent};
pub use hold::{Hold, HoldTime, HoldToken, MAX_HOLD};
pub use ledger::{NotHeld, SeatLedger, Tenure, TwoHolders};
pub use services::{Eligibility, Pricing, Request, VenueServices};
pub use slot::SeatStatus;
pub use state::VenueState;

/// The kind of a seat's [`Part`]; its number is the [`SeatIndex`](crate::layout::SeatIndex).
pub const SEAT: u32 = 0;
/// The kind of a customer's [`Part`]: how many seats the customer has, reserved or held, where the venue has a
/// limit.
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
///
/// // Ten minutes to pay: the seats are 8's, at today's price, and free again after that.
/// let ten_minutes = std::time::Duration::from_secs(600);
/// let held = venues.execute("concert-hall", &VenueCommand::hold(8, ["A2", "A3"], ten_minutes))?;
/// let token = held.events()[0].hold().expect("it was accepted").token;
/// assert!(venues.execute("concert-hall", &VenueCommand::confirm(8, token))?.is_accepted());
///
/// // Any seat at all.
/// let none = venues.execute("concert-hall", &VenueCommand::reserve_best(9, 1))?;
/// assert_eq!(none.rejection().map(|no| no.reason()), Some("sold_out"));
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
        scope::scope(state, command)
    }

    fn prefetch<'s>(state: &VenueState<C>, scopes: impl Iterator<Item = &'s Scope>) {
        let seats = scopes.flat_map(Scope::named).filter_map(scope::seat_of);
        state.slots.prefetch(seats.map(crate::layout::SeatIndex::index), slot::Slot::turn);
    }

    fn scope_skipping(
        state: &VenueState<C>,
        command: &VenueCommand<C>,
        locked: &LockedParts,
    ) -> Result<Scope, Invalid> {
        scope::scope_skipping(state, command, locked)
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
                let seats = decide::free_cart(state, seats, context);
                match decide::reserve(state, customer, seats, context) {
                    // What nearly all commands are does not pass through a second place on its way out.
                    Ok(event) => return Ok(event.into()),
                    Err(refusal) => (Some(customer), Err(refusal)),
                }
            }
            VenueCommand::ReserveBest { customer, best } => {
                let seats = decide::free_block(state, best, context);
                (Some(customer), decide::reserve(state, customer, seats, context).map(Events::from))
            }
            VenueCommand::Release { customer, seats } => {
                (Some(customer), decide::release(state, customer, seats, context))
            }
            VenueCommand::ForceRelease { seats, reason } => {
                (None, decide::force_release(state, seats, reason, context))
            }
            VenueCommand::Hold { customer, seats, time } => {
                let seats = decide::free_cart(state, seats, context);
                (Some(customer), decide::hold(state, customer, seats, *time, context))
            }
            VenueCommand::HoldBest { customer, best, time } => {
                let seats = decide::free_block(state, best, context);
                (Some(customer), decide::hold(state, customer, seats, *time, context))
            }
            VenueCommand::Confirm { customer, token } => {
                (Some(customer), decide::confirm(state, customer, *token, context.now()))
            }
            VenueCommand::Extend { customer, token, ttl } => {
                (Some(customer), decide::extend(state, customer, *token, *ttl, context.now()))
            }
            VenueCommand::ReleaseHold { customer, token } => {
                (Some(customer), decide::release_hold(state, customer, *token, context.now()))
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

    fn audit() -> Option<Box<dyn Audit<VenueEvent<C>>>> {
        Some(Box::new(SeatLedger::of_the_present()))
    }
}

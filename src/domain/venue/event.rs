//! What a venue decided: the events it stores, and why it says no.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::scope::seat_part;
use super::{CUSTOMER, CustomerId, Hold, HoldToken};
use crate::clock::Timestamp;
use crate::layout::{Layout, SeatIndex};
use crate::scope::Scope;

/// Seats by index, in the order of the cart. Up to four need no allocation.
pub type SeatList = SmallVec<[SeatIndex; 4]>;

/// What happened at a [`Venue`](super::Venue). Seats are indices into the layout of `Created`.
// `counted` repeats what the limit of `Created` says, for one byte, because an event must tell its
// parts without the state. A counter is a part only where a limit makes decisions read it: if every
// reservation touched its customer, those of one customer would conflict for nothing, and the counter
// would lie outside the scope of commands that have no reason to name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum VenueEvent<C = u64> {
    /// The venue opened.
    Created {
        /// The chart.
        layout: Arc<Layout>,
        /// Most seats that one customer may have at any time.
        limit_per_customer: Option<u32>,
    },
    /// A customer has these seats.
    Reserved {
        /// Who.
        customer: C,
        /// Which seats.
        seats: SeatList,
        /// The price of all of them together, in minor units.
        price_total: u64,
        /// Whether they count towards the venue's limit per customer: true exactly if it has one.
        counted: bool,
    },
    /// These seats are free again. A forced release of seats of several holders is one event for each.
    Released {
        /// Who had them.
        holder: C,
        /// Which seats.
        seats: SeatList,
        /// Why they were taken; `None` if the holder gave them back.
        forced: Option<SmolStr>,
        /// Whether they counted towards the venue's limit per customer.
        counted: bool,
    },
    /// A customer has these seats until a deadline.
    Held {
        /// Who, which, until when, and at what price.
        hold: Arc<Hold<C>>,
        /// When it was decided.
        at: Timestamp,
        /// Whether it counts towards the venue's limit per customer while it is live.
        counted: bool,
    },
    /// A hold has a later deadline.
    HoldExtended {
        /// The hold from now on; all but the deadline is as it was.
        hold: Arc<Hold<C>>,
        /// When it was decided.
        at: Timestamp,
        /// Whether it counts towards the venue's limit per customer while it is live.
        counted: bool,
    },
    /// A hold ended before its deadline, and its seats are free again. That a hold lapses is not an event.
    HoldReleased {
        /// The hold as it was.
        hold: Arc<Hold<C>>,
        /// Why it was taken; `None` if the customer gave it back.
        forced: Option<SmolStr>,
        /// Whether it counted towards the venue's limit per customer.
        counted: bool,
    },
    /// A customer has the seats of a hold for good: sold, like those of [`Reserved`](Self::Reserved).
    Confirmed {
        /// Which hold.
        token: HoldToken,
        /// Who.
        customer: C,
        /// All its seats.
        seats: SeatList,
        /// The price of all of them together, in minor units, as it was when they were held.
        price_total: u64,
        /// Whether they count towards the venue's limit per customer.
        counted: bool,
    },
}

impl<C> VenueEvent<C> {
    /// The seats that it is about, in the order of the cart; none for `Created`.
    pub fn seats(&self) -> &[SeatIndex] {
        match self {
            Self::Created { .. } => &[],
            Self::Reserved { seats, .. } | Self::Released { seats, .. } | Self::Confirmed { seats, .. } => {
                seats
            }
            Self::Held { hold, .. } | Self::HoldExtended { hold, .. } | Self::HoldReleased { hold, .. } => {
                &hold.seats
            }
        }
    }

    /// The hold that began, was extended or was released.
    pub fn hold(&self) -> Option<&Hold<C>> {
        match self {
            Self::Held { hold, .. } | Self::HoldExtended { hold, .. } | Self::HoldReleased { hold, .. } => {
                Some(hold)
            }
            _ => None,
        }
    }
}

impl<C: CustomerId> VenueEvent<C> {
    pub(super) fn touches(&self) -> Scope {
        let (customer, seats, counted) = match self {
            Self::Created { .. } => return Scope::Whole,
            Self::Reserved { customer, seats, counted, .. }
            | Self::Released { holder: customer, seats, counted, .. }
            | Self::Confirmed { customer, seats, counted, .. } => (customer, seats, *counted),
            Self::Held { hold, counted, .. }
            | Self::HoldExtended { hold, counted, .. }
            | Self::HoldReleased { hold, counted, .. } => (&hold.customer, &hold.seats, *counted),
        };
        Scope::gather(|parts| {
            for seat in seats {
                parts.push(seat_part(*seat));
            }
            if counted {
                parts.push(customer.part(CUSTOMER));
            }
        })
    }
}

/// A venue's no: a recorded fact, not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection<C = u64> {
    /// Who was refused; `None` for a command that names no customer.
    pub customer: Option<C>,
    /// Why.
    pub refusal: Refusal,
}

impl<C> Rejection<C> {
    /// Why, in one word: see [`Refusal::reason`].
    pub fn reason(&self) -> &'static str {
        self.refusal.reason()
    }
}

/// Why a venue said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// Some seats cannot be had or given back. Every one is listed, in the order of the cart; the
    /// cart's other seats are as they were.
    Seats(Vec<RefusedSeat>),
    /// The customer would have more seats than the venue's limit.
    LimitReached {
        /// The venue's limit.
        limit: u32,
        /// How many seats the customer has, reserved or held.
        has: u32,
        /// How many more this cart asked for.
        wants: u32,
    },
    /// The eligibility service said no.
    NotEligible {
        /// What it said.
        why: SmolStr,
    },
    /// The venue exists already; nothing about it changed.
    AlreadyCreated,
    /// There was never a hold by this token.
    HoldNotFound,
    /// The hold is over: it lapsed, was given back or was taken. Its seats may be somebody else's by now.
    HoldExpired,
    /// The hold was confirmed already, and the customer has its seats.
    HoldConfirmed,
    /// The hold is somebody else's.
    NotHolder,
    /// The hold has the latest deadline that it may have.
    LifetimeReached,
    /// No seat is free, in the category that was asked for.
    SoldOut,
    /// So many seats are not free side by side. In answer to a caller who would not wait for seats that others had
    /// locked: not among those that nobody had.
    NoSuchBlock {
        /// How many were wanted.
        wants: u32,
    },
    /// The layout has no category with this name.
    CategoryNotFound {
        /// The category as the command named it.
        category: SmolStr,
    },
}

/// One seat that could not be had or given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSeat {
    /// The seat as the command named it.
    pub label: SmolStr,
    /// What is the matter with it.
    pub cause: Cause,
}

/// What is the matter with a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// The layout has no seat with this label.
    NotFound,
    /// Somebody has it.
    Reserved,
    /// Nobody has it, so there is nothing to release.
    NotReserved,
    /// Somebody else has it.
    NotHolder,
    /// Somebody holds it, perhaps the customer who asks: to buy or give back what one holds, confirm or release
    /// the hold.
    Held,
}

impl Cause {
    /// `seat_not_found`, `seat_reserved`, `seat_not_reserved`, `not_holder` or `seat_held`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "seat_not_found",
            Self::Reserved => "seat_reserved",
            Self::NotReserved => "seat_not_reserved",
            Self::NotHolder => "not_holder",
            Self::Held => "seat_held",
        }
    }
}

impl Refusal {
    /// Why, in one word for programs: the [`Cause::reason`] of the first refused seat, `limit_reached`,
    /// `not_eligible`, `already_created`, `hold_not_found`, `hold_expired`, `hold_confirmed`, `not_holder`,
    /// `lifetime_reached`, `sold_out`, `no_such_block` or `category_not_found`. These words do not change.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Seats(seats) => seats.first().map_or("seat_not_found", |seat| seat.cause.reason()),
            Self::LimitReached { .. } => "limit_reached",
            Self::NotEligible { .. } => "not_eligible",
            Self::AlreadyCreated => "already_created",
            Self::HoldNotFound => "hold_not_found",
            Self::HoldExpired => "hold_expired",
            Self::HoldConfirmed => "hold_confirmed",
            Self::NotHolder => "not_holder",
            Self::LifetimeReached => "lifetime_reached",
            Self::SoldOut => "sold_out",
            Self::NoSuchBlock { .. } => "no_such_block",
            Self::CategoryNotFound { .. } => "category_not_found",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seats(seats) => {
                for (index, seat) in seats.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}: {}", seat.label, seat.cause.reason())?;
                }
                Ok(())
            }
            Self::LimitReached { limit, has, wants } => {
                write!(f, "{}: has {has}, wants {wants} more, may have {limit}", self.reason())
            }
            Self::NotEligible { why } => write!(f, "{}: {why}", self.reason()),
            Self::NoSuchBlock { wants } => write!(f, "{}: wants {wants} side by side", self.reason()),
            Self::CategoryNotFound { category } => write!(f, "{}: {category}", self.reason()),
            Self::AlreadyCreated
            | Self::HoldNotFound
            | Self::HoldExpired
            | Self::HoldConfirmed
            | Self::NotHolder
            | Self::LifetimeReached
            | Self::SoldOut => f.write_str(self.reason()),
        }
    }
}

impl<C: fmt::Display> fmt::Display for Rejection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.customer {
            Some(customer) => write!(f, "customer {customer}: {}", self.refusal),
            None => self.refusal.fmt(f),
        }
    }
}

//! What a venue decided: the events it stores, and why it says no.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{CUSTOMER, CustomerId, SEAT};
use crate::layout::{Layout, SeatIndex};
use crate::scope::{Part, Parts, Scope};

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
}

impl<C: CustomerId> VenueEvent<C> {
    pub(super) fn touches(&self) -> Scope {
        let (customer, seats, counted) = match self {
            Self::Created { .. } => return Scope::Whole,
            Self::Reserved { customer, seats, counted, .. } => (customer, seats, *counted),
            Self::Released { holder, seats, counted, .. } => (holder, seats, *counted),
        };
        let mut parts = Parts::new();
        for seat in seats {
            parts.push(Part::number(SEAT, seat.0.into()));
        }
        if counted {
            parts.push(customer.part(CUSTOMER));
        }
        Scope::Parts(parts)
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
        /// How many seats the customer has.
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
}

impl Cause {
    /// `seat_not_found`, `seat_reserved`, `seat_not_reserved` or `not_holder`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "seat_not_found",
            Self::Reserved => "seat_reserved",
            Self::NotReserved => "seat_not_reserved",
            Self::NotHolder => "not_holder",
        }
    }
}

impl Refusal {
    /// Why, in one word for programs: the [`Cause::reason`] of the first refused seat, `limit_reached`,
    /// `not_eligible` or `already_created`. These words do not change.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Seats(seats) => seats.first().map_or("seat_not_found", |seat| seat.cause.reason()),
            Self::LimitReached { .. } => "limit_reached",
            Self::NotEligible { .. } => "not_eligible",
            Self::AlreadyCreated => "already_created",
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
            Self::AlreadyCreated => f.write_str(self.reason()),
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

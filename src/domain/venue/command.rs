//! What a venue can be asked to do.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::hold::check_ttl;
use super::{Best, CustomerId, HoldTime, HoldToken};
use crate::error::Invalid;
use crate::layout::Layout;
use crate::limits::Limits;

/// Seats by label, in the caller's order. Up to two need no allocation.
pub type SeatLabels = SmallVec<[SmolStr; 2]>;

/// Longest reason of a forced release, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// What a [`Venue`](super::Venue) can be asked to do. The constructors are the pleasant way to make one.
///
/// A cart names 1 to [`Limits::cart`] seats, each once, and is all or nothing. A cart that breaks this, and a
/// [`HoldTime`] out of its bounds, is [`Error::InvalidCommand`](crate::Error::InvalidCommand) and leaves no trace.
///
/// Which holds are live is judged by the time at which a command is decided: a hold is gone exactly from its
/// deadline on, and nothing has to run for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum VenueCommand<C = u64> {
    /// Opens the venue. The only command that may be a venue's first.
    Create {
        /// The chart.
        layout: Arc<Layout>,
        /// Most seats that one customer may have at any time, at least 1; `None` for any number.
        limit_per_customer: Option<u32>,
    },
    /// Reserves all these seats for a customer, or none. Rejected if somebody has one of them, and also if this
    /// customer holds one: what is held is bought by [`Confirm`](Self::Confirm), at the price it was held at.
    Reserve {
        /// For whom.
        customer: C,
        /// Which seats.
        seats: SeatLabels,
    },
    /// Gives reserved seats back. Rejected unless this customer has reserved every one; to give back what is only
    /// held there is [`ReleaseHold`](Self::ReleaseHold).
    Release {
        /// Who gives them back.
        customer: C,
        /// Which seats.
        seats: SeatLabels,
    },
    /// Takes seats from whoever has them. Rejected unless somebody has every one. If a seat is held, its whole
    /// hold ends, with all its seats: it was made, and priced, as one.
    ForceRelease {
        /// Which seats.
        seats: SeatLabels,
        /// Why, up to [`MAX_REASON_BYTES`]; stored with the event.
        reason: SmolStr,
    },
    /// Reserves the best free seats side by side, as they are when it is decided. Rejected if there are none:
    /// `no_such_block` or `sold_out` are then true of the whole venue. A caller who skips what others have locked
    /// ([`Aggregate::scope_skipping`](crate::Aggregate::scope_skipping)) gets the best of the rest, and a
    /// `no_such_block` that is true of the rest.
    ReserveBest {
        /// For whom.
        customer: C,
        /// How many, and of which category.
        best: Best,
    },
    /// Holds all these seats for a customer until a deadline, or none. As [`Reserve`](Self::Reserve), it counts
    /// towards the limit, and who may buy and at what price is asked now, and not again.
    Hold {
        /// For whom.
        customer: C,
        /// Which seats.
        seats: SeatLabels,
        /// For how long.
        time: HoldTime,
    },
    /// Holds the best free seats side by side: as [`ReserveBest`](Self::ReserveBest) and [`Hold`](Self::Hold).
    HoldBest {
        /// For whom.
        customer: C,
        /// How many, and of which category.
        best: Best,
        /// For how long.
        time: HoldTime,
    },
    /// Sells exactly the seats of a hold to its customer, at its price. Rejected unless the hold is live.
    Confirm {
        /// Whose hold.
        customer: C,
        /// Which.
        token: HoldToken,
    },
    /// Moves the deadline of a live hold to `ttl` from now, or to the end of its lifetime if that comes first. Does
    /// nothing if the deadline is later already.
    Extend {
        /// Whose hold.
        customer: C,
        /// Which.
        token: HoldToken,
        /// From now, 1 microsecond to [`MAX_HOLD`](super::MAX_HOLD).
        ttl: Duration,
    },
    /// Ends a live hold; its seats are free at once.
    ReleaseHold {
        /// Whose hold.
        customer: C,
        /// Which.
        token: HoldToken,
    },
}

impl<C> VenueCommand<C> {
    /// Opens a venue with this chart; a customer may have any number of seats.
    pub fn create(layout: impl Into<Arc<Layout>>) -> Self {
        Self::Create { layout: layout.into(), limit_per_customer: None }
    }

    /// Opens a venue in which one customer has at most `limit` seats at any time; at least 1.
    pub fn create_with_limit(layout: impl Into<Arc<Layout>>, limit: u32) -> Self {
        Self::Create { layout: layout.into(), limit_per_customer: Some(limit) }
    }

    /// Reserves all these seats for `customer`, or none: `reserve(7, ["A1", "A2"])`.
    pub fn reserve<L: AsRef<str>>(customer: C, seats: impl IntoIterator<Item = L>) -> Self {
        Self::Reserve { customer, seats: labels(seats) }
    }

    /// Gives back seats that `customer` has reserved.
    pub fn release<L: AsRef<str>>(customer: C, seats: impl IntoIterator<Item = L>) -> Self {
        Self::Release { customer, seats: labels(seats) }
    }

    /// Takes seats from whoever has them, for a reason that is stored.
    pub fn force_release<L: AsRef<str>>(seats: impl IntoIterator<Item = L>, reason: impl AsRef<str>) -> Self {
        Self::ForceRelease { seats: labels(seats), reason: SmolStr::new(reason) }
    }

    /// Reserves the best free seats side by side: `reserve_best(7, 2)`, or
    /// `reserve_best(7, Best::of(2).in_category("stalls"))`.
    pub fn reserve_best(customer: C, best: impl Into<Best>) -> Self {
        Self::ReserveBest { customer, best: best.into() }
    }

    /// Holds all these seats for `customer`, or none: `hold(7, ["A1", "A2"], Duration::from_secs(600))`. The event
    /// has the token: [`VenueEvent::hold`](super::VenueEvent::hold).
    pub fn hold<L: AsRef<str>>(
        customer: C,
        seats: impl IntoIterator<Item = L>,
        time: impl Into<HoldTime>,
    ) -> Self {
        Self::Hold { customer, seats: labels(seats), time: time.into() }
    }

    /// Holds the best free seats side by side: `hold_best(7, 2, Duration::from_secs(600))`.
    pub fn hold_best(customer: C, best: impl Into<Best>, time: impl Into<HoldTime>) -> Self {
        Self::HoldBest { customer, best: best.into(), time: time.into() }
    }

    /// Sells what `customer` holds.
    pub fn confirm(customer: C, token: HoldToken) -> Self {
        Self::Confirm { customer, token }
    }

    /// Lets `customer` hold on for `ttl` from now.
    pub fn extend(customer: C, token: HoldToken, ttl: Duration) -> Self {
        Self::Extend { customer, token, ttl }
    }

    /// Gives back what `customer` holds.
    pub fn release_hold(customer: C, token: HoldToken) -> Self {
        Self::ReleaseHold { customer, token }
    }
}

fn labels<L: AsRef<str>>(seats: impl IntoIterator<Item = L>) -> SeatLabels {
    seats.into_iter().map(SmolStr::new).collect()
}

impl<C: CustomerId> VenueCommand<C> {
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        match self {
            Self::Create { limit_per_customer: Some(0), .. } => {
                Err(Invalid::new("a limit of 0 seats per customer sells nothing; leave it out for no limit"))
            }
            Self::Create { .. } => Ok(()),
            Self::Reserve { customer, seats } | Self::Release { customer, seats } => {
                check_cart(seats, limits)?;
                customer.check()
            }
            Self::ForceRelease { seats, reason } => {
                check_cart(seats, limits)?;
                check_bytes("a reason", reason.len(), 0, MAX_REASON_BYTES)
            }
            Self::ReserveBest { customer, best } => {
                check_best(best, limits)?;
                customer.check()
            }
            Self::Hold { customer, seats, time } => {
                check_cart(seats, limits)?;
                time.check()?;
                customer.check()
            }
            Self::HoldBest { customer, best, time } => {
                check_best(best, limits)?;
                time.check()?;
                customer.check()
            }
            Self::Extend { customer, ttl, .. } => {
                check_ttl(*ttl)?;
                customer.check()
            }
            Self::Confirm { customer, .. } | Self::ReleaseHold { customer, .. } => customer.check(),
        }
    }
}

fn check_best(best: &Best, limits: &Limits) -> Result<(), Invalid> {
    if best.seats == 0 || best.seats as usize > limits.cart {
        return Err(Invalid(format_smolstr!(
            "{} seats side by side were asked for, it may be 1 to {}",
            best.seats,
            limits.cart
        )));
    }
    let category = best.category.as_deref().unwrap_or_default();
    check_bytes("a category's name", category.len(), 0, Layout::MAX_LABEL_BYTES)
}

fn check_cart(seats: &[SmolStr], limits: &Limits) -> Result<(), Invalid> {
    if seats.is_empty() {
        return Err(Invalid::new("the cart is empty; name at least one seat"));
    }
    if seats.len() > limits.cart {
        return Err(Invalid(format_smolstr!(
            "the cart has {} seats, it may have {}",
            seats.len(),
            limits.cart
        )));
    }
    for label in seats {
        check_bytes("a seat's label", label.len(), 0, Layout::MAX_LABEL_BYTES)?;
    }
    match repeated(seats) {
        Some(label) => Err(Invalid(format_smolstr!("seat {label} is in the cart twice; name it once"))),
        None => Ok(()),
    }
}

/// A label that occurs twice.
fn repeated(seats: &[SmolStr]) -> Option<&SmolStr> {
    if seats.len() < 2 {
        return None;
    }
    // Comparing a short cart with itself is faster than sorting it; a long one must not be quadratic.
    if seats.len() <= 8 {
        return (1..).zip(seats).find_map(|(next, label)| {
            seats.get(next..).is_some_and(|after| after.contains(label)).then_some(label)
        });
    }
    let mut sorted: Vec<&SmolStr> = seats.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(*one),
        _ => None,
    })
}

#[inline]
pub(super) fn check_bytes(
    what: &'static str,
    bytes: usize,
    least: usize,
    most: usize,
) -> Result<(), Invalid> {
    if (least..=most).contains(&bytes) {
        return Ok(());
    }
    Err(wrong_length(what, bytes, least, most))
}

#[cold]
fn wrong_length(what: &'static str, bytes: usize, least: usize, most: usize) -> Invalid {
    Invalid(format_smolstr!("{what} must have {least} to {most} bytes, this one has {bytes}"))
}

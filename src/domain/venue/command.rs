//! What a venue can be asked to do.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};

use super::{CUSTOMER, CustomerId, SEAT, VenueState};
use crate::error::Invalid;
use crate::layout::Layout;
use crate::limits::Limits;
use crate::scope::{Part, Parts, Scope};

/// Seats by label, in the caller's order. Up to two need no allocation.
pub type SeatLabels = SmallVec<[SmolStr; 2]>;

/// Longest reason of a forced release, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// What a [`Venue`](super::Venue) can be asked to do. The constructors are the pleasant way to make one.
///
/// A cart names 1 to [`Limits::cart`] seats, each once, and is all or nothing. A cart that breaks this
/// is [`Error::InvalidCommand`](crate::Error::InvalidCommand) and leaves no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VenueCommand<C = u64> {
    /// Opens the venue. The only command that may be a venue's first.
    Create {
        /// The chart.
        layout: Arc<Layout>,
        /// Most seats that one customer may have at any time, at least 1; `None` for any number.
        limit_per_customer: Option<u32>,
    },
    /// Reserves all these seats for a customer, or none.
    Reserve {
        /// For whom.
        customer: C,
        /// Which seats.
        seats: SeatLabels,
    },
    /// Gives seats back. Rejected unless this customer holds every one.
    Release {
        /// Who gives them back.
        customer: C,
        /// Which seats.
        seats: SeatLabels,
    },
    /// Takes seats from whoever holds them. Rejected unless every one is held.
    ForceRelease {
        /// Which seats.
        seats: SeatLabels,
        /// Why, up to [`MAX_REASON_BYTES`]; stored with the event.
        reason: SmolStr,
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

    /// Gives back seats that `customer` holds.
    pub fn release<L: AsRef<str>>(customer: C, seats: impl IntoIterator<Item = L>) -> Self {
        Self::Release { customer, seats: labels(seats) }
    }

    /// Takes seats from whoever holds them, for a reason that is stored.
    pub fn force_release<L: AsRef<str>>(seats: impl IntoIterator<Item = L>, reason: impl AsRef<str>) -> Self {
        Self::ForceRelease { seats: labels(seats), reason: SmolStr::new(reason) }
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
        }
    }

    /// The seats that exist, in the order of the cart, then the customers whose counters change.
    ///
    /// A seat that does not exist has no part: the chart never changes, so nothing can make it appear
    /// between the snapshot and the commit.
    pub(super) fn scope(&self, state: &VenueState<C>) -> Scope {
        let (Some(layout), Some(cart)) = (state.layout(), self.cart()) else { return Scope::Whole };
        let mut parts = Parts::new();
        for seat in cart.iter().filter_map(|label| layout.seat(label)) {
            parts.push(Part::number(SEAT, seat.0.into()));
        }
        if state.limit_per_customer().is_some() {
            match self {
                Self::Reserve { customer, .. } | Self::Release { customer, .. } => {
                    parts.push(customer.part(CUSTOMER));
                }
                // Who holds a seat cannot change without the seat's own part changing.
                Self::ForceRelease { .. } => {
                    let seats: SmallVec<[_; 4]> = parts.iter().filter_map(super::seat_of).collect();
                    let mut seen: HashSet<&C> = HashSet::new();
                    let holders = seats.iter().filter_map(|seat| state.holder(*seat));
                    let once = holders.filter(|holder| seen.insert(holder));
                    parts.extend(once.map(|holder| holder.part(CUSTOMER)));
                }
                Self::Create { .. } => {}
            }
        }
        Scope::Parts(parts)
    }

    fn cart(&self) -> Option<&SeatLabels> {
        match self {
            Self::Create { .. } => None,
            Self::Reserve { seats, .. } | Self::Release { seats, .. } | Self::ForceRelease { seats, .. } => {
                Some(seats)
            }
        }
    }
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

pub(super) fn check_bytes(
    what: impl Display,
    bytes: usize,
    least: usize,
    most: usize,
) -> Result<(), Invalid> {
    if (least..=most).contains(&bytes) {
        return Ok(());
    }
    Err(Invalid(format_smolstr!("{what} must have {least} to {most} bytes, this one has {bytes}")))
}

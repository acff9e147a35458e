//! One seat: who has it, and what it has been through.

use std::sync::Arc;

use super::{Hold, HoldToken};
use crate::clock::Timestamp;

/// All that a venue knows of one seat, and all that the seat's part stands for.
///
/// `sales` counts how often it was sold, and stops at its largest value. `turn` counts how often somebody got it,
/// by a reservation or by a hold, and tells a hold from those before it. A hold that has lapsed stays in its
/// seats until somebody else gets them: nothing has to happen for them to be free.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Slot<C> {
    Free { sales: u16, turn: u32 },
    Reserved { sales: u16, turn: u32, customer: C },
    Held { sales: u16, turn: u32, hold: Arc<Hold<C>> },
}

// The variants repeat the two counters so that the tag fits beside them.
const _: () = assert!(size_of::<Slot<u64>>() == 16, "a seat takes 16 bytes");

/// Who has a seat at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeatStatus<'a, C> {
    /// Nobody. Also after a hold on it has lapsed.
    Free,
    /// Somebody, for the time being.
    Held {
        /// Who.
        customer: &'a C,
        /// The moment at which it is free again, unless the hold is confirmed or extended before.
        until: Timestamp,
    },
    /// Somebody, for good or until it is given back.
    Reserved {
        /// Who.
        customer: &'a C,
    },
}

impl<C> Slot<C> {
    pub(super) const NEW: Self = Self::Free { sales: 0, turn: 0 };

    pub(super) fn sales(&self) -> u16 {
        match self {
            Self::Free { sales, .. } | Self::Reserved { sales, .. } | Self::Held { sales, .. } => *sales,
        }
    }

    pub(super) fn turn(&self) -> u32 {
        match self {
            Self::Free { turn, .. } | Self::Reserved { turn, .. } | Self::Held { turn, .. } => *turn,
        }
    }

    pub(super) fn holder(&self) -> Option<&C> {
        match self {
            Self::Reserved { customer, .. } => Some(customer),
            Self::Free { .. } | Self::Held { .. } => None,
        }
    }

    pub(super) fn status(&self, now: Timestamp) -> SeatStatus<'_, C> {
        match self {
            Self::Held { hold, .. } if hold.is_live(now) => {
                SeatStatus::Held { customer: &hold.customer, until: hold.deadline }
            }
            Self::Free { .. } | Self::Held { .. } => SeatStatus::Free,
            Self::Reserved { customer, .. } => SeatStatus::Reserved { customer },
        }
    }

    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        match self {
            Self::Free { .. } => true,
            Self::Reserved { .. } => false,
            Self::Held { hold, .. } => !hold.is_live(now),
        }
    }

    /// The last hold, lapsed or not, unless somebody else got the seat since.
    pub(super) fn any_hold(&self) -> Option<&Arc<Hold<C>>> {
        match self {
            Self::Held { hold, .. } => Some(hold),
            _ => None,
        }
    }

    /// The hold by this token, lapsed or not, unless somebody else got the seat since.
    pub(super) fn hold(&self, token: HoldToken) -> Option<&Arc<Hold<C>>> {
        match self {
            Self::Held { hold, .. } if hold.token == token => Some(hold),
            _ => None,
        }
    }
}

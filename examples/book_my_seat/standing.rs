//! How a seat stands: one answer, from the hall and the paper together, for every way of showing it.

use boxoffice::clock::{Clock, SystemClock, Timestamp};
use boxoffice::layout::SeatIndex;
use boxoffice::venue::{SeatStatus, VenueState};
use smol_str::SmolStr;

use crate::paper::Bookings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Free,
    Held {
        by: SmolStr,
        until: Timestamp,
    },
    /// By nobody who is known if it is only on paper.
    Booked {
        by: Option<SmolStr>,
    },
}

impl Standing {
    pub(crate) fn of(hall: &VenueState<SmolStr>, paper: &Bookings, seat: SeatIndex, now: Timestamp) -> Self {
        match hall.status(seat, now) {
            Some(SeatStatus::Reserved { customer }) => Self::Booked { by: Some(customer.clone()) },
            _ if paper.written(seat) > 0 => Self::Booked { by: None },
            Some(SeatStatus::Held { customer, until }) => Self::Held { by: customer.clone(), until },
            _ => Self::Free,
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        *self == Self::Free
    }
}

/// How many bookings a seat has: more than one is an anomaly.
pub(crate) fn bookings(hall: &VenueState<SmolStr>, paper: &Bookings, seat: SeatIndex) -> u32 {
    paper.count(seat, hall.holder(seat).is_some())
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// What a browser counts in.
pub(crate) fn millis(time: Timestamp) -> u64 {
    time.0 / 1000
}

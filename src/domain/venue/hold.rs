//! Holds: seats that are a customer's until a deadline, to be confirmed or to lapse.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::format_smolstr;

use super::SeatList;
use crate::clock::Timestamp;
use crate::error::Invalid;
use crate::layout::SeatIndex;

/// Longest time that a hold may last in all, extensions included.
pub const MAX_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Seats that are one customer's until a deadline, at a price that does not change meanwhile.
///
/// A hold lapses at its deadline by itself: whoever looks at that moment or later finds its seats free. It ends
/// as a whole, when it is confirmed, given back or taken; only after it has lapsed do its seats go one by one, to
/// whoever asks for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold<C = u64> {
    /// Its name, for ever different from that of any other hold of its venue.
    pub token: HoldToken,
    /// Whose seats they are.
    pub customer: C,
    /// Which, in the order of the cart, or side by side.
    pub seats: SeatList,
    /// What confirming it costs: the price of all seats together when they were held, in minor units.
    pub price_total: u64,
    /// The first moment at which it is no longer there.
    pub deadline: Timestamp,
    /// What no extension moves the deadline beyond.
    pub latest: Timestamp,
}

impl<C> Hold<C> {
    /// Whether it has not lapsed yet: `now` is before the deadline.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.deadline
    }
}

/// The name of a hold in its venue. Not a secret: whoever uses it must be the customer of the hold.
///
/// Written as two numbers, `12-3`, and the same in every replay of the log. A token that was made up is refused,
/// with whichever reason its numbers happen to fit.
///
/// ```
/// use boxoffice::venue::HoldToken;
/// let token: HoldToken = "12-3".parse()?;
/// assert_eq!(token.to_string(), "12-3");
/// assert_eq!(HoldToken::from_u64(token.as_u64()), token);
/// # Ok::<(), boxoffice::error::Invalid>(())
/// ```
// The turn is that of the first seat: it counts how often somebody got the seat, and nobody gets it without
// changing its part, so two holds never have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HoldToken {
    seat: SeatIndex,
    turn: u32,
}

impl HoldToken {
    pub(super) fn new(seat: SeatIndex, turn: u32) -> Self {
        Self { seat, turn }
    }

    pub(super) fn seat(self) -> SeatIndex {
        self.seat
    }

    pub(super) fn turn(self) -> u32 {
        self.turn
    }

    /// The token as one number.
    pub fn as_u64(self) -> u64 {
        u64::from(self.seat.0) << 32 | u64::from(self.turn)
    }

    /// The token that is this number.
    pub fn from_u64(number: u64) -> Self {
        Self { seat: SeatIndex((number >> 32) as u32), turn: number as u32 }
    }
}

impl fmt::Display for HoldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seat, self.turn)
    }
}

impl FromStr for HoldToken {
    type Err = Invalid;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = |digits: &str| -> Option<u32> {
            let canonical = digits == "0" || !digits.starts_with(['0', '+']);
            digits.parse().ok().filter(|_| canonical)
        };
        let parts = text.split_once('-').and_then(|(seat, turn)| number(seat).zip(number(turn)));
        match parts {
            Some((seat, turn)) => Ok(Self { seat: SeatIndex(seat), turn }),
            None => Err(Invalid::new("a hold's token is two numbers with a dash between them, like 12-3")),
        }
    }
}

/// How long a hold lasts. A [`Duration`] is one too: until then, and to be extended up to [`MAX_HOLD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HoldTime {
    /// From the hold to its deadline: 1 microsecond to `lifetime`.
    pub ttl: Duration,
    /// From the hold to the latest deadline that extensions can give it, at most [`MAX_HOLD`].
    pub lifetime: Duration,
}

impl HoldTime {
    pub(super) fn check(self) -> Result<(), Invalid> {
        check_ttl(self.ttl)?;
        if self.ttl <= self.lifetime && self.lifetime <= MAX_HOLD {
            return Ok(());
        }
        Err(Invalid(format_smolstr!(
            "a hold's lifetime must be from its ttl, {:?}, to {MAX_HOLD:?}, this one is {:?}",
            self.ttl,
            self.lifetime
        )))
    }
}

impl From<Duration> for HoldTime {
    fn from(ttl: Duration) -> Self {
        Self { ttl, lifetime: MAX_HOLD }
    }
}

/// Time is counted in microseconds: less than one is none.
pub(super) fn check_ttl(ttl: Duration) -> Result<(), Invalid> {
    if ttl >= Duration::from_micros(1) && ttl <= MAX_HOLD {
        return Ok(());
    }
    Err(Invalid(format_smolstr!("a hold's ttl must be 1 microsecond to {MAX_HOLD:?}, this one is {ttl:?}")))
}

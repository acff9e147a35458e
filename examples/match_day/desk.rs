//! A ticket desk: what the three ways of selling have in common, so that the same crowd can meet each.

use boxoffice::history::{Happened, History};
use boxoffice::layout::SeatIndex;
use boxoffice::options::Effort;
use boxoffice::{Aggregate, Error, View};
use std::time::Duration;

/// How long the price of a cart takes to come from another service. In the safe modes the engine's
/// decision waits for it, in the unsafe one it lies between read and write.
pub(crate) const PRICE_TAKES: Duration = Duration::from_millis(5);

/// Somebody who sells seats. Shared by all threads.
pub(crate) trait Desk: Sync {
    type Show: Aggregate<State: Seats>;

    /// Most seats that one fan may have, if this desk cares.
    const LIMIT: Option<u32>;

    /// The seats as they are now. Never waits.
    fn look(&self) -> Result<View<Self::Show>, Error>;

    /// Asks for all these seats. When it returns, the answer is on disk.
    fn buy(&self, fan: u64, seats: &[SeatIndex]) -> Result<Answer, Error>;

    /// Gives seats back; `None` from a desk that does not take any.
    fn give_back(&self, fan: u64, seats: &[SeatIndex]) -> Result<Option<Answer>, Error>;

    /// Everything that was decided, as it was stored.
    fn history(&self) -> Result<History<Self::Show>, Error>;

    /// A stored decision, in the words of this example.
    fn deed(what: &Happened<Self::Show>) -> Deed<'_>;
}

/// What a seat map needs to know.
pub(crate) trait Seats {
    /// How many fans were sold this seat and did not give it back. More than one is a scandal.
    fn holders(&self, seat: SeatIndex) -> usize;

    /// The last of them.
    fn holder(&self, seat: SeatIndex) -> Option<u64>;

    fn is_free(&self, seat: SeatIndex) -> bool {
        self.holders(seat) == 0
    }
}

/// What a fan hears.
pub(crate) struct Answer {
    /// Why not, in one word.
    pub(crate) refused: Option<&'static str>,
    /// Conflicts and lock waits on the way.
    pub(crate) effort: Effort,
}

/// What one number of a history says.
pub(crate) enum Deed<'h> {
    Opened,
    Sold { fan: u64, seats: &'h [SeatIndex] },
    GivenBack { fan: u64, seats: &'h [SeatIndex] },
    Refused(&'static str),
}

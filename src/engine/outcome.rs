//! What a caller gets: the outcome of a command, and the view that a read returns.

use std::fmt;
use std::ops::Deref;

use super::stream::StateArc;
use crate::aggregate::{Aggregate, Events};
use crate::clock::Timestamp;

/// What was decided on one command.
///
/// A rejection is in here, not in the error: look at it.
#[must_use = "the command may have been rejected"]
pub struct Outcome<A: Aggregate> {
    pub(crate) decided: Result<Events<A::Event>, A::Rejection>,
    pub(crate) version: u64,
    /// 0 for an outcome that was not stored: positions begin at 1.
    pub(crate) position: u64,
    pub(crate) decided_at: Timestamp,
    pub(crate) effort: Effort,
}

/// The two ways that a decision can go.
pub enum Decision<'o, A: Aggregate> {
    /// The events that the command caused, in order; none if nothing had to change.
    Accepted(&'o [A::Event]),
    /// Why the domain said no.
    Rejected(&'o A::Rejection),
}

/// What it took to get a decision through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// How often a decision was thrown away because somebody else's commit came first; of a transaction, also because
    /// it met a lock or gave way in a deadlock.
    pub conflicts: u32,
    /// How often the call queued for locks that others held.
    pub lock_waits: u32,
    /// Whether the decision was made as the holder of the scope's locks.
    pub turn: bool,
    /// Whether nothing was decided: the command's id was known, and this is its first outcome.
    pub repeated: bool,
}

impl<A: Aggregate> Outcome<A> {
    /// Whether the domain said yes.
    pub fn is_accepted(&self) -> bool {
        self.decided.is_ok()
    }

    /// The events, none for a rejection.
    pub fn events(&self) -> &[A::Event] {
        self.decided.as_deref().unwrap_or_default()
    }

    /// Why the domain said no, if it did.
    pub fn rejection(&self) -> Option<&A::Rejection> {
        self.decided.as_ref().err()
    }

    /// The decision, to match on.
    pub fn decision(&self) -> Decision<'_, A> {
        match &self.decided {
            Ok(events) => Decision::Accepted(events),
            Err(rejection) => Decision::Rejected(rejection),
        }
    }

    /// The events, or the rejection as an error, for a caller to whom a "no" is one.
    ///
    /// # Errors
    ///
    /// The rejection.
    pub fn into_result(self) -> Result<Events<A::Event>, A::Rejection> {
        self.decided
    }

    /// The stream's version after this decision; for an outcome that was not stored, the version that
    /// it was decided on.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The decision's place in the log, if it was stored.
    pub fn position(&self) -> Option<u64> {
        (self.position > 0).then_some(self.position)
    }

    /// The time at which it was decided.
    pub fn decided_at(&self) -> Timestamp {
        self.decided_at
    }

    /// Whether this is the outcome of an earlier command with the same id.
    pub fn is_repeated(&self) -> bool {
        self.effort.repeated
    }

    /// What it took.
    pub fn effort(&self) -> Effort {
        self.effort
    }
}

impl<A: Aggregate> fmt::Debug for Outcome<A>
where
    A::Event: fmt::Debug,
    A::Rejection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("decision", &self.decision())
            .field("version", &self.version)
            .field("position", &self.position())
            .field("effort", &self.effort)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Clone for Decision<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Aggregate> Copy for Decision<'_, A> {}

impl<A: Aggregate> fmt::Debug for Decision<'_, A>
where
    A::Event: fmt::Debug,
    A::Rejection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(events) => f.debug_tuple("Accepted").field(events).finish(),
            Self::Rejected(rejection) => f.debug_tuple("Rejected").field(rejection).finish(),
        }
    }
}

/// A stream's state at one version. Later commits do not change it.
pub struct View<A: Aggregate> {
    pub(crate) state: StateArc<A::State>,
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) durable: bool,
}

impl<A: Aggregate> View<A> {
    /// How many events the stream had.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The position of the last of them.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything in this view was already on disk. If not,
    /// [`Engine::wait_durable`](crate::Engine::wait_durable) with its position waits for that.
    pub fn is_durable(&self) -> bool {
        self.durable
    }
}

impl<A: Aggregate> Deref for View<A> {
    type Target = A::State;

    fn deref(&self) -> &A::State {
        &self.state
    }
}

impl<A: Aggregate> Clone for View<A> {
    fn clone(&self) -> Self {
        Self { state: StateArc::clone(&self.state), ..*self }
    }
}

impl<A: Aggregate> fmt::Debug for View<A>
where
    A::State: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("version", &self.version)
            .field("position", &self.position)
            .field("durable", &self.durable)
            .field("state", &self.state)
            .finish()
    }
}

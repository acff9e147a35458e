//! How a command is decided: with locks or with checks, for how long, and what is recorded.

use std::time::Duration;

/// How commands on the same parts are kept from overwriting each other.
///
/// Both run the same attempt and give the same guarantee; they differ in who pays under contention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// Lock the scope, then decide: exactly once, never in conflict. Best when decisions are slow or
    /// fight for the same parts.
    #[default]
    Pessimistic,
    /// Decide, then check that the scope has not changed since, and otherwise decide again. Best when
    /// decisions are quick and rarely meet.
    Optimistic,
}

/// How long one call may wait, in all: for locks, for room in the write queue, and for the disk. Of a call with many commands
/// ([`Handle::submit_all`](crate::Handle::submit_all)) each may wait so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until this long after its first wait began. A blocking call that finds nobody writing does so itself,
    /// at least once and without interruption, and may end later by that one sync.
    AtMost(Duration),
    /// Not at all for locks ([`Error::WouldBlock`](crate::Error::WouldBlock)) and for room
    /// ([`Error::Busy`](crate::Error::Busy)). A decision that was made is still waited for until it is
    /// durable.
    Never,
    /// As [`Never`](Self::Never), and the command chooses its parts among those that nobody has locked: the second
    /// best block instead of a wait for the best. Only for commands that leave a choice
    /// ([`Aggregate::scope_skipping`](crate::Aggregate::scope_skipping)); others are
    /// [`Error::InvalidCommand`](crate::Error::InvalidCommand).
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) if others were faster many times in a row.
    SkipLocked,
}

impl Wait {
    /// Whether to wait for locks at all.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Self::AtMost(_))
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self::AtMost(Duration::from_secs(5))
    }
}

/// What an optimistic command does when its retries are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Exhausted {
    /// Take a turn: queue for the locks and decide as their holder. Always gets through.
    #[default]
    Turn,
    /// Give up with [`Error::Conflict`](crate::Error::Conflict).
    Conflict,
}

/// How commands of a type, or of one [`Handle`](crate::Handle), are run.
///
/// ```
/// use boxoffice::Options;
/// use boxoffice::options::{Concurrency, Wait};
///
/// let eager = Options { concurrency: Concurrency::Optimistic, wait: Wait::Never, ..Options::default() };
/// assert_eq!(eager.retries, 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Locks or checks. Default: [`Concurrency::Pessimistic`].
    pub concurrency: Concurrency,
    /// Default: at most 5 seconds.
    pub wait: Wait,
    /// How many times an optimistic command is decided again after a conflict, and a
    /// [`transact`](crate::Engine::transact) run again after a conflict or a deadlock. Default 5.
    pub retries: u32,
    /// Default: [`Exhausted::Turn`].
    pub exhausted: Exhausted,
    /// Whether a rejection is stored in the stream, with a version and a position of its own.
    /// Default true. Otherwise it is only returned, unless its command has an id. A transaction stores none.
    pub record_rejections: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::default(),
            wait: Wait::default(),
            retries: 5,
            exhausted: Exhausted::default(),
            record_rejections: true,
        }
    }
}

impl Options {
    /// The defaults, with [`Concurrency::Optimistic`].
    pub fn optimistic() -> Self {
        Self { concurrency: Concurrency::Optimistic, ..Self::default() }
    }

    /// The defaults, with [`Concurrency::Pessimistic`].
    pub fn pessimistic() -> Self {
        Self::default()
    }

    pub(crate) fn limit(&self) -> Option<Duration> {
        match self.wait {
            Wait::AtMost(limit) => Some(limit),
            Wait::Never | Wait::SkipLocked => None,
        }
    }
}

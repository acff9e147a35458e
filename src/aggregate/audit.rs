//! A second opinion on a stream's events.

use crate::clock::Timestamp;

/// When something happened, by every count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its number in its stream, from 1.
    pub version: u64,
    /// The place of its entry in the log, from 1.
    pub position: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it became durable.
    pub committed_at: Timestamp,
}

/// Looks at a stream's events and says what must not be, with bookkeeping that has nothing to do with
/// [`apply`](crate::Aggregate::apply): the two are not wrong in the same way.
pub trait Audit<E>: Send {
    /// The next event; rejections are left out.
    fn record(&mut self, at: Moment, event: &E);

    /// What was found in the events so far, a sentence each.
    fn findings(&self) -> Vec<String>;
}

//! Proof that a decision is ordered; waiting on it means that it is durable.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Shared;
use crate::error::Error;
use crate::sync::{Patience, Place, run_blocking};

/// A decision that has its place in the log and is on its way to the disk.
///
/// [`wait`](Receipt::wait) blocks until it is there, `.await` suspends until then. Both give the
/// outcome. Dropping a receipt changes nothing: the decision stands.
///
/// For whoever waits the commit begins at once, or when the one before is over. While nobody waits for anything,
/// decisions are gathered for up to 10 ms, which leaves more of the processor to those who decide.
#[must_use = "the decision is not durable, and may be a rejection, until the receipt is waited for"]
pub struct Receipt<T> {
    shared: Arc<Shared>,
    // Absent before the decision, and once the outcome was handed over.
    pub(super) outcome: Option<T>,
    /// Durable when everything up to here is.
    pub(super) position: u64,
    place: Option<Place>,
}

impl<T> Receipt<T> {
    pub(crate) fn new(shared: Arc<Shared>, outcome: Option<T>, position: u64) -> Self {
        Self { shared, outcome, position, place: None }
    }

    /// The position that must be durable before this outcome is: the decision's own, or, for an
    /// outcome that was not stored, that of everything it may have depended on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether it is on disk already. Never blocks, and does not count as waiting.
    pub fn is_durable(&self) -> bool {
        self.shared.log.durable() >= self.position
    }

    /// The outcome as decided, before it is durable: do not promise anything to anybody on it.
    /// `None` only after the receipt was awaited to its end.
    pub fn provisional(&self) -> Option<&T> {
        self.outcome.as_ref()
    }

    /// Blocks until the decision is on disk, for as long as that takes.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] or [`Error::NotStored`] if the storage failed first: stop, and open
    /// the file again.
    pub fn wait(mut self) -> Result<T, Error> {
        // Whoever collects many receipts finds most of them durable.
        if !self.is_durable() {
            let mut patience = Patience::of_thread(None);
            run_blocking(self.shared.log.wait_durable(self.position, &mut patience))?;
        }
        self.outcome.take().ok_or(Error::Closed)
    }
}

impl<T> Future for Receipt<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.shared.log.poll_durable(this.position, &mut this.place, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(this.outcome.take().ok_or(Error::Closed)),
        }
    }
}

// Nothing in a receipt is pinned.
impl<T> Unpin for Receipt<T> {}

impl<T> fmt::Debug for Receipt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("position", &self.position)
            .field("durable", &self.is_durable())
            .finish_non_exhaustive()
    }
}

//! How the log ends: closed, failed, or found broken.

use std::sync::atomic::Ordering;

use super::failure::{Failure, FailureKind};
use super::queue::{Log, Queue, State};
use crate::error::Error;
use crate::sync::Wakes;

impl Log {
    /// Stops the log for good. The latch is set before anyone wakes; who waits is returned.
    pub(super) fn latch(&self, queue: &mut Queue, failure: Failure) -> Wakes {
        self.store.shut();
        let _ = self.failure.set(failure);
        queue.state = State::Failed;
        self.set_stopped();
        let mut everyone = queue.room_line.leave();
        everyone.extend(queue.readers.leave());
        if let Some(writer) = queue.writer.take() {
            everyone.push(writer);
        }
        everyone.extend(queue.open.line.leave());
        for batch in &mut queue.sealed {
            everyone.extend(batch.line.leave());
        }
        everyone
    }

    /// A storage that fails to read has failed: nothing is written to it any more either.
    pub(super) fn read_failed(&self, error: Error) -> Error {
        match error {
            Error::Storage { cause } | Error::Corrupt { cause } => {
                self.stop(FailureKind::Storage(cause)).fire();
                self.stop_reason()
            }
            other => other,
        }
    }

    /// Stops the engine because a rule that it promises to keep was found broken.
    pub(crate) fn broken(&self, invariant: String) -> Error {
        let mut wakes = Wakes::default();
        let error = self.broken_under_mutex(invariant, &mut wakes);
        wakes.fire();
        error
    }

    /// [`broken`](Self::broken) for a caller who holds a mutex, and wakes everybody after it.
    pub(crate) fn broken_under_mutex(&self, invariant: String, wakes: &mut Wakes) -> Error {
        wakes.extend(self.stop(FailureKind::Broken(invariant.into())));
        self.stop_reason()
    }

    pub(super) fn stop(&self, kind: FailureKind) -> Wakes {
        let mut queue = self.queue.lock();
        // The storage is shut under whatever is being committed.
        let unknown = queue.committing.as_ref().map_or(0..0, |now| now.positions.clone());
        self.latch(&mut queue, Failure { unknown, kind })
    }

    /// Takes no more entries; what was taken is still made durable by the writer.
    pub(crate) fn close(&self) {
        let wakes = {
            let mut queue = self.queue.lock();
            if queue.state != State::Running {
                return;
            }
            queue.state = State::Closing;
            self.read_only.store(false, Ordering::Release);
            self.set_stopped();
            let mut wakes = queue.room_line.leave();
            // Whoever has read everything has come to the end.
            wakes.extend(queue.readers.leave());
            if let Some(writer) = queue.writer.take() {
                wakes.push(writer);
            }
            wakes
        };
        wakes.fire();
    }

    /// Gives up the storage, after the writer has ended.
    pub(crate) fn release(&self) -> Result<(), Error> {
        let closed = self.store.close();
        match self.failure.get() {
            Some(failure) => Err(failure.latched()),
            None => closed.map_err(|cause| Error::Storage { cause }),
        }
    }
}

//! Room in the write queue: looked at before a commit, so that the append itself never waits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::queue::{Log, State};
use crate::error::Error;
use crate::sync::{AtomicUsize, Patience};

/// Bytes that wait for the disk. Changed under the queue's mutex only; read without it.
#[derive(Default)]
pub(super) struct Room(CachePadded<AtomicUsize>);

impl Room {
    fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// With the queue's mutex held, which is why no locked instruction is needed.
    pub(super) fn take(&self, bytes: usize) {
        self.0.store(self.used() + bytes, Ordering::Relaxed);
    }

    /// As [`take`](Self::take).
    pub(super) fn give_back(&self, bytes: usize) {
        self.0.store(self.used() - bytes, Ordering::Relaxed);
    }
}

impl Log {
    /// Whether an entry of up to `bytes` may queue now. Nothing is promised to one caller: several that
    /// look at once may all go on. What they then queue together is no more than the drafts that they
    /// hold already, so memory stays bounded, and nobody pays for a promise.
    pub(crate) fn has_room(&self, bytes: usize) -> Result<bool, Error> {
        self.check_size(bytes)?;
        Ok(self.room.used().saturating_add(bytes) <= self.limits.queue_bytes)
    }

    /// Whether an entry of up to `bytes` may be appended at all.
    #[inline]
    pub(crate) fn check_size(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.limits.entry_bytes;
        if bytes > limit { Err(Error::TooLarge { bytes, limit }) } else { Ok(()) }
    }

    /// Whether nothing more may queue once `bytes` more do.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.room.used().saturating_add(bytes) >= self.limits.queue_bytes
    }

    /// Whether half of the room is taken.
    pub(super) fn is_half_full(&self) -> bool {
        self.room.used() > self.limits.queue_bytes / 2
    }

    /// What a caller gets who does not wait for room, or no longer. The writer makes some: the caller may come back.
    pub(crate) fn busy(&self, waited: Duration) -> Error {
        if let Err(stopped) = self.check_running() {
            return stopped;
        }
        let writer = self.queue.lock().begin_wait();
        writer.fire();
        Error::Busy { waited }
    }

    /// Waits until an entry of up to `bytes` may queue.
    pub(crate) async fn wait_for_room(&self, bytes: usize, patience: &mut Patience<'_>) -> Result<(), Error> {
        while !self.has_room(bytes)? {
            if patience.is_over() {
                return Err(self.busy(patience.waited()));
            }
            let (place, writer) = {
                let mut queue = self.queue.lock();
                if queue.state != State::Running {
                    drop(queue);
                    return Err(self.stop_reason());
                }
                // Room comes back under this mutex, and then wakes who stands in line.
                if self.has_room(bytes)? {
                    return Ok(());
                }
                (queue.room_line.enter(), queue.begin_wait())
            };
            writer.fire();
            if !place.wait(patience).await {
                return Err(self.busy(patience.waited()));
            }
        }
        Ok(())
    }

    /// What is queued, and how many stand in line for room.
    #[cfg(all(test, shuttle))]
    pub(crate) fn room_in_use(&self) -> (usize, usize) {
        let line = self.queue.lock().room_line.len();
        (self.room.used(), line)
    }
}

//! Room in the write queue: promised before a commit, given back after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::utils::CachePadded;

use super::queue::{Log, State};
use crate::error::Error;
use crate::sync::{AtomicUsize, Patience, Waiter, Wakes};

/// Bytes promised to callers or waiting for the disk.
#[derive(Default)]
pub(super) struct Room {
    pub(super) used: CachePadded<AtomicUsize>,
    pub(super) waiting: AtomicUsize,
}

impl Log {
    /// Promises room for an entry of up to `bytes`, so that the append cannot fail for lack of it. None
    /// if there is no room now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<Option<Reservation<'_>>, Error> {
        if bytes > self.limits.entry_bytes {
            return Err(Error::TooLarge { bytes, limit: self.limits.entry_bytes });
        }
        let taken = self.room.try_take(bytes, self.limits.queue_bytes);
        // Made only if it was taken: a reservation that is dropped gives its room back.
        Ok(taken.then(|| Reservation { log: self, bytes }))
    }

    /// [`try_reserve`](Self::try_reserve), waiting for room.
    pub(crate) async fn reserve(
        &self,
        bytes: usize,
        patience: &mut Patience<'_>,
    ) -> Result<Reservation<'_>, Error> {
        loop {
            if let Some(reservation) = self.try_reserve(bytes)? {
                return Ok(reservation);
            }
            if patience.is_over() {
                return Err(Error::Busy { waited: patience.waited() });
            }
            let waiter = Waiter::new();
            {
                let mut queue = self.queue.lock();
                if queue.state != State::Running {
                    drop(queue);
                    return Err(self.stop_reason());
                }
                // The flag before the second look: whoever gives room back looks at the flag after.
                self.room.waiting.fetch_add(1, Ordering::SeqCst);
                if let Some(reservation) = self.try_reserve(bytes)? {
                    self.room.waiting.fetch_sub(1, Ordering::SeqCst);
                    return Ok(reservation);
                }
                queue.room_line.push(Arc::clone(&waiter));
            }
            let place = RoomPlace { log: self, waiter };
            if !place.waiter.wait(patience).await {
                return Err(Error::Busy { waited: patience.waited() });
            }
        }
    }

    /// What is promised or queued, how many are counted as waiting for room, and how many stand in
    /// line for it.
    #[cfg(all(test, shuttle))]
    pub(crate) fn room_in_use(&self) -> (usize, usize, usize) {
        let line = self.queue.lock().room_line.len();
        (self.room.used.load(Ordering::SeqCst), self.room.waiting.load(Ordering::SeqCst), line)
    }
}

impl Room {
    fn try_take(&self, bytes: usize, limit: usize) -> bool {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                (used + bytes <= limit).then_some(used + bytes)
            })
            .is_ok()
    }
}

/// A place in the line for room, given up when the wait ends or its future is dropped.
struct RoomPlace<'l> {
    log: &'l Log,
    waiter: Arc<Waiter>,
}

impl Drop for RoomPlace<'_> {
    fn drop(&mut self) {
        self.log.room.waiting.fetch_sub(1, Ordering::SeqCst);
        self.log.queue.lock().room_line.retain(|other| !Arc::ptr_eq(other, &self.waiter));
    }
}

/// Room in the queue for one entry, given back if it is not used.
#[must_use]
pub(crate) struct Reservation<'l> {
    log: &'l Log,
    pub(super) bytes: usize,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        self.log.room.used.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.log.room.waiting.load(Ordering::SeqCst) > 0 {
            let line = std::mem::take(&mut self.log.queue.lock().room_line);
            Wakes::from(line).fire();
        }
    }
}

//! Waiting until a position is on disk, for threads and for tasks.

use std::task::{Context, Poll};

use super::queue::{Log, Queue, State};
use crate::error::Error;
use crate::sync::{Patience, Place};

impl Log {
    /// Waits until everything up to `position` is on disk. A thread that finds nobody committing
    /// commits in place, which saves two thread switches.
    pub(crate) async fn wait_durable(&self, position: u64, patience: &mut Patience<'_>) -> Result<(), Error> {
        let mut worked = false;
        loop {
            if self.durable() >= position {
                return Ok(());
            }
            let (place, writer) = {
                let over = patience.is_over();
                let mut queue = self.queue.lock();
                if let Some(verdict) = self.verdict(&queue, position) {
                    return verdict;
                }
                // The batch with its own entry is a caller's own work, which it does once even at its
                // deadline; the ones before it are done for others, for as long as the caller may wait.
                if patience.is_thread()
                    && (!over || (!worked && queue.oldest_end() > position))
                    && let Some(batch) = queue.take_batch()
                {
                    queue.rest.note_wait();
                    drop(queue);
                    self.commit(batch);
                    worked = true;
                    continue;
                }
                if over {
                    // Somebody has to make it durable: nobody else was told of it.
                    let writer = if queue.committing.is_none() { queue.writer.take() } else { None };
                    drop(queue);
                    if let Some(writer) = writer {
                        writer.signal();
                    }
                    return Err(Error::NotYetDurable { position });
                }
                queue.wait_for(position).ok_or(Error::Closed)?
            };
            writer.fire();
            if !place.wait(patience).await {
                return Err(Error::NotYetDurable { position });
            }
        }
    }

    /// A task's look at whether `position` is durable; keeps its place in line in `place`.
    pub(crate) fn poll_durable(
        &self,
        position: u64,
        place: &mut Option<Place>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if self.durable() >= position {
                return Poll::Ready(Ok(()));
            }
            if place.is_none() {
                let mut queue = self.queue.lock();
                if let Some(verdict) = self.verdict(&queue, position) {
                    return Poll::Ready(verdict);
                }
                let Some((entered, writer)) = queue.wait_for(position) else {
                    return Poll::Ready(Err(Error::Closed));
                };
                drop(queue);
                writer.fire();
                *place = Some(entered);
            }
            match place.as_ref().map(|place| place.poll_signal(cx)) {
                Some(Poll::Pending) => return Poll::Pending,
                _ => *place = None,
            }
        }
    }

    /// What is already known of a position, looked at under the queue's mutex.
    fn verdict(&self, queue: &Queue, position: u64) -> Option<Result<(), Error>> {
        if self.durable() >= position {
            return Some(Ok(()));
        }
        if position >= queue.next_position {
            return Some(Err(Error::UnknownPosition { position, last: queue.next_position - 1 }));
        }
        match (queue.state, self.failure.get()) {
            (State::Failed, Some(failure)) => Some(Err(failure.verdict(position))),
            _ => None,
        }
    }
}

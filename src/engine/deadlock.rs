//! Who waits for whom: transactions that lock step by step can wait for each other, which is found when the last of
//! them begins to wait, and not by timeout.
//!
//! Whoever waits is entered here, under one mutex, after its request stands in its stream, and taken out
//! before it gives up its place or anything it holds. Under that mutex the ones on a cycle therefore all wait and give up
//! nothing: what is found is a deadlock. The one who enters last sees the whole cycle, and only that one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use super::lock::Ticket;
use crate::error::StreamName;
use crate::sync::{Caller, Mutex};

/// A transaction that holds locks or asks for them.
pub(crate) struct Owner {
    pub(crate) number: u64,
    /// Who first locked for it.
    pub(crate) caller: Caller,
}

/// A stream in which somebody waits.
pub(crate) trait Waited: Send + Sync {
    fn name(&self) -> &StreamName;
    fn in_the_way(&self, ticket: Ticket) -> Vec<Arc<Owner>>;
}

/// The transactions of an engine that wait for locks.
#[derive(Default)]
pub(crate) struct Deadlocks {
    // Not through `sync`: a number tells nothing of an order.
    owners: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// By the number of who waits: where, and with which request.
type Waiting = HashMap<u64, (Arc<dyn Waited>, Ticket), RandomState>;

/// A transaction is known to wait, until this is dropped: before its request is.
pub(crate) struct Waits<'d> {
    deadlocks: &'d Deadlocks,
    number: u64,
}

impl Deadlocks {
    /// A transaction that begins to ask for locks.
    pub(crate) fn owner(&self, caller: Caller) -> Owner {
        Owner { number: self.owners.fetch_add(1, Ordering::Relaxed), caller }
    }

    /// A transaction begins to wait.
    ///
    /// # Errors
    ///
    /// The streams of the cycle that this would close, the one it wants first.
    pub(crate) fn enter(
        &self,
        owner: &Owner,
        stream: Arc<dyn Waited>,
        ticket: Ticket,
    ) -> Result<Waits<'_>, Vec<StreamName>> {
        let mut path = vec![stream.name().clone()];
        let mut seen = HashSet::from([owner.number]);
        // Depth first; each frame is what is left to look at in one stream. Declared before the guard: they may be the
        // last of a task's waker.
        let (mut frames, mut done) = (Vec::new(), Vec::new());
        let mut waiting = self.waiting.lock();
        frames.push(stream.in_the_way(ticket));
        while let Some(frame) = frames.last_mut() {
            let Some(next) = frame.pop() else {
                frames.pop();
                path.pop();
                continue;
            };
            let number = next.number;
            done.push(next);
            // One that another transaction of the same caller has to end first waits for itself too.
            if number == owner.number || done.last().is_some_and(|next| next.caller.is(&owner.caller)) {
                return Err(path);
            }
            if seen.insert(number)
                && let Some((stream, ticket)) = waiting.get(&number)
            {
                path.push(stream.name().clone());
                frames.push(stream.in_the_way(*ticket));
            }
        }
        waiting.insert(owner.number, (stream, ticket));
        Ok(Waits { deadlocks: self, number: owner.number })
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let entered = self.deadlocks.waiting.lock().remove(&self.number);
        // The stream may be the last of a user's values.
        drop(entered);
    }
}

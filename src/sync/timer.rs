//! One lazily started thread that serves the deadlines of all tasks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::imp::{is_past, park_until};
use super::{Mutex, Thread, Waiter, current, spawn};

/// Threads park with a timeout of their own; only tasks need this.
#[derive(Default)]
pub(crate) struct Timer(Arc<Mutex<Due>>);

#[derive(Default)]
struct Due {
    heap: BinaryHeap<Reverse<Deadline>>,
    thread: Option<Thread>,
    starting: bool,
    /// Ended waits are swept out when the heap has grown to this size.
    sweep_at: usize,
    closed: bool,
}

struct Deadline {
    at: Instant,
    waiter: Weak<Waiter>,
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Deadline {}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

const SWEEP_FLOOR: usize = 1024;

impl Timer {
    /// Makes `waiter` look again at `at`.
    pub(super) fn poke_at(&self, at: Instant, waiter: &Arc<Waiter>) {
        let mut due = self.0.lock();
        if due.heap.len() >= due.sweep_at.max(SWEEP_FLOOR) {
            due.heap.retain(|Reverse(deadline)| deadline.waiter.strong_count() > 0);
            due.sweep_at = due.heap.len() * 2;
        }
        let first = due.heap.peek().is_none_or(|Reverse(first)| at < first.at);
        due.heap.push(Reverse(Deadline { at, waiter: Arc::downgrade(waiter) }));
        // Without a thread, because none was to be had, every deadline is the first.
        if due.closed || (!first && (due.thread.is_some() || due.starting)) {
            return;
        }
        if let Some(thread) = &due.thread {
            let thread = thread.clone();
            drop(due);
            thread.unpark();
        } else if !std::mem::replace(&mut due.starting, true) {
            drop(due);
            let shared = Arc::clone(&self.0);
            if spawn("boxoffice-timer", move || serve(&shared)).is_err() {
                // No thread to be had now: the next deadline tries again, and the wait itself ends
                // when it is signaled.
                self.0.lock().starting = false;
            }
        }
    }

    /// Makes the thread look at the deadlines: under the checker no time passes by itself.
    #[cfg(all(test, shuttle))]
    pub(crate) fn tick(&self) {
        let thread = self.0.lock().thread.clone();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let thread = {
            let mut due = self.0.lock();
            due.closed = true;
            due.thread.take()
        };
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

fn serve(shared: &Mutex<Due>) {
    shared.lock().thread = Some(current());
    loop {
        let mut ripe = Vec::new();
        let next = {
            let mut due = shared.lock();
            if due.closed {
                return;
            }
            while due.heap.peek().is_some_and(|Reverse(first)| is_past(first.at)) {
                ripe.extend(due.heap.pop().map(|Reverse(deadline)| deadline.waiter));
            }
            due.heap.peek().map(|Reverse(first)| first.at)
        };
        if ripe.is_empty() {
            park_until(next);
        }
        for waiter in ripe.iter().filter_map(Weak::upgrade) {
            waiter.poke();
        }
    }
}

//! A line of waiters that is woken all at once, and that forgets who has gone.

use std::ops::Deref;
use std::sync::Arc;

use super::{Waiter, Wakes};

/// Who waits for one thing.
///
/// Whoever gives up just drops its place. The line finds that out when it has doubled, so that leaving
/// costs nothing and the line is never longer than twice the most that waited since it was last woken.
pub(crate) struct Line {
    waiters: Vec<Arc<Waiter>>,
    sweep_at: usize,
}

const SWEEP_AT_LEAST: usize = 16;

impl Default for Line {
    fn default() -> Self {
        Self { waiters: Vec::new(), sweep_at: SWEEP_AT_LEAST }
    }
}

impl Line {
    /// A new place at the end.
    pub(crate) fn enter(&mut self) -> Place {
        if self.waiters.len() >= self.sweep_at {
            self.waiters.retain(is_there);
            self.sweep_at = SWEEP_AT_LEAST.max(self.waiters.len() * 2);
        }
        let waiter = Waiter::new();
        self.waiters.push(Arc::clone(&waiter));
        Place(waiter)
    }

    /// Everybody, to be woken once no mutex is held; the line is empty then.
    pub(crate) fn leave(&mut self) -> Wakes {
        Wakes::from(std::mem::take(self).waiters)
    }

    /// Whether somebody came since it was last woken, who may have gone again.
    pub(crate) fn may_have_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// How many still wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiters.iter().filter(|waiter| is_there(waiter)).count()
    }
}

/// A place in a line. Given up by dropping it, with no mutex held: it takes along what the waiter holds of
/// a task, whose last owner may run anything. What the line then forgets is empty.
pub(crate) struct Place(Arc<Waiter>);

impl Deref for Place {
    type Target = Arc<Waiter>;

    fn deref(&self) -> &Arc<Waiter> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// The line's own is the only one left of a waiter that has gone.
fn is_there(waiter: &Arc<Waiter>) -> bool {
    Arc::strong_count(waiter) > 1
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn those_who_leave_are_forgotten_and_those_who_wait_are_not() {
        let mut line = Line::default();
        let staying: Vec<_> = (0..100)
            .map(|_| {
                (0..1000).for_each(|_| drop(line.enter()));
                assert!(line.waiters.len() <= 2 * line.len() + SWEEP_AT_LEAST);
                line.enter()
            })
            .collect();
        assert_eq!(line.len(), staying.len());
        line.leave().fire();
        assert!(staying.iter().all(|waiter| waiter.is_signaled()) && line.len() == 0);
    }

    /// A task's waker may own the task, and dropping that may do anything: it goes with the place, not with
    /// the line, which is changed under a mutex.
    #[test]
    fn a_place_takes_its_waker_along() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let task = Arc::new(Task);
        let waker = std::task::Waker::from(Arc::clone(&task));
        let mut line = Line::default();
        let place = line.enter();
        assert!(place.poll_signal(&std::task::Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&task), 2);
        drop(place);
        assert_eq!((Arc::strong_count(&task), line.waiters.len()), (1, 1));
    }
}

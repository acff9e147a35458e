//! A line of waiters that is woken all at once, and that forgets who has gone.

use std::sync::Arc;

use super::{Waiter, Wakes};

/// Who waits for one thing.
///
/// Whoever gives up just drops its waiter. The line finds that out when it has doubled, so that leaving
/// costs nothing and the line is never longer than twice those who wait.
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
    pub(crate) fn enter(&mut self) -> Arc<Waiter> {
        if self.waiters.len() >= self.sweep_at {
            self.waiters.retain(is_there);
            self.sweep_at = SWEEP_AT_LEAST.max(self.waiters.len() * 2);
        }
        let waiter = Waiter::new();
        self.waiters.push(Arc::clone(&waiter));
        waiter
    }

    /// Everybody, to be woken once no mutex is held; the line is empty then.
    pub(crate) fn leave(&mut self) -> Wakes {
        Wakes::from(std::mem::take(&mut self.waiters))
    }

    /// How many still wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiters.iter().filter(|waiter| is_there(waiter)).count()
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
}

//! When the writer rests. A commit costs those who decide the processor's time and its caches, so while nobody waits for one
//! there are fewer. Whoever waits, for whatever, ends a rest, and there is none as long as somebody did since the last.

use std::sync::Arc;
use std::time::Duration;

use super::queue::{Queue, State};
use crate::sync::{Waiter, Wakes};

/// A rest is so many times as long as the commit before it took: three quarters of the time are then without one.
const TIMES: u32 = 3;
/// And at most so long.
const MOST: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Rest {
    /// The writer rests, although something has queued.
    is_on: bool,
    /// Somebody has waited since the writer last thought of a rest.
    awaited: bool,
}

impl Rest {
    /// Somebody waits, or would if there were nothing to do for it.
    pub(super) fn note_wait(&mut self) {
        self.awaited = true;
    }
}

impl Queue {
    /// How long the writer rests after a commit that took so long; not if somebody waits or has waited, or if there is
    /// nothing to commit. Nor without a commit before.
    pub(super) fn rest_after(&mut self, took: Option<Duration>) -> Option<Duration> {
        let rest = took.and_then(|took| {
            let is_due = !self.is_awaited() && !self.is_drained();
            self.rest.awaited = false;
            is_due.then(|| MOST.min(took.saturating_mul(TIMES)))
        });
        self.rest.is_on = rest.is_some();
        rest
    }

    /// The writer, if it should be woken because there is something to commit.
    pub(super) fn call_writer(&mut self) -> Option<Arc<Waiter>> {
        if self.rest.is_on && !self.is_awaited() { None } else { self.writer.take() }
    }

    /// Somebody waits from here on. Returns the writer, if that ends its rest.
    pub(super) fn begin_wait(&mut self) -> Wakes {
        self.rest.note_wait();
        let mut wakes = Wakes::default();
        if self.rest.is_on
            && self.committing.is_none()
            && let Some(writer) = self.writer.take()
        {
            wakes.push(writer);
        }
        wakes
    }

    /// Whether somebody waits, or has waited since the writer last asked; a full batch does not wait for more.
    fn is_awaited(&self) -> bool {
        let lines = [&self.open.line, &self.room_line, &self.readers];
        self.rest.awaited
            || self.state != State::Running
            || !self.sealed.is_empty()
            || lines.iter().any(|line| line.may_have_waiters())
    }
}

#[cfg(all(test, shuttle))]
impl super::queue::Log {
    /// Ends the writer's rest, as time does.
    pub(super) fn let_time_pass(&self) {
        let writer = {
            let mut queue = self.queue.lock();
            if queue.rest.is_on { queue.writer.take() } else { None }
        };
        if let Some(writer) = writer {
            writer.signal();
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::super::queue::Log;
    use super::super::reader::tests::{append, commit, log, log_with};
    use super::*;
    use crate::limits::Limits;
    use crate::sync::Patience;

    fn rest(log: &Log) -> Option<Duration> {
        log.queue.lock().rest_after(Some(Duration::from_millis(1)))
    }

    /// Whether the next two looks find that somebody waits, and one who waits only now.
    fn looks(log: &Log) -> [bool; 2] {
        [rest(log).is_none(), rest(log).is_none()]
    }

    #[test]
    fn it_is_as_long_as_commits_are_and_not_longer_than_anybody_minds() {
        let log = log();
        assert_eq!(rest(&log), None, "there is nothing to commit");
        append(&log, 1);
        assert_eq!(rest(&log), Some(Duration::from_millis(3)));
        assert_eq!(log.queue.lock().rest_after(Some(Duration::MAX)), Some(MOST));
        assert_eq!(log.queue.lock().rest_after(None), None, "it has rested");
    }

    #[test]
    fn whoever_waits_ends_it_and_the_next_one() {
        let log = log();
        let mut cx = Context::from_waker(Waker::noop());
        append(&log, 1);
        assert_eq!(looks(&log), [false, false]);
        // In place, which ends with the wait.
        commit(&log, 1);
        append(&log, 2);
        assert_eq!(looks(&log), [true, false]);
        // In line for a position, and for an entry.
        let mut place = None;
        assert!(pin!(poll_fn(|cx| log.poll_durable(2, &mut place, cx))).poll(&mut cx).is_pending());
        assert_eq!(looks(&log), [true, true]);
        commit(&log, 2);
        append(&log, 3);
        assert_eq!(looks(&log), [true, false]);
        let mut place = None;
        assert!(pin!(poll_fn(|cx| log.poll_for(3, &mut place, cx))).poll(&mut cx).is_pending());
        assert_eq!(looks(&log), [true, true]);
        commit(&log, 3);
        append(&log, 4);
        assert_eq!(looks(&log), [true, false]);
        log.close();
        assert_eq!(looks(&log), [true, true]);
    }

    #[test]
    fn only_who_waits_calls_the_writer_out_of_it() {
        let log = log();
        let lie_down = || {
            let mut queue = log.queue.lock();
            queue.writer = Some(Waiter::new());
            queue.rest_after(Some(Duration::from_millis(1))).is_some()
        };
        let is_called = || log.queue.lock().writer.is_none();
        assert!(!lie_down());
        append(&log, 1);
        assert!(is_called(), "there is something to commit");
        assert!(lie_down());
        append(&log, 2);
        assert!(!is_called());
        let mut cx = Context::from_waker(Waker::noop());
        let timer = crate::sync::Timer::default();
        let mut patience = Patience::of_task(None, &timer);
        assert!(pin!(log.wait_durable(1, &mut patience)).poll(&mut cx).is_pending());
        assert!(is_called());
    }

    #[test]
    fn there_is_none_when_room_gets_short() {
        let log = log_with(Limits { queue_bytes: 100, ..Limits::default() });
        append(&log, 1);
        assert_eq!(looks(&log), [false, false]);
        for version in 2..=4 {
            append(&log, version);
        }
        assert_eq!(looks(&log), [true, false]);
    }
}

//! When the writer rests. A commit costs those who decide the processor's time and its caches, so while nobody waits for one
//! there are fewer. Whoever waits, for whatever, ends a rest, and prevents the one after the next commit of the writer.

use std::sync::Arc;
use std::time::Duration;

use super::queue::{Queue, State};
use crate::sync::{Waiter, Wakes};

/// A rest is so many times as long as the commit before it took: three quarters of the time are then without one.
const TIMES: u32 = 3;
/// And at most so long.
const MOST: Duration = Duration::from_millis(10);

fn length(took: Duration) -> Duration {
    // The model checker repeats a schedule only if no branch depends on how long something took: all its waits are as long.
    if cfg!(shuttle) { Duration::from_secs(5) } else { MOST.min(took.saturating_mul(TIMES)) }
}

#[derive(Default)]
pub(super) struct Rest {
    /// The writer rests, although something has queued.
    is_on: bool,
    /// Somebody has waited since a commit of the writer last ended, or would have to soon.
    awaited: bool,
}

impl Rest {
    /// Somebody waits, or would have to soon.
    pub(super) fn note_wait(&mut self) {
        self.awaited = true;
    }
}

impl Queue {
    /// How long the writer rests after a commit that took so long; not if somebody waits or has waited, room gets short, or
    /// there is nothing to commit. Nor without a commit before.
    pub(super) fn rest_after(&mut self, took: Option<Duration>, is_half_full: bool) -> Option<Duration> {
        let rest = took.and_then(|took| {
            let is_due = !self.is_awaited() && !is_half_full && !self.is_drained();
            self.rest.awaited = false;
            is_due.then(|| length(took))
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

    /// Whether somebody waits, or has; a full batch does not wait for more.
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
    use crate::error::Error;
    use crate::limits::Limits;
    use crate::sync::Patience;

    fn rest_after(log: &Log, took: Duration) -> Option<Duration> {
        log.queue.lock().rest_after(Some(took), log.is_half_full())
    }

    fn rest(log: &Log) -> Option<Duration> {
        rest_after(log, Duration::from_millis(1))
    }

    /// Whether each of two looks finds somebody who waits. Only the first finds who has gone.
    fn looks(log: &Log) -> [bool; 2] {
        [rest(log).is_none(), rest(log).is_none()]
    }

    #[test]
    fn it_is_as_long_as_commits_are_and_never_long() {
        let log = log();
        assert_eq!(rest(&log), None, "there is nothing to commit");
        append(&log, 1);
        assert_eq!(rest(&log), Some(Duration::from_millis(3)));
        assert_eq!(rest_after(&log, Duration::MAX), Some(MOST));
        assert_eq!(log.queue.lock().rest_after(None, false), None, "it has rested");
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

    /// The writer lies down, as far as it may.
    fn lie_down(log: &Log) -> bool {
        log.queue.lock().writer = Some(Waiter::new());
        rest(log).is_some()
    }

    fn is_called(log: &Log) -> bool {
        log.queue.lock().writer.is_none()
    }

    #[test]
    fn only_who_waits_calls_the_writer_out_of_it() {
        let log = log();
        assert!(!lie_down(&log));
        append(&log, 1);
        assert!(is_called(&log), "there is something to commit");
        assert!(lie_down(&log));
        append(&log, 2);
        assert!(!is_called(&log));
        let mut cx = Context::from_waker(Waker::noop());
        let timer = crate::sync::Timer::default();
        let mut patience = Patience::of_task(None, &timer);
        assert!(pin!(log.wait_durable(1, &mut patience)).poll(&mut cx).is_pending());
        assert!(is_called(&log));
    }

    #[test]
    fn there_is_none_when_a_batch_is_full() {
        let log = log_with(Limits { batch_bytes: 250, ..Limits::default() });
        append(&log, 1);
        assert!(lie_down(&log));
        append(&log, 2);
        assert!(!is_called(&log));
        (3..=9).for_each(|version| append(&log, version));
        assert!(is_called(&log));
        assert_eq!(looks(&log), [true, true]);
    }

    #[test]
    fn there_is_none_when_room_gets_short() {
        let log = log_with(Limits { queue_bytes: 100, ..Limits::default() });
        append(&log, 1);
        assert!(lie_down(&log));
        (2..=4).for_each(|version| append(&log, version));
        assert!(is_called(&log));
        assert_eq!(looks(&log), [true, true]);
    }

    #[test]
    fn whoever_is_sent_away_for_want_of_room_ends_it_too() {
        let log = log();
        append(&log, 1);
        assert!(lie_down(&log));
        assert!(matches!(log.busy(Duration::ZERO), Error::Busy { .. }));
        assert!(is_called(&log));
    }
}

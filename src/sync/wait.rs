//! One waiter, woken once: a parked thread or a suspended task, with a deadline.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::imp::{is_past, park_until};
use super::{Mutex, Thread, ThreadId, Timer, current, current_id};

/// A place in some line. Whoever owns the line signals it, once; whoever waits sees that at its
/// next look, however late.
pub(crate) struct Waiter(Mutex<State>);

enum State {
    /// Nobody looks yet.
    Idle,
    Thread(Thread),
    Task(Waker),
    Signaled,
}

impl Waiter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Idle)))
    }

    /// Ends the wait. Runs a task's waker, which is foreign code: call it with no mutex held.
    pub(crate) fn signal(&self) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Signaled);
        before.wake();
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn is_signaled(&self) -> bool {
        matches!(*self.0.lock(), State::Signaled)
    }

    /// Forgets who waits. Drops a waker, which is foreign code: call it with no mutex held.
    pub(super) fn clear(&self) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Idle);
        drop(before);
    }

    /// Makes whoever waits look again, without ending the wait.
    pub(super) fn poke(&self) {
        let before = {
            let mut state = self.0.lock();
            match &*state {
                State::Signaled => return,
                _ => std::mem::replace(&mut *state, State::Idle),
            }
        };
        before.wake();
    }

    /// Waits for the signal: true, or false once the deadline has passed without it.
    pub(crate) async fn wait(self: &Arc<Self>, patience: &mut Patience<'_>) -> bool {
        let deadline = patience.deadline();
        match patience.mode {
            Mode::Thread => self.block(deadline),
            Mode::Task(timer) => {
                let mut registered = false;
                poll_fn(|cx| self.poll(cx, deadline, timer, &mut registered)).await
            }
        }
    }

    fn block(&self, deadline: Option<Instant>) -> bool {
        loop {
            {
                let mut state = self.0.lock();
                if matches!(*state, State::Signaled) {
                    return true;
                }
                *state = State::Thread(current());
            }
            if !park_until(deadline) {
                let mut state = self.0.lock();
                if matches!(*state, State::Signaled) {
                    return true;
                }
                *state = State::Idle;
                return false;
            }
        }
    }

    fn poll(
        self: &Arc<Self>,
        cx: &Context<'_>,
        deadline: Option<Instant>,
        timer: &Timer,
        registered: &mut bool,
    ) -> Poll<bool> {
        if self.poll_signal(cx).is_ready() {
            return Poll::Ready(true);
        }
        // After the waker is in place: a timer that comes before finds an earlier look's, and the
        // deadline past is seen here.
        if deadline.is_some_and(is_past) {
            return Poll::Ready(false);
        }
        if let Some(deadline) = deadline
            && !std::mem::replace(registered, true)
        {
            timer.poke_at(deadline, self);
        }
        Poll::Pending
    }

    /// A task's look, without a deadline.
    pub(crate) fn poll_signal(&self, cx: &Context<'_>) -> Poll<()> {
        // Cloned before and dropped after: a waker is foreign code.
        let mut waker = State::Task(cx.waker().clone());
        let mut state = self.0.lock();
        match &*state {
            State::Signaled => return Poll::Ready(()),
            State::Task(known) if known.will_wake(cx.waker()) => {}
            _ => std::mem::swap(&mut *state, &mut waker),
        }
        drop(state);
        Poll::Pending
    }
}

impl State {
    fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // Foreign code: its panic must not cost others their wake-up, nor end the writer.
            Self::Task(waker) => {
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
            Self::Idle | Self::Signaled => {}
        }
    }
}

/// Waiters to signal once the mutex that chose them is released.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakes(SmallVec<[Arc<Waiter>; 2]>);

impl Wakes {
    pub(crate) fn push(&mut self, waiter: Arc<Waiter>) {
        self.0.push(waiter);
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    #[inline]
    pub(crate) fn fire(self) {
        if self.0.is_empty() {
            return;
        }
        for waiter in self.0 {
            waiter.signal();
        }
    }
}

impl From<Vec<Arc<Waiter>>> for Wakes {
    fn from(waiters: Vec<Arc<Waiter>>) -> Self {
        Self(SmallVec::from_vec(waiters))
    }
}

/// How a call waits, and for how long in all.
pub(crate) struct Patience<'t> {
    mode: Mode<'t>,
    limit: Option<Duration>,
    /// When the first wait of this call began. Every later wait shares its deadline.
    began: Option<Instant>,
}

enum Mode<'t> {
    Thread,
    Task(&'t Timer),
}

/// Who makes a call, as far as can be told: the thread, or the task by its waker.
pub(crate) enum Caller {
    Thread(ThreadId),
    Task(Waker),
}

impl Caller {
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Thread(one), Self::Thread(other)) => one == other,
            (Self::Task(one), Self::Task(other)) => one.will_wake(other),
            _ => false,
        }
    }
}

impl<'t> Patience<'t> {
    pub(crate) fn of_thread(limit: Option<Duration>) -> Self {
        Self { mode: Mode::Thread, limit, began: None }
    }

    pub(crate) fn of_task(limit: Option<Duration>, timer: &'t Timer) -> Self {
        Self { mode: Mode::Task(timer), limit, began: None }
    }

    /// Whether this call may do slow work in place.
    pub(crate) fn is_thread(&self) -> bool {
        matches!(self.mode, Mode::Thread)
    }

    pub(crate) async fn caller(&self) -> Caller {
        match self.mode {
            Mode::Thread => Caller::Thread(current_id()),
            Mode::Task(_) => poll_fn(|cx| Poll::Ready(Caller::Task(cx.waker().clone()))).await,
        }
    }

    /// How long this call has been waiting.
    pub(crate) fn waited(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.deadline().is_some_and(is_past)
    }

    fn deadline(&mut self) -> Option<Instant> {
        let limit = self.limit?;
        self.began.get_or_insert_with(Instant::now).checked_add(limit)
    }
}

/// Runs a future whose waits all block the thread, so that blocking and async callers share one path.
pub(crate) fn run_blocking<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        debug_assert!(false, "a future run for a thread suspended");
        std::thread::yield_now();
    }
}

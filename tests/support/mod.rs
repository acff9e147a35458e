//! What the behaviour tests have in common: meetings and doors that force an interleaving, futures that
//! are polled by hand, a clock with a hook, storage with a gate, and an aggregate that is scripted.
//!
//! Nothing here sleeps. Every wait has a watchdog, so that a lost wake-up is a failure and not a hang; a
//! passing run never waits for it.
#![allow(dead_code, reason = "each test program uses a part of this")]

pub(crate) mod board;
pub(crate) mod gate;
pub(crate) mod rows;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use boxoffice::clock::{Clock, Timestamp};
use boxoffice::options::Wait;
use boxoffice::{Error, Options};
use proptest::test_runner::{Config as ProptestConfig, RngSeed};

/// So many generated cases from a fixed seed; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others.
pub(crate) fn cases(seed: u64, cases: u32) -> ProptestConfig {
    let chosen = ProptestConfig::default();
    let rng_seed = match chosen.rng_seed {
        RngSeed::Random => RngSeed::Fixed(seed),
        fixed => fixed,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { chosen.cases } else { cases };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..chosen }
}

/// How long a wait may take that takes no time if the engine is right.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(30);

/// Both modes, by name.
pub(crate) fn modes() -> [(&'static str, Options); 2] {
    // A disk that stalls for a while is no fault of the engine.
    let wait = Wait::AtMost(WATCHDOG);
    [
        ("pessimistic", Options { wait, ..Options::pessimistic() }),
        ("optimistic", Options { wait, ..Options::optimistic() }),
    ]
}

/// The same options, and never waiting for a lock or for room.
pub(crate) fn at_once(options: Options) -> Options {
    Options { wait: Wait::Never, ..options }
}

/// The same options, and the shortest wait.
pub(crate) fn briefly(options: Options) -> Options {
    Options { wait: Wait::AtMost(Duration::from_millis(5)), ..options }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `done`, or panics with `what` when the watchdog bites.
fn wait_until<'m, T>(
    mutex: &'m Mutex<T>,
    changed: &Condvar,
    what: &str,
    mut done: impl FnMut(&T) -> bool,
) -> MutexGuard<'m, T> {
    let guard = locked(mutex);
    let (guard, timeout) = changed
        .wait_timeout_while(guard, WATCHDOG, |state| !done(state))
        .unwrap_or_else(PoisonError::into_inner);
    assert!(!timeout.timed_out(), "watchdog: {what}");
    guard
}

/// Where a number of threads meet: nobody goes on before all have come. Can be used again and again.
pub(crate) struct Meeting {
    size: usize,
    /// Who is here, and how many meetings there were.
    state: Mutex<(usize, u64)>,
    changed: Condvar,
}

impl Meeting {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { size, state: Mutex::new((0, 0)), changed: Condvar::new() })
    }

    pub(crate) fn wait(&self) {
        let meeting = {
            let mut state = locked(&self.state);
            state.0 += 1;
            if state.0 == self.size {
                *state = (0, state.1 + 1);
                self.changed.notify_all();
                return;
            }
            state.1
        };
        drop(wait_until(&self.state, &self.changed, "not everybody came to the meeting", |state| {
            state.1 != meeting
        }));
    }
}

/// A door that somebody stands before until it is opened.
#[derive(Default)]
pub(crate) struct Door {
    /// Who has come, and whether it is open.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Door {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Says that somebody came, and waits until the door is open.
    pub(crate) fn pass(&self) {
        locked(&self.state).0 += 1;
        self.changed.notify_all();
        drop(wait_until(&self.state, &self.changed, "nobody opened the door", |state| state.1));
    }

    /// Waits until so many have come.
    pub(crate) fn await_arrivals(&self, count: usize) {
        drop(wait_until(&self.state, &self.changed, "nobody came to the door", |state| state.0 >= count));
    }

    pub(crate) fn arrivals(&self) -> usize {
        locked(&self.state).0
    }

    pub(crate) fn open(&self) {
        locked(&self.state).1 = true;
        self.changed.notify_all();
    }
}

/// A future that is polled by hand.
pub(crate) struct Polled<'f, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'f>>,
    bell: Arc<Bell>,
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *locked(&self.rung) += 1;
        self.changed.notify_all();
    }
}

impl<'f, T> Polled<'f, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'f) -> Self {
        Self { future: Box::pin(future), bell: Arc::default() }
    }

    /// Polls once.
    pub(crate) fn poll(&mut self) -> Option<T> {
        let waker = Waker::from(Arc::clone(&self.bell));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// How often the task was woken so far.
    pub(crate) fn woken(&self) -> u64 {
        *locked(&self.bell.rung)
    }

    /// Waits for the next wake-up after `seen`.
    pub(crate) fn await_wake(&self, seen: u64) {
        drop(wait_until(&self.bell.rung, &self.bell.changed, "the task was never woken", |rung| {
            *rung > seen
        }));
    }

    /// Polls whenever the task is woken, and never otherwise.
    pub(crate) fn finish(mut self) -> T {
        loop {
            let seen = self.woken();
            if let Some(output) = self.poll() {
                return output;
            }
            self.await_wake(seen);
        }
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T> + Send) -> T {
    Polled::new(future).finish()
}

thread_local! {
    static AT_NEXT_LOOK: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A clock that moves on by one microsecond with every look, and that runs what the looking thread left
/// with [`at_next_look`]. An attempt looks once, after its snapshot and before its decision.
#[derive(Default)]
pub(crate) struct HookClock(AtomicU64);

impl Clock for HookClock {
    fn now(&self) -> Timestamp {
        if let Some(hook) = AT_NEXT_LOOK.take() {
            hook();
        }
        Timestamp(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

/// Runs `hook` when this thread looks at the clock the next time, once.
pub(crate) fn at_next_look(hook: impl FnOnce() + 'static) {
    AT_NEXT_LOOK.set(Some(Box::new(hook)));
}

/// Tries again until `get` gives something. For the few things that the engine does on a thread of its
/// own and tells nobody.
pub(crate) fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = get() {
            return found;
        }
        assert!(began.elapsed() < WATCHDOG, "watchdog: {what}");
        std::thread::yield_now();
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The error of a call whose outcome has no `Debug`.
pub(crate) fn error_of<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error,
    }
}

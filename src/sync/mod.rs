//! The only door to mutexes, atomics, threads and waiting: the real ones, or a model checker's.

mod line;
#[cfg(all(test, shuttle))]
mod model;
mod timer;
mod wait;

#[cfg(all(test, shuttle))]
pub(crate) use imp::restart_time;
pub(crate) use imp::{
    AtomicBool, AtomicU64, AtomicUsize, JoinHandle, Mutex, MutexGuard, Thread, ThreadId, current, current_id,
    parallelism, spawn,
};
pub(crate) use line::{Line, Place};
// Not the model checker's: see `parallelism`.
pub(crate) use std::thread::{Builder as ThreadBuilder, scope, sleep};
pub(crate) use timer::Timer;
pub(crate) use wait::{Caller, Patience, Waiter, Wakes, run_blocking};

#[cfg(not(shuttle))]
mod imp {
    use std::time::Instant;

    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    pub(crate) use std::thread::{JoinHandle, Thread, ThreadId, current};

    pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name.into()).spawn(body)
    }

    /// Which thread this is. The standard library's way to ask takes a share of the thread each time.
    pub(crate) fn current_id() -> ThreadId {
        thread_local!(static ID: ThreadId = current().id());
        // A thread that is ending may have none any more.
        ID.try_with(|id| *id).unwrap_or_else(|_| current().id())
    }

    /// How many threads can run at once, as far as the system says.
    pub(crate) fn parallelism() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    pub(crate) fn is_past(deadline: Instant) -> bool {
        Instant::now() >= deadline
    }

    /// Blocks until unparked, or spuriously, or until the deadline. False once it has passed.
    pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
        match deadline {
            None => {
                std::thread::park();
                true
            }
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => {
                    std::thread::park_timeout(left);
                    true
                }
                _ => false,
            },
        }
    }
}

#[cfg(shuttle)]
mod imp {
    use std::cell::Cell;
    use std::time::Instant;

    use shuttle::rand::Rng;
    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    pub(crate) use shuttle::thread::{JoinHandle, Thread, ThreadId, current};

    /// The model checker's mutex with the interface of parking_lot's.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    pub(crate) fn current_id() -> ThreadId {
        current().id()
    }

    pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        shuttle::thread::Builder::new().name(name.into()).spawn(body)
    }

    thread_local! {
        /// The latest deadline that has passed. The checker runs an execution's threads on one thread
        /// of the system: they all see the same time.
        static PASSED: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// What is spread over threads for speed alone is not what the model checker is for.
    pub(crate) fn parallelism() -> usize {
        1
    }

    /// A deadline is a branch that the checker may take at any look. What is past stays past, and so
    /// does all before it.
    pub(crate) fn is_past(deadline: Instant) -> bool {
        if PASSED.get().is_some_and(|passed| deadline <= passed) {
            return true;
        }
        let past = shuttle::rand::thread_rng().gen_bool(0.3);
        if past {
            PASSED.set(Some(deadline));
        }
        past
    }

    /// No deadline has passed yet: a new execution begins.
    #[cfg(test)]
    pub(crate) fn restart_time() {
        PASSED.set(None);
    }

    /// A deadline that has not passed at this look does not end the park: whoever is never unparked
    /// is found out.
    pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
        if deadline.is_some_and(is_past) {
            shuttle::thread::yield_now();
            return false;
        }
        shuttle::thread::park();
        true
    }
}

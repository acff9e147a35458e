//! Goal: find the order of steps that loses a wake-up, a lock or a seat.
//! Method: a model checker (shuttle) runs tiny scenarios of threads and tasks under schedulers of its own, half of
//! the schedules random, half by probabilistic concurrency testing; a wait that nobody ends is a deadlock, which
//! it reports. A deadline is a branch that it may take at any look. The scenarios are the modules named `model`.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --profile model --lib model::
//! ```
//!
//! `BOXOFFICE_SCHEDULES` is the number of schedules of each scenario. A failure prints how to repeat it.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread::{Thread, current, park, yield_now};
use shuttle::{Config, MaxSteps, Runner};

const SCHEDULES: usize = 100_000;
/// How many times a scheduler by priorities changes its mind.
const DEPTH: usize = 3;
/// Far more steps than a scenario takes: somebody spins.
const MAX_STEPS: usize = 100_000;
const STACK: usize = 0x4_0000;

/// The limit of a wait that may end by its deadline: under the checker its length means nothing.
pub(crate) const LIMIT: Option<Duration> = Some(Duration::from_secs(5));

/// Runs a scenario in many schedules.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let schedules = number("BOXOFFICE_SCHEDULES").map_or(SCHEDULES, |number| number as usize);
    let seed = number("SHUTTLE_RANDOM_SEED").unwrap_or_else(|| RandomState::new().hash_one(schedules));
    let scenario = Arc::new(scenario);
    let random = schedules.div_ceil(2);
    run("random", RandomScheduler::new_from_seed(seed, random), seed, schedules, &scenario);
    let by_priority = PctScheduler::new_from_seed(seed, DEPTH, schedules - random);
    run("priorities", by_priority, seed, schedules, &scenario);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

fn run(
    scheduler: &'static str,
    schedule: impl Scheduler + 'static,
    seed: u64,
    schedules: usize,
    scenario: &Arc<impl Fn() + Send + Sync + 'static>,
) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    let progress = Progress { scheduler, seed, schedules, began: Instant::now(), ran: Arc::default() };
    let (scenario, ran) = (Arc::clone(scenario), Arc::clone(&progress.ran));
    Runner::new(schedule, config).run(move || {
        ran.fetch_add(1, Ordering::Relaxed);
        crate::sync::restart_time();
        scenario();
    });
}

/// Says how far a run came.
struct Progress {
    scheduler: &'static str,
    seed: u64,
    schedules: usize,
    began: Instant,
    ran: Arc<AtomicUsize>,
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Self { scheduler, seed, schedules, began, ran } = self;
        let ran = ran.load(Ordering::Relaxed);
        if std::thread::panicking() {
            eprintln!(
                "failed in schedule {ran} of the scheduler {scheduler}; to repeat the run: \
                 BOXOFFICE_SCHEDULES={schedules} SHUTTLE_RANDOM_SEED={seed}"
            );
        } else {
            eprintln!("{ran} schedules of the scheduler {scheduler} in {:?}", began.elapsed());
        }
    }
}

/// A number below `bound`, of the checker's choice.
pub(crate) fn pick(bound: usize) -> usize {
    thread_rng().gen_range(0..bound)
}

pub(crate) fn chance() -> bool {
    thread_rng().gen_bool(0.5)
}

/// Wakes one look of a task.
struct Bell {
    task: Thread,
    rung: AtomicBool,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self { task: current(), rung: AtomicBool::new(false) })
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.task.unpark();
    }
}

/// Runs a future as a task that looks only when it was woken, by the waker of its last look.
// The checker's own executor takes the wake-ups of a mutex for those of the task that waits for it.
pub(crate) fn run_task<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut bell = Bell::new();
    loop {
        let waker = Waker::from(Arc::clone(&bell));
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !bell.rung.swap(false, Ordering::SeqCst) {
            park();
        }
        if chance() {
            bell = Bell::new();
        }
    }
}

/// Looks at a future a few times, woken or not, then drops it if it is not ready.
pub(crate) fn run_or_drop<F: Future>(future: F, looks: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..looks {
        let waker = Waker::from(Bell::new());
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        yield_now();
    }
    None
}

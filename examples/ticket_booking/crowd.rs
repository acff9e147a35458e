//! The crowd: everybody comes at a moment of their own.
//!
//! A thread for each customer, with a small stack. A pool would be cheaper, and would not be the same: a call
//! returns when its answer is on disk, so a customer whose moment has come would wait for a thread instead
//! of for the engine, and with no window at all only as many as there are threads would meet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use boxoffice::Error;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::sellers::{Answer, Seller, Told};
use crate::support::Failure;

/// Enough for a call that happens to write the file for all others.
const STACK: usize = 512 << 10;

/// From the moment at which all threads are there until the window opens: enough for all of them to wake.
const HEAD_START: Duration = Duration::from_millis(50);

/// How often somebody looks at how it goes.
const TICK: Duration = Duration::from_millis(50);

pub(crate) struct Crowd {
    pub(crate) customers: u64,
    pub(crate) window: Duration,
    pub(crate) seed: u64,
}

/// What the customers heard.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sold: u64,
    pub(crate) gone: u64,
    pub(crate) sold_out: u64,
    pub(crate) conflicts: u64,
    /// What each customer was told.
    pub(crate) told: BTreeMap<u64, Told>,
    /// From the opening of the window to the last answer.
    pub(crate) took: Duration,
}

impl Crowd {
    /// Lets everybody come. Meanwhile `watch` is told how many were served.
    pub(crate) fn come(&self, seller: &impl Seller, watch: impl Fn(u64)) -> Result<Tally, Failure> {
        let served = AtomicU64::new(0);
        let mut dice = StdRng::seed_from_u64(self.seed);
        // Locked until everybody is there; then it says when the window opens. If not everybody could be started, it
        // says nothing, and the others go home.
        let gate = RwLock::new(None);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let mut closed = gate.write().unwrap_or_else(PoisonError::into_inner);
            for customer in 0..self.customers {
                let comes = self.window.mul_f64(dice.random());
                let (gate, served) = (&gate, &served);
                let visit = move || {
                    let opens: Instant = (*gate.read().unwrap_or_else(PoisonError::into_inner))?;
                    thread::sleep((opens + comes).saturating_duration_since(Instant::now()));
                    let answer = seller.sell(customer);
                    served.fetch_add(1, Relaxed);
                    Some((answer, Instant::now()))
                };
                let thread = Builder::new().stack_size(STACK).name(format!("customer-{customer}"));
                threads.push(thread.spawn_scoped(scope, visit)?);
            }
            let opens = Instant::now() + HEAD_START;
            *closed = Some(opens);
            drop(closed);
            while threads.iter().any(|thread| !thread.is_finished()) {
                thread::sleep(TICK);
                watch(served.load(Relaxed));
            }
            let mut tally = Tally::default();
            for (customer, thread) in (0..).zip(threads) {
                let Some((answer, at)) = join(thread) else { continue };
                let answer = answer?;
                tally.told.insert(customer, answer.told);
                tally.conflicts += u64::from(answer.conflicts);
                tally.took = tally.took.max(at.saturating_duration_since(opens));
                match answer.told {
                    Told::Sold(_) => tally.sold += 1,
                    Told::Gone => tally.gone += 1,
                    Told::SoldOut => tally.sold_out += 1,
                }
            }
            Ok(tally)
        })
    }
}

/// The answer and when it came; `None` if the window never opened.
type Answered = Option<(Result<Answer, Error>, Instant)>;

fn join(thread: ScopedJoinHandle<'_, Answered>) -> Answered {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

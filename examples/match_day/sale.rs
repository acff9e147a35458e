//! One sale: a crowd served by many threads at once, and a tally of what it was told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crate::desk::{Answer, Desk};
use crate::fans::Fan;
use crate::stadium::Stadium;
use crate::support::Failure;

/// How often somebody looks at how it goes.
const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Sale<'s> {
    pub(crate) stadium: &'s Stadium,
    /// The numbers of the fans who come.
    pub(crate) fans: Range<u64>,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
}

/// A glance at a running sale.
pub(crate) struct Moment {
    pub(crate) served: u64,
    pub(crate) fans: u64,
    pub(crate) decisions: u64,
    pub(crate) since: Duration,
}

/// What the callers saw, counted by themselves.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) fans: u64,
    pub(crate) threads: usize,
    pub(crate) took: Duration,
    /// Seats that were sold, and seats that were given back.
    pub(crate) sold: u64,
    pub(crate) given_back: u64,
    /// Refused carts by cause.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Fans who saw no seats they liked, and fans who were too slow too often.
    pub(crate) nothing_left: u64,
    pub(crate) out_of_patience: u64,
    /// Calls that ended without a decision: a lock or the queue was taken for too long.
    pub(crate) try_later: u64,
    pub(crate) conflicts: u64,
    pub(crate) lock_waits: u64,
    /// Of each decision, the microseconds from the question to the answer.
    pub(crate) micros: Vec<u32>,
}

/// What the threads share.
struct Queue {
    next: AtomicU64,
    served: AtomicU64,
    decisions: AtomicU64,
    closed: AtomicBool,
}

impl Sale<'_> {
    /// Serves all fans. Meanwhile `watch` is called now and then, from this thread.
    pub(crate) fn run<D: Desk>(
        &self,
        desk: &D,
        mut watch: impl FnMut(Moment) -> Result<(), boxoffice::Error>,
    ) -> Result<Tally, Failure> {
        let queue = Queue {
            next: AtomicU64::new(self.fans.start),
            served: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        };
        let fans = self.fans.end - self.fans.start;
        let began = Instant::now();
        let mut total = Tally { fans, threads: self.threads, ..Tally::default() };
        thread::scope(|scope| {
            let mut clerks = Vec::new();
            for number in 0..self.threads {
                let clerk = Builder::new().name(format!("clerk-{number}"));
                match clerk.spawn_scoped(scope, || self.serve(desk, &queue)) {
                    Ok(clerk) => clerks.push(clerk),
                    Err(error) => {
                        queue.closed.store(true, Relaxed);
                        return Err(format!("no more than {number} threads could be started: {error}").into());
                    }
                }
            }
            let mut is_over = false;
            while !is_over {
                thread::sleep(TICK);
                is_over = clerks.iter().all(|clerk| clerk.is_finished());
                watch(Moment {
                    served: queue.served.load(Relaxed),
                    fans,
                    decisions: queue.decisions.load(Relaxed),
                    since: began.elapsed(),
                })
                .inspect_err(|_| queue.closed.store(true, Relaxed))?;
            }
            for clerk in clerks {
                match clerk.join() {
                    Ok(tally) => total.add(tally?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            total.took = began.elapsed();
            total.micros.sort_unstable();
            Ok(total)
        })
    }

    /// One thread: fan after fan, as long as there are any.
    fn serve<D: Desk>(&self, desk: &D, queue: &Queue) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        while !queue.closed.load(Relaxed) {
            let number = queue.next.fetch_add(1, Relaxed);
            if number >= self.fans.end {
                break;
            }
            let before = tally.decisions();
            let fan = Fan::new(self.seed, number, self.stadium);
            if let Err(error) = fan.queue(desk, self.stadium, &mut tally) {
                queue.closed.store(true, Relaxed);
                return Err(error.into());
            }
            queue.served.fetch_add(1, Relaxed);
            queue.decisions.fetch_add(tally.decisions() - before, Relaxed);
        }
        Ok(tally)
    }
}

impl Tally {
    pub(crate) fn note(&mut self, answer: &Answer, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.conflicts += u64::from(answer.effort.conflicts);
        self.lock_waits += u64::from(answer.effort.lock_waits);
        if let Some(cause) = answer.refused {
            *self.refused.entry(cause).or_default() += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.sold += other.sold;
        self.given_back += other.given_back;
        self.nothing_left += other.nothing_left;
        self.out_of_patience += other.out_of_patience;
        self.try_later += other.try_later;
        self.conflicts += other.conflicts;
        self.lock_waits += other.lock_waits;
        self.micros.extend(other.micros);
        for (cause, count) in other.refused {
            *self.refused.entry(cause).or_default() += count;
        }
    }

    pub(crate) fn decisions(&self) -> u64 {
        self.micros.len() as u64
    }

    pub(crate) fn per_second(&self) -> u64 {
        (self.decisions() as f64 / self.took.as_secs_f64().max(1e-9)) as u64
    }

    /// The time within which this share of the decisions was answered.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let last = self.micros.len().checked_sub(1)?;
        let micros = self.micros.get((last as f64 * share) as usize)?;
        Some(Duration::from_micros((*micros).into()))
    }

    /// Whether so many came, and at once, that some must have met.
    pub(crate) fn is_a_crowd(&self) -> bool {
        self.threads >= 16 && self.fans >= 5_000
    }
}

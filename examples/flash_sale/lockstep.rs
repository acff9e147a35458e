//! Lockstep: all eight look before any of them decides, in every attempt. One wins each time and the others
//! have looked in vain: eight buyers need seven retries, and nothing but luck gives them fewer.
//!
//! An attempt reads the injected clock right after its snapshot and before its decision. There they meet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use boxoffice::clock::{Clock, SystemClock, Timestamp};
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::options::Exhausted;
use boxoffice::{Error, Handle, Options};

use crate::eight::{BUYERS, Told, answered, create, each_on_a_thread, report};
use crate::ledger;
use crate::support::Failure;
use crate::support::patience::patient;
use crate::support::promises::Promises;
use crate::support::screen::Screen;

/// Fewer than the seven that lockstep needs.
const RETRIES: u32 = 5;

thread_local! {
    /// Where this thread meets others, at each look at the clock to come.
    static MEETINGS: RefCell<VecDeque<Arc<Meeting>>> = const { RefCell::new(VecDeque::new()) };
}

/// The system's clock; who has a meeting looks at it together with the others.
pub(crate) struct MeetingClock;

impl Clock for MeetingClock {
    fn now(&self) -> Timestamp {
        if let Some(meeting) = MEETINGS.with_borrow_mut(VecDeque::pop_front) {
            meeting.wait();
        }
        SystemClock.now()
    }
}

/// Nobody goes on before so many have come; or somebody waited for long, and the promises will show it.
struct Meeting {
    missing: Mutex<usize>,
    all_here: Condvar,
}

impl Meeting {
    fn of(size: usize) -> Arc<Self> {
        Arc::new(Self { missing: Mutex::new(size), all_here: Condvar::new() })
    }

    fn wait(&self) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(1);
        if *missing == 0 {
            self.all_here.notify_all();
            return;
        }
        drop(self.all_here.wait_timeout_while(missing, Duration::from_secs(10), |missing| *missing > 0));
    }
}

/// Lets the eight buy one each, in step.
fn in_step(sales: &Handle<FlashSale>, id: &str) -> Result<Vec<Told>, Failure> {
    // All eight at the first attempt, and one fewer at each attempt after it.
    let attempts = 1 + RETRIES as usize;
    let meetings: VecDeque<_> = (0..attempts).map(|attempt| Meeting::of(BUYERS - attempt)).collect();
    let buy = |buyer: String| {
        MEETINGS.set(meetings.clone());
        let receipt = sales.submit(id, &FlashSaleCommand::purchase(&buyer, 1));
        // It is decided. Whoever waits for the disk may look at the clock once more, alone.
        MEETINGS.take();
        (buyer, receipt.and_then(|receipt| receipt.wait()))
    };
    each_on_a_thread(buy)
}

pub(crate) fn lockstep(
    sales: &Handle<FlashSale>,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<(), Failure> {
    screen.say(&format!("\n{}", screen.bold("LOCKSTEP: EVERYBODY LOOKS BEFORE ANYBODY DECIDES")));
    let turn = patient(Options { retries: RETRIES, exhausted: Exhausted::Turn, ..Options::optimistic() });
    let by_turns = sales.with(turn);
    for (items, turns, story) in [
        (
            5,
            0,
            "Five retries are enough for 5 items: at the sixth attempt there is nothing left to fight for.",
        ),
        (
            8,
            2,
            "They are not enough for 8. Whoever has no retry left takes a turn: queues, and gets through.",
        ),
    ] {
        screen.say(&format!("{story}\n"));
        let id = format!("lockstep, {items} items");
        create(sales, &id, items)?;
        let answers = answered(in_step(&by_turns, &id)?)?;
        let took_turns = answers.iter().filter(|(_, outcome)| outcome.effort().turn).count();
        promises.equal(&format!("{id}: turns"), took_turns, turns);
        // Every attempt has one winner: that is what lockstep means.
        let mut lost: Vec<u32> = answers.iter().map(|(_, outcome)| outcome.effort().conflicts).collect();
        lost.sort_unstable();
        promises.check(lost.starts_with(&[0, 1, 2, 3, 4, 5]), || format!("{id}: conflicts {lost:?}"));
        report(sales, &id, answers, screen, promises)?;
        screen.say("");
    }
    without_turns(&sales.with(Options { exhausted: Exhausted::Conflict, ..turn }), screen, promises)
}

/// For a caller who would rather know than wait.
fn without_turns(sales: &Handle<FlashSale>, screen: &Screen, promises: &mut Promises) -> Result<(), Failure> {
    screen.say("Whoever would rather be told than queue is told how often it was tried.\n");
    let id = "lockstep, no turns";
    create(sales, id, BUYERS as u64)?;
    let mut failed = 0;
    for (buyer, outcome) in in_step(sales, id)? {
        match outcome {
            Ok(outcome) => promises.check(outcome.is_accepted(), || format!("{buyer} was refused")),
            Err(error) => {
                let Error::Conflict { attempts, .. } = error else { return Err(error.into()) };
                failed += 1;
                screen.say(&format!("  {buyer}  {error}"));
                promises.equal("attempts before Conflict", attempts, 1 + RETRIES);
            }
        }
    }
    promises.equal("buyers who were told Conflict", failed, 2);
    let ledger = ledger::read(sales, id, promises)?;
    promises.equal("purchases without turns", (ledger.purchases, ledger.items), (6, 6));
    screen.say(&format!("  {} of {BUYERS} bought; what the others wanted is still there.", ledger.purchases));
    Ok(())
}

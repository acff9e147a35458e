//! Goal: whatever the order of steps, the engine decides as if one command came after the other.
//! Method: [`explore`](crate::model::explore) runs commands on a small hall; then the log is read and every entry and
//! every answer is compared with the rules, applied in the order of positions.

mod attempts;
mod crowd;
mod locks;
mod once;
mod panics;
mod units;

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use shuttle::thread::yield_now;

use super::{Builder, Engine, Handle, Options, Outcome};
use crate::aggregate::{Aggregate, Context, Events};
use crate::clock::{ManualClock, Timestamp};
use crate::error::Error;
use crate::limits::Limits;
use crate::log::{EntryView, EventKind, MemoryStore, Opening, decode};
use crate::model::{pick, run_or_drop, run_task};
use crate::scope::{Part, Scope};

const SEATS: usize = 3;
const CUSTOMERS: usize = 2;
/// How many seats a customer may have.
const ALLOWED: u8 = 1;
const ID: &str = "hall";

/// Three seats, two customers, one seat each.
struct Hall;

#[derive(Clone, Debug, Default, PartialEq)]
struct Seats {
    open: bool,
    holders: [Option<u8>; SEATS],
    taken: [u8; CUSTOMERS],
}

#[derive(Clone, Copy, Debug, Serialize)]
enum Ask {
    Open,
    /// Would create, but is always refused.
    OpenBadly,
    Take {
        seat: u8,
        who: u8,
    },
    /// The first seat that is free.
    TakeFree {
        who: u8,
    },
    /// Whoever has the seat.
    Free {
        seat: u8,
    },
    Clear,
    /// Changes nothing.
    Count,
    /// Panics in `decide`.
    Panic {
        seat: u8,
    },
}

#[derive(Serialize)]
struct Order {
    #[serde(skip)]
    number: usize,
    ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Fact {
    Opened,
    Took(u8, u8),
    Freed(u8, u8),
    Cleared,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum No {
    Open,
    Badly,
    Taken,
    Limit,
    SoldOut,
    Nobody,
}

/// How often each order was decided.
#[derive(Default)]
struct Probe {
    next: AtomicUsize,
    decides: [AtomicUsize; 32],
}

thread_local! {
    /// Whether the next `apply` that opens the hall or takes a seat panics.
    static FUSE: Cell<bool> = const { Cell::new(false) };
}

impl Seats {
    fn first_free(&self) -> Option<u8> {
        self.holders.iter().position(Option::is_none).map(|seat| seat as u8)
    }

    /// The rules, for the engine's decisions and for the order in which they were stored.
    fn decide(&self, ask: Ask) -> Result<Vec<Fact>, No> {
        match ask {
            Ask::Open if self.open => Err(No::Open),
            Ask::Open => Ok(vec![Fact::Opened]),
            Ask::OpenBadly => Err(No::Badly),
            Ask::Take { who, .. } | Ask::TakeFree { who } if self.taken[who as usize] >= ALLOWED => {
                Err(No::Limit)
            }
            Ask::Take { seat, who } => match self.holders[seat as usize] {
                Some(_) => Err(No::Taken),
                None => Ok(vec![Fact::Took(seat, who)]),
            },
            Ask::TakeFree { who } => match self.first_free() {
                Some(seat) => Ok(vec![Fact::Took(seat, who)]),
                None => Err(No::SoldOut),
            },
            Ask::Free { seat } => match self.holders[seat as usize] {
                Some(who) => Ok(vec![Fact::Freed(seat, who)]),
                None => Err(No::Nobody),
            },
            Ask::Clear => Ok(vec![Fact::Cleared]),
            Ask::Count => Ok(Vec::new()),
            Ask::Panic { .. } => resume_unwind(Box::new("decide")),
        }
    }

    fn apply(&mut self, fact: &Fact) {
        match *fact {
            Fact::Opened => self.open = true,
            Fact::Took(seat, who) => {
                self.holders[seat as usize] = Some(who);
                self.taken[who as usize] += 1;
            }
            Fact::Freed(seat, who) => {
                self.holders[seat as usize] = None;
                self.taken[who as usize] -= 1;
            }
            Fact::Cleared => *self = Self { open: true, ..Self::default() },
        }
    }

    /// Applies what the log says, if it may be so.
    fn check_and_apply(&mut self, fact: &Fact) {
        match *fact {
            Fact::Opened => assert!(!self.open, "opened twice"),
            Fact::Took(seat, who) => {
                assert_eq!(self.holders[seat as usize], None, "a seat with two holders");
                assert!(self.taken[who as usize] < ALLOWED, "over the limit");
            }
            Fact::Freed(seat, who) => assert_eq!(self.holders[seat as usize], Some(who)),
            Fact::Cleared => {}
        }
        self.apply(fact);
    }
}

fn seat_part(seat: u8) -> Part {
    Part::number(0, u64::from(seat))
}

fn customer_part(who: u8) -> Part {
    Part::number(1, u64::from(who))
}

impl Aggregate for Hall {
    const TYPE: &'static str = "hall";
    type State = Seats;
    type Command = Order;
    type Event = Fact;
    type Rejection = No;
    type Services = Arc<Probe>;

    fn creates(order: &Order) -> bool {
        matches!(order.ask, Ask::Open | Ask::OpenBadly)
    }

    fn scope(seats: &Seats, order: &Order) -> Scope {
        match order.ask {
            Ask::Open | Ask::OpenBadly | Ask::Clear | Ask::Count => Scope::Whole,
            Ask::Take { seat, who } => Scope::parts([seat_part(seat), customer_part(who)]),
            Ask::TakeFree { who } => match seats.first_free() {
                Some(seat) => Scope::parts([customer_part(who), seat_part(seat)]),
                None => Scope::Whole,
            },
            Ask::Free { seat } => match seats.holders[seat as usize] {
                Some(who) => Scope::parts([seat_part(seat), customer_part(who)]),
                None => Scope::parts([seat_part(seat)]),
            },
            Ask::Panic { seat } => Scope::parts([seat_part(seat)]),
        }
    }

    fn decide(seats: &Seats, order: &Order, ctx: &Context<'_, Arc<Probe>>) -> Result<Events<Fact>, No> {
        ctx.services().decides[order.number].fetch_add(1, Ordering::Relaxed);
        // A slow decision: others run.
        yield_now();
        seats.decide(order.ask).map(Events::from)
    }

    fn touches(fact: &Fact) -> Scope {
        match *fact {
            Fact::Opened | Fact::Cleared => Scope::Whole,
            Fact::Took(seat, who) | Fact::Freed(seat, who) => {
                Scope::parts([seat_part(seat), customer_part(who)])
            }
        }
    }

    fn apply(seats: &mut Seats, fact: &Fact) {
        if matches!(fact, Fact::Took(..) | Fact::Opened) && FUSE.take() {
            // Half a change.
            seats.holders = [Some(u8::MAX); SEATS];
            resume_unwind(Box::new("apply"));
        }
        seats.apply(fact);
    }
}

/// An answer that somebody got.
struct Heard {
    ask: Ask,
    decision: Result<Vec<Fact>, No>,
    position: Option<u64>,
    version: u64,
    /// The version of what was decided before it in the same call: it must not be older.
    after: u64,
}

/// An engine on storage that everybody can look at, and all that it answered.
#[derive(Clone)]
struct Trial {
    store: MemoryStore,
    probe: Arc<Probe>,
    heard: Arc<parking_lot::Mutex<Vec<Heard>>>,
}

fn builder() -> Builder {
    // Room for few entries: now and then somebody waits for it.
    let limits = Limits { queue_bytes: 300, ..Limits::default() };
    Engine::builder().aggregate::<Hall>().clock(ManualClock::new(Timestamp(1))).limits(limits)
}

/// A way to call the engine.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Execute,
    Submit,
    ExecuteTask,
    SubmitTask,
    /// The caller leaves at some point.
    DroppedTask,
    DroppedReceipt,
}

impl Way {
    fn any() -> Self {
        [
            Self::Execute,
            Self::Execute,
            Self::ExecuteTask,
            Self::Submit,
            Self::SubmitTask,
            Self::DroppedTask,
            Self::DroppedReceipt,
        ][pick(7)]
    }
}

impl Trial {
    fn new(store: MemoryStore) -> (Self, Engine, Handle<Hall>) {
        FUSE.set(false);
        let engine = builder().start(Box::new(store.clone())).unwrap();
        let probe = Arc::new(Probe::default());
        let handle = engine.handle::<Hall>(Arc::clone(&probe)).unwrap();
        (Self { store, probe, heard: Arc::default() }, engine, handle)
    }

    /// With the hall opened.
    fn opened(store: MemoryStore) -> (Self, Engine, Handle<Hall>) {
        let (trial, engine, handle) = Self::new(store);
        let order = trial.order(Ask::Open);
        let receipt = handle.submit(ID, &order).unwrap();
        assert!(receipt.provisional().unwrap().is_accepted());
        (trial, engine, handle)
    }

    fn order(&self, ask: Ask) -> Order {
        Order { number: self.probe.next.fetch_add(1, Ordering::Relaxed), ask }
    }

    /// Gives an order; the answer is noted, an error is returned. Nothing if the caller left.
    fn call(&self, handle: &Handle<Hall>, way: Way, ask: Ask) -> Option<Result<(), Error>> {
        let order = self.order(ask);
        let result = self.give(handle, way, &order);
        let decides = self.probe.decides[order.number].load(Ordering::Relaxed);
        match handle.options().concurrency {
            super::Concurrency::Pessimistic => assert!(decides <= 1, "decided {decides} times"),
            super::Concurrency::Optimistic => assert!(decides as u32 <= handle.options().retries + 2),
        }
        Some(result?.map(|_| ()))
    }

    fn give(&self, handle: &Handle<Hall>, way: Way, order: &Order) -> Option<Result<(), Error>> {
        let receipt = match way {
            Way::Execute => {
                return Some(handle.execute(ID, order).map(|it| self.acknowledged(handle, order, it)));
            }
            Way::ExecuteTask => {
                let result = run_task(handle.execute_async(ID, order));
                return Some(result.map(|it| self.acknowledged(handle, order, it)));
            }
            Way::DroppedTask => {
                let result = run_or_drop(handle.execute_async(ID, order), pick(4))?;
                return Some(result.map(|it| self.acknowledged(handle, order, it)));
            }
            Way::Submit | Way::DroppedReceipt => handle.submit(ID, order),
            Way::SubmitTask => run_task(handle.submit_async(ID, order)),
        };
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(error) => return Some(Err(error)),
        };
        self.note(handle, order, receipt.provisional().unwrap(), 0);
        match way {
            Way::DroppedReceipt => None,
            Way::Submit => Some(receipt.wait().map(|it| self.check_stored(&it))),
            _ => Some(run_task(receipt).map(|it| self.check_stored(&it))),
        }
    }

    fn acknowledged(&self, handle: &Handle<Hall>, order: &Order, outcome: Outcome<Hall>) {
        self.check_stored(&outcome);
        self.note(handle, order, &outcome, 0);
    }

    /// What is acknowledged is stored, and so is what it was decided on.
    fn check_stored(&self, outcome: &Outcome<Hall>) {
        let end = self.store.end();
        match outcome.position() {
            Some(position) => assert!(end >= position, "acknowledged before it is stored"),
            None => assert!(end > 0 || outcome.version() == 0),
        }
        assert!(self.versions() >= outcome.version(), "acknowledged before what it depends on");
    }

    fn note(&self, handle: &Handle<Hall>, order: &Order, outcome: &Outcome<Hall>, after: u64) {
        let effort = outcome.effort();
        if handle.options().concurrency == super::Concurrency::Pessimistic {
            let decides = self.probe.decides[order.number].load(Ordering::Relaxed);
            assert_eq!((decides, effort.conflicts, effort.turn), (1, 0, true));
        }
        let decision = match outcome.rejection() {
            None => Ok(outcome.events().to_vec()),
            Some(rejection) => Err(rejection.clone()),
        };
        let (position, version) = (outcome.position(), outcome.version());
        self.heard.lock().push(Heard { ask: order.ask, decision, position, version, after });
    }

    /// How many events and rejections are stored.
    fn versions(&self) -> u64 {
        let mut versions = 0;
        self.read(|_, facts| versions += facts.len() as u64);
        versions
    }

    /// Shows each stored entry.
    fn read(&self, mut visit: impl FnMut(u64, &[Result<Fact, No>])) {
        let mut opening = Opening::new(Box::new(self.store.clone()));
        let mut show = |position: u64, entry: &EntryView<'_>| {
            let facts = entry.events().map(|event| {
                let event = event.unwrap();
                match event.kind {
                    EventKind::Event => Ok(decode(event.payload).unwrap()),
                    EventKind::Rejection => Err(decode(event.payload).unwrap()),
                }
            });
            visit(position, &facts.collect::<Vec<_>>());
            Ok(())
        };
        while opening.next_row(&mut show).unwrap().is_some() {}
    }

    /// The log in the order of positions keeps every rule and gives every answer that was heard. Returns
    /// the state after it, and its version.
    fn check_log(&self) -> (Seats, u64) {
        let mut states = vec![Seats::default()];
        let heard = self.heard.lock();
        self.read(|position, facts| {
            let before = states.last().unwrap().clone();
            if let Some(heard) = heard.iter().find(|heard| heard.position == Some(position)) {
                heard.check(&before);
                let told: Vec<_> = match &heard.decision {
                    Ok(events) => events.iter().cloned().map(Ok).collect(),
                    Err(rejection) => vec![Err(rejection.clone())],
                };
                assert_eq!(told, facts);
                assert_eq!(heard.version, (states.len() - 1 + facts.len()) as u64);
            }
            for fact in facts {
                let mut state = states.last().unwrap().clone();
                if let Ok(fact) = fact {
                    state.check_and_apply(fact);
                }
                states.push(state);
            }
        });
        for heard in heard.iter().filter(|heard| heard.position.is_none()) {
            if let Some(state) = states.get(heard.version as usize) {
                heard.check(state);
            }
            let mut later = states.iter().skip(heard.version.max(heard.after) as usize).peekable();
            let fits = |state: &Seats| state.decide(heard.ask) == heard.decision;
            assert!(
                later.peek().is_none() || later.any(fits),
                "{:?} is older than what came before it",
                heard.ask
            );
        }
        let version = states.len() as u64 - 1;
        (states.pop().unwrap(), version)
    }

    /// Nothing is left behind; memory, the log and a fresh engine on it agree.
    fn check(&self, engine: Engine, handle: &Handle<Hall>) {
        let live = handle.read(ID).ok().map(|view| (view.state.as_ref().clone(), view.version));
        if let Some(stream) = handle.registry.find(ID) {
            assert!(stream.is_idle(), "something was left behind");
        }
        engine.close().unwrap();
        let (state, version) = self.check_log();
        assert_eq!(live.unwrap_or_default(), (state.clone(), version));
        let exists = usize::from(version > 0);
        assert_eq!(handle.registry.len(), exists, "a stream without a version");
        let again = builder().start(Box::new(self.store.reopened())).unwrap();
        let reread = again.handle::<Hall>(Arc::default()).unwrap();
        assert_eq!(again.position(), self.store.end());
        if let Ok(view) = reread.read(ID) {
            assert_eq!((view.state.as_ref(), view.version), (&state, version));
        }
        assert_eq!(reread.registry.len(), exists);
        again.close().unwrap();
    }
}

impl Heard {
    /// Whether a state gives this answer.
    fn check(&self, before: &Seats) {
        let Self { ask, decision, .. } = self;
        match (ask, decision) {
            // Free when it was chosen and free when it was taken; another may have become free meanwhile.
            (Ask::TakeFree { who }, Ok(facts)) => {
                let [Fact::Took(seat, taker)] = facts[..] else { panic!("{facts:?}") };
                assert_eq!((before.holders[seat as usize], taker), (None, *who));
                assert!(before.taken[taker as usize] < ALLOWED);
            }
            _ => assert_eq!(before.decide(*ask), *decision, "{ask:?} on {before:?}"),
        }
    }
}

/// The ways of deciding that may meet on one stream.
fn any_options() -> Options {
    use super::{Concurrency, Exhausted};
    let optimistic = Options { retries: pick(2) as u32, ..Options::optimistic() };
    let options = match pick(4) {
        0 | 1 => Options::pessimistic(),
        2 => optimistic,
        _ => Options { exhausted: Exhausted::Conflict, ..optimistic },
    };
    debug_assert!(options.concurrency == Concurrency::Pessimistic || options.retries < 2);
    Options { record_rejections: pick(3) > 0, ..options }
}

/// Mostly takes, so that they meet.
fn any_ask() -> Ask {
    let (seat, who) = (pick(SEATS) as u8, pick(CUSTOMERS) as u8);
    match pick(9) {
        0..=3 => Ask::Take { seat, who },
        4 | 5 => Ask::TakeFree { who },
        6 => Ask::Free { seat },
        7 => Ask::Clear,
        _ => Ask::Count,
    }
}

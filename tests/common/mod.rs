//! What the storage tests share: a hall with numbered seats, commands to it, and the ledger that knows
//! what was asked, what was answered, and what must therefore be in the file.
//!
//! Every command carries a ticket, a number of its own, which its events and its rejection repeat. So
//! whatever the log holds can be traced to the command that caused it.
#![allow(dead_code, unused_imports)]

mod ledger;

use std::sync::OnceLock;
use std::time::Duration;

use boxoffice::cow::CowArray;
use boxoffice::options::Builder;
use boxoffice::options::Wait;
use boxoffice::testing::{FaultyStorage, Prng};
use boxoffice::{Aggregate, Context, Engine, Events, Handle, Options, Part, Scope};
use serde::{Deserialize, Serialize};

pub(crate) use ledger::{Ledger, entry_of, read_log};

pub(crate) struct Hall;

pub(crate) const SEATS: u32 = 24;
pub(crate) const CUSTOMERS: u64 = 6;
/// How many seats a customer may hold.
pub(crate) const LIMIT: u32 = 5;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) ticket: u64,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    Open,
    Buy { seats: Vec<u32>, customer: u32 },
    Free { seat: u32, customer: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) ticket: u64,
    pub(crate) fact: Fact,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Fact {
    Opened { seats: u32 },
    Bought { seat: u32, customer: u32 },
    Freed { seat: u32, customer: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) ticket: u64,
    pub(crate) why: Why,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Why {
    AlreadyOpen,
    Taken(u32),
    NotYours(u32),
    OverLimit(u32),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) holders: CowArray<Option<u32>>,
    pub(crate) held: CowArray<u32>,
}

impl Aggregate for Hall {
    const TYPE: &'static str = "hall";
    type State = State;
    type Command = Command;
    type Event = Event;
    type Rejection = Refusal;
    type Services = ();

    fn creates(command: &Command) -> bool {
        command.ask == Ask::Open
    }

    fn scope(_state: &State, command: &Command) -> Scope {
        match &command.ask {
            Ask::Open => Scope::Whole,
            Ask::Buy { seats, customer: who } => {
                Scope::parts(seats.iter().map(|&number| seat(number)).chain([customer(*who)]))
            }
            Ask::Free { seat: number, customer: who } => Scope::parts([seat(*number), customer(*who)]),
        }
    }

    fn decide(state: &State, command: &Command, _: &Context<'_, ()>) -> Result<Events<Event>, Refusal> {
        let ticket = command.ticket;
        let event = |fact| Event { ticket, fact };
        let refuse = |why| Err(Refusal { ticket, why });
        let holder = |seat: u32| state.holders.get(seat as usize).copied().flatten();
        match &command.ask {
            Ask::Open if !state.holders.is_empty() => refuse(Why::AlreadyOpen),
            Ask::Open => Ok(event(Fact::Opened { seats: SEATS }).into()),
            Ask::Buy { seats, customer } => {
                if let Some(&seat) = seats.iter().find(|&&seat| holder(seat).is_some()) {
                    return refuse(Why::Taken(seat));
                }
                let held = state.held.get(*customer as usize).copied().unwrap_or_default();
                if held + seats.len() as u32 > LIMIT {
                    return refuse(Why::OverLimit(*customer));
                }
                Ok(seats.iter().map(|&seat| event(Fact::Bought { seat, customer: *customer })).collect())
            }
            Ask::Free { seat, customer } if holder(*seat) != Some(*customer) => refuse(Why::NotYours(*seat)),
            &Ask::Free { seat, customer } => Ok(event(Fact::Freed { seat, customer }).into()),
        }
    }

    fn touches(event: &Event) -> Scope {
        match event.fact {
            Fact::Opened { .. } => Scope::Whole,
            Fact::Bought { seat: number, customer: who } | Fact::Freed { seat: number, customer: who } => {
                Scope::parts([seat(number), customer(who)])
            }
        }
    }

    fn apply(state: &mut State, event: &Event) {
        let (seat, customer, holder) = match event.fact {
            Fact::Opened { seats } => {
                state.holders = CowArray::filled(seats as usize, None);
                state.held = CowArray::filled(CUSTOMERS as usize, 0);
                return;
            }
            Fact::Bought { seat, customer } => (seat, customer, Some(customer)),
            Fact::Freed { seat, customer } => (seat, customer, None),
        };
        if let Some(place) = state.holders.get_mut(seat as usize) {
            *place = holder;
        }
        if let Some(held) = state.held.get_mut(customer as usize) {
            *held = if holder.is_some() { *held + 1 } else { held.saturating_sub(1) };
        }
    }
}

fn seat(number: u32) -> Part {
    Part::number(0, number.into())
}

fn customer(number: u32) -> Part {
    Part::number(1, number.into())
}

/// A builder for small storage; nothing waits so little that a slow machine changes the outcome.
pub(crate) fn builder() -> Builder {
    let options = Options { wait: Wait::AtMost(Duration::from_secs(600)), ..Options::optimistic() };
    Engine::builder().aggregate_with::<Hall>(options).cache_size(1 << 20)
}

pub(crate) fn halls(engine: &Engine) -> Handle<Hall> {
    engine.handle::<Hall>(()).unwrap()
}

pub(crate) fn open(storage: &FaultyStorage, seed: &str) -> Engine {
    let opened = builder().backend(storage.clone());
    opened.unwrap_or_else(|error| panic!("{seed}: does not open: {error:?}"))
}

/// A file that was sold from and closed, with its ledger.
pub(crate) fn used_file(seed: u64) -> (FaultyStorage, Ledger) {
    static FILE: OnceLock<(Vec<u8>, Ledger)> = OnceLock::new();
    let (bytes, ledger) = FILE.get_or_init(|| {
        let (storage, ledger) = (FaultyStorage::new(0), Ledger::default());
        let engine = open(&storage, "the file that all start from");
        assert!(ledger.work(&halls(&engine), &mut Prng::new(0), 30, 4).is_empty());
        engine.close().unwrap();
        (storage.bytes(), ledger)
    });
    (FaultyStorage::with(bytes.clone(), seed), ledger.copy())
}

/// Says nothing about panics that are meant to happen and are caught: those of a storage that a test
/// makes panic, and redb's on a damaged file.
pub(crate) fn quiet() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let meant = panic.payload_as_str().is_some_and(|said| said.contains(PLANTED));
            let of_redb = panic.location().is_some_and(|place| place.file().contains("redb-"));
            if !meant && !of_redb {
                loud(panic);
            }
        }));
    });
}

/// What a test's own panic says.
pub(crate) const PLANTED: &str = "planted panic";

/// A random command to an open hall: mostly to buy, one to three seats at once.
pub(crate) fn any_ask(dice: &mut Prng) -> Ask {
    let customer = dice.below(CUSTOMERS) as u32;
    if dice.chance(1, 3) {
        return Ask::Free { seat: dice.below(SEATS.into()) as u32, customer };
    }
    let first = dice.below(u64::from(SEATS) - 2) as u32;
    let mut seats: Vec<u32> = (first..=first + dice.below(3) as u32).collect();
    dice.shuffle(&mut seats);
    Ask::Buy { seats, customer }
}

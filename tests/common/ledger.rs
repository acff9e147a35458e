//! What was asked and answered, and the check of an engine against it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use boxoffice::history::Happened;
use boxoffice::testing::Prng;
use boxoffice::{Aggregate, Decision, Engine, Error, Handle, Outcome, Receipt};

use super::{Ask, Command, Event, Fact, Hall, LIMIT, Refusal, State, Why, halls};

/// Shared by the threads of a workload; lives as long as the file, across all its openings.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Books>);

#[derive(Clone, Default)]
struct Books {
    /// By ticket: each command that was ever issued, and to whom.
    issued: HashMap<u64, (String, Ask)>,
    /// By ticket: the answer, as far as one is known.
    answers: HashMap<u64, (Entry, Answer)>,
    /// Tickets that must never be in the log: nothing was decided, or it was lost.
    nothing: HashMap<u64, String>,
}

/// An entry of the log: one command's doing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    id: String,
    position: u64,
    /// Of its last event.
    version: u64,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Events(Vec<Event>),
    Refusal(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// Decided and nothing more.
    Provisional,
    /// Somebody was told that it is durable.
    Acknowledged,
}

/// A receipt, and the ticket it is for.
pub(crate) struct Reply {
    ticket: u64,
    receipt: Receipt<Outcome<Hall>>,
}

/// What a stored outcome must look like in the log.
pub(crate) fn entry_of(id: &str, outcome: &Outcome<Hall>) -> Option<Entry> {
    let what = match outcome.decision() {
        Decision::Accepted(events) => What::Events(events.to_vec()),
        Decision::Rejected(refusal) => What::Refusal(refusal.clone()),
    };
    let position = outcome.position()?;
    Some(Entry { id: id.into(), position, version: outcome.version(), what })
}

impl Ledger {
    /// A ledger of its own that starts with what is in this one.
    pub(crate) fn copy(&self) -> Self {
        Self(Mutex::new(self.0.lock().unwrap().clone()))
    }

    fn issue(&self, id: &str, ask: Ask) -> Command {
        let mut books = self.0.lock().unwrap();
        let ticket = books.issued.len() as u64 + 1;
        books.issued.insert(ticket, (id.into(), ask.clone()));
        Command { ticket, ask }
    }

    fn answered(&self, ticket: u64, id: &str, outcome: &Outcome<Hall>, answer: Answer) {
        let mut books = self.0.lock().unwrap();
        let entry = entry_of(id, outcome).expect("every decision of these commands is stored");
        if let Some((before, _)) = books.answers.insert(ticket, (entry.clone(), answer)) {
            assert_eq!(before, entry, "ticket {ticket} was answered twice, differently");
        }
    }

    fn failed(&self, ticket: u64, error: Error) -> Error {
        match &error {
            Error::OutcomeUnknown { .. } => {}
            Error::NotStored { .. } | Error::Storage { .. } | Error::Closed => {
                self.0.lock().unwrap().nothing.insert(ticket, error.to_string());
            }
            other => panic!("ticket {ticket}: unexpected {other:?}"),
        }
        error
    }

    /// Runs a command and waits until it is durable.
    pub(crate) fn execute(&self, halls: &Handle<Hall>, id: &str, ask: Ask) -> Result<(), Error> {
        let command = self.issue(id, ask);
        let outcome = halls.execute(id, &command).map_err(|error| self.failed(command.ticket, error))?;
        self.answered(command.ticket, id, &outcome, Answer::Acknowledged);
        Ok(())
    }

    /// Runs a command and does not wait.
    pub(crate) fn submit(&self, halls: &Handle<Hall>, id: &str, ask: Ask) -> Result<Reply, Error> {
        let command = self.issue(id, ask);
        let ticket = command.ticket;
        let receipt = halls.submit(id, &command).map_err(|error| self.failed(ticket, error))?;
        self.answered(ticket, id, receipt.provisional().unwrap(), Answer::Provisional);
        Ok(Reply { ticket, receipt })
    }

    /// Waits until what was submitted is durable.
    pub(crate) fn wait(&self, id: &str, reply: Reply) -> Result<(), Error> {
        let outcome = reply.receipt.wait().map_err(|error| self.failed(reply.ticket, error))?;
        self.answered(reply.ticket, id, &outcome, Answer::Acknowledged);
        Ok(())
    }

    /// Opens a few halls and sends them random commands, up to `window` of them without waiting.
    /// Returns every error; stops at the first that a new command gets.
    pub(crate) fn work(
        &self,
        halls: &Handle<Hall>,
        dice: &mut Prng,
        commands: usize,
        window: u64,
    ) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut waiting: Vec<(String, Reply)> = Vec::new();
        for _ in 0..commands {
            let id = format!("hall-{}", dice.below(3));
            let ask = if halls.read(&id).is_ok() { super::any_ask(dice) } else { Ask::Open };
            let sent = match window {
                0 => self.execute(halls, &id, ask),
                _ => self.submit(halls, &id, ask).map(|reply| waiting.push((id, reply))),
            };
            if let Err(error) = sent {
                errors.push(error);
                break;
            }
            while waiting.len() as u64 >= window.max(1) || (!waiting.is_empty() && dice.chance(1, 3)) {
                let (id, reply) = waiting.swap_remove(dice.below(waiting.len() as u64) as usize);
                errors.extend(self.wait(&id, reply).err());
            }
        }
        for (id, reply) in waiting {
            errors.extend(self.wait(&id, reply).err());
        }
        errors
    }

    /// Everything that must hold after any open:
    ///
    /// - every acknowledged decision is in the log, at its version and position, as it was;
    /// - what was decided is there as decided, or not at all; what was never decided or was reported
    ///   lost is not there; nothing else is there;
    /// - positions and versions have no gap; no entry is there in part;
    /// - no seat has two holders and no customer too many seats;
    /// - the state is the fold of the history.
    pub(crate) fn check(&self, engine: &Engine, seed: &str) {
        assert_eq!(engine.recovery().entries, engine.position(), "{seed}");
        assert_eq!(engine.recovery().fenced, [], "{seed}");
        self.check_while_open(engine, seed);
    }

    /// The same of an engine that has worked since it was opened, and has nothing to wait for.
    pub(crate) fn check_while_open(&self, engine: &Engine, seed: &str) {
        let books = self.0.lock().unwrap();
        let log = read_log(engine, seed);
        let mut seen = HashMap::new();
        for entry in log.values() {
            let ticket = entry.ticket();
            let issued = books.issued.get(&ticket);
            let (id, ask) = issued.unwrap_or_else(|| panic!("{seed}: nobody asked for {entry:?}"));
            assert!(entry.id == *id && entry.answers(ask), "{seed}: {ask:?} to {id} became {entry:?}");
            if let Some((decided, _)) = books.answers.get(&ticket) {
                assert_eq!(decided, entry, "{seed}: not as it was decided");
            }
            if let Some(why) = books.nothing.get(&ticket) {
                panic!("{seed}: {entry:?} is there, but the caller was told: {why}");
            }
            assert!(seen.insert(ticket, ()).is_none(), "{seed}: ticket {ticket} twice");
        }
        for (ticket, (entry, answer)) in &books.answers {
            assert!(
                *answer == Answer::Provisional || seen.contains_key(ticket),
                "{seed}: acknowledged and lost: {entry:?}"
            );
        }
    }

    /// How many decisions were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let books = self.0.lock().unwrap();
        books.answers.values().filter(|(_, answer)| *answer == Answer::Acknowledged).count()
    }
}

impl Entry {
    fn ticket(&self) -> u64 {
        match &self.what {
            What::Events(events) => events[0].ticket,
            What::Refusal(refusal) => refusal.ticket,
        }
    }

    /// Whether this is a whole answer to that question.
    fn answers(&self, ask: &Ask) -> bool {
        let events = match &self.what {
            What::Refusal(refusal) => {
                return match (&refusal.why, ask) {
                    (Why::AlreadyOpen, Ask::Open) => true,
                    (Why::Taken(seat), Ask::Buy { seats, .. }) => seats.contains(seat),
                    (Why::OverLimit(who), Ask::Buy { customer, .. }) => who == customer,
                    (Why::NotYours(one), Ask::Free { seat, .. }) => one == seat,
                    _ => false,
                };
            }
            What::Events(events) => events.iter().map(|event| event.fact.clone()),
        };
        let expected = match ask {
            Ask::Open => vec![Fact::Opened { seats: super::SEATS }],
            Ask::Buy { seats, customer } => {
                seats.iter().map(|&seat| Fact::Bought { seat, customer: *customer }).collect()
            }
            &Ask::Free { seat, customer } => vec![Fact::Freed { seat, customer }],
        };
        events.eq(expected)
    }
}

/// The whole log by position, after checking what must hold of any log.
pub(crate) fn read_log(engine: &Engine, seed: &str) -> BTreeMap<u64, Entry> {
    let handle = halls(engine);
    let mut log = BTreeMap::new();
    for id in handle.ids() {
        for entry in read(&handle, &id, seed) {
            let position = entry.position;
            assert!(log.insert(position, entry).is_none(), "{seed}: position {position} twice");
        }
    }
    let tail = log.len() as u64;
    assert!(log.keys().copied().eq(1..=tail), "{seed}: a gap in the positions");
    assert_eq!((engine.position(), engine.durable_position()), (tail, tail), "{seed}");
    log
}

/// A stream's history as entries, after checking it against its own state.
fn read(halls: &Handle<Hall>, id: &str, seed: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut state = State::default();
    let mut holders: HashMap<u32, u32> = HashMap::new();
    let history: Result<Vec<_>, _> = halls.history(id).unwrap().collect();
    let history = history.unwrap_or_else(|error| panic!("{seed}: {id}: {error:?}"));
    for (recorded, version) in history.into_iter().zip(1..) {
        assert_eq!(recorded.version, version, "{seed}: a gap in the versions of {id}");
        let position = recorded.position;
        let event = match recorded.what {
            Happened::Rejection(refusal) => {
                let what = What::Refusal(refusal);
                entries.push(Entry { id: id.into(), position, version, what });
                continue;
            }
            Happened::Event(event) => event,
        };
        Hall::apply(&mut state, &event);
        match event.fact {
            Fact::Opened { .. } => assert_eq!(version, 1, "{seed}: {id} was opened twice"),
            Fact::Bought { seat, customer } => {
                let before = holders.insert(seat, customer);
                assert_eq!(before, None, "{seed}: seat {seat} of {id} was sold twice");
                let held = holders.values().filter(|&&holder| holder == customer).count();
                assert!(held <= LIMIT as usize, "{seed}: {id}: {customer} has {held} seats");
            }
            Fact::Freed { seat, customer } => {
                assert_eq!(holders.remove(&seat), Some(customer), "{seed}: {id}, seat {seat}");
            }
        }
        match entries.last_mut() {
            Some(Entry { position: last, version: end, what: What::Events(events), .. })
                if *last == position =>
            {
                events.push(event);
                *end = version;
            }
            _ => {
                let what = What::Events(vec![event]);
                entries.push(Entry { id: id.into(), position, version, what });
            }
        }
    }
    let view = halls.read(id).unwrap();
    assert_eq!(*view, state, "{seed}: the state of {id} is not the fold of its history");
    assert_eq!(Some(view.version()), entries.last().map(|entry| entry.version), "{seed}: {id}");
    assert!(view.is_durable(), "{seed}: {id}");
    entries
}

//! Payment with an external call: one charge, whatever becomes of the job that asked for it.
//!
//! A job locks the payment, asks the provider, and saves. The provider knows payments by a key, as real ones do: asked
//! to charge, it charges each key once; asked about a key, it says what became of it. It counts its charges.
//!
//! Jobs that fail are in `payment_failures.rs`, the ways to lock in `payment_locks.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Options, Scope};
use serde::{Deserialize, Serialize};

use crate::support::{Door, HookClock, Meeting, Polled, at_next_look, block_on, modes};

/// One payment.
pub(crate) struct Payment;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Status {
    #[default]
    New,
    Payed,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Created,
    Payed,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Create,
    /// The whole job as one command, whose handler calls the provider.
    Settle,
}

impl Aggregate for Payment {
    const TYPE: &'static str = "payment";
    type State = Status;
    type Command = Ask;
    type Event = Event;
    type Rejection = Status;
    type Services = Arc<Provider>;

    fn creates(ask: &Ask) -> bool {
        matches!(ask, Ask::Create)
    }

    fn decide(
        status: &Status,
        ask: &Ask,
        context: &Context<'_, Arc<Provider>>,
    ) -> Result<Events<Event>, Status> {
        match (ask, status) {
            (Ask::Create, _) => Ok(Event::Created.into()),
            (Ask::Settle, Status::New) => Ok(context.services().charge(PAYMENT).into()),
            (Ask::Settle, done) => Err(*done),
        }
    }

    fn apply(status: &mut Status, event: &Event) {
        *status = match event {
            Event::Created => Status::New,
            Event::Payed => Status::Payed,
            Event::Failed => Status::Failed,
        };
    }
}

pub(crate) const PAYMENT: &str = "payment-1";

/// The world outside: slow, and not in any transaction.
#[derive(Default)]
pub(crate) struct Provider {
    door: Option<Arc<Door>>,
    declines: bool,
    pub(crate) charges: Mutex<BTreeMap<String, u32>>,
    asked: Mutex<usize>,
}

impl Provider {
    pub(crate) fn behind(door: &Arc<Door>) -> Arc<Self> {
        Arc::new(Self { door: Some(Arc::clone(door)), ..Self::default() })
    }

    /// Charges a key that was not charged yet, and says what is the case.
    pub(crate) fn charge(&self, key: &str) -> Event {
        *self.asked.lock().unwrap() += 1;
        if let Some(door) = &self.door {
            door.pass();
        }
        if self.declines {
            return Event::Failed;
        }
        self.charges.lock().unwrap().entry(key.to_owned()).or_insert(1);
        Event::Payed
    }

    pub(crate) fn charged(&self, key: &str) -> bool {
        self.charges.lock().unwrap().contains_key(key)
    }

    pub(crate) fn charges(&self) -> u32 {
        self.charges.lock().unwrap().values().sum()
    }

    /// How often it was called to charge.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

pub(crate) fn payments(engine: &Engine, provider: &Arc<Provider>) -> Handle<Payment> {
    engine.handle::<Payment>(Arc::clone(provider)).unwrap()
}

/// An engine with one new payment.
pub(crate) fn one_payment(options: Options) -> (Engine, Handle<Payment>) {
    let builder = Engine::builder().aggregate_with::<Payment>(options).clock(HookClock::default());
    let engine = builder.in_memory().unwrap();
    let payments = payments(&engine, &Arc::default());
    assert!(payments.execute(PAYMENT, &Ask::Create).unwrap().is_accepted());
    (engine, payments)
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Job {
    Settled,
    Skipped,
}

/// A job in steps: look under a lock, ask about the key, charge if it was not charged, save.
pub(crate) async fn job(
    engine: &Engine,
    payments: &Handle<Payment>,
    provider: &Provider,
) -> Result<Job, Error> {
    let mut unit = engine.begin(payments.options());
    let seen = *unit.read_for_update_async(payments, PAYMENT, Scope::Whole).await?;
    if seen != Status::New {
        return Ok(Job::Skipped);
    }
    let event = if provider.charged(PAYMENT) { Event::Payed } else { provider.charge(PAYMENT) };
    unit.stage_async(payments, PAYMENT, event).await?;
    unit.commit_async().await?;
    Ok(Job::Settled)
}

pub(crate) fn status(payments: &Handle<Payment>) -> Status {
    *payments.read(PAYMENT).unwrap()
}

/// Jobs 2 and 3 wait, find it payed and skip. The reader sees `new` at once, while the lock is held.
#[test]
fn three_jobs_and_a_reader() {
    let (engine, payments) = one_payment(Options::pessimistic());
    let door = Door::new();
    let provider = Provider::behind(&door);
    thread::scope(|scope| {
        let first = scope.spawn(|| block_on(job(&engine, &payments, &provider)));
        door.await_arrivals(1);
        let mut others = [(); 2].map(|()| Polled::new(job(&engine, &payments, &provider)));
        assert!(others.iter_mut().all(|other| other.poll().is_none()), "they wait");
        assert_eq!((status(&payments), provider.asked()), (Status::New, 1), "the reader does not wait");
        door.open();
        assert_eq!(first.join().unwrap().unwrap(), Job::Settled);
        assert_eq!(others.map(|other| other.finish().unwrap()), [Job::Skipped; 2]);
    });
    assert_eq!((status(&payments), provider.asked(), provider.charges()), (Status::Payed, 1, 1));
    assert_eq!(payments.read(PAYMENT).unwrap().version(), 2);
    engine.close().unwrap();
}

/// The whole job as one command, with the provider as the handler's service.
#[test]
fn three_jobs_as_commands() {
    let (engine, _) = one_payment(Options::pessimistic());
    let door = Door::new();
    let provider = Provider::behind(&door);
    let payments = payments(&engine, &provider);
    thread::scope(|scope| {
        let first = scope.spawn(|| payments.execute(PAYMENT, &Ask::Settle).unwrap());
        door.await_arrivals(1);
        let mut others = [(); 2].map(|()| Polled::new(payments.execute_async(PAYMENT, &Ask::Settle)));
        assert!(others.iter_mut().all(|other| other.poll().is_none()), "they wait");
        assert_eq!((status(&payments), provider.asked()), (Status::New, 1));
        door.open();
        assert_eq!(first.join().unwrap().events(), [Event::Payed]);
        for other in others {
            assert_eq!(other.finish().unwrap().rejection(), Some(&Status::Payed));
        }
    });
    assert_eq!((provider.asked(), provider.charges()), (1, 1));
    engine.close().unwrap();
}

/// With checks all three may call the provider, which knows the key: one of them saves, the others lose and skip.
#[test]
fn three_jobs_with_checks_are_one_charge() {
    for as_command in [true, false] {
        let (engine, _) = one_payment(Options::optimistic());
        let (provider, meeting) = (Arc::new(Provider::default()), Meeting::new(3));
        let payments = payments(&engine, &provider);
        let ends: Vec<(Job, u32)> = thread::scope(|scope| {
            let threads = [(); 3].map(|()| {
                let (engine, payments, provider, meeting) =
                    (&engine, &payments, &provider, Arc::clone(&meeting));
                scope.spawn(move || {
                    if as_command {
                        at_next_look(move || meeting.wait());
                        let outcome = payments.execute(PAYMENT, &Ask::Settle).unwrap();
                        let ended = if outcome.is_accepted() { Job::Settled } else { Job::Skipped };
                        return (ended, outcome.effort().conflicts);
                    }
                    let mut runs = 0;
                    let ended = engine.transact(payments.options(), |unit| {
                        runs += 1;
                        let seen = *unit.read_for_update(payments, PAYMENT, Scope::Whole)?;
                        if runs == 1 {
                            meeting.wait();
                        }
                        if seen != Status::New {
                            return Ok::<_, Error>(Job::Skipped);
                        }
                        unit.stage(payments, PAYMENT, provider.charge(PAYMENT))?;
                        Ok(Job::Settled)
                    });
                    (ended.unwrap().0, runs - 1)
                })
            });
            threads.map(|thread| thread.join().unwrap()).to_vec()
        });
        let settled = ends.iter().filter(|(job, _)| *job == Job::Settled);
        assert_eq!(settled.map(|(_, lost)| *lost).collect::<Vec<_>>(), [0], "{ends:?}");
        assert!(ends.iter().all(|(job, lost)| *job == Job::Settled || *lost == 1), "{ends:?}");
        assert_eq!((provider.asked(), provider.charges(), status(&payments)), (3, 1, Status::Payed));
        engine.close().unwrap();
    }
}

#[test]
fn from_payed_or_failed_everybody_skips() {
    for (mode, options) in modes() {
        for declines in [false, true] {
            let (engine, _) = one_payment(options);
            let provider = Arc::new(Provider { declines, ..Provider::default() });
            let payments = payments(&engine, &provider);
            let end = if declines { Status::Failed } else { Status::Payed };
            assert!(payments.execute(PAYMENT, &Ask::Settle).unwrap().is_accepted(), "{mode}");
            assert_eq!((status(&payments), provider.asked()), (end, 1), "{mode}");
            for _ in 0..3 {
                assert_eq!(block_on(job(&engine, &payments, &provider)).unwrap(), Job::Skipped, "{mode}");
                let again = payments.execute(PAYMENT, &Ask::Settle).unwrap();
                assert_eq!(again.rejection(), Some(&end), "{mode}");
            }
            assert_eq!(provider.asked(), 1, "{mode}: the provider was asked again");
            assert_eq!(provider.charges(), u32::from(!declines), "{mode}");
            engine.close().unwrap();
        }
    }
}

//! Payment: the ways to lock. Wait with a timeout, `NOWAIT`, `SKIP LOCKED`, `FOR SHARE`, and the deadlock of two who share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use boxoffice::aggregate::LockedParts;
use boxoffice::error::Invalid;
use boxoffice::options::{Exhausted, Wait};
use boxoffice::{Aggregate, Context, Engine, Error, Events, Options, Part, Scope};
use serde::{Deserialize, Serialize};

use crate::payment::{Ask, Event, Job, PAYMENT, Provider, Status, job, one_payment, status};
use crate::support::{Door, Meeting, Polled, at_once, block_on, briefly, error_of, modes};

/// Wait with a timeout, and `NOWAIT`.
#[test]
fn a_job_waits_as_long_as_it_says() {
    let (engine, payments) = one_payment(Options::pessimistic());
    let provider = Provider::default();
    let mut holder = engine.begin(Options::pessimistic());
    holder.read_for_update(&payments, PAYMENT, Scope::Whole).unwrap();
    // On another thread, since nobody waits for himself.
    let other = |options: Options| {
        let payments = payments.with(options);
        thread::scope(|scope| scope.spawn(|| block_on(job(&engine, &payments, &provider))).join().unwrap())
    };
    let no_wait = other(at_once(Options::pessimistic())).unwrap_err();
    assert!(matches!(&no_wait, Error::WouldBlock { stream } if &*stream.id == PAYMENT), "{no_wait}");
    match other(briefly(Options::pessimistic())).unwrap_err() {
        Error::LockTimeout { stream, waited } => {
            assert_eq!(stream.to_string(), format!("payment/{PAYMENT}"));
            assert!(waited >= Duration::from_millis(5), "{waited:?}");
        }
        error => panic!("{error}"),
    }
    assert_eq!((provider.asked(), status(&payments)), (0, Status::New));
    drop(holder);
    assert_eq!(other(at_once(Options::pessimistic())).unwrap(), Job::Settled);
    engine.close().unwrap();
}

/// `FOR SHARE`: those who only look are together, and who writes waits for the last of them.
#[test]
fn readers_are_together_and_a_writer_waits() {
    let (engine, payments) = one_payment(Options::pessimistic());
    let mut readers = [(); 3].map(|()| engine.begin(at_once(Options::pessimistic())));
    for reader in &mut readers {
        assert_eq!(*reader.read(&payments, PAYMENT, Scope::Whole).unwrap(), Status::New);
    }
    let provider = Provider::default();
    let mut writer = Polled::new(job(&engine, &payments, &provider));
    for reader in readers {
        assert!(writer.poll().is_none() && provider.asked() == 0, "somebody still looks");
        drop(reader);
    }
    assert_eq!(writer.finish().unwrap(), Job::Settled);
    assert_eq!(provider.asked(), 1);
    engine.close().unwrap();
}

/// Two who share and both want to write: the second is told at once that it is a deadlock, with the payment named, gives
/// way, begins again, and skips. Nobody waits it out: no wait here has an end of its own.
#[test]
fn two_who_share_and_both_want_to_write_are_told() {
    let (engine, payments) = one_payment(Options::pessimistic());
    let patient = Options { wait: Wait::AtMost(Duration::MAX), ..Options::pessimistic() };
    let mut one = engine.begin(patient);
    let mut two = engine.begin(patient);
    assert_eq!(*block_on(one.read_async(&payments, PAYMENT, Scope::Whole)).unwrap(), Status::New);
    assert_eq!(*block_on(two.read_async(&payments, PAYMENT, Scope::Whole)).unwrap(), Status::New);
    let mut saving = Polled::new(async {
        one.stage_async(&payments, PAYMENT, Event::Payed).await?;
        one.commit_async().await
    });
    assert!(saving.poll().is_none(), "it waits for the other, who looks");
    let told = error_of(block_on(two.stage_async(&payments, PAYMENT, Event::Payed)));
    let Error::Deadlock { cycle } = &told else { panic!("{told}") };
    assert_eq!(cycle.len(), 2);
    assert!(cycle.iter().all(|stream| &*stream.id == PAYMENT), "{told}");
    drop(two);
    assert!(saving.finish().unwrap().position().is_some(), "the other goes on");
    let provider = Provider::default();
    assert_eq!(block_on(job(&engine, &payments, &provider)).unwrap(), Job::Skipped);
    engine.close().unwrap();
}

/// As a closure it gives way and begins again by itself: two jobs that share, then both want to write, in every round.
#[test]
fn two_who_share_and_both_want_to_write_get_through_by_themselves() {
    for (mode, options) in modes() {
        // Without a retry left it takes all its locks in one order at once.
        for (retries, exhausted) in [(0, Exhausted::Turn), (5, Exhausted::Turn), (5, Exhausted::Conflict)] {
            let options = Options { retries, exhausted, ..options };
            let (engine, payments) = one_payment(options);
            let meeting = Meeting::new(2);
            let ends = thread::scope(|scope| {
                let jobs = [(); 2].map(|()| {
                    let (engine, payments, meeting) = (&engine, &payments, Arc::clone(&meeting));
                    scope.spawn(move || {
                        let mut runs = 0;
                        let ended = engine.transact(options, |unit| {
                            runs += 1;
                            let seen = *unit.read(payments, PAYMENT, Scope::Whole)?;
                            if runs == 1 {
                                meeting.wait();
                            }
                            if seen != Status::New {
                                return Ok::<_, Error>(Job::Skipped);
                            }
                            unit.stage(payments, PAYMENT, Event::Payed)?;
                            Ok(Job::Settled)
                        });
                        (ended.unwrap().0, runs)
                    })
                });
                jobs.map(|job| job.join().unwrap())
            });
            assert!(ends.contains(&(Job::Settled, 1)), "{mode}: {ends:?}");
            assert!(ends.contains(&(Job::Skipped, 2)), "{mode}: {ends:?}");
            assert_eq!(payments.read(PAYMENT).unwrap().version(), 2, "{mode}");
            engine.close().unwrap();
        }
    }
}

/// The payments of a day in one stream, worked on by whoever is free.
struct Desk;

#[derive(Clone, Copy, Debug)]
enum Work {
    Open(u64),
    /// Any that is new.
    Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Done {
    Opened(u64),
    Payed(u64),
}

fn line(number: u64) -> Part {
    Part::number(0, number)
}

impl Aggregate for Desk {
    const TYPE: &'static str = "desk";
    type State = Arc<BTreeMap<u64, Status>>;
    type Command = Work;
    type Event = Done;
    type Rejection = ();
    type Services = Arc<Provider>;

    fn scope(payments: &Self::State, work: &Work) -> Scope {
        match work {
            Work::Open(_) => Scope::Whole,
            Work::Next => Scope::parts(next_new(payments, |_| true).map(line)),
        }
    }

    fn scope_skipping(payments: &Self::State, _: &Work, locked: &LockedParts) -> Result<Scope, Invalid> {
        Ok(Scope::parts(next_new(payments, |number| !locked.contains(&line(number))).map(line)))
    }

    fn decide(
        _: &Self::State,
        work: &Work,
        context: &Context<'_, Arc<Provider>>,
    ) -> Result<Events<Done>, ()> {
        match (work, context.scope().named()) {
            (Work::Open(count), _) => Ok(Done::Opened(*count).into()),
            (Work::Next, []) => Err(()),
            (Work::Next, [part, ..]) => {
                let number = part.as_number().unwrap();
                context.services().charge(&number.to_string());
                Ok(Done::Payed(number).into())
            }
        }
    }

    fn touches(done: &Done) -> Scope {
        match done {
            Done::Opened(_) => Scope::Whole,
            Done::Payed(number) => Scope::parts([line(*number)]),
        }
    }

    fn apply(payments: &mut Self::State, done: &Done) {
        let payments = Arc::make_mut(payments);
        match *done {
            Done::Opened(count) => payments.extend((0..count).map(|number| (number, Status::New))),
            Done::Payed(number) => drop(payments.insert(number, Status::Payed)),
        }
    }
}

fn next_new(payments: &BTreeMap<u64, Status>, may: impl Fn(u64) -> bool) -> Option<u64> {
    payments
        .iter()
        .find(|(number, status)| **status == Status::New && may(**number))
        .map(|(number, _)| *number)
}

/// `SKIP LOCKED`: each of three jobs gets another payment, while all of them are inside the provider's call; a fourth is
/// told at once that none is free.
#[test]
fn jobs_skip_what_others_have_locked() {
    let skipping = Options { wait: Wait::SkipLocked, ..Options::pessimistic() };
    let engine = Engine::builder().aggregate_with::<Desk>(skipping).in_memory().unwrap();
    let door = Door::new();
    let provider = Provider::behind(&door);
    let desk = engine.handle::<Desk>(Arc::clone(&provider)).unwrap();
    let opens = desk.with(Options::pessimistic());
    assert!(opens.execute("today", &Work::Open(3)).unwrap().is_accepted());
    thread::scope(|scope| {
        let jobs: Vec<_> = (1..=3)
            .map(|number| {
                let job = scope.spawn(|| desk.execute("today", &Work::Next).unwrap());
                door.await_arrivals(number);
                job
            })
            .collect();
        let fourth = desk.execute("today", &Work::Next).unwrap();
        assert_eq!(
            (fourth.rejection(), door.arrivals()),
            (Some(&()), 3),
            "none is free, and it does not wait"
        );
        door.open();
        let done: Vec<_> = jobs.into_iter().map(|job| job.join().unwrap().events()[0]).collect();
        assert_eq!(done, [Done::Payed(0), Done::Payed(1), Done::Payed(2)]);
    });
    assert_eq!(provider.charges(), 3);
    engine.close().unwrap();
}

/// The same with a payment a stream: who does not wait for one takes the next.
#[test]
fn jobs_skip_streams_that_others_have_locked() {
    let (engine, payments) = one_payment(Options::pessimistic());
    let names = [PAYMENT, "payment-2", "payment-3"];
    for name in &names[1..] {
        assert!(payments.execute(name, &Ask::Create).unwrap().is_accepted());
    }
    let next = || {
        let mut unit = engine.begin(at_once(Options::pessimistic()));
        let free = names.iter().find(|name| match unit.read_for_update(&payments, name, Scope::Whole) {
            Ok(seen) => *seen == Status::New,
            Err(Error::WouldBlock { .. }) => false,
            Err(error) => panic!("{error}"),
        });
        free.map(|name| (unit, *name))
    };
    let mut jobs: Vec<_> = std::iter::from_fn(next).collect();
    assert_eq!(jobs.iter().map(|(_, name)| *name).collect::<Vec<_>>(), names, "each has another one");
    for (unit, name) in &mut jobs {
        unit.stage(&payments, *name, Event::Payed).unwrap();
    }
    let (last, name) = jobs.pop().unwrap();
    drop(last);
    assert_eq!(next().map(|(_, name)| name), Some(name), "what was given up is free again");
    for (unit, _) in jobs {
        unit.commit().unwrap();
    }
    assert_eq!(names.map(|name| *payments.read(name).unwrap()), [Status::Payed, Status::Payed, Status::New]);
    engine.close().unwrap();
}

//! Payment: the job fails after the provider was called, and the next one asks the provider by key.

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use boxoffice::testing::{Failure, FaultyStorage, When};
use boxoffice::{Engine, Error, Options, Scope};

use crate::halls::file;
use crate::payment::{
    Ask, Event, Job, PAYMENT, Payment, Provider, Status, job, one_payment, payments, status,
};
use crate::support::{Door, Polled, at_once, block_on, modes};

/// How job 1 fails after the provider was called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fails {
    /// It gives up.
    Drops,
    /// Its code panics.
    Panics,
    /// What it would save breaks a rule of the payment.
    Policy,
}

/// The next job takes the lock, which is free at once, finds `new`, asks the provider by key, and records the charge.
#[test]
fn a_job_that_fails_to_save_leaves_it_to_the_next() {
    for (mode, options) in modes() {
        for fails in [Fails::Drops, Fails::Panics, Fails::Policy] {
            let builder = Engine::builder().aggregate_with::<Payment>(options);
            let builder = builder.policy::<Payment>("what is payed stays so", |before, event, _| {
                !(*before == Status::Payed && *event == Event::Failed)
            });
            let engine = builder.in_memory().unwrap();
            let (door, provider) = (Door::new(), Arc::new(Provider::default()));
            let payments = payments(&engine, &provider);
            assert!(payments.execute(PAYMENT, &Ask::Create).unwrap().is_accepted());
            let failing = || -> Result<(), Error> {
                let mut unit = engine.begin(options);
                unit.read_for_update(&payments, PAYMENT, Scope::Whole)?;
                assert_eq!(provider.charge(PAYMENT), Event::Payed);
                unit.stage(&payments, PAYMENT, Event::Payed)?;
                door.pass();
                match fails {
                    Fails::Drops => drop(unit),
                    Fails::Panics => panic!("between the call and the save"),
                    Fails::Policy => {
                        unit.stage(&payments, PAYMENT, Event::Failed)?;
                        let refused = unit.commit().unwrap_err();
                        assert!(matches!(refused, Error::PolicyViolated { .. }), "{mode}: {refused}");
                    }
                }
                Ok(())
            };
            thread::scope(|scope| {
                let first = scope.spawn(|| catch_unwind(AssertUnwindSafe(failing)));
                door.await_arrivals(1);
                // One stands in line already; with checks it does not have to.
                let mut next = Polled::new(job(&engine, &payments, &provider));
                let early = (mode == "pessimistic").then(|| next.poll());
                assert!(early.is_none_or(|early| early.is_none()), "{mode}: it does not wait");
                door.open();
                assert_eq!(first.join().unwrap().is_err(), fails == Fails::Panics, "{mode}: {fails:?}");
                assert_eq!(status(&payments), Status::New, "{mode}: {fails:?}");
                // And whoever would not wait at all finds it free, unless the one in line has it.
                assert_eq!(next.finish().unwrap(), Job::Settled, "{mode}: {fails:?}");
            });
            assert_eq!((provider.asked(), provider.charges()), (1, 1), "{mode}: {fails:?}: charged twice");
            assert_eq!((status(&payments), engine.position()), (Status::Payed, 2), "{mode}: {fails:?}");
            engine.close().unwrap();
        }
    }
}

#[test]
fn the_lock_of_a_failed_job_is_free_at_once() {
    for (mode, options) in modes() {
        let (engine, payments) = one_payment(options);
        let provider = Provider::default();
        let mut unit = engine.begin(Options::pessimistic());
        unit.read_for_update(&payments, PAYMENT, Scope::Whole).unwrap();
        assert_eq!(provider.charge(PAYMENT), Event::Payed);
        drop(unit);
        let now = payments.with(at_once(options));
        assert_eq!(block_on(job(&engine, &now, &provider)).unwrap(), Job::Settled, "{mode}");
        assert_eq!((provider.asked(), provider.charges()), (1, 1), "{mode}");
        engine.close().unwrap();
    }
}

/// The disk fails at every moment of the save. The engine stops and says so; the next one that opens finds `new` or
/// `payed`, and in either case there is one charge and one `payed`.
#[test]
fn a_save_that_the_disk_refuses_is_one_charge() {
    for (mode, options) in modes() {
        let (mut lost, mut kept) = (0, 0);
        for at in 1..=10 {
            let name = format!("{mode}, at change {at}");
            let storage = FaultyStorage::new(at);
            let provider = Arc::new(Provider::default());
            let open = |storage: &FaultyStorage| {
                let engine = Engine::builder().aggregate_with::<Payment>(options).backend(storage.clone());
                let engine = engine.unwrap();
                let payments = payments(&engine, &provider);
                (engine, payments)
            };
            let (engine, payments) = open(&storage);
            assert!(payments.execute(PAYMENT, &Ask::Create).unwrap().is_accepted());
            storage.fail(When::Change(at), Failure::Io);
            let saved = block_on(job(&engine, &payments, &provider));
            assert!(provider.charged(PAYMENT), "{name}");
            if let Err(error) = &saved {
                assert!(matches!(error, Error::OutcomeUnknown { .. }), "{name}: {error}");
            }
            drop((engine, payments));
            storage.disarm();
            let (engine, payments) = open(&storage.reopen());
            let found = status(&payments);
            assert!(saved.is_err() || found == Status::Payed, "{name}: acknowledged and lost");
            *(if found == Status::New { &mut lost } else { &mut kept }) += 1;
            let next = block_on(job(&engine, &payments, &provider)).unwrap();
            assert_eq!(next == Job::Settled, found == Status::New, "{name}");
            assert_eq!(
                (status(&payments), provider.charges(), provider.asked()),
                (Status::Payed, 1, 1),
                "{name}"
            );
            assert_eq!(payments.read(PAYMENT).unwrap().version(), 2, "{name}");
            engine.close().unwrap();
        }
        assert!(lost > 0 && kept > 0, "{mode}: {lost} lost, {kept} kept: the failures are not spread");
    }
}

const FILE: &str = "BOXOFFICE_TEST_PAYMENT";

/// The provider's own books, which outlive us all: one line for each charge.
fn books(path: &Path) -> PathBuf {
    path.with_extension("charges")
}

/// Does nothing in the parent. In a child: charges, says so, and never comes to save.
#[test]
fn child_that_is_killed_between_the_call_and_the_save() {
    let Ok(path) = std::env::var(FILE) else { return };
    let path = Path::new(&path);
    let engine = Engine::builder().aggregate::<Payment>().open(path).unwrap();
    let payments = payments(&engine, &Arc::default());
    let mut unit = engine.begin(Options::pessimistic());
    assert_eq!(*unit.read_for_update(&payments, PAYMENT, Scope::Whole).unwrap(), Status::New);
    std::fs::write(books(path), format!("{PAYMENT}\n")).unwrap();
    unit.stage(&payments, PAYMENT, Event::Payed).unwrap();
    println!("CHARGED");
    std::io::stdout().flush().unwrap();
    // Until the parent kills it; at the end of its patience, and then it is not killed.
    let _ = std::io::stdin().read(&mut [0]);
    drop(unit);
}

#[test]
fn a_process_that_is_killed_between_the_call_and_the_save_is_one_charge() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        {
            let engine = Engine::builder().aggregate::<Payment>().open(&path).unwrap();
            let payments = payments(&engine, &Arc::default());
            assert!(payments.execute(PAYMENT, &Ask::Create).unwrap().is_accepted());
            engine.close().unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "payment_failures::child_that_is_killed_between_the_call_and_the_save",
                "--nocapture",
            ])
            .env(FILE, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.ends_with("CHARGED")), "{mode}: the child never came to charge");
        child.kill().unwrap();
        let status_of_child = child.wait().unwrap();
        assert!(status_of_child.code().is_none(), "{mode}: not killed but {status_of_child}");

        let engine = Engine::builder().aggregate_with::<Payment>(options).open(&path).unwrap();
        let provider = Arc::new(Provider::default());
        for key in std::fs::read_to_string(books(&path)).unwrap().lines() {
            *provider.charges.lock().unwrap().entry(key.into()).or_default() += 1;
        }
        let payments = payments(&engine, &provider);
        assert_eq!(status(&payments), Status::New, "{mode}");
        let jobs = [(); 2].map(|()| block_on(job(&engine, &payments, &provider)).unwrap());
        assert_eq!(jobs, [Job::Settled, Job::Skipped], "{mode}");
        assert_eq!((provider.asked(), provider.charges()), (0, 1), "{mode}: charged twice");
        assert_eq!(status(&payments), Status::Payed, "{mode}");
        engine.close().unwrap();
    }
}

//! Goal: a storage failure stops the engine, and tells everybody the truth. Whoever was in the batch that
//! was being written learns that the outcome is unknown, whoever queued that nothing was stored, and
//! whoever calls later that the storage failed. Nothing is written any more, also not by close and
//! drop; only a fresh open goes on, and finds everything that was acknowledged.
//!
//! Method: the storage fails at every single call of an open, a small sale and a close; once, so that an
//! engine that tried again would get through. It does so for one caller, for several threads, while
//! others queue, and by a panic. Wakers that call the engine as they are woken see whether the
//! latch came first. Failures name the call, and the seed if there is one.

mod common;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use boxoffice::options::Builder;
use boxoffice::testing::{Failure, FaultyStorage, Prng, When};
use boxoffice::{Engine, Error, Handle, Limits};
use common::{Ask, Command, Hall, Ledger, builder, halls, open, quiet, used_file};

const ERRORS: [Failure; 3] = [Failure::Io, Failure::NoSpace, Failure::Partial];

/// After a failure: every call says so, nothing is written, close says so.
fn assert_stopped(engine: Engine, storage: &FaultyStorage, ledger: &Ledger, name: &str) {
    let handle = halls(&engine);
    let changes = storage.calls().changes();
    let mut causes = Vec::new();
    let mut stopped = |call: &str, result: Result<(), Error>| match result {
        Err(Error::Storage { cause }) => causes.push(cause),
        other => panic!("{name}: {call} after the failure gave {other:?}"),
    };
    stopped("execute", ledger.execute(&handle, "hall-0", Ask::Open));
    stopped("submit", ledger.submit(&handle, "hall-0", Ask::Open).map(drop));
    stopped("execute on a new stream", ledger.execute(&handle, "hall-9", Ask::Open));
    stopped("read", handle.read("hall-0").map(drop));
    stopped("history", handle.history("hall-0").map(drop));
    stopped("close", engine.close());
    stopped("execute after close", ledger.execute(&handle, "hall-0", Ask::Open));
    stopped("read after close", handle.read("hall-0").map(drop));
    drop(handle);
    assert!(causes.iter().all(|cause| *cause == causes[0]), "{name}: {causes:?}");
    assert_eq!(storage.calls().changes(), changes, "{name}: something was written after the failure");
}

/// Opens the storage again, as the same process, the next process, or after a power loss would.
fn assert_recovers(storage: &FaultyStorage, ledger: &Ledger, dice: &mut Prng, name: &str) {
    storage.disarm();
    let next = match dice.below(4) {
        0 => storage.clone(),
        1 => storage.reopen_warm(),
        2 => storage.reopen_evicted(),
        _ => storage.reopen(),
    };
    let engine = open(&next, name);
    ledger.check(&engine, name);
    let errors = ledger.work(&halls(&engine), dice, 3, 0);
    assert!(errors.is_empty(), "{name}: {errors:?}");
    ledger.check_while_open(&engine, name);
    engine.close().unwrap();
}

/// What failed first, if anything did.
#[derive(Debug, PartialEq)]
enum Failed {
    Opening,
    Deciding,
    Reading,
    Closing,
    Nothing,
}

/// One caller; the storage fails at one call.
fn fail_once(at: u64, failure: Failure, cache: usize) -> (Failed, bool) {
    let name = format!("call {at}, {failure:?}, cache {cache}");
    let (storage, ledger) = used_file(at);
    let mut dice = Prng::new(at);
    storage.fail(When::Call(at), failure);
    let failed = match builder().cache_size(cache).backend(storage.clone()) {
        Ok(engine) => sell(engine, &storage, &ledger, &mut dice, &name),
        Err(Error::Storage { .. }) => Failed::Opening,
        Err(error) => panic!("{name}: the open gave {error:?}"),
    };
    let fired = !storage.is_armed();
    assert!(fired || failed == Failed::Nothing, "{name}: {failed:?} without a failure");
    assert_recovers(&storage, &ledger, &mut dice, &name);
    (failed, fired)
}

fn sell(engine: Engine, storage: &FaultyStorage, ledger: &Ledger, dice: &mut Prng, name: &str) -> Failed {
    let handle = halls(&engine);
    for step in 0..6 {
        if step % 3 == 2 {
            let history = handle.history("hall-0").and_then(|history| history.collect::<Result<Vec<_>, _>>());
            match history {
                Ok(_) => continue,
                Err(Error::Storage { .. }) => {
                    assert_stopped(engine, storage, ledger, name);
                    return Failed::Reading;
                }
                Err(error) => panic!("{name}: the history gave {error:?}"),
            }
        }
        match ledger.work(&handle, dice, 1, 0).pop() {
            None => {}
            Some(Error::OutcomeUnknown { position, .. }) => {
                assert_eq!(position, engine.durable_position() + 1, "{name}");
                assert_stopped(engine, storage, ledger, name);
                return Failed::Deciding;
            }
            Some(error) => panic!("{name}: a command gave {error:?}"),
        }
    }
    match engine.close() {
        Ok(()) => Failed::Nothing,
        Err(Error::Storage { .. }) => Failed::Closing,
        Err(error) => panic!("{name}: close gave {error:?}"),
    }
}

fn fail_everywhere(failure: Failure, cache: usize) -> Vec<Failed> {
    let mut all = Vec::new();
    for at in 1.. {
        let (failed, fired) = fail_once(at, failure, cache);
        if !fired {
            break;
        }
        all.push(failed);
    }
    all
}

#[test]
fn every_call_fails_once() {
    for failure in ERRORS {
        let all = fail_everywhere(failure, 1 << 20);
        for phase in [Failed::Opening, Failed::Deciding, Failed::Closing] {
            assert!(all.contains(&phase), "{failure:?}: nothing failed while {phase:?}");
        }
        assert!(all.len() > 50, "{failure:?}: only {} calls", all.len());
    }
}

/// Without a cache redb reads and writes all the time; some of its early writes may fail unharmed.
#[test]
fn every_call_fails_once_without_a_cache() {
    let all = fail_everywhere(Failure::Io, 0);
    assert!(all.contains(&Failed::Reading), "no read failed: {all:?}");
    assert!(all.contains(&Failed::Deciding), "no decision failed: {all:?}");
}

/// A file that could not be created, for lack of space or otherwise, can be created later.
#[test]
fn every_call_of_a_creation_fails_once() {
    for failure in ERRORS {
        for at in 1.. {
            let (storage, ledger) = (FaultyStorage::new(at), Ledger::default());
            storage.fail(When::Call(at), failure);
            let name = format!("creation, call {at}, {failure:?}");
            match builder().backend(storage.clone()) {
                Ok(engine) => drop(engine),
                Err(Error::Storage { .. }) if !storage.is_armed() => {}
                Err(error) => panic!("{name}: {error:?}"),
            }
            if storage.is_armed() {
                break;
            }
            assert_recovers(&storage, &ledger, &mut Prng::new(at), &name);
        }
    }
}

/// Several threads, receipts in flight, and a close with decisions still queued.
#[test]
fn threads_meet_a_failure_anywhere() {
    for seed in 0..80 {
        let mut dice = Prng::new(seed);
        let (storage, ledger) = used_file(seed);
        let engine = open(&storage, "untouched");
        let failure = ERRORS[dice.below(3) as usize];
        storage.fail(When::Change(1 + dice.below(60)), failure);
        let name = format!("seed {seed}, {failure:?}");
        let handle = halls(&engine);
        std::thread::scope(|scope| {
            for window in [0, 2, 9] {
                let mut dice = dice.fork();
                let (handle, ledger) = (&handle, &ledger);
                scope.spawn(move || ledger.work(handle, &mut dice, 8, window));
            }
        });
        let queued: Vec<_> = (0..5)
            .filter_map(|_| ledger.submit(&handle, "hall-1", common::any_ask(&mut dice)).ok())
            .collect();
        let stopped = matches!(handle.read("hall-1"), Err(Error::Storage { .. }));
        if stopped {
            assert_stopped(engine, &storage, &ledger, &name);
        } else if let Err(error) = engine.close() {
            assert!(matches!(error, Error::Storage { .. }) && !storage.is_armed(), "{name}: {error:?}");
        }
        for reply in queued {
            // Ok, unknown or not stored: the ledger holds it to what it says.
            let _ = ledger.wait("hall-1", reply);
        }
        assert_recovers(&storage, &ledger, &mut dice, &name);
    }
}

/// Holds up the next sync: returns once it has begun, and lets it go on when told to.
struct Held([Barrier; 2]);

impl Held {
    fn next_sync_of(storage: &FaultyStorage) -> Arc<Self> {
        let held = Arc::new(Self([Barrier::new(2), Barrier::new(2)]));
        let (holder, used) = (Arc::clone(&held), AtomicBool::new(false));
        storage.on_sync(move |_| {
            if !used.swap(true, Ordering::Relaxed) {
                for barrier in &holder.0 {
                    barrier.wait();
                }
            }
        });
        held
    }

    fn has_begun(&self) {
        self.0[0].wait();
    }

    fn let_go(&self) {
        self.0[1].wait();
    }
}

/// Calls the engine in the moment in which it is woken.
struct Caller(Handle<Hall>, Mutex<Vec<Error>>);

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        let command = Command { ticket: u64::MAX, ask: Ask::Open };
        let calls = [
            self.0.read("hall-0").map(drop),
            self.0.submit("hall-0", &command).map(drop),
            self.0.history("hall-0").map(drop),
        ];
        self.1.lock().unwrap().extend(calls.into_iter().map(|call| call.expect_err("not stopped")));
    }
}

/// Room for a few entries a batch and a few batches in the queue.
fn narrow() -> Builder {
    builder().limits(Limits { batch_bytes: 1024, entry_bytes: 1024, queue_bytes: 4096, ..Limits::default() })
}

#[test]
fn the_batch_is_in_doubt_the_queue_is_lost_and_who_wakes_sees_the_latch() {
    for failure in ERRORS {
        let name = format!("{failure:?}");
        let (storage, ledger) = used_file(1);
        let engine = narrow().backend(storage.clone()).unwrap();
        let handle = halls(&engine);
        let mut dice = Prng::new(7);
        let held = Held::next_sync_of(&storage);
        let caller = Arc::new(Caller(handle.clone(), Mutex::default()));
        std::thread::scope(|scope| {
            let (ledger, handle) = (&ledger, &handle);
            let first = scope.spawn(|| ledger.execute(handle, "hall-0", Ask::Open));
            held.has_begun();

            // Queued behind the batch that is being written: tasks, threads, and some of no one.
            let waker = Waker::from(Arc::clone(&caller));
            let mut task = Context::from_waker(&waker);
            let (in_doubt, last) = (engine.position(), engine.position() + 40);
            let mut replies: Vec<_> = (in_doubt..last)
                .map(|_| ledger.submit(handle, "hall-1", common::any_ask(&mut dice)).unwrap())
                .collect();
            let mut waits = pin!(engine.wait_durable_async(last));
            assert!(waits.as_mut().poll(&mut task).is_pending());
            let mut first_waits = pin!(engine.wait_durable_async(in_doubt));
            assert!(first_waits.as_mut().poll(&mut task).is_pending());
            let threads: Vec<_> = replies
                .split_off(30)
                .into_iter()
                .map(|reply| scope.spawn(|| ledger.wait("hall-1", reply)))
                .collect();

            storage.fail(When::Sync(1), failure);
            held.let_go();
            let first = first.join().unwrap();
            assert!(
                matches!(first, Err(Error::OutcomeUnknown { position, .. }) if position == in_doubt),
                "{name}: {first:?}"
            );
            let lost = |result| assert!(matches!(result, Err(Error::NotStored { .. })), "{name}: {result:?}");
            threads.into_iter().for_each(|thread| lost(thread.join().unwrap()));
            replies.into_iter().for_each(|reply| lost(ledger.wait("hall-1", reply)));
            let Poll::Ready(result) = waits.poll(&mut task) else { panic!("{name}: not woken") };
            lost(result);
            let Poll::Ready(result) = first_waits.poll(&mut task) else { panic!("{name}: not woken") };
            assert!(matches!(result, Err(Error::OutcomeUnknown { .. })), "{name}: {result:?}");
        });
        let seen = std::mem::take(&mut *caller.1.lock().unwrap());
        assert_eq!(seen.len(), 6, "{name}: {seen:?}");
        assert!(seen.iter().all(|error| matches!(error, Error::Storage { .. })), "{name}: {seen:?}");
        assert_stopped(engine, &storage, &ledger, &name);
        assert_recovers(&storage, &ledger, &mut dice, &name);
    }
}

/// Whoever waits for room in a full queue is not forgotten.
#[test]
fn callers_without_room_are_told_too() {
    let (storage, ledger) = used_file(2);
    let engine = narrow().backend(storage.clone()).unwrap();
    let handle = halls(&engine);
    let mut dice = Prng::new(8);
    let held = Held::next_sync_of(&storage);
    // Sent often and never stored, so it needs no ledger; and what fills the queue is not larger than
    // what waits.
    let command = Command { ticket: u64::MAX, ask: Ask::Open };
    std::thread::scope(|scope| {
        let (ledger, handle) = (&ledger, &handle);
        let first = scope.spawn(|| ledger.execute(handle, "hall-0", Ask::Open));
        held.has_begun();
        let patient = handle.options();
        let hasty = handle.with(boxoffice::Options { wait: boxoffice::options::Wait::Never, ..patient });
        while hasty.submit("hall-1", &command).is_ok() {}
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| handle.execute("hall-2", &command).map(drop))).collect();
        storage.fail(When::Sync(1), Failure::Io);
        held.let_go();
        assert!(matches!(first.join().unwrap(), Err(Error::OutcomeUnknown { .. })));
        for thread in threads {
            let result = thread.join().unwrap();
            assert!(matches!(result, Err(Error::Storage { .. })), "{result:?}");
        }
    });
    assert_stopped(engine, &storage, &ledger, "no room");
    assert_recovers(&storage, &ledger, &mut dice, "no room");
}

/// A storage that panics in a sync is a storage that failed.
#[test]
fn every_sync_panics_once() {
    quiet();
    for at in 1.. {
        let name = format!("panic in sync {at}");
        let (storage, ledger) = used_file(at);
        let mut dice = Prng::new(at);
        storage.on_sync(move |number| assert!(number != at, "{}", common::PLANTED));
        let failed = match builder().backend(storage.clone()) {
            Ok(engine) => sell(engine, &storage, &ledger, &mut dice, &name),
            Err(Error::Corrupt { cause } | Error::Storage { cause }) => {
                assert!(cause.contains(common::PLANTED), "{name}: {cause}");
                Failed::Opening
            }
            Err(error) => panic!("{name}: the open gave {error:?}"),
        };
        let done = failed == Failed::Nothing;
        storage.on_sync(|_| {});
        assert_recovers(&storage, &ledger, &mut dice, &name);
        if done {
            assert!(at > 10, "only {at} syncs");
            break;
        }
    }
}

//! Goal: whatever moment the power goes at, the file opens again, holds every acknowledged decision, and
//! holds nothing that was not decided.
//!
//! Method: an engine on storage that loses its power at a random sync, or before, in and after a random
//! write. A random part of what was not synced survives, in any order and torn. The ledger of
//! `common` knows every command, answer and acknowledgement, and checks the next opening against them;
//! then more is sold. The power also goes while a file is created and while it recovers. The last tests
//! do the same with a sync that fails and forgets what it should have written, as Linux does.
//!
//! A failure names its seed. With one thread the seed reproduces the run; with several it reproduces
//! their commands and the fault, not their schedule.

mod common;

use boxoffice::testing::{Failure, FaultyStorage, Prng, When};
use boxoffice::{Engine, Error};
use common::{Ask, Ledger, builder, halls, open, used_file};

const POWER: [Failure; 3] = [Failure::PowerBefore, Failure::PowerDuring, Failure::PowerAfter];

fn pick<T: Copy>(dice: &mut Prng, of: &[T]) -> T {
    of[dice.below(of.len() as u64) as usize]
}

/// Orders a power loss within the next `syncs` syncs, or the changes that go with them.
fn order_cut(storage: &FaultyStorage, dice: &mut Prng, syncs: u64) {
    let when = if dice.chance(1, 2) {
        When::Sync(1 + dice.below(syncs))
    } else {
        When::Change(1 + dice.below(syncs * 4))
    };
    storage.fail(when, pick(dice, &POWER));
}

/// Work of one or more threads, each with a window of its own.
fn work(engine: &Engine, ledger: &Ledger, dice: &mut Prng, threads: usize, commands: usize) -> Vec<Error> {
    let halls = &halls(engine);
    if threads == 1 {
        let window = dice.below(6);
        return ledger.work(halls, dice, commands, window);
    }
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 0..threads {
            let mut dice = dice.fork();
            running.push(scope.spawn(move || {
                let window = dice.below(6);
                ledger.work(halls, &mut dice, commands, window)
            }));
        }
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Opens what survived, losing the power again a few times on the way, and checks it; then sells more.
fn recover(mut storage: FaultyStorage, ledger: &Ledger, dice: &mut Prng, again: u64, seed: &str) {
    for _ in 0..again {
        order_cut(&storage, dice, 4);
        match builder().backend(storage.clone()) {
            Ok(engine) => drop(engine),
            Err(Error::Storage { .. }) if !storage.is_armed() => {}
            Err(error) => panic!("{seed}: does not open: {error:?}"),
        }
        storage = storage.reopen();
    }
    let engine = open(&storage, seed);
    ledger.check(&engine, seed);
    let errors = work(&engine, ledger, dice, 1, 5);
    assert!(errors.is_empty(), "{seed}: {errors:?}");
    ledger.check_while_open(&engine, seed);
    if dice.chance(1, 4) {
        engine.close().unwrap();
        let engine = open(&storage.reopen(), seed);
        ledger.check(&engine, seed);
    }
}

fn cut_while_selling(seed: u64, threads: usize, syncs: u64) {
    let mut dice = Prng::new(seed);
    let (storage, ledger) = used_file(seed);
    let engine = open(&storage, "untouched");
    order_cut(&storage, &mut dice, syncs);
    let errors = work(&engine, &ledger, &mut dice, threads, 12);
    let seed = format!("seed {seed}, {threads} threads");
    // Neither fired nor closed is a cut, too: what is in the page cache goes.
    let fired = !storage.is_armed();
    assert!(fired || errors.is_empty(), "{seed}: {errors:?}");
    storage.cut_power();
    if dice.chance(1, 2) {
        assert!(engine.close().is_err(), "{seed}: closed without power");
    } else {
        drop(engine);
    }
    let again = dice.below(4).saturating_sub(1);
    recover(storage.reopen(), &ledger, &mut dice, again, &seed);
}

#[test]
fn one_thread_is_cut_off() {
    (0..250).for_each(|seed| cut_while_selling(seed, 1, 20));
}

#[test]
fn three_threads_are_cut_off() {
    (1_000..1_150).for_each(|seed| cut_while_selling(seed, 3, 40));
}

/// Every change that an open makes after a cut is cut off, before, in and after it.
#[test]
fn recovery_is_cut_off() {
    for seed in 2_000..2_005 {
        let mut dice = Prng::new(seed);
        let (storage, ledger) = used_file(seed);
        let engine = open(&storage, "untouched");
        order_cut(&storage, &mut dice, 20);
        work(&engine, &ledger, &mut dice, 1, 12);
        drop(engine);
        let survivors = storage.reopen();
        let name = |at, failure| format!("seed {seed}, change {at} of the open, {failure:?}");
        for at in 1.. {
            let mut done = false;
            for failure in POWER {
                let storage = FaultyStorage::with(survivors.bytes(), dice.next_u64());
                storage.fail(When::Change(at), failure);
                let opened = builder().backend(storage.clone());
                done = storage.is_armed();
                assert!(done == opened.is_ok(), "{}: {opened:?}", name(at, failure));
                drop(opened);
                let again = dice.below(2);
                recover(storage.reopen(), &ledger.copy(), &mut dice, again, &name(at, failure));
            }
            if done {
                break;
            }
        }
    }
}

/// Every change that the creation of a file makes is cut off, before, in and after it: the next open
/// creates the file, or finds it created.
#[test]
fn creation_is_cut_off() {
    let mut cuts = 0;
    for at in 1.. {
        let mut done = false;
        for seed in 0..3 {
            for failure in POWER {
                let (storage, mut dice) = (FaultyStorage::new(at * 1_000 + seed), Prng::new(seed));
                storage.fail(When::Change(at), failure);
                let opened = builder().backend(storage.clone());
                done = storage.is_armed();
                let seed = format!("seed {seed}, change {at} of the creation, {failure:?}");
                assert!(done == opened.is_ok(), "{seed}: {opened:?}");
                drop(opened);
                cuts += 1;
                recover(storage.reopen(), &Ledger::default(), &mut dice, 1, &seed);
            }
        }
        if done {
            break;
        }
    }
    assert!(cuts >= 100, "only {cuts} cuts");
}

/// How the storage is found after a sync that failed and forgot.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// The power went as well.
    Cold,
    /// The process went, and the open evicts the page cache, as it does for a file.
    Evicted,
    /// The process went; the page cache still shows what was never written.
    Warm,
}

fn lost_sync(seed: u64, threads: usize, found: Found) {
    let mut dice = Prng::new(seed);
    let (storage, ledger) = used_file(seed);
    let engine = open(&storage, "untouched");
    storage.fail(When::Sync(1 + dice.below(16)), Failure::LostSync);
    let errors = work(&engine, &ledger, &mut dice, threads, 12);
    let seed = format!("seed {seed}, {threads} threads, {found:?}");
    let handle = halls(&engine);
    if storage.is_armed() {
        assert!(errors.is_empty(), "{seed}: {errors:?}");
    } else {
        // Whoever was in the batch does not know; nobody else is left in doubt.
        let unknown = errors.iter().filter(|error| matches!(error, Error::OutcomeUnknown { .. })).count();
        assert!(unknown > 0, "{seed}: {errors:?}");
        let refused = ledger.execute(&handle, "hall-0", Ask::Open);
        assert!(matches!(refused, Err(Error::Storage { .. })), "{seed}: {refused:?}");
        assert!(matches!(handle.read("hall-0"), Err(Error::Storage { .. })), "{seed}");
        assert!(matches!(handle.history("hall-0"), Err(Error::Storage { .. })), "{seed}");
        let changes = storage.calls().changes();
        assert!(matches!(engine.close(), Err(Error::Storage { .. })), "{seed}");
        assert_eq!(storage.calls().changes(), changes, "{seed}: written after the failure");
    }
    let next = match found {
        Found::Cold => storage.reopen(),
        Found::Evicted => storage.reopen_evicted(),
        Found::Warm => storage.reopen_warm(),
    };
    let engine = open(&next, &seed);
    ledger.check(&engine, &seed);
    if !matches!(found, Found::Warm) {
        let errors = work(&engine, &ledger, &mut dice, threads, 6);
        assert!(errors.is_empty(), "{seed}: {errors:?}");
    }
    next.cut_power();
    drop(engine);
    recover(next.reopen(), &ledger, &mut dice, 0, &seed);
}

#[test]
fn a_sync_fails_and_forgets_and_the_power_goes() {
    (3_000..3_070).for_each(|seed| lost_sync(seed, 1 + (seed % 2 * 2) as usize, Found::Cold));
}

#[test]
fn a_sync_fails_and_forgets_and_the_cache_is_evicted() {
    (4_000..4_070).for_each(|seed| lost_sync(seed, 1 + (seed % 2 * 2) as usize, Found::Evicted));
}

/// Nothing can be promised of what is decided on top of pages that the kernel only pretends to have;
/// but what was acknowledged before stays, and the file opens.
#[test]
fn a_sync_fails_and_forgets_and_the_cache_stays() {
    (5_000..5_070).for_each(|seed| lost_sync(seed, 1 + (seed % 2 * 2) as usize, Found::Warm));
}

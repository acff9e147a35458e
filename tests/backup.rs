//! Goal: a copy that is made while seats are sold opens, and holds everything that was on disk when it began,
//! or it is no log at all; and a file that is only looked at keeps every byte.
//!
//! Method: backups during a crowd's sale on a real file, each opened and compared with the original, entry by
//! entry; storage for the copy that fails, tears and loses power at every change, and is looked at at every sync;
//! files as they are between two syncs, opened to look and compared with what an ordinary open makes of a copy.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use boxoffice::error::Advice;
use boxoffice::history::{At, Happened};
use boxoffice::testing::{Failure, FaultyStorage, Prng, When};
use boxoffice::{Aggregate, Context, Engine, Error, Events, Limits, Options};
use common::{Ask, Command, Hall, Ledger, builder, halls, quiet, read_log, used_file};

const ASK: Command = Command { ticket: u64::MAX, ask: Ask::Open };

/// The names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// The whole log as text, by position.
fn log_of(engine: &Engine, name: &str) -> Vec<String> {
    read_log(engine, name).into_values().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn backups_of_a_sale_are_prefixes_that_open_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let small = Limits { batch_bytes: 2048, entry_bytes: 64 << 10, ..Limits::default() };
    let engine = builder().limits(small).open(path("sale")).unwrap();
    let ledger = Ledger::default();
    let sold = AtomicBool::new(false);
    let backups = std::thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            let mut backups = Vec::new();
            // The first, perhaps, of nothing at all; the last of everything.
            loop {
                let last = sold.load(Ordering::Acquire);
                let (name, before) = (format!("backup-{}", backups.len()), engine.durable_position());
                let backup = engine.backup(path(&name)).unwrap();
                assert!(backup.position >= before, "{backup:?} was begun at {before}");
                backups.push((name, backup));
                if last {
                    break backups;
                }
            }
        });
        std::thread::scope(|scope| {
            for seller in 0..3 {
                let (engine, ledger) = (&engine, &ledger);
                scope.spawn(move || {
                    assert!(ledger.work(&halls(engine), &mut Prng::new(seller), 120, seller * 4).is_empty());
                });
            }
        });
        sold.store(true, Ordering::Release);
        keeper.join().unwrap()
    });
    let original = log_of(&engine, "the original");
    assert_eq!(backups.last().unwrap().1.position, engine.position());
    assert_eq!(names(folder.path()).len(), backups.len() + 1, "something is left over");
    for (nth, (name, backup)) in backups.iter().enumerate() {
        let copy = builder().open(path(name)).unwrap();
        assert!(copy.recovery().fenced.is_empty());
        let held = (copy.position(), copy.recovery().events);
        assert_eq!(held, (backup.position, backup.events), "{name}");
        assert!(log_of(&copy, name) == original[..backup.position as usize], "{name}");
        assert!(halls(&copy).verify().unwrap().is_clean(), "{name}");
        // The copy and the original go on, each for itself.
        if nth + 1 == backups.len() {
            let copied = ledger.copy();
            copied.check(&copy, name);
            assert!(copied.work(&halls(&copy), &mut Prng::new(9), 20, 3).is_empty());
            copy.close().unwrap();
            copied.check(&builder().open(path(name)).unwrap(), name);
        }
    }
    assert!(ledger.work(&halls(&engine), &mut Prng::new(8), 20, 3).is_empty());
    ledger.check_while_open(&engine, "the original goes on");
    engine.close().unwrap();
}

/// Texts of any length.
enum Archive {}

impl Aggregate for Archive {
    const TYPE: &'static str = "archive";
    type State = u64;
    type Command = String;
    type Event = String;
    type Rejection = ();
    type Services = ();

    fn decide(_: &u64, text: &String, _: &Context<'_, ()>) -> Result<Events<String>, ()> {
        Ok(text.clone().into())
    }

    fn apply(bytes: &mut u64, text: &String) {
        *bytes += text.len() as u64;
    }
}

/// More than is copied at once, in rows of many sizes.
#[test]
fn a_large_log_is_copied_whole() {
    let engine = Engine::builder().aggregate::<Archive>().in_memory().unwrap();
    let archive = engine.handle::<Archive>(()).unwrap();
    let lengths = [1, 5 << 20, 2 << 20, 1 << 20, 5, 4 << 20, 7];
    for (letter, len) in ('a'..).zip(lengths) {
        let _ = archive.execute("all", &letter.to_string().repeat(len)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    let backup = engine.backup(&path).unwrap();
    assert_eq!((backup.position, backup.events), (7, 7));
    assert!(backup.bytes > lengths.iter().sum::<usize>() as u64);
    let copy = Engine::builder().aggregate::<Archive>().open(&path).unwrap();
    let copied = copy.handle::<Archive>(()).unwrap();
    for (one, other) in archive.history("all").unwrap().zip(copied.history("all").unwrap()) {
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.moment(), other.moment());
        match (one.what, other.what) {
            (Happened::Event(one), Happened::Event(other)) => assert!(one == other),
            _ => panic!("a rejection"),
        }
    }
    assert_eq!(copied.read("all").unwrap().version(), 7);
}

#[test]
fn a_backup_takes_no_place_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("taken"), "accounts").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::create_dir(path("folder")).unwrap();
    let (storage, _) = used_file(0);
    let engine = builder().backend(storage).unwrap();
    let before = names(folder.path());
    for taken in ["taken", "folder", "folder/.."] {
        let error = engine.backup(path(taken)).unwrap_err();
        assert!(
            matches!(error, Error::NotEmpty { .. }) && error.advice() == Advice::Fix,
            "{taken}: {error:?}"
        );
    }
    for nowhere in ["none/backup", "taken/backup"] {
        let error = engine.backup(path(nowhere)).unwrap_err();
        assert!(matches!(error, Error::CannotOpen { .. }), "{nowhere}: {error:?}");
        assert!(error.to_string().contains(nowhere), "{error}");
    }
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::read(path("taken")).unwrap(), b"accounts");
    let position = engine.backup(path("empty")).unwrap().position;
    assert_eq!(builder().open(path("empty")).unwrap().position(), position);
    // Once it is there, it is taken.
    let bytes = fs::read(path("empty")).unwrap();
    assert!(matches!(engine.backup(path("empty")), Err(Error::NotEmpty { .. })));
    assert!(fs::read(path("empty")).unwrap() == bytes);
    assert_eq!(names(folder.path()), before);
    let error = engine.backup_to(FaultyStorage::with(b"accounts".to_vec(), 0)).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error:?}");
}

/// A copy is a log with all its entries, or none: whatever is left of it when it was cut off.
fn whole_or_none(bytes: Vec<u8>, whole: u64, name: &str) -> bool {
    match builder().backend(FaultyStorage::with(bytes, 0)) {
        Ok(copy) => {
            let held = copy.position();
            assert!(held == whole || held == 0, "{name}: {held} of {whole} entries");
            held == whole
        }
        Err(error) => {
            assert!(matches!(error, Error::NotALog { .. } | Error::Corrupt { .. }), "{name}: {error:?}");
            false
        }
    }
}

#[test]
fn a_copy_that_fails_is_no_log_and_the_engine_goes_on() {
    quiet();
    let (storage, ledger) = used_file(0);
    let engine = builder().backend(storage).unwrap();
    let target = FaultyStorage::new(0);
    let whole = engine.backup_to(target.clone()).unwrap().position;
    assert!(whole > 20 && whole_or_none(target.bytes(), whole, "nothing fails"));
    let changes = target.calls().changes();
    let failures = [
        Failure::Io,
        Failure::NoSpace,
        Failure::Partial,
        Failure::LostSync,
        Failure::PowerBefore,
        Failure::PowerDuring,
        Failure::PowerAfter,
    ];
    let mut failed = 0;
    for nth in 1..=changes {
        // Three of them each, in turn.
        for (seed, failure) in (nth * 3..nth * 3 + 3).map(|seed| (seed, failures[seed as usize % 7])) {
            let name = format!("{failure:?} at change {nth} of {changes}");
            let target = FaultyStorage::new(seed);
            target.fail(When::Change(nth), failure);
            match engine.backup_to(target.clone()) {
                Err(Error::BackupFailed { .. }) => failed += 1,
                Ok(backup) => assert_eq!(backup.position, whole, "{name}"),
                Err(error) => panic!("{name}: {error:?}"),
            }
            whole_or_none(target.reopen().bytes(), whole, &name);
        }
    }
    assert!(failed as u64 > changes * 2, "{failed} of {changes} failed");
    for nth in 1..=target.calls().sync {
        let target = FaultyStorage::new(nth);
        target.on_sync(move |sync| assert!(sync != nth, "{}", common::PLANTED));
        let error = engine.backup_to(target.clone()).unwrap_err();
        assert!(matches!(error, Error::BackupFailed { .. }), "a panic in sync {nth}: {error:?}");
        whole_or_none(target.reopen().bytes(), whole, &format!("a panic in sync {nth}"));
    }
    assert!(ledger.work(&halls(&engine), &mut Prng::new(1), 10, 2).is_empty());
    ledger.check_while_open(&engine, "after failed backups");
}

/// Killed at any sync of the copy, what is there is no log with a part of the entries.
#[test]
fn a_copy_that_is_cut_off_is_no_log() {
    quiet();
    let (storage, _) = used_file(0);
    let engine = builder().backend(storage).unwrap();
    let target = FaultyStorage::new(0);
    let images = Arc::new(Mutex::new(Vec::new()));
    let (seen, looked_at) = (Arc::clone(&images), target.clone());
    target.on_sync(move |_| seen.lock().unwrap().push(looked_at.bytes()));
    let whole = engine.backup_to(target.clone()).unwrap().position;
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 4);
    let finished: Vec<_> =
        (0..).zip(images).map(|(nth, it)| whole_or_none(it, whole, &format!("sync {nth}"))).collect();
    assert!(finished.is_sorted() && !finished[finished.len() / 2], "{finished:?}");
}

/// The original cannot be read: no copy, and no litter.
#[test]
fn a_log_that_cannot_be_read_leaves_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, _) = used_file(0);
    let engine = builder().cache_size(0).backend(storage.clone()).unwrap();
    storage.fail(When::Read(3), Failure::Io);
    let error = engine.backup(folder.path().join("copy")).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "{error:?}");
    assert!(!storage.is_armed() && names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    let error = engine.backup(folder.path().join("copy")).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }) && names(folder.path()).is_empty(), "{error:?}");
}

/// What nobody may change while a file is only looked at.
fn fingerprint(path: &Path) -> (Vec<u8>, std::time::SystemTime, Vec<String>) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    (fs::read(path).unwrap(), modified, names(path.parent().unwrap()))
}

/// Looks at everything there is, and asks for what cannot be.
fn look_at(engine: &Engine, name: &str) -> Vec<String> {
    let log = log_of(engine, name);
    for options in [Options::pessimistic(), Options::optimistic()] {
        let halls = halls(engine).with(options);
        for id in halls.ids().iter().map(|id| id.as_str()).chain(["a new hall", ""]) {
            for error in [
                halls.execute(id, &ASK).map(drop).unwrap_err(),
                halls.submit(id, &ASK).map(drop).unwrap_err(),
            ] {
                assert!(
                    matches!(error, Error::ReadOnly) && error.advice() == Advice::Fix,
                    "{name}: {error:?}"
                );
            }
        }
        let found = halls.verify().unwrap();
        assert!(found.is_clean() && found.position == log.len() as u64, "{name}: {found:?}");
        for id in halls.ids() {
            let now = halls.read(&id).unwrap();
            let then = halls.read_at(&id, At::Version(now.version())).unwrap();
            assert_eq!(*now, *then, "{name}");
        }
    }
    log
}

#[test]
fn a_file_that_is_looked_at_keeps_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sale");
    let (ledger, engine) = (Ledger::default(), builder().open(&path).unwrap());
    assert!(ledger.work(&halls(&engine), &mut Prng::new(1), 60, 4).is_empty());
    let refused = builder().open_read_only(&path).unwrap_err();
    assert!(matches!(refused, Error::AlreadyOpen), "{refused:?}");
    engine.close().unwrap();

    let before = fingerprint(&path);
    let several: Vec<_> = (0..3).map(|_| builder().open_read_only(&path).unwrap()).collect();
    let logs: Vec<_> = several.iter().map(|engine| look_at(engine, "looked at")).collect();
    assert!(logs[0].len() >= 60 && logs.iter().all(|log| *log == logs[0]));
    ledger.check(&several[0], "looked at");
    let refused = builder().open(&path).unwrap_err();
    assert!(matches!(refused, Error::AlreadyOpen), "{refused:?}");
    assert!(fingerprint(&path) == before, "an open to look changed the file");
    // What is only looked at can be copied.
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = several[1].backup(elsewhere.path().join("copy")).unwrap();
    assert_eq!(backup.position, several[1].position());
    ledger.check(&builder().open(elsewhere.path().join("copy")).unwrap(), "a copy");
    for engine in several {
        let handle = halls(&engine);
        engine.close().unwrap();
        assert!(matches!(handle.read("hall-0").map(drop), Err(Error::Closed)));
        assert!(matches!(handle.execute("hall-0", &ASK).map(drop), Err(Error::Closed)));
    }
    assert!(fingerprint(&path) == before, "a close changed the file");
    // And sold from again.
    let engine = builder().open(&path).unwrap();
    assert!(ledger.work(&halls(&engine), &mut Prng::new(2), 10, 4).is_empty());
    ledger.check_while_open(&engine, "sold from again");
}

/// As a kill leaves it, at every sync: the same as an ordinary open makes of it, without the repair.
#[test]
fn a_file_that_was_left_by_a_kill_is_shown_as_it_will_be() {
    quiet();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let storage = FaultyStorage::new(0);
    let images = Arc::new(Mutex::new(vec![Vec::new()]));
    let (seen, looked_at) = (Arc::clone(&images), storage.clone());
    storage.on_sync(move |_| seen.lock().unwrap().push(looked_at.bytes()));
    let engine = builder().backend(storage.clone()).unwrap();
    assert!(Ledger::default().work(&halls(&engine), &mut Prng::new(3), 25, 0).is_empty());
    images.lock().unwrap().push(storage.bytes());
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 25);
    let mut last = 0;
    for (nth, image) in images.iter().enumerate() {
        let name = format!("killed at sync {nth} of {}", images.len());
        fs::write(path("looked-at"), image).unwrap();
        fs::write(path("opened"), image).unwrap();
        let before = fingerprint(&path("looked-at"));
        let looked = builder().open_read_only(path("looked-at")).map(|engine| look_at(&engine, &name));
        assert!(fingerprint(&path("looked-at")) == before, "{name}: changed");
        let opened = builder().open(path("opened")).map(|engine| log_of(&engine, &name));
        let (looked, opened) = (looked.unwrap(), opened.unwrap());
        assert!(looked == opened, "{name}");
        assert!(looked.len() >= last, "{name}");
        last = looked.len();
    }
    assert_eq!(last as u64, engine.position());
}

#[test]
fn what_cannot_be_looked_at_says_why_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for nowhere in [path("none"), path("none/none"), folder.path().to_owned()] {
        let error = builder().open_read_only(&nowhere).unwrap_err();
        assert!(matches!(error, Error::CannotOpen { .. }), "{nowhere:?}: {error:?}");
    }
    assert!(names(folder.path()).is_empty(), "a look creates nothing");
    fs::write(path("text"), "Seats sold today: 7").unwrap();
    let before = fingerprint(&path("text"));
    let error = builder().open_read_only(path("text")).unwrap_err();
    assert!(matches!(error, Error::NotALog { .. }), "{error:?}");
    assert!(fingerprint(&path("text")) == before);
    // A file that nobody may write to can be looked at.
    let engine = builder().open(path("sale")).unwrap();
    assert!(halls(&engine).execute("hall", &ASK).unwrap().is_accepted());
    engine.close().unwrap();
    let mut permissions = fs::metadata(path("sale")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path("sale"), permissions).unwrap();
    let engine = builder().open_read_only(path("sale")).unwrap();
    assert_eq!(look_at(&engine, "protected").len(), 1);
    // An aggregate that nobody registered, and none at all.
    let engine = Engine::builder().open_read_only(path("sale")).unwrap();
    assert_eq!(engine.recovery().unregistered["hall"], 1);
    assert!(matches!(engine.handle::<Hall>(()).map(drop), Err(Error::NotRegistered { .. })));
}

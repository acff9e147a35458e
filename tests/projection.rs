//! Goal: a projection counts each entry once, wherever it is cut off; it never takes another log's view, or
//! another program's, for its own.
//!
//! Method: the view is the list of the positions that were counted, so that one counted twice or skipped is
//! seen. Its storage fails or loses power at a random call, its fold fails and panics, and what a fresh open
//! finds is compared with what was saved. A failure names its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::error::Advice;
use boxoffice::history::{FeedEntry, Projection};
use boxoffice::testing::{Failure, FaultyStorage, Prng, When};
use boxoffice::{Engine, Error, Options};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::board::{Ask, Board, boards};
use support::gate::GatedStorage;
use support::{error_of, said};

/// The positions that were counted, in the order in which they were.
type Counted = Vec<u64>;

fn count(view: &mut Counted, entry: &FeedEntry) -> Result<(), Error> {
    view.push(entry.position());
    Ok(())
}

fn up_to(last: u64) -> Counted {
    (1..=last).collect()
}

fn write(engine: &Engine, entries: u64) {
    let boards = boards(engine, Options::default());
    for number in 0..entries {
        let ask = Ask::set(number % 5, number as i64);
        assert!(boards.execute(format!("b{}", number % 3), &ask).unwrap().is_accepted());
    }
}

fn engine_with(entries: u64) -> Engine {
    let engine = support::board::engine();
    write(&engine, entries);
    engine
}

fn on<V: Serialize + DeserializeOwned + Default>(storage: &FaultyStorage) -> Result<Projection<V>, Error> {
    Projection::backend(storage.clone(), "counted", 1)
}

const FAILURES: [Failure; 7] = [
    Failure::Io,
    Failure::NoSpace,
    Failure::Partial,
    Failure::LostSync,
    Failure::PowerBefore,
    Failure::PowerDuring,
    Failure::PowerAfter,
];

#[test]
fn wherever_its_storage_fails_nothing_is_counted_twice_or_left_out() {
    const LAST: u64 = 60;
    let engine = engine_with(LAST);
    let mut cut = 0;
    for seed in 0..60 {
        let mut dice = Prng::new(seed);
        let mut storage = FaultyStorage::new(seed);
        // The last position whose save was acknowledged.
        let mut saved = 0;
        for life in 0..4 {
            let failure = FAILURES[dice.below(7) as usize];
            storage.fail(When::Change(1 + dice.below(60)), failure);
            let mut counting = |projection: &mut Projection<Counted>| {
                while projection.position() < LAST {
                    projection.update(&engine, Duration::ZERO, count)?;
                    assert_eq!(*projection.view(), up_to(projection.position()), "seed {seed}, life {life}");
                    saved = projection.position();
                }
                Ok::<(), Error>(())
            };
            let every = 1 + dice.below(9);
            let lived = on(&storage).map(|it| it.save_every(every)).and_then(|mut it| {
                counting(&mut it)?;
                Ok(it)
            });
            match lived {
                Ok(projection) => drop(projection),
                Err(Error::Storage { .. }) => cut += 1,
                Err(other) => panic!("seed {seed}, life {life}: {other:?}"),
            }
            storage = match dice.below(3) {
                0 => storage.reopen(),
                1 => storage.reopen_warm(),
                _ => storage.reopen_evicted(),
            };
            let found =
                on::<Counted>(&storage).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            let position = found.position();
            assert_eq!(*found.view(), up_to(position), "seed {seed}, life {life}");
            assert!(position >= saved, "seed {seed}, life {life}: {position} after {saved} was saved");
            saved = position;
            drop(found);
            storage = storage.reopen_warm();
            if saved == LAST {
                break;
            }
        }
        let mut whole = on::<Counted>(&storage).unwrap();
        assert_eq!(whole.catch_up(&engine, count).unwrap(), LAST - saved, "seed {seed}");
        assert_eq!(*whole.view(), up_to(LAST), "seed {seed}");
    }
    assert!(cut > 60, "only {cut} were cut off");
    engine.close().unwrap();
}

#[test]
fn a_fold_that_fails_or_panics_takes_the_view_back_to_the_last_save() {
    let engine = engine_with(50);
    for (panics, saves) in [(false, true), (true, true), (false, false), (true, false)] {
        let storage = FaultyStorage::new(1);
        let projection = if saves { on(&storage).unwrap() } else { Projection::<Counted>::in_memory() };
        let mut projection = projection.save_every(20);
        let mut faulty = |view: &mut Counted, entry: &FeedEntry| {
            view.push(entry.position());
            match entry.position() {
                // Half done.
                33 if panics => panic!("33"),
                33 => Err(Error::Encode { cause: "33".into() }),
                _ => Ok(()),
            }
        };
        assert_eq!(projection.update(&engine, Duration::ZERO, &mut faulty).unwrap(), 20);
        let result =
            catch_unwind(AssertUnwindSafe(|| projection.update(&engine, Duration::ZERO, &mut faulty)));
        match result {
            Ok(result) => assert!(matches!(result, Err(Error::Encode { .. })) && !panics),
            Err(panic) => assert!(said(&*panic) == "33" && panics),
        }
        assert!(!projection.view().contains(&33));
        let kept = if saves { 20 } else { 0 };
        if !panics {
            assert_eq!((projection.position(), projection.view()), (kept, &up_to(kept)));
        }
        // The program was mended.
        assert_eq!(projection.catch_up(&engine, count).unwrap(), 50 - kept);
        assert_eq!((projection.position(), projection.view()), (50, &up_to(50)));
    }
    engine.close().unwrap();
}

#[test]
fn it_goes_on_after_a_restart_of_both_and_begins_anew_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.boxoffice");
    let path = folder.path().join("counted.projection");
    let open_log = || Engine::builder().aggregate::<Board>().open(&log).unwrap();
    let open = |version| Projection::<Counted>::open(&path, "counted", version).unwrap();
    for round in 1..=5 {
        let engine = open_log();
        write(&engine, 10);
        let mut projection = open(1);
        assert_eq!(projection.position(), (round - 1) * 10);
        assert_eq!(projection.catch_up(&engine, count).unwrap(), 10);
        assert_eq!(projection.update(&engine, Duration::from_millis(1), count).unwrap(), 0);
        assert_eq!(*projection.view(), up_to(round * 10));
        engine.close().unwrap();
    }
    let engine = open_log();
    // On request: at once, and also if nobody gets to count.
    let mut projection = open(1);
    projection.rebuild().unwrap();
    assert_eq!((projection.position(), projection.view().len()), (0, 0));
    drop(projection);
    let mut projection = open(1);
    assert_eq!(projection.position(), 0);
    assert_eq!(projection.catch_up(&engine, count).unwrap(), 50);
    assert_eq!(*projection.view(), up_to(50));
    drop(projection);
    // With a new version, and whatever the view was before.
    let mut sums = Projection::<(u64, String)>::open(&path, "counted", 2).unwrap();
    assert_eq!((sums.position(), sums.view().0), (0, 0));
    let sum = |view: &mut (u64, String), entry: &FeedEntry| {
        view.0 += entry.position();
        Ok(())
    };
    assert_eq!(sums.catch_up(&engine, sum).unwrap(), 50);
    assert_eq!(sums.view().0, 50 * 51 / 2);
    engine.close().unwrap();
}

#[test]
fn it_follows_while_others_write() {
    const WRITERS: u64 = 3;
    const ENTRIES: u64 = 150;
    let engine = support::board::engine();
    let storage = FaultyStorage::new(1);
    thread::scope(|scope| {
        let engine = &engine;
        for _ in 0..WRITERS {
            scope.spawn(move || write(engine, ENTRIES));
        }
        let mut projection = on::<Counted>(&storage).unwrap().save_every(10);
        while projection.position() < WRITERS * ENTRIES {
            let counted = projection.update(engine, Duration::from_secs(30), count).unwrap();
            assert!((1..=10).contains(&counted), "{counted}");
            assert_eq!(*projection.view(), up_to(projection.position()));
            assert!(engine.durable_position() >= projection.position());
        }
    });
    assert_eq!(*on::<Counted>(&storage.reopen()).unwrap().view(), up_to(WRITERS * ENTRIES));
    engine.close().unwrap();
}

/// An entry that is not on disk may be lost, and another one take its position.
#[test]
fn it_counts_only_what_is_on_disk() {
    let storage = GatedStorage::default();
    let engine = Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
    write(&engine, 5);
    storage.close_gate();
    let receipt = boards(&engine, Options::default()).submit("b", &Ask::set(1, 1)).unwrap();
    storage.await_blocked();
    let mut projection = Projection::<Counted>::in_memory();
    assert_eq!(projection.catch_up(&engine, count).unwrap(), 5);
    assert_eq!(projection.update(&engine, Duration::from_millis(1), count).unwrap(), 0);
    storage.open_gate();
    assert!(receipt.wait().unwrap().is_accepted());
    assert_eq!(projection.catch_up(&engine, count).unwrap(), 1);
    storage.fail();
    let lost = boards(&engine, Options::default()).submit("b", &Ask::set(1, 2)).unwrap();
    assert!(lost.wait().is_err());
    let error = error_of(projection.update(&engine, Duration::from_secs(30), count));
    assert!(matches!(error, Error::Storage { .. }), "{error}");
    // What it has counted is true all the same.
    assert_eq!(*projection.view(), up_to(6));
    assert!(engine.close().is_err());
}

#[test]
fn a_log_that_does_not_hold_what_was_counted_is_refused() {
    let clock = || std::sync::Arc::new(ManualClock::new(Timestamp(7)));
    let log = |storage: &FaultyStorage| {
        Engine::builder().aggregate::<Board>().clock(clock()).backend(storage.clone()).unwrap()
    };
    let storage = FaultyStorage::new(1);
    let engine = log(&storage);
    write(&engine, 10);
    engine.close().unwrap();
    let backup = FaultyStorage::with(storage.bytes(), 2);
    let storage = storage.reopen_warm();
    let engine = log(&storage);
    write(&engine, 10);
    let mut projection = Projection::<Counted>::in_memory();
    assert_eq!(projection.catch_up(&engine, count).unwrap(), 20);

    // The backup ends before; then it grows beyond, with other decisions.
    let restored = log(&backup);
    let diverged = |projection: &mut Projection<Counted>, last| {
        let error = error_of(projection.catch_up(&restored, count));
        assert_eq!(error.advice(), Advice::Fix);
        assert!(
            matches!(error, Error::ProjectionDiverged { position: 20, last: found } if found == last),
            "{error}"
        );
        assert_eq!(*projection.view(), up_to(20));
    };
    diverged(&mut projection, 10);
    write(&restored, 7);
    diverged(&mut projection, 17);
    let boards = boards(&restored, Options::default());
    for cell in 0..8 {
        assert!(boards.execute("other", &Ask::set(cell, 1)).unwrap().is_accepted());
    }
    diverged(&mut projection, 25);
    // The log that it was made of is still good.
    write(&engine, 1);
    assert_eq!(projection.catch_up(&engine, count).unwrap(), 1);
    // Until it is told to begin anew.
    projection.rebuild().unwrap();
    assert_eq!(projection.catch_up(&restored, count).unwrap(), 25);
    assert_eq!(*projection.view(), up_to(25));
    engine.close().unwrap();
    restored.close().unwrap();
}

#[test]
fn other_files_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = |path: &Path, name: &str| Projection::<Counted>::open(path, name, 1);

    let log = at("log.boxoffice");
    let engine = Engine::builder().aggregate::<Board>().open(&log).unwrap();
    write(&engine, 3);
    assert!(matches!(error_of(open(&log, "counted")), Error::AlreadyOpen));
    engine.close().unwrap();
    assert!(matches!(error_of(open(&log, "counted")), Error::NotThisProjection { .. }));
    let engine = Engine::builder().aggregate::<Board>().open(&log).unwrap();
    assert_eq!(engine.position(), 3);

    let mine = at("mine.projection");
    let mut projection = open(&mine, "mine").unwrap();
    assert!(matches!(error_of(open(&mine, "mine")), Error::AlreadyOpen));
    assert_eq!(projection.catch_up(&engine, count).unwrap(), 3);
    drop(projection);
    let error = error_of(open(&mine, "yours"));
    assert!(matches!(&error, Error::NotThisProjection { cause } if cause.contains("mine")), "{error}");
    // The type was changed, and the version was not.
    let error = error_of(Projection::<(bool, String)>::open(&mine, "mine", 1));
    assert!(matches!(&error, Error::NotThisProjection { cause } if cause.contains("decode")), "{error}");
    assert_eq!(*open(&mine, "mine").unwrap().view(), up_to(3));
    assert!(matches!(error_of(Engine::builder().open(&mine)), Error::NotALog { .. }));

    let garbage = at("garbage");
    std::fs::write(&garbage, [7; 10_000]).unwrap();
    assert!(matches!(error_of(open(&garbage, "mine")), Error::NotThisProjection { .. }));
    assert_eq!(std::fs::read(&garbage).unwrap(), [7; 10_000]);
    assert!(matches!(error_of(open(folder.path(), "mine")), Error::CannotOpen { .. }));
    assert!(matches!(error_of(open(&at("no/such/folder"), "mine")), Error::CannotOpen { .. }));
    engine.close().unwrap();
}

/// A view that serde, or its size, does not let be saved.
#[derive(Default)]
struct Unwritable {
    counted: Counted,
    bytes: usize,
}

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.bytes {
            0 => Err(serde::ser::Error::custom("not today")),
            bytes => serializer.serialize_bytes(&vec![0; bytes]),
        }
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?.len();
        Ok(Self { counted: Vec::new(), bytes })
    }
}

#[test]
fn a_view_that_cannot_be_saved_is_an_error_until_it_can() {
    const MOST: usize = 64 << 20;
    let engine = engine_with(5);
    let storage = FaultyStorage::new(1);
    let mut projection = on::<Unwritable>(&storage).unwrap();
    let sized = |bytes| {
        move |view: &mut Unwritable, entry: &FeedEntry| {
            view.bytes = bytes;
            count(&mut view.counted, entry)
        }
    };
    assert!(matches!(error_of(projection.update(&engine, Duration::ZERO, sized(0))), Error::Encode { .. }));
    // Counted, and not saved: said again, and not counted again.
    assert!(matches!(error_of(projection.update(&engine, Duration::ZERO, sized(0))), Error::Encode { .. }));
    write(&engine, 1);
    match error_of(projection.update(&engine, Duration::ZERO, sized(MOST))) {
        Error::TooLarge { bytes, limit } => assert!(bytes > limit && limit == MOST),
        other => panic!("{other}"),
    }
    write(&engine, 1);
    assert_eq!(projection.update(&engine, Duration::ZERO, sized(9)).unwrap(), 1);
    assert_eq!(projection.view().counted, up_to(7));
    drop(projection);
    let found = on::<Unwritable>(&storage.reopen()).unwrap();
    assert_eq!((found.position(), found.view().bytes), (7, 9));
    engine.close().unwrap();
}

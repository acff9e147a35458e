//! Goal: a command with an id is decided once, whoever sends it again and whenever, and every caller gets the
//! first one's outcome. What an entry says about itself is found again.
//!
//! Method: duplicates are sent from eight threads at once, after other commands have changed everything that the
//! first one saw, after a reopen of a real file, after every kind of failed sync, and at random against a model
//! that remembers the first outcome of every id. `decide` counts how often it runs.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use boxoffice::history::Happened;
use boxoffice::options::Metadata;
use boxoffice::testing::{Failure, FaultyStorage, When};
use boxoffice::{Engine, Error, Handle, Limits, Options, Outcome};
use proptest::prelude::*;
use support::board::{Ask, Board, Kind, Put, boards, engine};
use support::{Door, Meeting, Polled, at_once, block_on, error_of, modes, said};

type Seen = (Vec<Put>, Option<String>, u64, Option<u64>, u64);

/// All of an outcome but the effort.
fn seen(outcome: &Outcome<Board>) -> Seen {
    (
        outcome.events().to_vec(),
        outcome.rejection().cloned(),
        outcome.version(),
        outcome.position(),
        outcome.decided_at().0,
    )
}

#[track_caller]
fn once(handle: &Handle<Board>, id: &str, stream: &str, ask: &Ask) -> Outcome<Board> {
    handle.call().id(id).execute(stream, ask).expect("decided")
}

/// Counts how often it is decided.
fn counted(ask: Ask, count: &Arc<AtomicUsize>) -> Ask {
    let count = Arc::clone(count);
    ask.first(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    })
}

#[test]
fn eight_at_once_are_one_decision() {
    for (mode, options) in modes() {
        for accepts in [true, false] {
            let engine = engine();
            let handle = boards(&engine, options);
            assert!(once(&handle, "first", "b", &Ask::set(0, 0)).is_accepted());
            let (runs, meeting) = (Arc::new(AtomicUsize::new(0)), Meeting::new(8));
            let ask = if accepts { Ask::add(1) } else { Ask::reject(1) };
            let ask = counted(ask, &runs);
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let send = |n: usize| {
                    let (handle, ask, meeting) = (&handle, &ask, &meeting);
                    scope.spawn(move || {
                        meeting.wait();
                        let call = handle.call().id("order-17");
                        match n % 4 {
                            0 => call.execute("b", ask),
                            1 => block_on(call.execute_async("b", ask)),
                            2 => call.submit("b", ask).and_then(|receipt| receipt.wait()),
                            _ => block_on(async { call.submit_async("b", ask).await?.await }),
                        }
                        .expect("decided")
                    })
                };
                let threads: Vec<_> = (0..8).map(send).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(runs.load(Ordering::SeqCst), 1, "{mode}");
            assert!(outcomes.iter().all(|outcome| seen(outcome) == seen(&outcomes[0])), "{mode}");
            assert_eq!(outcomes.iter().filter(|outcome| !outcome.is_repeated()).count(), 1, "{mode}");
            assert_eq!(outcomes[0].is_accepted(), accepts);
            assert_eq!((engine.position(), handle.read("b").unwrap().version()), (2, 2), "{mode}");
            assert_eq!(handle.read("b").unwrap().get(1), i64::from(accepts));
        }
    }
}

/// The second comes while the first is being decided: it waits for that, and not for its own locks.
#[test]
fn one_that_comes_meanwhile_waits_for_the_first() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let door = Door::new();
        let ask = {
            let door = Arc::clone(&door);
            Ask::add(1).first(move |_, _| door.pass())
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| once(&handle, "x", "b", &ask));
            door.await_arrivals(1);
            let refused = handle.with(at_once(options)).call().id("x").execute("b", &ask);
            assert!(matches!(error_of(refused), Error::WouldBlock { .. }), "{mode}");
            let mut second = Polled::new(handle.call().id("x").execute_async("b", &ask));
            assert!(second.poll().is_none());
            door.open();
            let first = first.join().unwrap();
            let second = second.finish().unwrap();
            assert_eq!((seen(&first), second.is_repeated()), (seen(&second), true), "{mode}");
        });
        assert_eq!(door.arrivals(), 1, "{mode}: decided twice");
    }
}

/// The id is looked up before anything else: the command would now be refused, conflict, or wait for a lock.
#[test]
fn a_late_one_gets_the_first_outcome_whatever_has_changed() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let take = Ask::on([1], |cells| match cells.get(1) {
            0 => Ok(vec![Put::cell(1, 7)]),
            holder => Err(format!("{holder} has it")),
        });
        let first = once(&handle, "take", "b", &take);
        assert!(first.is_accepted());
        let lost = once(&handle, "late", "b", &take);
        assert_eq!(lost.rejection().map(String::as_str), Some("7 has it"));
        assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());

        let door = Door::new();
        let holding = {
            let door = Arc::clone(&door);
            Ask::add(1).first(move |_, _| door.pass())
        };
        std::thread::scope(|scope| {
            let locked =
                scope.spawn(|| boards(&engine, Options::pessimistic()).execute("b", &holding).unwrap());
            door.await_arrivals(1);
            let again = once(&handle, "take", "b", &take);
            assert_eq!((seen(&again), again.is_repeated()), (seen(&first), true), "{mode}");
            let again = once(&handle, "late", "b", &take);
            assert_eq!((seen(&again), again.is_repeated()), (seen(&lost), true), "{mode}");
            door.open();
            assert!(locked.join().unwrap().is_accepted());
        });
    }
}

/// Also where nothing would be recorded without an id; and all of it is the same after a reopen.
#[test]
fn whatever_the_outcome_it_is_the_same_after_a_reopen() {
    for (mode, options) in modes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let open = || Engine::builder().aggregate::<Board>().open(&path).unwrap();
        let quiet = Options { record_rejections: false, ..options };
        let cases = [
            ("refused, no stream", "none", Ask::reject(1)),
            ("nothing to do, no stream", "none", Ask::puts([])),
            ("accepted", "b", Ask::add(1)),
            ("refused", "b", Ask::reject(1)),
            ("nothing to do", "b", Ask::puts([])),
            ("several", "b", Ask::puts([Put::cell(1, 1), Put::cell(2, 2)])),
        ];
        let first = {
            let engine = open();
            let handle = boards(&engine, quiet);
            let outcomes: Vec<_> =
                cases.iter().map(|(id, stream, ask)| seen(&once(&handle, id, stream, ask))).collect();
            let positions: Vec<_> = outcomes.iter().map(|outcome| outcome.3).collect();
            assert_eq!(positions, (1..=6).map(Some).collect::<Vec<_>>(), "{mode}");
            assert!(matches!(handle.read("none"), Err(Error::UnknownStream { .. })), "{mode}: created");
            assert_eq!(handle.read("b").unwrap().version(), 4);
            engine.close().unwrap();
            outcomes
        };
        for _ in 0..2 {
            let engine = open();
            let handle = boards(&engine, quiet);
            assert_eq!(engine.recovery().entries, 6);
            for ((id, stream, ask), first) in cases.iter().zip(&first) {
                let never = ask.clone().first(|_, _| panic!("decided again"));
                let again = once(&handle, id, stream, &never);
                assert_eq!((&seen(&again), again.is_repeated()), (first, true), "{mode}: {id}");
            }
            assert!(matches!(handle.read("none"), Err(Error::UnknownStream { .. })));
            engine.close().unwrap();
        }
    }
}

enum Other {}
impl Kind for Other {
    const TYPE: &'static str = "other";
}

#[test]
fn an_id_belongs_to_one_command() {
    let engine = Engine::builder().aggregate::<Board>().aggregate::<Board<Other>>().in_memory().unwrap();
    let handle = boards(&engine, Options::default());
    assert!(once(&handle, "x", "b", &Ask::add(1)).is_accepted());
    let reused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::IdReused { ref id }) if id == "x"), "{result:?}");
    };
    reused(handle.call().id("x").execute("b", &Ask::add(1).labelled(1)).map(drop));
    reused(handle.call().id("x").execute("c", &Ask::add(1)).map(drop));
    let others = engine.handle::<Board<Other>>(()).unwrap();
    reused(others.call().id("x").execute("b", &Ask::add(1)).map(drop));
    assert_eq!(engine.position(), 1);
    for bytes in [0, 256, 1 << 20] {
        let wrong = handle.call().id("x".repeat(bytes)).execute("b", &Ask::add(1));
        let wrong = error_of(wrong);
        assert!(matches!(wrong, Error::InvalidCommandId { bytes: n, limit: 255 } if n == bytes), "{wrong}");
    }
    assert!(once(&handle, &"y".repeat(255), "b", &Ask::add(1)).is_accepted());
}

/// What decided nothing keeps no id: an error, a panic, a future that was dropped.
#[test]
fn an_id_that_decided_nothing_is_free_again() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        assert!(once(&handle, "first", "b", &Ask::set(0, 0)).is_accepted());
        let stray = Ask::on([1], |_| Ok(vec![Put::cell(2, 1)]));
        assert!(matches!(handle.call().id("x").execute("b", &stray), Err(Error::OutOfScope { .. })));
        let panics = Ask::add(1).first(|_, _| panic!("oh"));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = handle.call().id("x").execute("b", &panics);
        }));
        assert_eq!(said(&*caught.unwrap_err()), "oh");
        let door = Door::new();
        let holding = {
            let door = Arc::clone(&door);
            Ask::add(1).first(move |_, _| door.pass())
        };
        std::thread::scope(|scope| {
            scope.spawn(|| boards(&engine, Options::pessimistic()).execute("b", &holding).unwrap());
            door.await_arrivals(1);
            let turns = handle.with(Options::pessimistic());
            let ask = Ask::add(1);
            let mut waiting = Polled::new(turns.call().id("x").execute_async("b", &ask));
            assert!(waiting.poll().is_none());
            // A second of the same waits behind it, and decides once it is dropped.
            let mut second = Polled::new(turns.call().id("x").execute_async("b", &ask));
            assert!(second.poll().is_none());
            let woken = second.woken();
            drop(waiting);
            second.await_wake(woken);
            door.open();
            assert!(!second.finish().unwrap().is_repeated(), "{mode}");
        });
        assert!(once(&handle, "x", "b", &Ask::add(1)).is_repeated());
        assert_eq!(handle.read("b").unwrap().get(1), 2);
    }
}

#[test]
fn only_the_latest_ids_are_remembered_also_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("board");
    let limits = Limits { command_ids: 3, ..Limits::default() };
    let open = || Engine::builder().aggregate::<Board>().limits(limits).open(&path).unwrap();
    let ids = ["a", "b", "c", "d"];
    {
        let engine = open();
        let handle = boards(&engine, Options::default());
        assert!(ids.iter().all(|id| !once(&handle, id, "s", &Ask::add(1)).is_repeated()));
        assert!(ids[1..].iter().all(|id| once(&handle, id, "s", &Ask::add(1)).is_repeated()));
    }
    let engine = open();
    let handle = boards(&engine, Options::default());
    assert!(ids[1..].iter().all(|id| once(&handle, id, "s", &Ask::add(1)).is_repeated()));
    assert!(!once(&handle, "a", "s", &Ask::add(1)).is_repeated());
    assert!(!once(&handle, "b", "s", &Ask::add(1)).is_repeated(), "the oldest had to go");
}

/// Whatever the disk did: sent again after the next open, it is one decision.
#[test]
fn after_any_failed_write_the_same_id_is_one_decision() {
    let mut unknown = 0;
    for failure in [Failure::Io, Failure::NoSpace, Failure::Partial, Failure::LostSync] {
        for at in 1..=12 {
            let name = format!("{failure:?} at change {at}");
            let storage = FaultyStorage::new(at);
            let builder = || Engine::builder().aggregate::<Board>();
            {
                let engine = builder().backend(storage.clone()).unwrap();
                assert!(boards(&engine, Options::default()).execute("b", &Ask::set(1, 0)).is_ok());
                engine.close().unwrap();
            }
            let (mut known, ask) = (None, Ask::add(1));
            if let Ok(engine) = builder().backend(storage.clone()) {
                let handle = boards(&engine, Options::default());
                storage.fail(When::Change(at), failure);
                for _ in 0..2 {
                    match handle.call().id("x").execute("b", &ask) {
                        Ok(outcome) => known = Some(seen(&outcome)),
                        Err(Error::OutcomeUnknown { .. }) => unknown += 1,
                        Err(Error::Storage { .. }) => {}
                        Err(other) => panic!("{name}: {other}"),
                    }
                }
            }
            storage.disarm();
            let engine = builder().backend(storage.reopen()).unwrap();
            let handle = boards(&engine, Options::default());
            let outcomes = [(); 3].map(|()| seen(&once(&handle, "x", "b", &ask)));
            let first = known.unwrap_or_else(|| outcomes[0].clone());
            assert!(outcomes.iter().all(|outcome| *outcome == first), "{name}");
            assert_eq!(handle.read("b").unwrap().get(1), 1, "{name}: decided twice");
        }
    }
    assert!(unknown > 10, "only {unknown} writes failed");
}

#[test]
fn metadata_of_handle_and_call_are_found_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("board");
    let of_session = Metadata::default().with_user("ada").with("channel", "phone").with("tier", "gold");
    let of_call = Metadata::default().with_correlation("c").with_causation("d").with("channel", "web");
    {
        let engine = Engine::builder().aggregate::<Board>().open(&path).unwrap();
        let plain = boards(&engine, Options::default());
        let handle = plain.with_metadata(&of_session);
        assert!(handle.call().metadata(&of_call).id("x").execute("b", &Ask::add(1)).unwrap().is_accepted());
        assert!(handle.execute("b", &Ask::reject(1)).unwrap().rejection().is_some());
        assert!(plain.execute("b", &Ask::add(1)).unwrap().is_accepted());
        let large = Metadata::default().with("note", "x".repeat(5000));
        let refused = error_of(handle.call().metadata(&large).execute("b", &Ask::add(1)));
        let bytes = large.get("note").unwrap().len() + "note".len() + "adachannelphonetiergold".len();
        assert!(
            matches!(refused, Error::MetadataTooLarge { bytes: n, limit: 4096 } if n == bytes),
            "{refused}"
        );
        engine.close().unwrap();
    }
    let engine = Engine::builder().aggregate::<Board>().open(&path).unwrap();
    let history: Vec<_> =
        boards(&engine, Options::default()).history("b").unwrap().map(Result::unwrap).collect();
    let all = of_session.clone().with_correlation("c").with_causation("d").with("channel", "web");
    assert_eq!(history[0].command_id.as_deref(), Some("x"));
    assert_eq!(history[0].metadata.as_deref(), Some(&all));
    assert!(matches!(history[1].what, Happened::Rejection(_)));
    assert_eq!((history[1].command_id.as_deref(), history[1].metadata.as_deref()), (None, Some(&of_session)));
    assert_eq!((history[2].command_id.as_deref(), history[2].metadata.as_deref()), (None, None));
    assert_eq!(history.len(), 3);
}

#[derive(Clone, Debug)]
enum Step {
    /// Sends the command with this id: adds to the cell of this number, if its sum is even, or says no.
    Send {
        id: u8,
        cell: u64,
    },
    /// Changes what such a command sees.
    Plain {
        cell: u64,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8, 0..3u64).prop_map(|(id, cell)| Step::Send { id, cell }),
        4 => (0..3u64).prop_map(|cell| Step::Plain { cell }),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The first outcome of every id, and nothing else, whatever comes in between.
    #[test]
    fn agrees_with_a_memory_of_first_outcomes(
        steps in prop::collection::vec(step(), 1..60),
        optimistic: bool,
        recorded: bool,
    ) {
        let base = if optimistic { Options::optimistic() } else { Options::pessimistic() };
        let options = Options { record_rejections: recorded, ..base };
        let storage = FaultyStorage::new(1);
        let open = || Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
        let mut engine = open();
        let mut first: HashMap<u8, (u64, Seen)> = HashMap::new();
        for step in steps {
            let handle = boards(&engine, options);
            match step {
                Step::Reopen => {
                    drop(handle);
                    engine.close().unwrap();
                    engine = open();
                }
                Step::Plain { cell } => {
                    prop_assert!(handle.execute("b", &Ask::add(cell)).unwrap().is_accepted());
                }
                Step::Send { id, cell } => {
                    let ask = Ask::on([cell], move |cells| match cells.get(cell) % 2 {
                        0 => Ok(vec![Put::cell(cell, cells.get(cell) + 1)]),
                        _ => Err(format!("{} is odd", cells.get(cell))),
                    });
                    let sent = handle.call().id(id.to_string()).execute("b", &ask.labelled(cell));
                    match (first.get(&id), sent) {
                        (None, Ok(outcome)) => {
                            prop_assert!(!outcome.is_repeated());
                            first.insert(id, (cell, seen(&outcome)));
                        }
                        (Some((same, known)), Ok(outcome)) if *same == cell => {
                            prop_assert!(outcome.is_repeated());
                            prop_assert_eq!(&seen(&outcome), known);
                        }
                        (Some((other, _)), Err(Error::IdReused { .. })) => prop_assert!(*other != cell),
                        (known, sent) => prop_assert!(false, "{known:?} {:?}", sent.map(|it| seen(&it))),
                    }
                }
            }
        }
    }
}

//! Rules 3, 4 and 5: what the two modes promise, alone and against each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use boxoffice::options::{Concurrency, Exhausted};
use boxoffice::{Error, Handle, Options, Scope};

use crate::support::board::{Ask, Board, Cells, Put, boards, engine, parts};
use crate::support::{Door, Meeting, Polled, at_once, error_of};

/// A command that counts its decisions.
fn counted(ask: Ask) -> (Ask, Arc<AtomicUsize>) {
    let decided = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&decided);
    let ask = ask.first(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (ask, decided)
}

#[test]
fn rule_03_a_pessimistic_decide_runs_exactly_once() {
    let engine = engine();
    let patient = boards(&engine, Options::pessimistic());
    let hasty = boards(&engine, Options::optimistic());
    // Six pessimistic threads whose scopes overlap in every way, and two optimistic ones between them.
    const ROUNDS: usize = 40;
    // Or the first rejection might come before the stream exists, and would not be stored.
    let _ = patient.execute("b", &Ask::set(0, 0)).unwrap();
    thread::scope(|scope| {
        for worker in 0..6_usize {
            let patient = &patient;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let (ask, decided) = counted(match (worker + round) % 6 {
                        0 => Ask::whole(|cells| Ok(vec![Put::cell(1, cells.get(1) + 1)])),
                        1 => Ask::add(1),
                        2 => Ask::on([2, 1], |cells| Ok(vec![Put::cell(1, cells.get(1) + 1)])),
                        3 => Ask::on([1, 2, 3], |_| Err("no".into())),
                        // Plans by what it sees: the scope moves while it waits.
                        4 => Ask::new(
                            |cells| parts([cells.get(1).cast_unsigned() % 4]),
                            |cells, context| {
                                let part = context.scope().named()[0].as_number().unwrap();
                                assert_eq!(
                                    part,
                                    cells.get(1).cast_unsigned() % 4,
                                    "planned on another state"
                                );
                                Ok(vec![Put::cell(part, cells.get(part) + 1)])
                            },
                        ),
                        _ => Ask::on([3, 0], |cells| Ok(vec![Put::cell(3, cells.get(3) + 1)])),
                    });
                    let outcome = patient.execute("b", &ask).unwrap();
                    assert_eq!(decided.load(Ordering::SeqCst), 1, "decided more than once: {outcome:?}");
                    assert_eq!((outcome.effort().conflicts, outcome.effort().turn), (0, true));
                }
            });
        }
        for worker in 0..2 {
            let hasty = &hasty;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let _ = hasty.execute("b", &Ask::add(((worker + round) % 4) as u64)).unwrap();
                }
            });
        }
    });
    assert_eq!(engine.position(), 1 + 8 * ROUNDS as u64);
    engine.close().unwrap();
}

/// While it waits for cell 1 the plan moves to cell 2, then 3, then 4: it follows, then locks the whole,
/// and decides once, on what it has locked.
#[test]
fn rule_03_a_scope_that_keeps_moving_still_decides_once() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let first_free = Ask::new(
        |cells| parts((1..=9).find(|cell| cells.get(*cell) == 0)),
        |cells, context| match context.scope().named() {
            [part] => {
                let cell = part.as_number().unwrap();
                assert_eq!(cells.get(cell), 0, "the planned seat was taken meanwhile");
                Ok(vec![Put::cell(cell, 7)])
            }
            other => Err(format!("{other:?}")),
        },
    );
    let (ask, decided) = counted(first_free);
    thread::scope(|scope| {
        let mut waiting = Polled::new(handle.execute_async("b", &ask));
        for cell in 1..=4 {
            // Somebody holds the cell that the plan will name, and takes it.
            let door = Door::new();
            let inside = Arc::clone(&door);
            let rival = Ask::set(cell, 1).first(move |_, _| inside.pass());
            let handle = &handle;
            let rival = scope.spawn(move || handle.execute("b", &rival).map(|outcome| outcome.version()));
            door.await_arrivals(1);
            assert!(waiting.poll().is_none(), "cell {cell} is locked");
            door.open();
            rival.join().unwrap().unwrap();
        }
        let outcome = waiting.finish().unwrap();
        assert_eq!(outcome.events(), [Put::cell(5, 7)]);
        assert_eq!((outcome.effort().conflicts, outcome.effort().lock_waits), (0, 4), "{outcome:?}");
    });
    assert_eq!(decided.load(Ordering::SeqCst), 1);
    engine.close().unwrap();
}

#[test]
fn rule_04_losers_of_one_seat_do_not_conflict_with_each_other() {
    const LOSERS: usize = 64;
    let engine = engine();
    let handle = boards(&engine, Options::optimistic());
    assert!(handle.execute("b", &Ask::set(1, 7)).unwrap().is_accepted());
    let meeting = Meeting::new(LOSERS);
    let decided = Arc::new(AtomicUsize::new(0));
    // All of them decide before any of them commits.
    let claim = {
        let (meeting, decided) = (Arc::clone(&meeting), Arc::clone(&decided));
        Ask::on([1], |cells| if cells.get(1) == 0 { Ok(vec![Put::cell(1, 8)]) } else { Err("taken".into()) })
            .first(move |_, _| {
                decided.fetch_add(1, Ordering::SeqCst);
                meeting.wait();
            })
    };
    let mut versions: Vec<_> = thread::scope(|scope| {
        let run = || {
            let outcome = handle.execute("b", &claim).unwrap();
            assert_eq!(outcome.rejection().map(String::as_str), Some("taken"));
            assert_eq!((outcome.effort().conflicts, outcome.effort().turn), (0, false));
            (outcome.version(), outcome.position())
        };
        let threads: Vec<_> = (0..LOSERS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(decided.load(Ordering::SeqCst), LOSERS, "nobody decided again");
    versions.sort_unstable();
    let expected: Vec<_> = (2..2 + LOSERS as u64).map(|number| (number, Some(number))).collect();
    assert_eq!(versions, expected, "each has a version and a position of its own");
    engine.close().unwrap();
}

/// Runs `ask` with `meanwhile` done by another thread between its first snapshot and its commit.
fn with_meanwhile(handle: &Handle<Board>, ask: Ask, meanwhile: Ask) -> u32 {
    let (ask, decided) = counted(ask);
    let rival = handle.clone();
    let ask = ask.first(move |_, _| {
        if decided.load(Ordering::SeqCst) == 0 {
            let (rival, meanwhile) = (rival.clone(), meanwhile.clone());
            let done = thread::spawn(move || rival.execute("b", &meanwhile).unwrap().version()).join();
            done.unwrap();
        }
    });
    handle.execute("b", &ask).unwrap().effort().conflicts
}

#[test]
fn rule_04_the_whole_is_judged_by_what_touched_anything() {
    let engine = engine();
    let handle = boards(&engine, Options::optimistic());
    let _ = handle.execute("b", &Ask::set(1, 7)).unwrap();
    let whole = || Ask::whole(|cells| Ok(vec![Put { whole: true, ..Put::cell(1, cells.get(1) + 1) }]));
    let part = || Ask::add(1);
    let nothing = || Ask::on([], |_| Ok(vec![Put::default()]));
    let other = || Ask::on([2], |_| Ok(vec![Put::cell(2, 1)]));
    // (command, what comes between, conflicts)
    let table = [
        (whole(), Ask::reject(1), 0),
        (whole(), nothing(), 0),
        (whole(), other(), 1),
        (whole(), whole(), 1),
        (part(), Ask::reject(1), 0),
        (part(), nothing(), 0),
        (part(), other(), 0),
        (part(), part(), 1),
        (part(), whole(), 1),
        (nothing(), other(), 0),
    ];
    for (row, (ask, meanwhile, conflicts)) in table.into_iter().enumerate() {
        assert_eq!(with_meanwhile(&handle, ask, meanwhile), conflicts, "row {row}");
    }
    engine.close().unwrap();
}

#[test]
fn rule_05_optimistic_queues_for_a_turn_at_a_foreign_lock() {
    let engine = engine();
    let patient = boards(&engine, Options::pessimistic());
    let hasty = boards(&engine, Options::optimistic());
    let door = Door::new();
    let inside = Arc::clone(&door);
    let holder = Ask::add(1).first(move |_, _| inside.pass());
    let (ask, decided) = counted(Ask::add(1));
    let (elsewhere, _) = counted(Ask::add(2));
    thread::scope(|scope| {
        let holding = scope.spawn(|| patient.execute("b", &holder).unwrap().version());
        door.await_arrivals(1);
        // Not concerned: commits beside the lock.
        assert_eq!(hasty.execute("b", &elsewhere).unwrap().effort().lock_waits, 0);
        // Concerned: its decision is dropped, and it stands in line without deciding again.
        let mut waiting = Polled::new(hasty.execute_async("b", &ask));
        for _ in 0..3 {
            assert!(waiting.poll().is_none());
            assert_eq!(decided.load(Ordering::SeqCst), 1, "it spins");
        }
        // Two who do not wait.
        for options in [Options::optimistic(), Options::pessimistic()] {
            let refused = error_of(hasty.with(at_once(options)).execute("b", &Ask::add(1)));
            assert!(matches!(&refused, Error::WouldBlock { stream } if &*stream.id == "b"), "{refused}");
        }
        door.open();
        holding.join().unwrap();
        let outcome = waiting.finish().unwrap();
        assert_eq!(outcome.events(), [Put::cell(1, 2)], "decided on a fresh snapshot");
        let effort = outcome.effort();
        assert_eq!((effort.conflicts, effort.lock_waits, effort.turn), (0, 1, true));
        assert_eq!(decided.load(Ordering::SeqCst), 2);
    });
    engine.close().unwrap();
}

/// A command on cell 1 which loses its first `lost` attempts to somebody else.
fn losing(handle: &Handle<Board>, lost: usize) -> (Ask, Arc<AtomicUsize>) {
    let rival = handle.with(Options::optimistic());
    let decided = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&decided);
    let ask = Ask::add(1).first(move |_, _| {
        if count.fetch_add(1, Ordering::SeqCst) < lost {
            let rival = rival.clone();
            thread::spawn(move || rival.execute("b", &Ask::add(1)).unwrap().version()).join().unwrap();
        }
    });
    (ask, decided)
}

#[test]
fn rule_05_retries_used_up_is_a_turn_or_a_conflict_as_chosen() {
    let engine = engine();
    let handle = boards(&engine, Options::optimistic());
    for retries in [0, 1, 4] {
        let turn = handle.with(Options { retries, ..Options::optimistic() });
        let (ask, decided) = losing(&handle, retries as usize + 1);
        let outcome = turn.execute("b", &ask).unwrap();
        let effort = outcome.effort();
        assert_eq!((effort.conflicts, effort.turn), (retries + 1, true), "{retries} retries");
        assert_eq!(decided.load(Ordering::SeqCst), retries as usize + 2);

        let give_up = turn.with(Options { exhausted: Exhausted::Conflict, ..turn.options() });
        let (ask, decided) = losing(&handle, usize::MAX);
        let before = engine.position();
        match error_of(give_up.execute("b", &ask)) {
            Error::Conflict { stream, attempts } => {
                assert_eq!((stream.to_string().as_str(), attempts), ("board/b", retries + 1));
            }
            other => panic!("{other}"),
        }
        assert_eq!(decided.load(Ordering::SeqCst), retries as usize + 1);
        assert_eq!(engine.position(), before + u64::from(retries) + 1, "only the rivals wrote");

        // One less lost, and it gets through in time.
        let (ask, _) = losing(&handle, retries as usize);
        assert!(!give_up.execute("b", &ask).unwrap().effort().turn);
    }
    engine.close().unwrap();
}

/// An optimistic command that took a turn holds a lock that other optimistic commands respect.
#[test]
fn rule_05_a_turn_keeps_optimistic_rivals_out() {
    let engine = engine();
    let handle = boards(&engine, Options { retries: 0, ..Options::optimistic() });
    let door = Door::new();
    let inside = Arc::clone(&door);
    let (ask, decided) = losing(&handle, 1);
    let ask = ask.first(move |cells: &Cells, _| {
        // The rival of the first attempt made it 1: this is the turn.
        if cells.get(1) == 1 {
            inside.pass();
        }
    });
    thread::scope(|scope| {
        let turn = scope.spawn(|| handle.execute("b", &ask).unwrap().effort());
        door.await_arrivals(1);
        let rival =
            handle.with(at_once(Options { concurrency: Concurrency::Optimistic, ..handle.options() }));
        assert!(matches!(error_of(rival.execute("b", &Ask::add(1))), Error::WouldBlock { .. }));
        let whole = Ask::new(|_| Scope::Whole, |_, _| Ok(Vec::new()));
        // Depends on everything, and changes nothing: nothing to commit, nothing in its way.
        assert!(rival.execute("b", &whole).unwrap().events().is_empty());
        assert!(rival.execute("b", &Ask::add(2)).unwrap().is_accepted());
        door.open();
        let effort = turn.join().unwrap();
        assert_eq!((effort.conflicts, effort.turn), (1, true));
    });
    assert_eq!(decided.load(Ordering::SeqCst), 2);
    assert_eq!(handle.read("b").unwrap().get(1), 2);
    engine.close().unwrap();
}

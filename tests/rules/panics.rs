//! Rule 7: a panic in somebody's code leaves no trace, or fences exactly one stream.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use boxoffice::clock::{Clock, Timestamp};
use boxoffice::error::{Advice, Fence};
use boxoffice::{Engine, Error, Handle, Options};

use crate::support::board::{Ask, Board, Kind, Put, boards, engine};
use crate::support::gate::GatedStorage;
use crate::support::{
    Door, HookClock, Polled, WATCHDOG, at_next_look, at_once, block_on, error_of, eventually, modes, said,
};

/// Runs what panics, quietly, and returns what it said.
fn panic_of<T>(body: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(_) => panic!("a panic was expected"),
        Err(panic) => said(&*panic),
    }
}

#[test]
fn rule_07_a_panic_before_the_commit_leaves_no_trace() {
    for (mode, options) in modes() {
        let engine = Engine::builder().aggregate::<Board>().clock(HookClock::default()).in_memory().unwrap();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
        let in_decide = || Ask::on([1], |_| panic!("in decide"));
        let in_scope = || Ask::new(|_| panic!("in scope"), |_, _| Ok(Vec::new()));
        for id in ["b", "new"] {
            assert_eq!(panic_of(|| handle.execute(id, &in_decide())), "in decide");
            assert_eq!(panic_of(|| handle.submit(id, &in_scope())), "in scope");
            assert_eq!(panic_of(|| block_on(handle.execute_async(id, &in_decide()))), "in decide");
            at_next_look(|| panic!("in the clock"));
            assert_eq!(panic_of(|| handle.execute(id, &Ask::set(1, 9))), "in the clock");
        }
        assert_eq!((engine.position(), handle.read("b").unwrap().get(1)), (1, 1), "{mode}");
        assert!(format!("{handle:?}").contains("streams: 1,"), "{mode}: {handle:?}");
        let whole = Ask::whole(|_| Ok(vec![Put { whole: true, ..Put::cell(1, 2) }]));
        let free = handle.with(at_once(Options::pessimistic()));
        assert!(free.execute("b", &whole).unwrap().is_accepted(), "{mode}: every lock is free");
        engine.close().unwrap();
    }
}

#[test]
fn rule_07_a_panic_in_decide_hands_the_lock_to_who_waits() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let door = Door::new();
    let inside = Arc::clone(&door);
    let holder = Ask::on([1], move |_| {
        inside.pass();
        panic!("in decide")
    });
    let next = Ask::set(1, 5);
    thread::scope(|scope| {
        let holding = scope.spawn(|| panic_of(|| handle.execute("b", &holder)));
        door.await_arrivals(1);
        let mut waiting = Polled::new(handle.execute_async("b", &next));
        assert!(waiting.poll().is_none());
        door.open();
        assert_eq!(holding.join().unwrap(), "in decide");
        assert!(waiting.finish().unwrap().is_accepted());
    });
    engine.close().unwrap();
}

#[test]
fn rule_07_a_panic_in_apply_fences_one_stream_and_appends_nothing() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        for id in ["b", "other"] {
            let _ = handle.execute(id, &Ask::puts([Put::cell(1, 1)])).unwrap();
            let _ = handle.execute(id, &Ask::reject(1)).unwrap();
        }
        let seen = handle.read("b").unwrap();
        // The first event changes the state for good; the second changes it and then panics.
        let sprung = Ask::puts([Put::cell(1, 2), Put::cell(2, 2).trapped()]);
        match error_of(handle.execute("b", &sprung)) {
            Error::ApplyPanicked { stream, message } => {
                assert_eq!((stream.to_string().as_str(), &*message), ("board/b", "sprung"), "{mode}");
            }
            other => panic!("{mode}: {other}"),
        }
        assert_eq!(engine.position(), 4, "{mode}: nothing was appended");
        assert!(handle.execute("other", &Ask::set(1, 3)).unwrap().is_accepted(), "{mode}");
        let rebuilt = eventually("the stream is rebuilt", || match handle.read("b") {
            Ok(view) => Some(view),
            Err(error) => {
                assert!(matches!(&error, Error::Fenced { reason: Fence::Rebuilding, .. }), "{error}");
                assert_eq!(error.advice(), Advice::Retry);
                None
            }
        });
        for view in [&seen, &rebuilt] {
            assert_eq!((view.get(1), view.get(2), view.version()), (1, 0, 2), "{mode}");
        }
        // The numbers go on without a gap, with every lock free.
        let free = handle.with(at_once(options));
        assert_eq!(free.execute("b", &Ask::set(1, 7)).unwrap().version(), 3, "{mode}");
        let versions: Vec<u64> = handle.history("b").unwrap().map(|it| it.unwrap().version).collect();
        assert_eq!(versions, [1, 2, 3], "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn rule_07_a_first_event_that_panics_creates_nothing() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let sprung = Ask::puts([Put::cell(1, 1).trapped()]);
    assert!(matches!(error_of(handle.execute("new", &sprung)), Error::ApplyPanicked { .. }));
    assert!(handle.ids().is_empty());
    assert!(matches!(error_of(handle.read("new")), Error::UnknownStream { .. }));
    let outcome = eventually("the stream is rebuilt", || match handle.execute("new", &Ask::set(1, 2)) {
        Err(Error::Fenced { reason: Fence::Rebuilding, .. }) => None,
        other => Some(other.unwrap()),
    });
    assert_eq!((outcome.version(), outcome.position()), (1, Some(1)));
    engine.close().unwrap();
}

/// The rebuild reads what is on disk, so it waits until all that was numbered is there; the rest of the
/// engine waits for nobody.
#[test]
fn rule_07_the_rebuild_waits_for_the_last_numbered_version() {
    let storage = GatedStorage::default();
    let engine = Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
    let handle = boards(&engine, Options::default());
    let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
    storage.close_gate();
    let numbered = handle.submit("b", &Ask::set(1, 2)).unwrap();
    storage.await_blocked();
    // One whose decision was made before the panic, and who finds the fence at its commit.
    let beside = Ask::set(9, 9).first({
        let handle = handle.clone();
        move |_, _| {
            let handle = handle.clone();
            let sprung = Ask::puts([Put::cell(1, 3).trapped()]);
            thread::spawn(move || {
                assert!(matches!(error_of(handle.submit("b", &sprung)), Error::ApplyPanicked { .. }));
            })
            .join()
            .unwrap();
        }
    });
    let fenced = |error: Error| {
        assert!(matches!(&error, Error::Fenced { reason: Fence::Rebuilding, .. }), "{error}");
    };
    fenced(error_of(handle.submit("b", &beside)));
    for _ in 0..100 {
        fenced(error_of(handle.read("b")));
        thread::yield_now();
    }
    let elsewhere = handle.submit("other", &Ask::set(1, 1)).unwrap();
    assert_eq!((elsewhere.position(), numbered.is_durable()), (3, false));
    storage.open_gate();
    let view = eventually("the stream is rebuilt", || handle.read("b").ok());
    assert_eq!((view.get(1), view.get(9), view.version()), (2, 0, 2));
    assert!(view.is_durable());
    assert!(elsewhere.wait().is_ok() && numbered.wait().is_ok());
    engine.close().unwrap();
}

/// A program whose `apply` cannot take the value 13.
enum Faulty {}
impl Kind for Faulty {
    fn on_apply(put: &Put) {
        assert!(!put.cells.contains(&(1, 13)), "thirteen");
    }
}

#[test]
fn rule_07_a_panic_in_apply_at_open_fences_that_stream_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boards.boxoffice");
    let sound = || {
        let engine = Engine::builder().aggregate::<Board>().open(&path).unwrap();
        let handle = boards(&engine, Options::default());
        (engine, handle)
    };
    let (engine, handle) = sound();
    for (id, value) in [("good", 1), ("bad", 12), ("bad", 13), ("bad", 14), ("good", 2)] {
        let _ = handle.execute(id, &Ask::set(1, value)).unwrap();
    }
    engine.close().unwrap();

    for _ in 0..2 {
        let engine = Engine::builder().aggregate::<Board<Faulty>>().open(&path).unwrap();
        let handle: Handle<Board<Faulty>> = engine.handle(()).unwrap();
        let reason = Fence::ApplyPanicked("thirteen".into());
        let fenced = &engine.recovery().fenced;
        assert_eq!(fenced.len(), 1);
        assert_eq!((fenced[0].0.to_string().as_str(), &fenced[0].1), ("board/bad", &reason));
        for error in [error_of(handle.read("bad")), error_of(handle.execute("bad", &Ask::set(1, 1)))] {
            assert!(matches!(&error, Error::Fenced { reason: found, .. } if *found == reason), "{error}");
            assert_eq!(error.advice(), Advice::Fix);
        }
        // What is stored can still be looked at, and the other stream sold from.
        assert_eq!(handle.history("bad").unwrap().count(), 3);
        let good = handle.read("good").unwrap();
        let next = good.get(1) + 1;
        assert_eq!(good.version(), next.cast_unsigned() - 1);
        assert!(handle.execute("good", &Ask::set(1, next)).unwrap().is_accepted());
        engine.close().unwrap();
    }

    // With `apply` mended everything is there, and the fence left no gap.
    let (engine, handle) = sound();
    assert!(engine.recovery().fenced.is_empty());
    assert_eq!((handle.read("bad").unwrap().get(1), handle.read("good").unwrap().get(1)), (14, 4));
    assert_eq!(handle.execute("bad", &Ask::set(1, 15)).unwrap().version(), 4);
    engine.close().unwrap();
}

/// A clock that panics at the look with this number, once.
#[derive(Default)]
struct FaultyClock {
    looks: AtomicU64,
    at: AtomicU64,
}

impl Clock for FaultyClock {
    fn now(&self) -> Timestamp {
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(look != self.at.load(Ordering::SeqCst), "in the clock");
        Timestamp(look)
    }
}

/// The clock is asked for each attempt, and once more for each batch. Wherever it panics, the engine goes
/// on, or stops with an error: nobody waits for ever.
#[test]
fn rule_07_a_clock_that_panics_hangs_nobody() {
    for (who, background) in [("the caller", false), ("the writer", true)] {
        let (report, finished) = mpsc::channel();
        let passed = Arc::new(AtomicBool::new(false));
        // On a thread of its own: were everybody to wait for ever, closing the engine would too.
        thread::spawn({
            let passed = Arc::clone(&passed);
            move || {
                let clock = Arc::new(FaultyClock::default());
                let engine =
                    Engine::builder().aggregate::<Board>().clock(Arc::clone(&clock)).in_memory().unwrap();
                let handle = boards(&engine, Options::default());
                let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
                // The next look but one: the batch's.
                clock.at.store(clock.looks.load(Ordering::SeqCst) + 2, Ordering::SeqCst);
                let _ = catch_unwind(AssertUnwindSafe(|| send(&handle, background)));
                drop(handle.execute("b", &Ask::set(1, 3)));
                drop(engine.close());
                passed.store(true, Ordering::SeqCst);
                let _ = report.send(());
            }
        });
        let _ = finished.recv_timeout(WATCHDOG);
        assert!(
            passed.load(Ordering::SeqCst),
            "{who} commits, the clock panics, and everybody waits for ever"
        );
    }
}

/// Sends a command that the writer's thread, or this one, makes durable.
fn send(handle: &Handle<Board>, background: bool) -> Result<(), Error> {
    if background {
        handle.submit("b", &Ask::set(1, 2)).and_then(boxoffice::Receipt::wait).map(drop)
    } else {
        handle.execute("b", &Ask::set(1, 2)).map(drop)
    }
}

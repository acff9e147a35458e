//! Tasks: a future that is dropped at any of its waits leaves nothing and gives back its place; waits end
//! by themselves through the timer; receipts can be awaited.

use std::sync::Arc;
use std::thread;

use boxoffice::{Engine, Error, Handle, Limits, Options};

use crate::support::board::{Ask, Board, Put, boards, engine};
use crate::support::gate::GatedStorage;
use crate::support::{Door, Polled, at_once, block_on, briefly, error_of, modes};

fn large(cell: u64) -> Ask {
    Ask::puts([Put::cell(cell, 1).padded(600)])
}

/// An engine whose queue holds one large entry, whose sync is held up, and which is full.
fn full(options: Options) -> (GatedStorage, Engine, Handle<Board>) {
    let storage = GatedStorage::default();
    let limits = Limits { entry_bytes: 1024, queue_bytes: 1024, ..Limits::default() };
    let engine = Engine::builder().aggregate::<Board>().limits(limits).backend(storage.clone()).unwrap();
    let handle = boards(&engine, options);
    let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
    storage.close_gate();
    drop(handle.submit("b", &large(9)).unwrap());
    storage.await_blocked();
    (storage, engine, handle)
}

#[test]
fn a_future_that_was_never_polled_did_nothing() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let ask = Ask::set(1, 1);
    drop(handle.execute_async("b", &ask));
    drop(handle.submit_async("b", &ask));
    assert!(engine.position() == 0 && handle.ids().is_empty());
    engine.close().unwrap();
}

#[test]
fn a_future_dropped_in_the_line_for_a_lock_leaves_the_line() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let patient = handle.with(Options::pessimistic());
        let _ = handle.execute("b", &Ask::set(0, 0)).unwrap();
        let door = Door::new();
        let inside = Arc::clone(&door);
        let holder = Ask::set(1, 1).first(move |_, _| inside.pass());
        let (mine, other) = (Ask::puts([Put::cell(1, 7), Put::cell(2, 7)]), Ask::set(1, 9));
        thread::scope(|scope| {
            let holding = scope.spawn(|| patient.execute("b", &holder).unwrap().version());
            door.await_arrivals(1);
            let mut dropped = Polled::new(handle.execute_async("b", &mine));
            let mut next = Polled::new(handle.execute_async("b", &other));
            assert!(dropped.poll().is_none() && next.poll().is_none(), "{mode}");
            // It had a place for cell 2 as well, which nobody holds.
            let beside = patient.with(at_once(patient.options()));
            assert!(matches!(error_of(beside.execute("b", &Ask::set(2, 5))), Error::WouldBlock { .. }));
            drop(dropped);
            assert!(beside.execute("b", &Ask::set(2, 5)).unwrap().is_accepted(), "{mode}");
            // Granted and then dropped, before it was polled again: the lock goes on to the next.
            let mut granted = Polled::new(handle.execute_async("b", &mine));
            assert!(granted.poll().is_none());
            door.open();
            holding.join().unwrap();
            assert!(next.finish().unwrap().is_accepted(), "{mode}");
            assert_eq!(granted.woken(), 1, "{mode}: it was its turn");
            drop(granted);
        });
        let view = handle.read("b").unwrap();
        assert_eq!((view.get(1), view.get(2), view.version()), (9, 5, 4), "{mode}: no trace");
        let whole = Ask::whole(|_| Ok(vec![Put { whole: true, ..Put::default() }]));
        assert!(handle.with(at_once(Options::pessimistic())).execute("b", &whole).is_ok(), "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn a_future_dropped_before_a_full_queue_gives_back_its_locks_and_its_room() {
    for (mode, options) in modes() {
        let (storage, engine, handle) = full(options);
        let (mine, other) = (large(1), Ask::set(1, 5));
        for future in 0..3 {
            // It has decided, and holds the lock of cell 1 if it is pessimistic.
            let mut dropped = Polled::new(handle.submit_async("b", &mine));
            assert!(dropped.poll().is_none(), "{mode}");
            if future == 0 && options == Options::pessimistic() {
                let refused = error_of(handle.with(at_once(options)).submit("b", &other));
                assert!(matches!(refused, Error::WouldBlock { .. }), "{mode}: {refused}");
            }
        }
        // Small enough for what room there is, and nobody holds the lock any more.
        let small = handle.with(at_once(options)).submit("b", &other).unwrap();
        assert_eq!(engine.position(), 3, "{mode}");
        let mut next = Polled::new(handle.submit_async("b", &mine));
        assert!(next.poll().is_none());
        storage.open_gate();
        assert_eq!(next.finish().unwrap().position(), 4, "{mode}");
        assert!(small.wait().unwrap().is_accepted());
        // All room is there again: the largest entry fits at once.
        engine.wait_durable(4).unwrap();
        let largest = Ask::puts([Put::cell(2, 1).padded(900)]);
        assert!(handle.with(at_once(options)).execute("b", &largest).is_ok(), "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn a_future_dropped_after_its_commit_has_decided() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let engine = Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
        let handle = boards(&engine, options);
        storage.close_gate();
        let ask = Ask::set(1, 7);
        let mut dropped = Polled::new(handle.execute_async("b", &ask));
        assert!(dropped.poll().is_none());
        drop(dropped);
        assert_eq!(engine.position(), 1, "{mode}");
        storage.open_gate();
        // Nobody waits for it, and it gets to the disk all the same.
        engine.close().unwrap();
        let engine = Engine::builder().aggregate::<Board>().backend(storage).unwrap();
        assert_eq!(boards(&engine, options).read("b").unwrap().get(1), 7, "{mode}");
        engine.close().unwrap();
    }
}

/// The writer is told of the entry of a future that is dropped, without anybody's help.
#[test]
fn a_dropped_futures_decision_becomes_durable_by_itself() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    for cell in 0..50 {
        let ask = Ask::set(cell, 1);
        let mut dropped = Polled::new(handle.execute_async("b", &ask));
        let _ = dropped.poll();
        drop(dropped);
        let position = engine.position();
        crate::support::eventually("it is durable", || (engine.durable_position() >= position).then_some(()));
    }
    engine.close().unwrap();
}

#[test]
fn waits_of_tasks_end_by_the_timer() {
    for (mode, options) in modes() {
        let (storage, engine, handle) = full(options);
        let brief = handle.with(briefly(options));
        // For the disk.
        let error = error_of(block_on(brief.execute_async("b", &Ask::set(1, 1))));
        assert!(matches!(error, Error::NotYetDurable { position: 3 }), "{mode}: {error}");
        // For room.
        let error = error_of(block_on(brief.execute_async("b", &large(2))));
        assert!(matches!(error, Error::Busy { .. }), "{mode}: {error}");
        // For a lock, held by a future that waits for room.
        if options == Options::pessimistic() {
            let mine = large(3);
            let mut holding = Polled::new(handle.execute_async("b", &mine));
            assert!(holding.poll().is_none());
            let error = error_of(block_on(brief.execute_async("b", &Ask::set(3, 1))));
            assert!(matches!(error, Error::LockTimeout { .. }), "{mode}: {error}");
            storage.open_gate();
            assert!(holding.finish().unwrap().is_accepted());
        }
        // Many at once, with different deadlines, in the opposite order.
        storage.close_gate();
        let asks: Vec<_> = (20..40).map(|cell| Ask::set(cell, 1)).collect();
        let waits = (1..=3).rev().map(std::time::Duration::from_millis);
        let handles: Vec<_> = waits
            .map(|wait| handle.with(Options { wait: boxoffice::options::Wait::AtMost(wait), ..options }))
            .collect();
        let tasks: Vec<_> = asks
            .iter()
            .zip(handles.iter().cycle())
            .map(|(ask, handle)| {
                let mut task = Polled::new(handle.execute_async("c", ask));
                let early = task.poll();
                (early, task)
            })
            .collect();
        for (early, task) in tasks {
            let error = error_of(early.unwrap_or_else(|| task.finish()));
            assert!(matches!(error, Error::NotYetDurable { .. } | Error::Busy { .. }), "{mode}: {error}");
        }
        storage.open_gate();
        engine.close().unwrap();
    }
}

#[test]
fn receipts_are_awaited_once_and_by_whoever_polls_last() {
    let (storage, engine, handle) = full(Options::default());
    let mut receipt = handle.submit("b", &Ask::set(1, 1)).unwrap();
    // Two tasks have it in turn: only the waker of the last poll counts.
    let mut first = Polled::new(&mut receipt);
    assert!(first.poll().is_none());
    let first_bell = first.woken();
    drop(first);
    let mut second = Polled::new(&mut receipt);
    assert!(second.poll().is_none());
    storage.open_gate();
    let outcome = second.finish().unwrap();
    assert_eq!((outcome.position(), first_bell), (Some(3), 0));
    assert!(receipt.provisional().is_none(), "the outcome was handed over");
    // Polled beyond its end it does not panic and does not hang.
    assert!(matches!(block_on(&mut receipt), Err(Error::Closed)));
    let receipt = block_on(handle.submit_async("b", &Ask::set(1, 2))).unwrap();
    assert!(block_on(receipt).unwrap().is_accepted());
    engine.close().unwrap();
}

/// What a multi-threaded runtime asks of every future and every value.
#[test]
fn everything_travels_between_threads() {
    fn travels<T: Send>(_: &T) {}
    fn shared<T: Send + Sync>(_: &T) {}
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let ask = Ask::set(1, 1);
    travels(&handle.execute_async("b", &ask));
    travels(&handle.submit_async("b", &ask));
    travels(&engine.wait_durable_async(0));
    let receipt = handle.submit("b", &ask).unwrap();
    shared(&engine);
    shared(&handle);
    shared(&receipt);
    shared(&receipt.wait().unwrap());
    shared(&handle.read("b").unwrap());
    travels(&handle.history("b").unwrap());
    engine.close().unwrap();
}

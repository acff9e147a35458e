//! Rule 9: after a storage error nothing is decided, shown or written, and everybody is told the truth.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use boxoffice::error::Advice;
use boxoffice::{Engine, Error, Handle, Limits, Options};

use crate::support::board::{Ask, Board, Put, boards};
use crate::support::gate::GatedStorage;
use crate::support::{Door, Polled, error_of, modes};

fn open(storage: &GatedStorage, limits: Limits) -> (Engine, Handle<Board>) {
    let builder = Engine::builder().aggregate::<Board>().limits(limits);
    let engine = builder.backend(storage.clone()).unwrap();
    let handle = boards(&engine, Options::default());
    (engine, handle)
}

fn stopped(error: &Error) {
    assert!(matches!(error, Error::Storage { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::Stop);
    assert!(!error.to_string().is_empty());
}

#[test]
fn rule_09_each_decision_learns_what_became_of_it() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let (engine, handle) = open(&storage, Limits::default());
        let handle = handle.with(options);
        let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
        storage.close_gate();
        let written = handle.submit("b", &Ask::set(1, 2)).unwrap();
        storage.await_blocked();
        let queued = handle.submit("b", &Ask::set(1, 3)).unwrap();
        let command = Ask::set(2, 4);
        let mut task = Polled::new(handle.execute_async("b", &command));
        assert!(task.poll().is_none());
        let errors = thread::scope(|scope| {
            let blocking = scope.spawn(|| error_of(engine.wait_durable(3)));
            storage.fail();
            [
                error_of(written.wait()),
                error_of(queued.wait()),
                error_of(task.finish()),
                blocking.join().unwrap(),
            ]
        });
        assert!(matches!(errors[0], Error::OutcomeUnknown { position: 2, .. }), "{mode}: {:?}", errors[0]);
        for error in &errors[1..] {
            assert!(matches!(error, Error::NotStored { .. }), "{mode}: {error:?}");
        }
        assert!(errors.iter().all(|error| error.advice() == Advice::Stop));

        // The latch: commands, reads and histories, of any stream, for good, also when the disk recovers.
        storage.open_gate();
        let changes = storage.changes();
        for _ in 0..2 {
            for id in ["b", "new"] {
                stopped(&error_of(handle.execute(id, &Ask::set(1, 9))));
                stopped(&error_of(handle.submit(id, &Ask::reject(1))));
                stopped(&error_of(handle.read(id)));
                stopped(&error_of(handle.history(id)));
            }
        }
        assert_eq!(engine.durable_position(), 1);
        engine.wait_durable(1).unwrap();
        stopped(&error_of(engine.close()));
        assert_eq!(storage.changes(), changes, "{mode}: something was written after the failure");

        // Only a fresh open clears it. What was queued is not there; what was being written may be.
        let (engine, handle) = open(&storage, Limits::default());
        let view = handle.read("b").unwrap();
        assert!([(1, 1), (2, 2)].contains(&(view.version(), view.get(1))), "{mode}: {view:?}");
        assert_eq!(view.get(2), 0);
        assert!(handle.execute("b", &Ask::set(1, 5)).unwrap().is_accepted());
        engine.close().unwrap();
    }
}

#[test]
fn rule_09_whoever_waits_for_something_else_is_told_too() {
    let storage = GatedStorage::default();
    let limits = Limits { entry_bytes: 1024, queue_bytes: 1024, ..Limits::default() };
    let (engine, handle) = open(&storage, limits);
    let large = |cell| Ask::puts([Put::cell(cell, 1).padded(600)]);
    let (door, holder, locked, roomy) = (Door::new(), Ask::set(1, 1), Ask::set(1, 2), large(3));
    let inside = Arc::clone(&door);
    let holder = holder.first(move |_, _| inside.pass());
    let failed = thread::scope(|scope| {
        let holding = scope.spawn(|| error_of(handle.execute("b", &holder)));
        door.await_arrivals(1);
        let mut for_lock = Polled::new(handle.execute_async("b", &locked));
        assert!(for_lock.poll().is_none());
        storage.close_gate();
        let filling = handle.submit("c", &large(2)).unwrap();
        storage.await_blocked();
        let mut for_room = Polled::new(handle.execute_async("c", &roomy));
        assert!(for_room.poll().is_none());
        storage.fail();
        let unknown = error_of(filling.wait());
        assert!(matches!(unknown, Error::OutcomeUnknown { position: 1, .. }), "{unknown:?}");
        let for_room = error_of(for_room.finish());
        // Who decided meanwhile finds out when it commits, and whoever waits for its lock after that.
        door.open();
        [for_room, holding.join().unwrap(), error_of(for_lock.finish())]
    });
    failed.iter().for_each(stopped);
    stopped(&error_of(engine.close()));
}

/// Looks at the engine from inside `wake`, as an executor that polls on the spot would.
struct Nosy {
    handle: Handle<Board>,
    seen: Mutex<Vec<Error>>,
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        let errors = [error_of(self.handle.read("b")), error_of(self.handle.submit("b", &Ask::set(1, 9)))];
        self.seen.lock().unwrap().extend(errors);
    }
}

#[test]
fn rule_09_the_latch_is_set_before_anyone_wakes() {
    let storage = GatedStorage::default();
    let (engine, handle) = open(&storage, Limits::default());
    let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
    storage.close_gate();
    let mut receipts = vec![handle.submit("b", &Ask::set(1, 2)).unwrap()];
    storage.await_blocked();
    receipts.push(handle.submit("b", &Ask::set(1, 3)).unwrap());
    let nosy = Arc::new(Nosy { handle: handle.clone(), seen: Mutex::default() });
    let waker = Waker::from(Arc::clone(&nosy));
    let mut context = Context::from_waker(&waker);
    for receipt in &mut receipts {
        assert!(matches!(std::pin::Pin::new(receipt).poll(&mut context), Poll::Pending));
    }
    storage.fail();
    // Joins the writer, so everybody has been woken after it.
    stopped(&error_of(engine.close()));
    let seen = nosy.seen.lock().unwrap();
    assert_eq!(seen.len(), 4, "both were woken");
    seen.iter().for_each(stopped);
}

#[test]
fn rule_09_dropping_a_failed_engine_writes_nothing() {
    let storage = GatedStorage::default();
    let (engine, handle) = open(&storage, Limits::default());
    storage.fail();
    let error = error_of(handle.execute("b", &Ask::set(1, 1)));
    assert!(matches!(error, Error::OutcomeUnknown { position: 1, .. }), "{error:?}");
    storage.open_gate();
    let changes = storage.changes();
    drop(engine);
    drop(handle);
    assert_eq!(storage.changes(), changes);
}

#[test]
fn rule_09_a_closed_engine_says_so() {
    let storage = GatedStorage::default();
    let (engine, handle) = open(&storage, Limits::default());
    let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
    storage.close_gate();
    let receipt = handle.submit("b", &Ask::set(1, 2)).unwrap();
    let door = Door::new();
    let inside = Arc::clone(&door);
    let late = Ask::set(2, 2).first(move |_, _| inside.pass());
    thread::scope(|scope| {
        let late = scope.spawn(|| error_of(handle.execute("b", &late)));
        door.await_arrivals(1);
        let closing = scope.spawn(|| engine.close());
        // What was decided is made durable by the close; new calls are refused from its start.
        let closed = |error: Error| matches!(error, Error::Closed);
        crate::support::eventually("the engine is closing", || handle.read("b").err().map(closed));
        assert!(closed(error_of(handle.execute("b", &Ask::set(1, 3)))));
        door.open();
        assert!(closed(late.join().unwrap()), "its commit came after the close");
        storage.open_gate();
        closing.join().unwrap().unwrap();
    });
    assert_eq!(receipt.wait().unwrap().position(), Some(2));
    assert!(matches!(error_of(handle.history("b")), Error::Closed));
    let (engine, handle) = open(&storage, Limits::default());
    assert_eq!(handle.read("b").unwrap().get(1), 2);
    engine.close().unwrap();
}

//! Rule 6: lines before locks, one deadline for all waits, and the full queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use boxoffice::options::Wait;
use boxoffice::{Engine, Error, Handle, Limits, Options, Outcome};

use crate::support::board::{Ask, Board, Put, boards, engine};
use crate::support::gate::GatedStorage;
use crate::support::{Door, Polled, at_once, block_on, briefly, error_of, modes};

type Log = Arc<Mutex<Vec<&'static str>>>;
type Waiting<'a> = Polled<'a, Result<Outcome<Board>, Error>>;

/// A command that writes its name down when it is decided.
fn named(name: &'static str, log: &Log, ask: Ask) -> Ask {
    let log = Arc::clone(log);
    ask.first(move |_, _| log.lock().unwrap().push(name))
}

fn on(cells: &[u64]) -> Ask {
    Ask::puts(cells.iter().map(|cell| Put::cell(*cell, 1)))
}

fn whole() -> Ask {
    Ask::whole(|_| Ok(vec![Put { whole: true, ..Put::default() }]))
}

/// Runs `then` while another thread holds the locks of `scope`; `then` says when to open the door.
fn while_locked(handle: &Handle<Board>, holder: Ask, then: impl FnOnce(&mut dyn FnMut())) {
    let door = Door::new();
    let inside = Arc::clone(&door);
    let holder = holder.first(move |_, _| inside.pass());
    thread::scope(|scope| {
        let mut holding = Some(scope.spawn(|| handle.execute("b", &holder).unwrap().version()));
        door.await_arrivals(1);
        then(&mut || {
            door.open();
            holding.take().unwrap().join().unwrap();
        });
    });
}

#[test]
fn rule_06_whole_waits_for_parts_and_later_parts_queue_behind_it() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let log = Log::default();
    let (all, two, three) =
        (named("whole", &log, whole()), named("two", &log, on(&[2])), named("three", &log, on(&[3])));
    while_locked(&handle, on(&[1]), |release| {
        // Before the whole is asked for, another part is free.
        assert!(handle.with(at_once(handle.options())).execute("b", &on(&[2])).is_ok());
        let mut all = Polled::new(handle.execute_async("b", &all));
        assert!(all.poll().is_none(), "somebody is inside");
        let mut two = Polled::new(handle.execute_async("b", &two));
        assert!(two.poll().is_none(), "the whole was here first");
        // Somebody who leaves the line does not hold it up.
        let mut gone = Polled::new(handle.execute_async("b", &three));
        assert!(gone.poll().is_none());
        drop(gone);
        release();
        assert_eq!((all.woken(), two.woken()), (1, 0), "only who is granted is woken");
        assert!(two.poll().is_none(), "the whole is held");
        assert!(all.finish().unwrap().is_accepted());
        assert!(two.finish().unwrap().is_accepted());
    });
    assert_eq!(*log.lock().unwrap(), ["whole", "two"]);
    engine.close().unwrap();
}

#[test]
fn rule_06_a_whole_that_gives_up_lets_the_others_in() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let (all, two) = (whole(), on(&[2]));
    while_locked(&handle, on(&[1]), |release| {
        let mut all: Waiting<'_> = Polled::new(handle.execute_async("b", &all));
        let mut two = Polled::new(handle.execute_async("b", &two));
        assert!(all.poll().is_none() && two.poll().is_none());
        drop(all);
        assert!(two.finish().unwrap().is_accepted(), "while the holder is still inside");
        release();
    });
    engine.close().unwrap();
}

#[test]
fn rule_06_the_line_is_first_come_first_served() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let log = Log::default();
    let names = ["first", "second", "third", "fourth"];
    let asks = names.map(|name| named(name, &log, on(&[1])));
    while_locked(&handle, on(&[1]), |release| {
        let mut line: Vec<Waiting<'_>> =
            asks.iter().map(|ask| Polled::new(handle.execute_async("b", ask))).collect();
        assert!(line.iter_mut().all(|waiting| waiting.poll().is_none()));
        release();
        while let Some(mut last) = line.pop() {
            if line.is_empty() {
                assert!(last.finish().unwrap().is_accepted());
                break;
            }
            // Whoever is not at the head gets nothing by asking.
            assert!(last.poll().is_none());
            let head = line.remove(0);
            assert!(head.finish().unwrap().is_accepted());
            line.push(last);
        }
    });
    assert_eq!(*log.lock().unwrap(), names);
    engine.close().unwrap();
}

/// A cart stands in all its lines at once: nobody overtakes it in one of them, so that two carts that
/// name the same seats in opposite order cannot wait for each other.
#[test]
fn rule_06_a_cart_enters_all_its_lines_at_once() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let log = Log::default();
    let cart = named("1,2,3", &log, on(&[1, 2, 3]));
    let reverse = named("3,2", &log, on(&[3, 2]));
    let single = named("3", &log, on(&[3]));
    let beside = named("4", &log, on(&[4]));
    while_locked(&handle, on(&[1]), |release| {
        let mut cart = Polled::new(handle.execute_async("b", &cart));
        let mut reverse = Polled::new(handle.execute_async("b", &reverse));
        let mut single = Polled::new(handle.execute_async("b", &single));
        assert!(cart.poll().is_none() && reverse.poll().is_none() && single.poll().is_none());
        assert!(block_on(handle.execute_async("b", &beside)).unwrap().is_accepted());
        release();
        assert!(single.poll().is_none() && reverse.poll().is_none());
        for waiting in [cart, reverse, single] {
            assert!(waiting.finish().unwrap().is_accepted());
        }
    });
    assert_eq!(*log.lock().unwrap(), ["4", "1,2,3", "3,2", "3"]);
    engine.close().unwrap();
}

/// Two are inside, on a cell each; a cart of both cells, and the whole, wait for the one and the other.
#[test]
fn rule_06_who_waits_for_two_waits_for_both() {
    let both = || Ask::on([1, 2], |cells| Ok(vec![Put::cell(1, cells.get(1) + 10 * cells.get(2))]));
    let all = || {
        Ask::whole(|cells| {
            let (one, two) = (cells.get(1), cells.get(2));
            Ok(vec![Put { whole: true, ..Put::cell(1, one + 10 * two) }])
        })
    };
    for (ask, first) in [(both(), 0), (both(), 1), (all(), 0), (all(), 1)] {
        let engine = engine();
        let handle = boards(&engine, Options::pessimistic());
        let doors = [Door::new(), Door::new()];
        thread::scope(|scope| {
            let mut holding = doors.each_ref().map(|door| {
                let (inside, handle) = (Arc::clone(door), &handle);
                let cell = if Arc::ptr_eq(door, &doors[0]) { 1 } else { 2 };
                let holder = Ask::set(cell, 1).first(move |_, _| inside.pass());
                Some(scope.spawn(move || handle.execute("b", &holder).unwrap().version()))
            });
            doors.iter().for_each(|door| door.await_arrivals(1));
            let mut waiting = Polled::new(handle.execute_async("b", &ask));
            assert!(waiting.poll().is_none());
            for index in [first, 1 - first] {
                assert!(waiting.woken() == 0 && waiting.poll().is_none(), "one of them is still inside");
                doors[index].open();
                holding[index].take().unwrap().join().unwrap();
            }
            assert_eq!(waiting.woken(), 1);
            let outcome = waiting.finish().unwrap();
            assert_eq!(outcome.events()[0].cells, [(1, 11)], "decided on what both of them left");
        });
        engine.close().unwrap();
    }
}

#[test]
fn rule_06_a_lock_timeout_names_stream_and_wait() {
    let engine = engine();
    for (mode, options) in modes() {
        let handle = boards(&engine, Options::pessimistic());
        let brief = handle.with(briefly(options));
        while_locked(&handle, on(&[1]), |release| {
            for (ask, what) in [(on(&[1]), "part"), (on(&[2, 1]), "cart"), (whole(), "whole")] {
                for error in
                    [error_of(brief.execute("b", &ask)), error_of(block_on(brief.execute_async("b", &ask)))]
                {
                    match error {
                        Error::LockTimeout { stream, waited } => {
                            assert_eq!(stream.to_string(), "board/b", "{mode} {what}");
                            assert!(waited >= Duration::from_millis(5), "{mode} {what}: {waited:?}");
                        }
                        other => panic!("{mode} {what}: {other}"),
                    }
                }
            }
            // Whoever gave up stands in nobody's way.
            assert!(handle.with(at_once(options)).execute("b", &on(&[2])).is_ok(), "{mode}");
            release();
        });
        assert!(handle.with(at_once(options)).execute("b", &on(&[1])).is_ok(), "{mode}");
    }
    engine.close().unwrap();
}

/// Storage whose syncs wait, under an engine with room for one small entry and a bit.
fn tiny_queue(options: Options) -> (GatedStorage, Engine, Handle<Board>) {
    let storage = GatedStorage::default();
    let limits = Limits { entry_bytes: 1024, queue_bytes: 1024, ..Limits::default() };
    let builder = Engine::builder().aggregate::<Board>().limits(limits);
    let engine = builder.backend(storage.clone()).unwrap();
    let handle = boards(&engine, options);
    assert!(handle.execute("b", &Ask::set(0, 1)).unwrap().is_accepted());
    (storage, engine, handle)
}

fn large(cell: u64) -> Ask {
    Ask::puts([Put::cell(cell, 1).padded(600)])
}

#[test]
fn rule_06_a_full_queue_is_busy_until_there_is_room() {
    for (mode, options) in modes() {
        let (storage, engine, handle) = tiny_queue(options);
        storage.close_gate();
        let filling = handle.submit("b", &large(1)).unwrap();
        let busy = [
            error_of(handle.with(at_once(options)).submit("b", &large(2))),
            error_of(handle.with(at_once(options)).execute("b", &large(2))),
            error_of(handle.with(briefly(options)).submit("b", &large(2))),
            error_of(block_on(handle.with(briefly(options)).submit_async("b", &large(2)))),
        ];
        for (call, error) in busy.into_iter().enumerate() {
            match error {
                Error::Busy { waited } => {
                    assert!(call < 2 || waited >= Duration::from_millis(5), "{mode} {call}: {waited:?}");
                }
                other => panic!("{mode} {call}: {other}"),
            }
        }
        assert_eq!(engine.position(), 2, "{mode}: nothing was decided");
        // A smaller one still fits, on the same cell: whoever was refused gave its locks back.
        let small = handle.with(at_once(options)).submit("b", &Ask::set(2, 5)).unwrap();
        let third = large(3);
        let mut waiting = Polled::new(handle.execute_async("b", &third));
        assert!(waiting.poll().is_none(), "{mode}");
        storage.open_gate();
        assert!(waiting.finish().unwrap().is_accepted(), "{mode}");
        assert_eq!(filling.wait().unwrap().position(), Some(2));
        assert_eq!(small.wait().unwrap().position(), Some(3));
        engine.close().unwrap();
    }
}

/// Room that was promised to an entry which then was not stored: after a conflict, after a lock that
/// somebody else took meanwhile, after a panic. The queue has room for one of these at a time.
#[test]
fn rule_06_room_that_is_not_used_is_given_back() {
    let (_, engine, handle) = tiny_queue(at_once(Options::optimistic()));
    let rival = handle.clone();
    let lost = Arc::new(AtomicUsize::new(0));
    let ask = large(1).first(move |_, _| {
        if lost.fetch_add(1, Ordering::SeqCst) < 4 {
            let rival = rival.clone();
            thread::spawn(move || rival.execute("b", &Ask::set(1, 5)).unwrap().version()).join().unwrap();
        }
    });
    let outcome = handle.execute("b", &ask).unwrap();
    assert_eq!(outcome.effort().conflicts, 4);

    while_locked(&handle.with(Options::pessimistic()), on(&[1]), |release| {
        for _ in 0..3 {
            assert!(matches!(error_of(handle.execute("b", &large(1))), Error::WouldBlock { .. }));
        }
        release();
    });
    for id in ["c", "d", "e"] {
        let sprung = Ask::puts([Put::cell(1, 1).padded(600).trapped()]);
        assert!(matches!(error_of(handle.execute(id, &sprung)), Error::ApplyPanicked { .. }));
    }
    assert!(handle.execute("b", &large(1)).unwrap().is_accepted());
    engine.close().unwrap();
}

/// Time that was spent before a lock is gone: whoever got it at the deadline waits for nothing more. The
/// future is not polled between its first wait and the end of another call that began later and waited
/// as long, so that its deadline has passed for certain.
#[test]
fn rule_06_one_deadline_covers_locks_room_and_durability() {
    for full in [false, true] {
        let (storage, engine, handle) = tiny_queue(Options::pessimistic());
        let brief = handle.with(briefly(Options::pessimistic()));
        let ask = if full { large(1) } else { Ask::set(1, 1) };
        let mut waiting = Polled::new(brief.execute_async("b", &ask));
        while_locked(&handle, on(&[1, 2]), |release| {
            assert!(waiting.poll().is_none());
            assert!(matches!(error_of(brief.execute("b", &on(&[2]))), Error::LockTimeout { .. }));
            release();
        });
        storage.close_gate();
        if full {
            drop(handle.submit("b", &large(3)).unwrap());
        }
        match waiting.poll().map(error_of) {
            Some(Error::Busy { waited }) if full => assert!(waited >= Duration::from_millis(5)),
            Some(Error::NotYetDurable { position }) if !full => {
                assert_eq!(position, engine.position());
                assert!(engine.durable_position() < position);
            }
            other => panic!("full: {full}: {other:?}"),
        }
        storage.open_gate();
        engine.wait_durable(engine.position()).unwrap();
        assert_eq!(handle.read("b").unwrap().get(1), 1);
        engine.close().unwrap();
    }
}

#[test]
fn rule_06_no_deadline_is_too_far_away() {
    let engine = engine();
    let handle = boards(&engine, Options { wait: Wait::AtMost(Duration::MAX), ..Options::pessimistic() });
    let two = on(&[1]);
    while_locked(&handle, on(&[1]), |release| {
        let mut waiting = Polled::new(handle.execute_async("b", &two));
        assert!(waiting.poll().is_none());
        release();
        assert!(waiting.finish().unwrap().is_accepted());
    });
    // And none at all still decides what needs no waiting.
    let now = handle.with(Options { wait: Wait::AtMost(Duration::ZERO), ..handle.options() });
    assert!(now.execute("b", &on(&[1])).unwrap().is_accepted());
    engine.close().unwrap();
}

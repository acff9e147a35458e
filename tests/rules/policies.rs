//! Rule 2, at the commit: a policy is asked about the current state, whatever the command and its scope.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use std::thread;

use boxoffice::{Engine, Error, Handle, Options};

use crate::support::board::{Ask, Board, Cells, Put, boards};
use crate::support::gate::GatedStorage;
use crate::support::{error_of, modes, said};

const ONE: &str = "the cells add up to at most one";

fn sum(cells: &Cells) -> i64 {
    (0..10).map(|cell| cells.get(cell)).sum()
}

fn engine_with_one(options: Options) -> (Engine, Handle<Board>) {
    let builder = Engine::builder().aggregate::<Board>();
    let engine = builder.policy::<Board>(ONE, |_, _, after| sum(after) <= 1).in_memory().unwrap();
    let handle = boards(&engine, options);
    (engine, handle)
}

fn violated(error: Error, policy: &str) {
    match error {
        Error::PolicyViolated { stream, policy: broken } => {
            assert_eq!((stream.to_string().as_str(), broken), ("board/b", policy));
        }
        other => panic!("{other}"),
    }
}

/// Two commands on different cells, decided on one snapshot: neither scope covers the sum.
#[test]
fn rule_02_a_policy_holds_what_no_scope_covers() {
    for (mode, options) in modes() {
        let (engine, handle) = engine_with_one(options);
        let both_decide = Arc::new(Barrier::new(2));
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (1..=2)
                .map(|cell| {
                    let (handle, both_decide) = (&handle, Arc::clone(&both_decide));
                    scope.spawn(move || {
                        let ask = Ask::set(cell, 1).first(move |cells, _| {
                            assert_eq!(sum(cells), 0);
                            both_decide.wait();
                        });
                        handle.execute("b", &ask)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (accepted, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((accepted.len(), refused.len(), engine.position()), (1, 1, 1), "{mode}");
        refused.into_iter().map(error_of).for_each(|error| violated(error, ONE));
        assert_eq!(sum(&handle.read("b").unwrap()), 1, "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn rule_02_a_broken_policy_leaves_no_trace_of_any_event() {
    for (mode, options) in modes() {
        let (engine, handle) = engine_with_one(options);
        violated(error_of(handle.execute("b", &Ask::set(1, 2))), ONE);
        assert!(handle.ids().is_empty() && engine.position() == 0, "{mode}: no stream was made");
        assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
        let before = handle.read("b").unwrap();
        // The first two keep it, the third does not.
        let three = Ask::puts([Put::cell(1, 1), Put::cell(2, 0), Put::cell(3, 1)]);
        for attempt in 0..3 {
            violated(error_of(handle.execute("b", &three)), ONE);
            let after = handle.read("b").unwrap();
            assert_eq!((&*after, after.version()), (&*before, 1), "{mode} {attempt}");
            assert_eq!(engine.position(), 1, "{mode} {attempt}");
        }
        let outcome = handle.execute("b", &Ask::set(3, 1)).unwrap();
        assert_eq!((outcome.version(), outcome.position()), (2, Some(2)), "{mode}: locks free, no gap");
        assert_eq!(before.get(3), 0, "{mode}: a view does not change");
        engine.close().unwrap();
    }
}

/// The rule of a seat that is sold once in its life, over before, event and after.
#[test]
fn rule_02_a_policy_sees_before_event_and_after() {
    let never_lower = |before: &Cells, put: &Put, after: &Cells| {
        put.cells.iter().all(|(cell, value)| after.get(*cell) == *value && before.get(*cell) < *value)
    };
    let builder = Engine::builder().aggregate::<Board>().policy::<Board>(ONE, |_, _, _| true);
    let engine = builder.policy::<Board>("only upwards", never_lower).in_memory().unwrap();
    let handle = boards(&engine, Options::default());
    for value in [3, 5] {
        assert!(handle.execute("b", &Ask::set(1, value)).unwrap().is_accepted());
        violated(error_of(handle.execute("b", &Ask::set(1, value))), "only upwards");
        violated(error_of(handle.execute("b", &Ask::set(1, 0))), "only upwards");
    }
    // Each event of a command is one step.
    assert!(handle.execute("b", &Ask::puts([Put::cell(1, 6), Put::cell(1, 7)])).unwrap().is_accepted());
    violated(error_of(handle.execute("b", &Ask::puts([Put::cell(1, 9), Put::cell(1, 8)]))), "only upwards");
    assert_eq!(handle.read("b").unwrap().get(1), 7);
    engine.close().unwrap();
}

#[test]
fn rule_02_a_policy_that_panics_leaves_no_trace_and_passes_through() {
    for (mode, options) in modes() {
        let builder = Engine::builder().aggregate::<Board>();
        let engine = builder
            .policy::<Board>("no nines", |_, put, _| {
                assert!(put.cells[0].1 != 9, "a nine");
                true
            })
            .in_memory()
            .unwrap();
        let handle = boards(&engine, options);
        assert!(handle.execute("b", &Ask::set(1, 1)).unwrap().is_accepted());
        let two = Ask::puts([Put::cell(1, 2), Put::cell(1, 9)]);
        let caught = catch_unwind(AssertUnwindSafe(|| handle.execute("b", &two))).map(drop);
        assert!(said(&*caught.unwrap_err()).contains("a nine"), "{mode}");
        assert_eq!((handle.read("b").unwrap().get(1), engine.position()), (1, 1), "{mode}");
        assert!(handle.execute("b", &Ask::set(1, 3)).unwrap().is_accepted(), "{mode}: locks are free");
        engine.close().unwrap();
    }
}

/// An event that panics in `apply` under a policy fences and is rebuilt as without one.
#[test]
fn rule_07_a_panic_in_apply_under_a_policy_is_the_same_as_without() {
    let (engine, handle) = engine_with_one(Options::default());
    assert!(handle.execute("b", &Ask::set(1, 1)).unwrap().is_accepted());
    let trap = Ask::puts([Put::cell(2, 0), Put::cell(3, 0).trapped()]);
    assert!(matches!(error_of(handle.execute("b", &trap)), Error::ApplyPanicked { .. }));
    let view = crate::support::eventually("it is rebuilt", || handle.read("b").ok());
    assert_eq!((view.get(1), view.version()), (1, 1));
    engine.close().unwrap();
}

#[test]
fn rule_02_a_policy_is_not_asked_about_what_is_stored_already() {
    let storage = GatedStorage::default();
    let engine = Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
    assert!(boards(&engine, Options::default()).execute("b", &Ask::set(1, 7)).unwrap().is_accepted());
    engine.close().unwrap();
    let builder = Engine::builder().aggregate::<Board>().policy::<Board>(ONE, |_, _, after| sum(after) <= 1);
    let engine = builder.backend(storage).unwrap();
    let handle = boards(&engine, Options::default());
    assert_eq!(handle.read("b").unwrap().get(1), 7);
    violated(error_of(handle.execute("b", &Ask::set(2, 1))), ONE);
    assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
    engine.close().unwrap();
}

#[test]
fn rule_12_a_policy_needs_its_type() {
    let builder = Engine::builder().policy::<Board>(ONE, |_, _, _| true).aggregate::<Board>();
    assert!(matches!(error_of(builder.in_memory()), Error::NotRegistered { aggregate: "board" }));
}

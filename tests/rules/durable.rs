//! Rule 8: acknowledged means durable, with all that it depended on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use boxoffice::{Engine, Error, Handle, Options, Outcome, Receipt};

use crate::support::board::{Ask, Board, Put, boards};
use crate::support::gate::GatedStorage;
use crate::support::{HookClock, Polled, block_on, error_of, eventually, modes};

fn gated(options: Options) -> (GatedStorage, Engine, Handle<Board>) {
    let storage = GatedStorage::default();
    let builder = Engine::builder().aggregate::<Board>().clock(HookClock::default());
    let engine = builder.backend(storage.clone()).unwrap();
    let handle = boards(&engine, options);
    let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
    (storage, engine, handle)
}

#[test]
fn rule_08_nothing_is_acknowledged_before_the_sync_is_over() {
    for (mode, options) in modes() {
        let (storage, engine, handle) = gated(options);
        storage.close_gate();
        let acknowledged = AtomicUsize::new(0);
        let asks = [1, 2, 3, 4].map(Ask::add);
        thread::scope(|scope| {
            // Two that block; the first of them commits in place and stands in the sync.
            let blocking: Vec<_> = asks[..2]
                .iter()
                .map(|ask| {
                    let (handle, acknowledged) = (&handle, &acknowledged);
                    scope.spawn(move || {
                        let outcome = handle.execute("b", ask).unwrap();
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                        outcome.position()
                    })
                })
                .collect();
            storage.await_blocked();
            // A task, and a receipt.
            let mut task = Polled::new(handle.execute_async("c", &asks[2]));
            assert!(task.poll().is_none());
            let mut receipt = handle.submit("c", &asks[3]).unwrap();
            for _ in 0..50 {
                assert!(task.poll().is_none() && !receipt.is_durable(), "{mode}");
                assert!(Polled::new(&mut receipt).poll().is_none(), "{mode}");
                assert_eq!(acknowledged.load(Ordering::SeqCst), 0, "{mode}");
                assert_eq!(engine.durable_position(), 1, "{mode}");
                thread::yield_now();
            }
            // Readers see what is decided, and are told that it is not durable.
            let view = handle.read("c").unwrap();
            assert_eq!((view.version(), view.is_durable()), (2, false), "{mode}");
            assert_eq!(handle.history("c").unwrap().count(), 0, "{mode}: history shows what is on disk");
            assert_eq!(receipt.provisional().map(Outcome::version), Some(2), "{mode}");

            storage.open_gate();
            assert!(task.finish().unwrap().is_accepted());
            assert!(receipt.wait().unwrap().is_accepted());
            let mut positions: Vec<_> =
                blocking.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
            positions.sort_unstable();
            assert!(positions[1] <= engine.durable_position());
        });
        assert_eq!((engine.position(), engine.durable_position()), (5, 5), "{mode}");
        engine.close().unwrap();
    }
}

/// What was not stored was decided on what others had stored: a seat that is refused because somebody
/// has it must not be refused on the word of a sale that a crash undoes.
#[test]
fn rule_08_an_outcome_without_an_entry_waits_for_the_tail() {
    for (mode, options) in modes() {
        let (storage, engine, handle) = gated(Options { record_rejections: false, ..options });
        let _ = handle.execute("other", &Ask::set(0, 1)).unwrap();
        storage.close_gate();
        let sold = handle.submit("b", &Ask::set(1, 7)).unwrap();
        let unrecorded =
            Ask::on([1], |cells| if cells.get(1) == 0 { Ok(Vec::new()) } else { Err("taken".into()) });
        let no_event = Ask::on([1], |_| Ok(Vec::new()));
        let mut waiting: Vec<_> = [("b", &unrecorded), ("b", &no_event), ("other", &no_event)]
            .into_iter()
            .map(|(id, ask)| Polled::new(handle.execute_async(id, ask)))
            .collect();
        assert!(waiting.iter_mut().all(|it| it.poll().is_none()), "{mode}: told on the word of {sold:?}");
        let receipt = handle.submit("b", &unrecorded).unwrap();
        assert_eq!((receipt.position(), receipt.is_durable()), (sold.position(), false), "{mode}");
        // Later decisions are none of its business.
        let later = handle.submit("b", &Ask::set(2, 7)).unwrap();
        assert!(later.position() > receipt.position());
        storage.open_gate();
        for it in waiting {
            let outcome = it.finish().unwrap();
            assert_eq!(outcome.position(), None, "{mode}");
            assert!(engine.durable_position() >= sold.position(), "{mode}");
        }
        let outcome = receipt.wait().unwrap();
        assert_eq!(
            (outcome.rejection().map(String::as_str), outcome.version()),
            (Some("taken"), 2),
            "{mode}"
        );
        drop(later);
        engine.close().unwrap();
    }
}

/// The writer rests after a commit while nobody waits: it goes on by itself.
#[test]
fn rule_08_what_nobody_waits_for_reaches_the_disk_all_the_same() {
    let (storage, engine, handle) = gated(Options::default());
    let reaches_the_disk = |receipt: &Receipt<_>| {
        eventually("nobody writes it", || receipt.is_durable().then_some(()));
    };
    // Somebody had waited: after this commit, by the writer, that is forgotten.
    reaches_the_disk(&handle.submit("b", &Ask::add(1)).unwrap());
    storage.close_gate();
    let first = handle.submit("b", &Ask::add(2)).unwrap();
    storage.await_blocked();
    // Queues while the first is being committed.
    let second = handle.submit("b", &Ask::add(3)).unwrap();
    storage.open_gate();
    reaches_the_disk(&second);
    assert!(first.is_durable());
    engine.close().unwrap();
}

#[test]
fn rule_08_acknowledgements_follow_positions() {
    let (storage, engine, handle) = gated(Options::default());
    storage.close_gate();
    // Every second one travels in a batch of its own.
    let receipts: Vec<_> =
        (1..40_u64).map(|cell| handle.submit(format!("s{}", cell % 3), &Ask::add(cell)).unwrap()).collect();
    assert!(receipts.windows(2).all(|pair| pair[0].position() + 1 == pair[1].position()));
    let mut tasks: Vec<_> = receipts.into_iter().map(Polled::new).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_none()));
    thread::scope(|scope| {
        scope.spawn(|| storage.open_gate());
        // Asked from the last to the first: whoever is durable, so is everybody before.
        for task in tasks.into_iter().rev() {
            let position = task.finish().unwrap().position().unwrap();
            assert!(engine.durable_position() >= position);
        }
    });
    engine.close().unwrap();
}

#[test]
fn rule_08_what_was_acknowledged_is_there_after_the_storage_is_opened_again() {
    let (storage, engine, handle) = gated(Options::default());
    let mut acknowledged = 0;
    for round in 1..20 {
        let outcome = handle.execute("b", &Ask::set(0, round)).unwrap();
        acknowledged = outcome.position().unwrap();
    }
    storage.close_gate();
    let lost = handle.submit("b", &Ask::set(0, -1)).unwrap();
    storage.await_blocked();
    // The process is gone: nothing of this engine writes any more.
    storage.fail();
    assert!(lost.wait().is_err());
    drop(engine);
    storage.open_gate();
    let engine = Engine::builder().aggregate::<Board>().backend(storage).unwrap();
    assert!(engine.durable_position() >= acknowledged);
    let view = boards(&engine, Options::default()).read("b").unwrap();
    assert!([19, -1].contains(&view.get(0)));
    assert_eq!(view.version(), engine.position());
    engine.close().unwrap();
}

#[test]
fn rule_08_durable_waits_answer_for_any_position() {
    let (storage, engine, handle) = gated(Options::default());
    engine.wait_durable(0).unwrap();
    for position in [2, u64::MAX] {
        for error in
            [error_of(engine.wait_durable(position)), error_of(block_on(engine.wait_durable_async(position)))]
        {
            match error {
                Error::UnknownPosition { position: named, last } => assert_eq!((named, last), (position, 1)),
                other => panic!("{other}"),
            }
        }
    }
    storage.close_gate();
    let receipt = handle.submit("b", &Ask::puts([Put::cell(1, 1), Put::cell(1, 2)])).unwrap();
    let mut waiting = Polled::new(engine.wait_durable_async(2));
    assert!(waiting.poll().is_none());
    storage.open_gate();
    waiting.finish().unwrap();
    assert!(receipt.is_durable());
    engine.close().unwrap();
}

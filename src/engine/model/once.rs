//! Goal: a command with an id is decided once, whoever sends it at the same moment, and whoever of them leaves.
//! Method: threads and tasks send one order under one id, among others; everybody who gets an outcome gets the same.

use std::sync::Arc;

use super::super::{Handle, Outcome};
use super::{Ask, Hall, ID, Trial, Way, any_ask, any_options, crowd};
use crate::error::Error;
use crate::log::{MemoryStore, Opening};
use crate::model::{explore, pick, run_or_drop, run_task};

/// Sends the order under the id; nothing if the caller left.
fn send(handle: &Handle<Hall>, trial: &Trial, ask: Ask) -> Option<Result<Outcome<Hall>, Error>> {
    let (order, call) = (trial.order(ask), handle.call().id("x"));
    Some(match pick(5) {
        0 => call.execute(ID, &order),
        1 => run_task(call.execute_async(ID, &order)),
        2 => call.submit(ID, &order).and_then(|receipt| receipt.wait()),
        3 => {
            let receipt = run_task(call.submit_async(ID, &order));
            match receipt {
                Ok(receipt) if pick(2) == 0 => run_task(receipt),
                Ok(_) => return None,
                Err(error) => Err(error),
            }
        }
        _ => run_or_drop(call.execute_async(ID, &order), pick(5))?,
    })
}

/// The positions of the entries with an id.
fn with_id(store: &MemoryStore) -> Vec<u64> {
    let (mut opening, mut found) = (Opening::new(Box::new(store.clone())), Vec::new());
    let mut look = |position: u64, entry: &crate::log::EntryView<'_>| {
        found.extend(entry.sections.command()?.map(|_| position));
        Ok(())
    };
    while opening.next_row(&mut look).unwrap().is_some() {}
    found
}

#[test]
fn duplicates_are_one_decision() {
    explore(|| {
        let (trial, engine, handle) = Trial::opened(MemoryStore::default());
        let ask = if pick(4) == 0 { Ask::Count } else { Ask::Take { seat: 0, who: 0 } };
        let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let threads = {
            let told = Arc::clone(&told);
            crowd::start(&trial, &handle, 3, any_options, move |number, trial, handle| {
                if number == 0 {
                    crowd::patiently(trial, handle, Way::any(), any_ask());
                }
                match send(handle, trial, ask) {
                    None => {}
                    Some(Ok(outcome)) => {
                        let position = outcome.position().expect("an id is always recorded");
                        let said = (outcome.events().to_vec(), outcome.rejection().cloned());
                        told.lock().push((outcome.is_repeated(), position, outcome.version(), said));
                    }
                    Some(Err(error)) => crowd::only_impatience(handle, &error),
                }
            })
        };
        crowd::join(threads);
        assert!(handle.shared.ids.is_idle(), "an id was left behind");
        trial.check(engine, &handle);
        let (stored, told) = (with_id(&trial.store), told.lock());
        assert!(stored.len() <= 1, "decided {} times", stored.len());
        assert!(told.iter().filter(|(repeated, ..)| !repeated).count() <= 1);
        for one in &*told {
            assert_eq!((stored[0], &one.2, &one.3), (one.1, &told[0].2, &told[0].3));
        }
    });
}

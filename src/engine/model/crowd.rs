//! Several threads that give orders to one hall, each under options of its own.

use std::sync::atomic::Ordering;

use shuttle::thread::{JoinHandle, spawn};

use super::super::{Concurrency, Exhausted, Handle, Options, Receipt};
use super::{Ask, Hall, ID, Trial, Way};
use crate::error::Error;
use crate::model::{chance, run_task};

/// Starts so many; `body` is told who it is.
pub(super) fn start(
    trial: &Trial,
    handle: &Handle<Hall>,
    people: usize,
    options: impl Fn() -> Options,
    body: impl Fn(usize, &Trial, &Handle<Hall>) + Clone + Send + 'static,
) -> Vec<JoinHandle<()>> {
    let person = |number| {
        let (trial, handle, body) = (trial.clone(), handle.with(options()), body.clone());
        spawn(move || body(number, &trial, &handle))
    };
    (0..people).map(person).collect()
}

pub(super) fn join(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Gives an order, which may fail only because its caller would not wait.
pub(super) fn patiently(trial: &Trial, handle: &Handle<Hall>, way: Way, ask: Ask) {
    if let Some(Err(error)) = trial.call(handle, way, ask) {
        only_impatience(handle, &error);
    }
}

/// Gives several orders in one call. They come out in their order, each decided once where it has locks; `failed` is
/// told the errors.
pub(super) fn together(trial: &Trial, handle: &Handle<Hall>, asks: Vec<Ask>, failed: impl Fn(&Error)) {
    let orders: Vec<_> = asks.into_iter().map(|ask| (ID, trial.order(ask))).collect();
    let receipts =
        if chance() { run_task(handle.submit_all_async(&orders)) } else { handle.submit_all(&orders) };
    assert_eq!(receipts.len(), orders.len());
    let (mut last, mut version) = (0, 0);
    for ((_, order), receipt) in orders.iter().zip(&receipts) {
        let decides = trial.probe.decides[order.number].load(Ordering::Relaxed);
        assert!(handle.options().concurrency == Concurrency::Optimistic || decides <= 1, "{decides}");
        let Ok(receipt) = receipt else { continue };
        let outcome = receipt.provisional().unwrap();
        trial.note(handle, order, outcome, version);
        if let Some(position) = outcome.position() {
            assert!(position > last, "out of order");
            (last, version) = (position, outcome.version());
        }
    }
    for receipt in receipts {
        match receipt.and_then(Receipt::wait) {
            Ok(outcome) => trial.check_stored(&outcome),
            Err(error) => failed(&error),
        }
    }
}

pub(super) fn only_impatience(handle: &Handle<Hall>, error: &Error) {
    assert!(is_impatience(error, handle.options()), "{error}");
}

/// Whether a healthy engine may say this to a command on a stream that exists.
fn is_impatience(error: &Error, options: Options) -> bool {
    match error {
        Error::LockTimeout { .. } | Error::Busy { .. } | Error::NotYetDurable { .. } => true,
        Error::Conflict { .. } => options.exhausted == Exhausted::Conflict,
        _ => false,
    }
}

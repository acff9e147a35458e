//! Several threads that give orders to one hall, each under options of its own.

use shuttle::thread::{JoinHandle, spawn};

use super::super::{Handle, Options};
use super::{Ask, Hall, Trial, Way, is_impatience};
use crate::error::Error;

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

pub(super) fn only_impatience(handle: &Handle<Hall>, error: &Error) {
    assert!(is_impatience(error, handle.options()), "{error}");
}

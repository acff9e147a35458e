//! Goal: no seat twice, no limit broken, every answer as if the commands came one after the other.
//! Method: threads and tasks give orders to one hall with locks and with checks, in every way of calling; see [`Trial`].

use shuttle::thread::yield_now;

use super::super::{Handle, Options};
use super::{Ask, Hall, Trial, Way, any_ask, any_options, crowd};
use crate::engine::Engine;
use crate::error::Error;
use crate::log::MemoryStore;
use crate::model::{chance, explore, pick};

/// Three threads give a few orders each.
fn three(options: impl Fn() -> Options, orders: usize) -> (Trial, Engine, Handle<Hall>) {
    let (trial, engine, handle) = Trial::opened(MemoryStore::default());
    crowd::join(crowd::start(&trial, &handle, 3, options, move |_, trial, handle| {
        for _ in 0..=pick(orders) {
            crowd::patiently(trial, handle, Way::any(), any_ask());
        }
    }));
    (trial, engine, handle)
}

#[test]
fn orders_with_locks_are_decided_once_and_in_some_order() {
    explore(|| {
        let (trial, engine, handle) = three(Options::pessimistic, 2);
        trial.check(engine, &handle);
    });
}

#[test]
fn orders_with_checks_are_decided_in_some_order() {
    explore(|| {
        let retries = pick(2) as u32;
        let (trial, engine, handle) = three(|| Options { retries, ..Options::optimistic() }, 2);
        trial.check(engine, &handle);
    });
}

#[test]
fn checks_respect_locks() {
    explore(|| {
        let (trial, engine, handle) = three(any_options, 2);
        trial.check(engine, &handle);
    });
}

/// Several orders in one call, among calls of one order.
#[test]
fn orders_given_together_are_decided_in_their_order() {
    explore(|| {
        let (trial, engine, handle) = Trial::opened(MemoryStore::default());
        crowd::join(crowd::start(&trial, &handle, 3, any_options, |number, trial, handle| match number {
            0 => crowd::patiently(trial, handle, Way::any(), any_ask()),
            _ => crowd::together(trial, handle, several(3), |error| crowd::only_impatience(handle, error)),
        }));
        trial.check(engine, &handle);
    });
}

fn several(most: usize) -> Vec<Ask> {
    (0..=pick(most)).map(|_| any_ask()).collect()
}

/// Two seats for a customer who may have one: disjoint but for the customer.
#[test]
fn a_limit_over_two_seats_is_kept() {
    explore(|| {
        let (trial, engine, handle) = Trial::opened(MemoryStore::default());
        crowd::join(crowd::start(&trial, &handle, 3, any_options, |seat, trial, handle| {
            let way = if chance() { Way::Execute } else { Way::ExecuteTask };
            crowd::patiently(trial, handle, way, Ask::Take { seat: seat as u8, who: 0 });
        }));
        trial.check(engine, &handle);
    });
}

/// Of several that create one is first; a refusal creates nothing.
#[test]
fn a_stream_is_created_once_or_not_at_all() {
    explore(|| {
        let (trial, engine, handle) = Trial::new(MemoryStore::default());
        crowd::join(crowd::start(&trial, &handle, 3, any_options, |number, trial, handle| {
            for _ in 0..=pick(2) {
                let ask = match pick(5) {
                    0 if number == 0 => any_ask(),
                    0 | 1 => Ask::Open,
                    _ => Ask::OpenBadly,
                };
                match trial.call(handle, Way::any(), ask) {
                    Some(Err(Error::UnknownStream { .. })) => {
                        assert!(!matches!(ask, Ask::Open | Ask::OpenBadly));
                    }
                    Some(Err(error)) => crowd::only_impatience(handle, &error),
                    _ => {}
                }
            }
        }));
        trial.check(engine, &handle);
    });
}

/// The disk fails or the engine is closed, at any moment.
#[test]
fn a_stopped_engine_keeps_what_it_acknowledged() {
    explore(|| {
        let fails = chance();
        let store = if fails { MemoryStore::failing_after(pick(3)) } else { MemoryStore::default() };
        let (trial, engine, handle) = Trial::opened(store);
        let threads = crowd::start(&trial, &handle, 3, any_options, move |_, trial, handle| {
            let stopped = |error: &Error| match error {
                Error::Storage { .. } | Error::NotStored { .. } | Error::OutcomeUnknown { .. } if fails => {
                    assert!(handle.read(super::ID).is_err(), "a read after the latch");
                }
                Error::Closed => assert!(handle.read(super::ID).is_err()),
                error => crowd::only_impatience(handle, error),
            };
            if chance() {
                return crowd::together(trial, handle, several(3), stopped);
            }
            for _ in 0..=pick(2) {
                if let Some(Err(error)) = trial.call(handle, Way::any(), any_ask()) {
                    stopped(&error);
                }
            }
        });
        for _ in 0..pick(50) {
            yield_now();
        }
        let closed = engine.close();
        assert!(fails || closed.is_ok());
        crowd::join(threads);
        assert!(handle.shared.log.check_running().is_err());
        trial.check_log();
        assert!(handle.registry.find(super::ID).unwrap().is_idle());
    });
}

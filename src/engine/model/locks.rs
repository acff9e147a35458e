//! Goal: locks exclude, keep the order of arrival, let everybody through in the end, and leave nothing behind.
//! Method: threads and tasks lock random scopes of one stream; what they see of each other is written down and judged.

use std::sync::Arc;

use shuttle::thread::{JoinHandle, spawn, yield_now};

use super::super::lock::Access;
use super::super::stream::{InLine, Inner, Requested, Running, Stream, Wanted};
use super::{Hall, customer_part, seat_part};
use crate::clock::ManualClock;
use crate::error::{Error, StreamName};
use crate::limits::Limits;
use crate::log::{Log, MemoryStore, Opening};
use crate::model::{LIMIT, chance, explore, pick, run_or_drop, run_task};
use crate::scope::{Part, Scope};
use crate::sync::{Patience, Timer, run_blocking};

/// One stream, and what its callers saw.
#[derive(Clone)]
struct Corridor {
    log: Arc<Log>,
    stream: Arc<Stream<Hall>>,
    timer: Arc<Timer>,
    seen: Arc<parking_lot::Mutex<Vec<Seen>>>,
}

/// One request, as far as its caller knows. Nothing suspends between what happens and what is written here but the
/// steps of the engine itself.
struct Seen {
    scope: Scope,
    /// Whether the request stands, after the call that made it.
    queued: bool,
    /// Whose requests stood before this one was made.
    before: Vec<usize>,
    holds: bool,
    /// Given up or given back: set before the lock is.
    over: bool,
}

fn meet(one: &Scope, other: &Scope) -> bool {
    match (one, other) {
        // Who asks for nothing waits for nobody.
        (nothing, _) | (_, nothing) if nothing.is_empty() => false,
        (Scope::Whole, _) | (_, Scope::Whole) => true,
        (Scope::Parts(one), Scope::Parts(other)) => one.iter().any(|part| other.contains(part)),
    }
}

impl Corridor {
    fn new() -> Self {
        let log = Opening::new(Box::new(MemoryStore::default()));
        let log = Arc::new(log.into_log(Arc::new(ManualClock::default()), Limits::default()));
        let name = StreamName { aggregate: "hall".into(), id: "hall".into() };
        let stream = Arc::new(Stream::new(name, Inner::default()));
        Self { log, stream, timer: Arc::default(), seen: Arc::default() }
    }

    fn request(&self, scope: &Scope) -> Result<Requested<'_, Hall>, Error> {
        Running::request(
            &self.stream,
            &self.log,
            &Wanted { scope, access: Access::Exclusive, owner: None, waits: true },
            None,
        )
    }

    /// Asks, waits and holds. False if the wait ended without the locks.
    async fn pass(&self, scope: &Scope, patience: &mut Patience<'_>) -> bool {
        let place = Place { corridor: self, number: self.announce(scope) };
        let (mut running, waiter) = match self.request(scope).unwrap() {
            Requested::Granted(running, _) => (running, None),
            Requested::Queued(InLine { running, waiter }) => (running, Some(waiter)),
        };
        place.seen(|seen| seen.queued = true);
        // Declared after the request: written down before the locks are given back.
        let place = place;
        if let Some(waiter) = waiter {
            if !waiter.wait(patience).await {
                return false;
            }
            running.granted(&self.log).unwrap();
        }
        place.hold();
        for _ in 0..pick(3) {
            yield_now();
        }
        true
    }

    fn announce(&self, scope: &Scope) -> usize {
        let mut seen = self.seen.lock();
        let before = (0..seen.len()).filter(|other| seen[*other].queued && !seen[*other].over).collect();
        seen.push(Seen { scope: scope.clone(), queued: false, before, holds: false, over: false });
        seen.len() - 1
    }

    /// Locks a scope as a thread or as a task and waits for as long as it takes.
    fn walk(&self, scope: &Scope) {
        let passed = if chance() {
            run_blocking(self.pass(scope, &mut Patience::of_thread(None)))
        } else {
            run_task(self.pass(scope, &mut Patience::of_task(None, &self.timer)))
        };
        assert!(passed);
    }

    /// Locks a scope, but may not wait long enough.
    fn hurry(&self, scope: &Scope) {
        match pick(3) {
            0 => {
                run_blocking(self.pass(scope, &mut Patience::of_thread(LIMIT)));
            }
            1 => {
                run_or_drop(self.pass(scope, &mut Patience::of_task(LIMIT, &self.timer)), pick(4));
            }
            _ => self.walk(scope),
        }
    }

    /// After everybody has left.
    fn check_empty(&self, threads: Vec<JoinHandle<()>>) {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(self.stream.is_idle(), "something was left behind");
        let whole = self.request(&Scope::Whole);
        assert!(matches!(whole, Ok(Requested::Granted(..))));
        drop(whole);
        assert!(self.stream.is_idle());
    }
}

/// A request in the list; over when it is dropped, before the engine hears of it.
struct Place<'c> {
    corridor: &'c Corridor,
    number: usize,
}

impl Place<'_> {
    fn seen(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.corridor.seen.lock()[self.number]);
    }

    fn hold(&self) {
        let mut seen = self.corridor.seen.lock();
        let mine = &seen[self.number];
        for (number, other) in seen.iter().enumerate().filter(|(number, _)| *number != self.number) {
            if !meet(&mine.scope, &other.scope) {
                continue;
            }
            assert!(!other.holds || other.over, "{:?} and {:?} at once", mine.scope, other.scope);
            let overtaken = mine.before.contains(&number) && !other.over;
            assert!(!overtaken, "{:?} overtook {:?}", mine.scope, other.scope);
        }
        seen[self.number].holds = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.seen(|seen| seen.over = true);
    }
}

fn parts(seats: impl IntoIterator<Item = u8>) -> Scope {
    Scope::parts(seats.into_iter().map(seat_part))
}

fn any_scope() -> Scope {
    let scopes: [&[u8]; 8] = [&[0], &[1], &[0, 1], &[1, 0], &[1, 2], &[2, 0, 1], &[2, 2], &[]];
    match pick(10) {
        0 | 1 => Scope::Whole,
        _ => parts(scopes[pick(8)].iter().copied()),
    }
}

#[test]
fn locks_exclude_and_keep_the_order_of_arrival() {
    explore(|| {
        let corridor = Corridor::new();
        let threads = (0..4).map(|_| {
            let corridor = corridor.clone();
            spawn(move || {
                for _ in 0..=pick(2) {
                    corridor.walk(&any_scope());
                }
            })
        });
        corridor.check_empty(threads.collect());
    });
}

#[test]
fn who_gives_up_leaves_nothing_and_stops_nobody() {
    explore(|| {
        let corridor = Corridor::new();
        let threads = (0..4).map(|_| {
            let corridor = corridor.clone();
            spawn(move || {
                for _ in 0..=pick(2) {
                    corridor.hurry(&any_scope());
                }
            })
        });
        corridor.check_empty(threads.collect());
    });
}

/// Locks one by one would deadlock here.
#[test]
fn carts_in_any_order_get_through() {
    explore(|| {
        let corridor = Corridor::new();
        let carts: [&[u8]; 4] = [&[0, 1], &[1, 2], &[2, 0], &[2, 1, 0]];
        let threads = carts.map(|cart| {
            let corridor = corridor.clone();
            let with_customer = chance();
            spawn(move || {
                let mut cart: Vec<Part> = cart.iter().copied().map(seat_part).collect();
                if with_customer {
                    cart.insert(1, customer_part(0));
                }
                corridor.walk(&Scope::parts(cart));
            })
        });
        corridor.check_empty(threads.into());
    });
}

/// A request for the whole is not starved by parts that keep coming.
#[test]
fn parts_that_come_later_wait_behind_the_whole() {
    explore(|| {
        let corridor = Corridor::new();
        let mut threads = Vec::new();
        for seat in 0..3 {
            let corridor = corridor.clone();
            threads.push(spawn(move || {
                corridor.hurry(&parts([seat]));
                corridor.walk(&parts([seat]));
            }));
        }
        for _ in 0..2 {
            let corridor = corridor.clone();
            threads.push(spawn(move || corridor.hurry(&Scope::Whole)));
        }
        corridor.check_empty(threads);
    });
}

/// Stopping the engine ends the wait of nobody who holds, and of everybody else at his turn.
#[test]
fn a_stopped_log_lets_every_request_go() {
    explore(|| {
        let corridor = Corridor::new();
        let mut threads: Vec<_> = (0..3)
            .map(|_| {
                let corridor = corridor.clone();
                spawn(move || {
                    let requested = corridor.request(&any_scope());
                    if let Ok(Requested::Queued(InLine { mut running, waiter })) = requested {
                        assert!(run_blocking(waiter.wait(&mut Patience::of_thread(None))));
                        let granted = running.granted(&corridor.log);
                        assert!(granted.is_ok() || matches!(granted, Err(Error::Closed)));
                    }
                    yield_now();
                })
            })
            .collect();
        let closing = Arc::clone(&corridor.log);
        threads.push(spawn(move || closing.close()));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(corridor.stream.is_idle());
    });
}

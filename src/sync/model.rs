//! Goal: no wake-up is lost and no wait ends without reason, in any order of signal, deadline, poke and drop.
//! Method: [`explore`] runs threads and tasks that wait while others signal; a lost wake-up is a deadlock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::thread::{spawn, yield_now};

use super::{AtomicBool, Patience, Timer, Waiter, Wakes, run_blocking};
use crate::model::{LIMIT, chance, explore, pick, run_or_drop, run_task};

fn wait(waiter: &Arc<Waiter>, limit: Option<Duration>, timer: &Timer) -> bool {
    if chance() {
        run_blocking(waiter.wait(&mut Patience::of_thread(limit)))
    } else {
        run_task(waiter.wait(&mut Patience::of_task(limit, timer)))
    }
}

#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let timer = Arc::new(Timer::default());
        let waiters: Vec<_> = (0..3).map(|_| Waiter::new()).collect();
        let mut threads = Vec::new();
        for waiter in &waiters {
            let (waiter, timer) = (Arc::clone(waiter), Arc::clone(&timer));
            threads.push(spawn(move || assert!(wait(&waiter, None, &timer))));
        }
        let poked = waiters.clone();
        threads.push(spawn(move || poked.iter().for_each(|waiter| waiter.poke())));
        let mut wakes = Wakes::default();
        waiters.iter().for_each(|waiter| wakes.push(Arc::clone(waiter)));
        threads.push(spawn(move || wakes.fire()));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_signal_before_the_wait_is_seen_whatever_the_deadline() {
    explore(|| {
        let timer = Arc::new(Timer::default());
        let mut threads = Vec::new();
        for _ in 0..2 {
            let waiter = Waiter::new();
            let signaled = Arc::new(AtomicBool::new(false));
            let (signal, sent) = (Arc::clone(&waiter), Arc::clone(&signaled));
            threads.push(spawn(move || {
                if chance() {
                    signal.poke();
                }
                signal.signal();
                sent.store(true, Ordering::SeqCst);
            }));
            let timer = Arc::clone(&timer);
            threads.push(spawn(move || {
                let before = signaled.load(Ordering::SeqCst);
                let seen = wait(&waiter, LIMIT, &timer);
                assert!(seen || !before, "a signal was not seen");
                // Who gave up may come back: the signal is still there for the next look.
                if !seen {
                    assert!(wait(&waiter, None, &timer));
                }
            }));
        }
        timer.tick();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_dropped_wait_takes_no_wake_up_with_it() {
    explore(|| {
        let timer = Arc::new(Timer::default());
        let waiter = Waiter::new();
        let waiting = {
            let (waiter, timer) = (Arc::clone(&waiter), Arc::clone(&timer));
            spawn(move || {
                for _ in 0..2 {
                    let mut patience = Patience::of_task(LIMIT, &timer);
                    let _ = run_or_drop(waiter.wait(&mut patience), pick(3));
                }
                assert!(wait(&waiter, None, &timer));
            })
        };
        let poked = Arc::clone(&waiter);
        let poking = spawn(move || poked.poke());
        timer.tick();
        waiter.signal();
        waiting.join().unwrap();
        poking.join().unwrap();
    });
}

/// Nobody signals: only the timer ends these waits.
#[test]
fn the_timer_ends_every_wait_at_its_deadline() {
    explore(|| {
        let timer = Arc::new(Timer::default());
        let left = Arc::new(AtomicUsize::new(3));
        for _ in 0..3 {
            let (timer, left) = (Arc::clone(&timer), Arc::clone(&left));
            spawn(move || {
                let waiter = Waiter::new();
                for _ in 0..=pick(2) {
                    if chance() {
                        let mut dropped = Patience::of_task(LIMIT, &timer);
                        let _ = run_or_drop(waiter.wait(&mut dropped), 1);
                    }
                    let mut patience = Patience::of_task(LIMIT, &timer);
                    assert!(!run_task(waiter.wait(&mut patience)), "nobody signaled");
                }
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while left.load(Ordering::SeqCst) > 0 {
            timer.tick();
            yield_now();
        }
    });
}

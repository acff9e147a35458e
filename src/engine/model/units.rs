//! Goal: transactions are all or nothing, lose no update, leave nothing behind, and never wait for each other for
//! ever: of those that would, one gives way (or the checker finds them all waiting), and no more than one.
//! Method: threads and tasks move amounts between cells of several tills, step by step, under locks and checks, beside
//! plain commands; some leave on the way. Then the log is read: every entry keeps the sum, and adds up to memory.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shuttle::thread::{JoinHandle, spawn, yield_now};

use super::super::{Engine, Handle, Options, Transaction};
use crate::aggregate::{Aggregate, Context, Events};
use crate::clock::{ManualClock, Timestamp};
use crate::error::Error;
use crate::log::{EntryView, MemoryStore, Opening, decode};
use crate::model::{chance, explore, pick, run_or_drop, run_task};
use crate::options::{Exhausted, Wait};
use crate::scope::{Part, Scope};

const CELLS: usize = 2;
const TILLS: [&str; 2] = ["a", "b"];
const START: i64 = 4;

/// Cells with an amount each, never below zero.
struct Till;

#[derive(Clone, Debug, Default, PartialEq)]
struct Amounts([i64; CELLS]);

/// Adds to a cell; `first` fills them all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Add {
    cell: usize,
    by: i64,
    first: bool,
}

fn add(cell: usize, by: i64) -> Add {
    Add { cell, by, first: false }
}

fn part(cell: usize) -> Scope {
    Scope::parts([Part::number(0, cell as u64)])
}

impl Aggregate for Till {
    const TYPE: &'static str = "till";
    type State = Amounts;
    type Command = Add;
    type Event = Add;
    type Rejection = ();
    type Services = ();

    fn creates(command: &Add) -> bool {
        command.first
    }

    fn scope(_: &Amounts, command: &Add) -> Scope {
        if command.first { Scope::Whole } else { part(command.cell) }
    }

    fn decide(state: &Amounts, command: &Add, _: &Context<'_, ()>) -> Result<Events<Add>, ()> {
        yield_now();
        if state.0[command.cell] + command.by < 0 { Err(()) } else { Ok((*command).into()) }
    }

    fn touches(event: &Add) -> Scope {
        Self::scope(&Amounts::default(), event)
    }

    fn apply(state: &mut Amounts, event: &Add) {
        match event.first {
            true => state.0 = [event.by; CELLS],
            false => state.0[event.cell] += event.by,
        }
    }
}

/// An engine with two filled tills.
#[derive(Clone)]
struct Shop {
    engine: Arc<Engine>,
    tills: Handle<Till>,
    store: MemoryStore,
}

impl Shop {
    fn open() -> Self {
        let store = MemoryStore::default();
        let builder = Engine::builder().aggregate::<Till>().clock(ManualClock::new(Timestamp(1)));
        let engine = builder.start(Box::new(store.clone())).unwrap();
        let tills = engine.handle::<Till>(()).unwrap();
        for till in TILLS {
            let receipt = tills.submit(till, &Add { cell: 0, by: START, first: true }).unwrap();
            assert!(receipt.provisional().unwrap().is_accepted());
        }
        Self { engine: Arc::new(engine), tills, store }
    }

    /// Nothing is left behind; the log keeps the sum and adds up to memory.
    fn check(self, threads: Vec<JoinHandle<()>>) {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let live = TILLS.map(|till| self.tills.read(till).unwrap().state.0);
        for till in TILLS {
            assert!(self.tills.registry.find(till).unwrap().is_idle(), "something was left behind");
        }
        assert!(self.tills.shared.deadlocks.is_idle(), "somebody is still said to wait");
        let engine = Arc::into_inner(self.engine).unwrap();
        engine.close().unwrap();
        let (mut opening, mut sums) = (Opening::new(Box::new(self.store.clone())), [[0; CELLS]; 2]);
        let mut add_up = |position: u64, entry: &EntryView<'_>| {
            let mut events = entry.events();
            let mut change = 0;
            for span in &entry.spans {
                events.of_span(span, |event| {
                    let event: Add = decode(event.payload).unwrap();
                    let till = &mut sums[span.stream as usize];
                    match event.first {
                        true => *till = [event.by; CELLS],
                        false => till[event.cell] += event.by,
                    }
                    change += if event.first { 0 } else { event.by };
                })?;
            }
            assert_eq!(change, 0, "half of something at position {position}");
            assert!(sums.iter().flatten().all(|amount| *amount >= 0), "overdrawn at {position}");
            Ok(())
        };
        while opening.next_row(&mut add_up).unwrap().is_some() {}
        assert_eq!(live, sums);
    }
}

/// Waits for as long as it takes: a wait that nobody ends is found by the checker.
fn patient(options: Options) -> Options {
    Options { wait: Wait::AtMost(Duration::MAX), ..options }
}

fn any_options() -> Options {
    let retries = pick(2) as u32;
    match pick(3) {
        0 => Options { retries, ..Options::optimistic() },
        _ => Options { retries, ..Options::pessimistic() },
    }
}

/// Takes one from a cell and gives it to another, looking first or not.
fn move_one(
    shop: &Shop,
    unit: &mut Transaction,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<bool, Error> {
    if pick(3) == 0 {
        let seen = unit.read(&shop.tills, TILLS[from.0], part(from.1))?;
        if seen.0[from.1] == 0 {
            return Ok(false);
        }
    }
    if !unit.execute(&shop.tills, TILLS[from.0], &add(from.1, -1))?.is_accepted() {
        return Ok(false);
    }
    match pick(3) {
        0 => unit.stage(&shop.tills, TILLS[to.0], add(to.1, 1))?,
        _ => assert!(unit.execute(&shop.tills, TILLS[to.0], &add(to.1, 1))?.is_accepted()),
    }
    Ok(true)
}

async fn move_one_async(
    shop: &Shop,
    mut unit: Transaction,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<(Transaction, bool), Error> {
    if pick(3) == 0 {
        unit.read_for_update_async(&shop.tills, TILLS[from.0], part(from.1)).await?;
    }
    if !unit.execute_async(&shop.tills, TILLS[from.0], &add(from.1, -1)).await?.is_accepted() {
        return Ok((unit, false));
    }
    unit.stage_async(&shop.tills, TILLS[to.0], add(to.1, 1)).await?;
    Ok((unit, true))
}

fn any_cell() -> (usize, usize) {
    (pick(TILLS.len()), pick(CELLS))
}

/// Reads everything as one: the sum is what it always was.
fn audit(shop: &Shop, options: Options) {
    let (sum, _) = shop
        .engine
        .transact(options, |unit| {
            if chance() {
                unit.lock(TILLS.map(|till| shop.tills.lock(till).shared()))?;
            }
            let mut sum = 0;
            for till in TILLS {
                sum += unit.read(&shop.tills, till, Scope::Whole)?.0.iter().sum::<i64>();
            }
            Ok::<_, Error>(sum)
        })
        .unwrap();
    assert_eq!(sum, START * (CELLS * TILLS.len()) as i64, "something half done was seen");
}

/// A closure always gets through, whoever else locks what in which order.
#[test]
fn units_are_whole_and_get_through() {
    explore(|| {
        let shop = Shop::open();
        let threads = (0..3).map(|number| {
            let shop = shop.clone();
            spawn(move || {
                let options = patient(any_options());
                if number == 2 && chance() {
                    return audit(&shop, options);
                }
                for _ in 0..=pick(2) {
                    let (from, to) = (any_cell(), any_cell());
                    let moved = match chance() {
                        true => shop.engine.transact(options, |unit| move_one(&shop, unit, from, to)),
                        false => run_task(
                            shop.engine.transact_async(options, |unit| move_one_async(&shop, unit, from, to)),
                        ),
                    };
                    let (_, committed) = moved.unwrap();
                    let position = committed.position().unwrap_or(0);
                    assert!(shop.store.end() >= position, "acknowledged before it is stored");
                }
            })
        });
        let threads = threads.collect();
        shop.check(threads);
    });
}

/// Who leaves, in time or at any await, leaves nothing behind and stops nobody.
#[test]
fn units_that_are_given_up_leave_nothing() {
    explore(|| {
        let shop = Shop::open();
        let threads = (0..3).map(|_| {
            let shop = shop.clone();
            spawn(move || {
                for _ in 0..=pick(2) {
                    let (from, to, options) = (any_cell(), any_cell(), any_options());
                    let moved = match pick(4) {
                        0 => shop.engine.transact(options, |unit| move_one(&shop, unit, from, to)).map(drop),
                        1 => {
                            let mut unit = shop.engine.begin(options);
                            let moved = move_one(&shop, &mut unit, from, to);
                            if moved.is_ok() && chance() { unit.commit().map(drop) } else { moved.map(drop) }
                        }
                        2 => {
                            let order = add(from.1, 0);
                            shop.tills.with(options).execute(TILLS[from.0], &order).map(drop)
                        }
                        _ => {
                            let body = |unit| move_one_async(&shop, unit, from, to);
                            match run_or_drop(shop.engine.transact_async(options, body), pick(5)) {
                                Some(done) => done.map(drop),
                                None => Ok(()),
                            }
                        }
                    };
                    match moved {
                        Ok(()) | Err(Error::LockTimeout { .. } | Error::NotYetDurable { .. }) => {}
                        Err(Error::Conflict { .. } | Error::Deadlock { .. } | Error::WouldBlock { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        let threads = threads.collect();
        shop.check(threads);
    });
}

/// Each locks its first, then its second; some share first. Returns who had to give way.
fn opposed(orders: Vec<[(usize, usize); 2]>, share_first: bool) {
    explore(move || {
        let shop = Shop::open();
        let gave_way = Arc::new(parking_lot::Mutex::new(0));
        let threads = orders.iter().map(|order| {
            let (shop, gave_way, [first, second]) = (shop.clone(), Arc::clone(&gave_way), *order);
            spawn(move || {
                let mut unit = shop.engine.begin(patient(Options::pessimistic()));
                let tills = &shop.tills;
                let begun = match share_first {
                    true => unit.read(tills, TILLS[first.0], part(first.1)),
                    false => unit.read_for_update(tills, TILLS[first.0], part(first.1)),
                };
                assert!(begun.is_ok(), "nobody waits for one who holds nothing");
                drop(begun);
                match unit.read_for_update(tills, TILLS[second.0], part(second.1)).map(drop) {
                    Ok(()) => {
                        unit.stage(tills, TILLS[second.0], add(second.1, 1)).unwrap();
                        unit.stage(tills, TILLS[second.0], add(second.1, -1)).unwrap();
                        assert!(unit.commit().unwrap().position().is_some());
                    }
                    Err(Error::Deadlock { cycle }) => {
                        assert_eq!((&*cycle[0].id, &*cycle[0].aggregate), (TILLS[second.0], "till"));
                        *gave_way.lock() += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let threads = threads.collect::<Vec<_>>();
        let others = threads.len() - 1;
        shop.check(threads);
        assert!(*gave_way.lock() <= if share_first { others } else { 1 }, "more than one gave way");
    });
}

#[test]
fn of_two_that_wait_for_each_other_one_gives_way() {
    opposed(vec![[(0, 0), (1, 0)], [(1, 0), (0, 0)]], false);
}

#[test]
fn of_three_in_a_ring_one_gives_way() {
    opposed(vec![[(0, 0), (1, 0)], [(1, 0), (0, 1)], [(0, 1), (0, 0)]], false);
}

#[test]
fn of_two_that_share_and_both_want_to_write_one_gives_way() {
    opposed(vec![[(0, 0), (0, 0)], [(0, 0), (0, 0)]], true);
}

/// Commands that wait in between do not hide a deadlock, and are not in the way of who holds.
#[test]
fn commands_between_units_change_nothing() {
    explore(|| {
        let shop = Shop::open();
        let mut threads = Vec::new();
        for _ in 0..2 {
            let shop = shop.clone();
            let (first, second) = if chance() { (0, 1) } else { (1, 0) };
            threads.push(spawn(move || {
                let body = |unit: &mut Transaction| {
                    unit.read_for_update(&shop.tills, "a", part(first))?;
                    if pick(3) == 0 {
                        unit.read_for_update(&shop.tills, "a", Scope::Whole)?;
                    }
                    unit.stage(&shop.tills, "a", add(second, 1))?;
                    unit.stage(&shop.tills, "a", add(first, -1))
                };
                let options = Options { exhausted: Exhausted::Turn, retries: 0, ..Options::pessimistic() };
                shop.engine.transact(patient(options), body).unwrap();
            }));
        }
        let tills = shop.tills.with(patient(Options::pessimistic()));
        threads.push(spawn(move || {
            assert!(tills.execute("a", &add(pick(CELLS), 0)).unwrap().is_accepted());
        }));
        shop.check(threads);
    });
}

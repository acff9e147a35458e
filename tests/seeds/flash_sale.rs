//! Flash sale: five items, eight buyers at once, five retries, and nobody gets an error.
//!
//! The worst moment is forced. All eight buyers have taken their snapshot before any of them decides, by a meeting
//! inside the clock, which an attempt reads right after its snapshot; and once they do so in every attempt, which is
//! the lockstep that no number of retries below the number of buyers survives.

use std::sync::{Arc, Mutex};
use std::thread;

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand, FlashSaleEvent};
use boxoffice::history::Happened;
use boxoffice::options::{Concurrency, Exhausted};
use boxoffice::{Engine, Error, Handle, Options, Outcome};

use crate::halls::file;
use crate::support::{HookClock, Meeting, at_next_look, error_of, modes};

const BUYERS: usize = 8;

/// How one buyer fared.
#[derive(Clone, Copy, Debug)]
struct Fate {
    bought: bool,
    conflicts: u32,
    turn: bool,
}

fn fate(outcome: &Outcome<FlashSale>) -> Fate {
    match (outcome.events(), outcome.rejection().map(|no| no.reason())) {
        ([FlashSaleEvent::Purchased { quantity: 1, .. }], None) | ([], Some("out_of_stock")) => {}
        other => panic!("neither bought nor out of stock: {other:?}"),
    }
    let effort = outcome.effort();
    Fate { bought: outcome.is_accepted(), conflicts: effort.conflicts, turn: effort.turn }
}

fn sales(options: Options) -> (Engine, Handle<FlashSale>) {
    let engine = Engine::builder()
        .aggregate_with::<FlashSale>(options)
        .clock(HookClock::default())
        .in_memory()
        .unwrap();
    let sales = engine.handle::<FlashSale>(()).unwrap();
    (engine, sales)
}

#[test]
fn five_items_eight_buyers_ten_thousand_rounds() {
    const ROUNDS: usize = 10_000;
    // Whether a sync comes between two rounds is no concern of theirs; waiting for each takes minutes.
    const DURABLE_EVERY: usize = 50;
    let options = Options { retries: 5, exhausted: Exhausted::Turn, ..Options::optimistic() };
    let (engine, sales) = sales(options);
    let (created, snapshots, done) = (Meeting::new(BUYERS), Meeting::new(BUYERS), Meeting::new(BUYERS));
    let fates: Vec<Mutex<Option<Fate>>> = (0..BUYERS).map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for buyer in 0..BUYERS {
            let (sales, created, snapshots, done, fates) = (&sales, &created, &snapshots, &done, &fates);
            scope.spawn(move || {
                let purchase = FlashSaleCommand::purchase(format!("buyer-{buyer}"), 1);
                for round in 0..ROUNDS {
                    let id = format!("sale-{round}");
                    let hosts = round % BUYERS == buyer;
                    if hosts {
                        drop(sales.submit(&id, &FlashSaleCommand::create(5)).unwrap());
                    }
                    created.wait();
                    // The first attempts, and only they, all see the same state.
                    let meeting = Arc::clone(snapshots);
                    at_next_look(move || meeting.wait());
                    let receipt = sales.submit(&id, &purchase).unwrap();
                    *fates[buyer].lock().unwrap() = receipt.provisional().map(fate);
                    if round % DURABLE_EVERY == 0 {
                        assert!(receipt.wait().is_ok());
                    }
                    done.wait();
                    if hosts {
                        let fates: Vec<Fate> = fates.iter().map(|it| it.lock().unwrap().unwrap()).collect();
                        let bought = fates.iter().filter(|fate| fate.bought).count();
                        let first = fates.iter().filter(|fate| fate.conflicts == 0 && !fate.turn).count();
                        assert_eq!((bought, first), (5, 1), "round {round}: {fates:?}");
                        let view = sales.read(&id).unwrap();
                        assert_eq!((view.left(), view.buyers(), view.version()), (0, 5, 9), "round {round}");
                        assert!(view.is_durable() || round % DURABLE_EVERY > 0);
                    }
                }
            });
        }
    });
    let last = (ROUNDS * (1 + BUYERS)) as u64;
    assert_eq!(engine.position(), last);
    engine.wait_durable(last).unwrap();
    engine.close().unwrap();
}

/// Runs eight buyers so that every attempt of all who are left begins on one snapshot: one of them wins
/// it, and the others lose it.
fn lockstep(stock: u64, options: Options) -> Vec<Result<Fate, Error>> {
    let (engine, sales) = sales(options);
    let _ = sales.execute("sale", &FlashSaleCommand::create(stock)).unwrap();
    let meetings: Arc<Vec<_>> = Arc::new((1..=BUYERS).rev().map(Meeting::new).collect());
    fn meet(meetings: Arc<Vec<Arc<Meeting>>>, attempt: usize, last: usize) {
        if attempt < last {
            at_next_look(move || {
                meetings[attempt].wait();
                meet(meetings, attempt + 1, last);
            });
        }
    }
    let fates = thread::scope(|scope| {
        let run = |buyer: usize| {
            meet(Arc::clone(&meetings), 0, 1 + options.retries as usize);
            // Its decision only: a thread that waits for the disk here looks at the clock once more.
            let receipt = sales.submit("sale", &FlashSaleCommand::purchase(format!("b{buyer}"), 1));
            at_next_look(|| {});
            receipt?.wait().map(|outcome| fate(&outcome))
        };
        let buyers: Vec<_> = (0..BUYERS).map(|buyer| scope.spawn(move || run(buyer))).collect();
        buyers.into_iter().map(|buyer| buyer.join().unwrap()).collect()
    });
    engine.close().unwrap();
    fates
}

#[test]
fn lockstep_in_every_attempt_reaches_nobody_as_an_error() {
    let options = Options { retries: 5, exhausted: Exhausted::Turn, ..Options::optimistic() };
    for _ in 0..30 {
        // Five items: the sixth attempt finds none, and three rejections do not conflict.
        let fates: Vec<_> = lockstep(5, options).into_iter().map(Result::unwrap).collect();
        let mut lost: Vec<_> = fates.iter().map(|fate| fate.conflicts).collect();
        lost.sort_unstable();
        assert_eq!(lost, [0, 1, 2, 3, 4, 5, 5, 5]);
        assert_eq!(fates.iter().filter(|fate| fate.bought).count(), 5);

        // Eight items: the last two lose six times and take a turn; or one loses five times, since it
        // finds the other one taking its turn when it commits.
        let fates: Vec<_> = lockstep(8, options).into_iter().map(Result::unwrap).collect();
        assert!(fates.iter().all(|fate| fate.bought), "{fates:?}");
        let (turns, won): (Vec<&Fate>, Vec<&Fate>) = fates.iter().partition(|fate| fate.turn);
        let mut lost: Vec<_> = won.iter().map(|fate| fate.conflicts).collect();
        lost.sort_unstable();
        assert_eq!((lost, turns.len()), (vec![0, 1, 2, 3, 4, 5], 2), "{fates:?}");
        assert!(turns.iter().any(|fate| fate.conflicts == 6) && turns.iter().all(|fate| fate.conflicts >= 5));

        // Or are told how often they lost, as chosen.
        let chosen = Options { exhausted: Exhausted::Conflict, ..options };
        let errors: Vec<_> = lockstep(8, chosen).into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 2);
        for error in errors {
            assert!(
                matches!(&error, Error::Conflict { attempts: 6, stream } if &*stream.id == "sale"),
                "{error}"
            );
        }
    }
}

#[test]
fn more_than_there_is_is_refused() {
    for (mode, options) in modes() {
        let (engine, sales) = sales(options);
        let _ = sales.execute("sale", &FlashSaleCommand::create(5)).unwrap();
        let refusal = |quantity| {
            let outcome = sales.execute("sale", &FlashSaleCommand::purchase("ada", quantity)).unwrap();
            outcome.rejection().map(|no| no.reason())
        };
        assert_eq!(refusal(9), Some("quantity_above_stock"), "{mode}");
        assert_eq!(refusal(u64::MAX), Some("quantity_above_stock"), "{mode}");
        let zero = error_of(sales.execute("sale", &FlashSaleCommand::purchase("ada", 0)));
        assert!(matches!(zero, Error::InvalidCommand { .. }), "{mode}: {zero}");
        assert_eq!(sales.read("sale").unwrap().left(), 5, "{mode}");
        assert_eq!(
            (refusal(3), refusal(3), refusal(2), refusal(1)),
            (None, Some("out_of_stock"), None, Some("out_of_stock"))
        );
        assert_eq!(
            (sales.read("sale").unwrap().left(), sales.read("sale").unwrap().sold()),
            (0, 5),
            "{mode}"
        );
        engine.close().unwrap();
    }
}

/// The same on a file, opened again: what is stored is what everybody was told, under numbers that are given once.
#[test]
fn five_items_eight_buyers_on_a_file() {
    for (mode, options) in modes() {
        let options = Options { retries: 5, ..options };
        let (_folder, path) = file();
        let open = || {
            let builder = Engine::builder().aggregate_with::<FlashSale>(options);
            let engine = builder.clock(HookClock::default()).open(&path).unwrap();
            let sales = engine.handle::<FlashSale>(()).unwrap();
            (engine, sales)
        };
        let (engine, sales) = open();
        assert!(sales.execute("sale", &FlashSaleCommand::create(5)).unwrap().is_accepted());
        let snapshots = Meeting::new(BUYERS);
        let fates: Vec<(String, Outcome<FlashSale>)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..BUYERS)
                .map(|buyer| {
                    let (sales, snapshots) = (&sales, Arc::clone(&snapshots));
                    scope.spawn(move || {
                        match sales.options().concurrency {
                            // With locks nobody sees anything before it is his turn.
                            Concurrency::Pessimistic => snapshots.wait(),
                            Concurrency::Optimistic => at_next_look(move || snapshots.wait()),
                        }
                        let name = format!("buyer-{buyer}");
                        let outcome = sales.execute("sale", &FlashSaleCommand::purchase(&name, 1));
                        (name, outcome.expect("no error reaches a caller"))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let bought: Vec<bool> = fates.iter().map(|(_, outcome)| fate(outcome).bought).collect();
        assert_eq!(bought.iter().filter(|bought| **bought).count(), 5, "{mode}");
        engine.close().unwrap();

        let (engine, sales) = open();
        let view = sales.read("sale").unwrap();
        assert_eq!((view.left(), view.sold(), view.buyers(), view.version()), (0, 5, 5, 9), "{mode}");
        for (buyer, outcome) in &fates {
            assert_eq!(view.has_bought(buyer), outcome.is_accepted(), "{mode}: {buyer}");
        }
        let (mut purchases, mut refusals, mut left) = (0, 0, 5);
        for (number, recorded) in (1..).zip(sales.history("sale").unwrap().map(Result::unwrap)) {
            assert_eq!(
                (recorded.version, recorded.position),
                (number, number),
                "{mode}: a number is given once"
            );
            match recorded.what {
                Happened::Event(FlashSaleEvent::Purchased { quantity, .. }) => {
                    left -= quantity;
                    purchases += 1;
                }
                Happened::Event(event) => assert_eq!(event, FlashSaleEvent::Created { stock: 5 }, "{mode}"),
                Happened::Rejection(no) => {
                    assert_eq!(
                        (no.reason(), left),
                        ("out_of_stock", 0),
                        "{mode}: refused while there were some"
                    );
                    refusals += 1;
                }
            }
        }
        assert_eq!((purchases, refusals, left), (5, 3, 0), "{mode}");
        engine.close().unwrap();
    }
}

/// The backstop below the application: a purchase that is decided on what is no longer so does not get a number,
/// whatever the application thinks of it.
#[test]
fn what_was_decided_on_an_old_version_gets_no_number() {
    let (engine, sales) =
        sales(Options { retries: 0, exhausted: Exhausted::Conflict, ..Options::optimistic() });
    let _ = sales.execute("sale", &FlashSaleCommand::create(5)).unwrap();
    for round in 0..5_u64 {
        let rival = sales.clone();
        at_next_look(move || {
            let bought =
                thread::spawn(move || rival.execute("sale", &FlashSaleCommand::purchase("rival", 1)));
            assert!(bought.join().unwrap().unwrap().is_accepted());
        });
        let late = error_of(sales.execute("sale", &FlashSaleCommand::purchase("late", 1)));
        assert!(matches!(late, Error::Conflict { attempts: 1, .. }), "{late}");
        let view = sales.read("sale").unwrap();
        assert_eq!((view.version(), view.left(), view.has_bought("late")), (2 + round, 4 - round, false));
        assert_eq!(engine.position(), 2 + round);
    }
    // The same with what a unit staged by itself, past every rule of the sale.
    let _ = sales.execute("other", &FlashSaleCommand::create(1)).unwrap();
    let mut late = engine.begin(Options::optimistic());
    late.stage(&sales, "other", FlashSaleEvent::Purchased { buyer: "late".into(), quantity: 1 }).unwrap();
    let _ = sales.execute("other", &FlashSaleCommand::purchase("rival", 1)).unwrap();
    let lost = late.commit().unwrap_err();
    assert!(matches!(lost, Error::Conflict { .. }), "{lost}");
    let view = sales.read("other").unwrap();
    assert_eq!((view.left(), view.has_bought("late"), view.version()), (0, false, 2));
    engine.close().unwrap();
}

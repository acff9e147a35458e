//! Two of the systems that this crate replaces, as promises: the seat and the flash sale.
//!
//! Goal: three customers who want one seat get one reservation and two rejections, by exactly three
//! decisions and without a retry. Five items and eight buyers give five sales and three rejections, in
//! every one of 10,000 rounds, with five retries and no error reaching a caller.
//!
//! Method: the worst moment is forced. The first customer is held inside its decision until the others
//! stand in line. All eight buyers have taken their snapshot before any of them decides, by a meeting
//! inside the clock, which an attempt reads right after its snapshot; and once they do so in every
//! attempt, which is the lockstep that no number of retries below the number of buyers survives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use boxoffice::error::Invalid;
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand, FlashSaleEvent};
use boxoffice::layout::Layout;
use boxoffice::options::Exhausted;
use boxoffice::venue::{Rejection, Venue, VenueCommand, VenueEvent, VenueServices, VenueState};
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Limits, Options, Outcome, Scope};
use support::{Door, HookClock, Meeting, Polled, at_next_look, at_once, error_of, modes};

/// A venue whose decisions about reservations are counted, and wait at a door if there is one.
struct Counted;

static DECIDED: AtomicUsize = AtomicUsize::new(0);
static DOOR: Mutex<Option<Arc<Door>>> = Mutex::new(None);

impl Aggregate for Counted {
    const TYPE: &'static str = "venue.counted";
    type State = VenueState;
    type Command = VenueCommand;
    type Event = VenueEvent;
    type Rejection = Rejection;
    type Services = VenueServices;

    fn creates(command: &VenueCommand) -> bool {
        Venue::creates(command)
    }

    fn check(command: &VenueCommand, limits: &Limits) -> Result<(), Invalid> {
        Venue::check(command, limits)
    }

    fn scope(state: &VenueState, command: &VenueCommand) -> Scope {
        Venue::scope(state, command)
    }

    fn decide(
        state: &VenueState,
        command: &VenueCommand,
        context: &Context<'_, VenueServices>,
    ) -> Result<Events<VenueEvent>, Rejection> {
        if matches!(command, VenueCommand::Reserve { .. }) {
            DECIDED.fetch_add(1, Ordering::SeqCst);
            let door = DOOR.lock().unwrap().clone();
            if let Some(door) = door {
                door.pass();
            }
        }
        Venue::decide(state, command, context)
    }

    fn touches(event: &VenueEvent) -> Scope {
        Venue::touches(event)
    }

    fn apply(state: &mut VenueState, event: &VenueEvent) {
        Venue::apply(state, event);
    }
}

fn concert_hall() -> VenueCommand {
    VenueCommand::create(Layout::from_labels(["A1", "A2", "A3"]).unwrap())
}

/// How many got the seat; the others were told `seat_reserved`.
fn reserved(outcomes: &[Outcome<Counted>]) -> usize {
    for outcome in outcomes {
        if let Some(no) = outcome.rejection() {
            assert_eq!(no.reason(), "seat_reserved", "{outcome:?}");
        }
    }
    outcomes.iter().filter(|outcome| outcome.is_accepted()).count()
}

#[test]
fn three_customers_one_seat() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hall.boxoffice");
    let engine = Engine::builder().aggregate::<Counted>().open(&path).unwrap();
    let venues = engine.handle::<Counted>(VenueServices::default()).unwrap();
    assert!(venues.execute("concert-hall", &concert_hall()).unwrap().is_accepted());
    let asks = [7, 8, 9].map(|customer| VenueCommand::reserve(customer, ["A1"]));

    // The moment, held: one is deciding, two stand in line behind it.
    let door = Door::new();
    *DOOR.lock().unwrap() = Some(Arc::clone(&door));
    let outcomes = thread::scope(|scope| {
        let first = scope.spawn(|| venues.execute("concert-hall", &asks[0]).unwrap());
        door.await_arrivals(1);
        let mut second = Polled::new(venues.execute_async("concert-hall", &asks[1]));
        let mut third = Polled::new(venues.execute_async("concert-hall", &asks[2]));
        assert!(second.poll().is_none() && third.poll().is_none());
        assert_eq!(door.arrivals(), 1, "nobody else decides meanwhile");
        door.open();
        [first.join().unwrap(), second.finish().unwrap(), third.finish().unwrap()]
    });
    *DOOR.lock().unwrap() = None;
    assert!(reserved(&outcomes) == 1 && outcomes[0].is_accepted());
    assert_eq!(DECIDED.load(Ordering::SeqCst), 3, "exactly three decisions");
    assert!(outcomes.iter().all(|outcome| outcome.effort().conflicts == 0), "no retry");

    // The moment as it comes: 200 times, released after each, with every thread let go at once.
    let (start, end) = (Meeting::new(3), Meeting::new(3));
    assert!(venues.execute("concert-hall", &VenueCommand::release(7, ["A1"])).unwrap().is_accepted());
    DECIDED.store(0, Ordering::SeqCst);
    let winners = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (customer, ask) in (7_u64..).zip(&asks) {
            let (venues, start, end, winners) = (&venues, &start, &end, &winners);
            scope.spawn(move || {
                for _ in 0..200 {
                    start.wait();
                    let outcome = venues.execute("concert-hall", ask).unwrap();
                    assert_eq!(outcome.effort().conflicts, 0);
                    end.wait();
                    match outcome.rejection() {
                        None => {
                            winners.lock().unwrap().push(customer);
                            let release = VenueCommand::release(customer, ["A1"]);
                            assert!(venues.execute("concert-hall", &release).unwrap().is_accepted());
                        }
                        Some(no) => assert_eq!(no.reason(), "seat_reserved"),
                    }
                }
            });
        }
    });
    assert_eq!(winners.into_inner().unwrap().len(), 200, "one winner a round");
    assert_eq!(DECIDED.load(Ordering::SeqCst), 600);

    // An unknown seat; a release of a seat that nobody holds.
    let reason = |command: &VenueCommand| {
        let outcome = venues.execute("concert-hall", command).unwrap();
        (outcome.rejection().map(Rejection::reason), outcome.position().is_some())
    };
    assert_eq!(reason(&VenueCommand::reserve(7, ["Z1"])), (Some("seat_not_found"), true));
    assert_eq!(reason(&VenueCommand::release(7, ["A1"])), (Some("seat_not_reserved"), true));
    engine.close().unwrap();

    // It is all in the file: creation, 201 rounds of three answers and a release, two more rejections.
    let engine = Engine::builder().aggregate::<Counted>().open(&path).unwrap();
    let venues = engine.handle::<Counted>(VenueServices::default()).unwrap();
    let view = venues.read("concert-hall").unwrap();
    assert_eq!((view.version(), view.sold()), (1 + 201 * 4 + 2, 0));
    engine.close().unwrap();
}

/// Commands on different venues do not wait for each other; ids that share 64 characters are different.
#[test]
fn other_venues_do_not_wait() {
    let engine = Engine::builder().aggregate::<Venue>().in_memory().unwrap();
    let (door, prefix) = (Door::new(), "v".repeat(64));
    let inside = Arc::clone(&door);
    let held = VenueServices::default().with_pricing(move |_: &boxoffice::venue::Request<'_, u64>| {
        inside.pass();
        0
    });
    let (slow, quick) = (engine.handle::<Venue>(held).unwrap(), VenueServices::default());
    let quick: Handle<Venue> = engine.handle(quick).unwrap().with(at_once(Options::pessimistic()));
    let ids = [format!("{prefix}1"), format!("{prefix}2")];
    for id in &ids {
        assert!(quick.execute(id, &concert_hall()).unwrap().is_accepted());
    }
    thread::scope(|scope| {
        let holding =
            scope.spawn(|| slow.execute(&ids[0], &VenueCommand::reserve(1, ["A1"])).unwrap().version());
        door.await_arrivals(1);
        let reserve = VenueCommand::reserve(1, ["A1"]);
        assert!(matches!(error_of(quick.execute(&ids[0], &reserve)), Error::WouldBlock { .. }));
        assert!(quick.execute(&ids[1], &reserve).unwrap().is_accepted());
        door.open();
        holding.join().unwrap();
    });
    engine.close().unwrap();
}

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

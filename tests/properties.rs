//! Whatever is asked, by however many at once: no seat has two holders, no stock is below zero, no number
//! is missing, and what is on disk is what was shown.
//!
//! Method: generated halls, carts, releases and thread counts, in both modes and mixed, with and without
//! recorded rejections. Everything is judged by a fold of the history that is written here and shares
//! nothing with the crate but the events' names. The generator's seed is fixed; `PROPTEST_RNG_SEED` and
//! `PROPTEST_CASES` choose others, and a failure prints its smallest case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand, FlashSaleEvent, Refusal};
use boxoffice::history::Happened;
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::venue::{Venue, VenueCommand, VenueEvent, VenueServices};
use boxoffice::{Engine, Handle, Options, View};
use proptest::prelude::*;
use support::modes;

#[derive(Clone, Debug)]
enum Step {
    Reserve(u64, BTreeSet<usize>),
    Release(u64, BTreeSet<usize>),
    Force(BTreeSet<usize>),
    Unknown(u64),
}

/// What one thread does, and how.
#[derive(Clone, Debug)]
struct Caller {
    optimistic: bool,
    recorded: bool,
    steps: Vec<(usize, Step)>,
}

impl Caller {
    fn options(&self) -> Options {
        let [(_, pessimistic), (_, optimistic)] = modes();
        let options = if self.optimistic { optimistic } else { pessimistic };
        Options { record_rejections: self.recorded, ..options }
    }
}

#[derive(Clone, Debug)]
struct Hall {
    layout: Seats,
    limit: Option<u32>,
}

#[derive(Clone, Debug)]
enum Seats {
    Labels(Vec<String>),
    Rows(Vec<Vec<(u32, u32)>>),
}

impl Hall {
    fn layout(&self) -> Layout {
        match &self.layout {
            Seats::Labels(labels) => Layout::from_labels(labels).unwrap(),
            Seats::Rows(rows) => {
                let mut builder = Layout::builder().category("near", 500).category("far", 90);
                for (row, blocks) in rows.iter().enumerate() {
                    let category = if row % 2 == 0 { "near" } else { "far" };
                    builder = builder.row(format!("R{row}"), category, blocks.iter().copied());
                }
                builder.build().unwrap()
            }
        }
    }
}

fn hall() -> impl Strategy<Value = Hall> {
    let labels = (1..9_usize, any::<bool>()).prop_map(|(count, odd)| {
        let names = ["Royal box", "7-1", "A1", "A2", "ä", "A3", "01", "1", "10"];
        let label = |seat: usize| if odd { names[seat].to_owned() } else { format!("S{seat}") };
        Seats::Labels((0..count).map(label).collect())
    });
    // Blocks that count up or down, each with numbers of its own.
    let block = (1..4_u32, any::<bool>());
    let rows = prop::collection::vec(prop::collection::vec(block, 1..3), 1..3).prop_map(|rows| {
        let blocks = |row: Vec<(u32, bool)>| {
            let block = |(place, (seats, down)): (u32, (u32, bool))| {
                let (first, last) = (place * 10 + 1, place * 10 + seats);
                if down { (last, first) } else { (first, last) }
            };
            (0..).zip(row).map(block).collect()
        };
        Seats::Rows(rows.into_iter().map(blocks).collect())
    });
    let limit = prop_oneof![Just(None), (1..5_u32).prop_map(Some)];
    (prop_oneof![labels, rows], limit).prop_map(|(layout, limit)| Hall { layout, limit })
}

fn step() -> impl Strategy<Value = Step> {
    let cart = || prop::collection::btree_set(0..12_usize, 1..4);
    prop_oneof![
        5 => (0..4_u64, cart()).prop_map(|(who, cart)| Step::Reserve(who, cart)),
        3 => (0..4_u64, cart()).prop_map(|(who, cart)| Step::Release(who, cart)),
        1 => cart().prop_map(Step::Force),
        1 => (0..4_u64).prop_map(Step::Unknown),
    ]
}

fn callers(steps: usize) -> impl Strategy<Value = Vec<Caller>> {
    let caller = (any::<bool>(), any::<bool>(), prop::collection::vec((0..2_usize, step()), 1..steps))
        .prop_map(|(optimistic, recorded, steps)| Caller { optimistic, recorded, steps });
    prop::collection::vec(caller, 1..5)
}

fn command(step: &Step, layout: &Layout) -> VenueCommand {
    let cart = |seats: &BTreeSet<usize>| -> Vec<_> {
        let seats: BTreeSet<u32> = seats.iter().map(|seat| *seat as u32 % layout.len()).collect();
        seats.into_iter().map(|seat| layout.label(SeatIndex(seat)).unwrap()).collect()
    };
    match step {
        Step::Reserve(who, seats) => VenueCommand::reserve(*who, cart(seats)),
        Step::Release(who, seats) => VenueCommand::release(*who, cart(seats)),
        Step::Force(seats) => VenueCommand::force_release(cart(seats), "swept"),
        Step::Unknown(who) => VenueCommand::reserve(*who, ["nowhere"]),
    }
}

/// Who holds which seat, by the history up to each version; index 0 is before the first. Fails where a
/// number is missing, or something happened that must not.
fn ledgers(venues: &Handle<Venue>, id: &str, places: &mut Vec<u64>) -> Vec<BTreeMap<u32, u64>> {
    let mut ledgers = vec![BTreeMap::new()];
    let (mut limit, mut last) = (None, 0);
    for recorded in venues.history(id).unwrap() {
        let recorded = recorded.unwrap();
        let mut held = ledgers.last().unwrap().clone();
        assert_eq!(recorded.version, ledgers.len() as u64, "{id}: a version is missing");
        assert!(recorded.position >= last, "{id}: positions go back");
        last = recorded.position;
        if places.last() != Some(&last) {
            places.push(last);
        }
        match recorded.what {
            Happened::Event(VenueEvent::Created { limit_per_customer, .. }) => {
                assert_eq!(recorded.version, 1, "{id}: created twice");
                limit = limit_per_customer;
            }
            Happened::Event(VenueEvent::Reserved { customer, seats, .. }) => {
                for seat in seats {
                    let holder = held.insert(seat.0, customer);
                    assert_eq!(
                        holder, None,
                        "{id}: seat {seat} has two holders at version {}",
                        recorded.version
                    );
                }
                let has = held.values().filter(|holder| **holder == customer).count();
                assert!(limit.is_none_or(|limit| has <= limit as usize), "{id}: {customer} has {has}");
            }
            Happened::Event(VenueEvent::Released { holder, seats, .. }) => {
                for seat in seats {
                    assert_eq!(held.remove(&seat.0), Some(holder), "{id}: seat {seat} was not {holder}'s");
                }
            }
            Happened::Event(other) => panic!("{other:?}"),
            Happened::Rejection(_) => {}
        }
        ledgers.push(held);
    }
    ledgers
}

fn agrees(view: &View<Venue>, ledgers: &[BTreeMap<u32, u64>]) {
    let ledger = &ledgers[view.version() as usize];
    for (seat, holder) in view.seats() {
        assert_eq!(holder, ledger.get(&seat.0), "seat {seat} at version {}", view.version());
    }
    assert_eq!(view.sold() as usize, ledger.len());
    for customer in 0..4 {
        let has = ledger.values().filter(|holder| **holder == customer).count();
        assert!(view.count(&customer).is_none_or(|count| count as usize == has), "{customer}'s counter");
    }
}

fn open(path: &Path) -> (Engine, Handle<Venue>) {
    let engine = Engine::builder().aggregate::<Venue>().open(path).unwrap();
    let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
    (engine, venues)
}

const IDS: [&str; 2] = ["matinee", "evening"];

proptest! {
    #![proptest_config(support::cases(0x5EA7, 64))]

    /// Up to four threads, two venues, one file; then the file is opened again.
    #[test]
    fn no_seat_has_two_holders(hall in hall(), callers in callers(20)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seats.boxoffice");
        let (engine, venues) = open(&path);
        let layout = std::sync::Arc::new(hall.layout());
        for id in IDS {
            let create = VenueCommand::Create { layout: layout.clone(), limit_per_customer: hall.limit };
            prop_assert!(venues.execute(id, &create).unwrap().is_accepted());
        }
        let views: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = callers.iter().map(|caller| {
                let (venues, layout) = (venues.with(caller.options()), &layout);
                scope.spawn(move || {
                    let mut views = Vec::new();
                    for (index, (venue, step)) in caller.steps.iter().enumerate() {
                        let (id, command) = (IDS[*venue], command(step, layout));
                        // Some wait for each decision, some only for the last.
                        if index % 3 == 0 {
                            drop(venues.submit(id, &command).unwrap());
                        } else {
                            let outcome = venues.execute(id, &command).unwrap();
                            assert!(caller.recorded || outcome.is_accepted() || outcome.position().is_none());
                        }
                        views.push((*venue, venues.read(id).unwrap()));
                    }
                    views
                })
            }).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let last = engine.position();
        engine.wait_durable(last).unwrap();

        let mut places = Vec::new();
        let folded = IDS.map(|id| ledgers(&venues, id, &mut places));
        places.sort_unstable();
        prop_assert_eq!(places, (1..=last).collect::<Vec<_>>(), "positions have a gap");
        // Whatever anybody saw is the fold of the history up to the version that it was seen at.
        for (venue, view) in &views {
            agrees(view, &folded[*venue]);
        }
        let live = IDS.map(|id| venues.read(id).unwrap());
        engine.close().unwrap();
        let (engine, venues) = open(&path);
        prop_assert_eq!(engine.recovery().entries, last);
        for ((id, live), folded) in IDS.iter().zip(&live).zip(&folded) {
            let view = venues.read(id).unwrap();
            prop_assert_eq!((view.version(), view.position()), (live.version(), live.position()));
            prop_assert_eq!(view.version() as usize + 1, folded.len());
            agrees(&view, folded);
        }
        engine.close().unwrap();
    }
}

proptest! {
    #![proptest_config(support::cases(0x5EA7, 24))]

    /// The file as it is after each command is the file of a process that ended there: it opens to the
    /// fold of the history so far, whichever prefix of the entries that is.
    #[test]
    fn every_prefix_of_the_log_opens_to_its_own_fold(hall in hall(), steps in callers(8)) {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("live.boxoffice"), folder.path().join("copy.boxoffice"));
        let (engine, venues) = open(&path);
        let layout = std::sync::Arc::new(hall.layout());
        let create = VenueCommand::Create { layout: layout.clone(), limit_per_customer: hall.limit };
        prop_assert!(venues.execute("hall", &create).unwrap().is_accepted());
        for caller in &steps {
            let venues = venues.with(caller.options());
            for (_, step) in &caller.steps {
                let _ = venues.execute("hall", &command(step, &layout)).unwrap();
                std::fs::copy(&path, &copy).unwrap();
                let live = venues.read("hall").unwrap();
                let folded = ledgers(&venues, "hall", &mut Vec::new());
                prop_assert_eq!(live.version() as usize + 1, folded.len());
                agrees(&live, &folded);

                let (crashed, reopened) = open(&copy);
                prop_assert_eq!(crashed.recovery().entries, engine.position());
                let view = reopened.read("hall").unwrap();
                prop_assert_eq!((view.version(), view.position()), (live.version(), live.position()));
                agrees(&view, &folded);
                prop_assert_eq!(ledgers(&reopened, "hall", &mut Vec::new()), folded);
                crashed.close().unwrap();
            }
        }
        engine.close().unwrap();
    }
}

type Purchases = Vec<(bool, bool, Vec<(u8, u64)>)>;

proptest! {
    #![proptest_config(support::cases(0x5EA7, 150))]

    #[test]
    fn stock_is_never_below_zero(
        stock in prop_oneof![1..12_u64, Just(u64::MAX)],
        callers in prop::collection::vec(
            (any::<bool>(), any::<bool>(), prop::collection::vec((0..5_u8, prop_oneof![1..6_u64, Just(u64::MAX)]), 1..15)),
            1..5,
        ),
    ) {
        let callers: Purchases = callers;
        let engine = Engine::builder().aggregate::<FlashSale>().in_memory().unwrap();
        let sales = engine.handle::<FlashSale>(()).unwrap();
        let _ = sales.execute("sale", &FlashSaleCommand::create(stock)).unwrap();
        thread::scope(|scope| {
            for (optimistic, recorded, purchases) in &callers {
                let caller = Caller { optimistic: *optimistic, recorded: *recorded, steps: Vec::new() };
                let sales = sales.with(caller.options());
                scope.spawn(move || {
                    for (buyer, quantity) in purchases {
                        let purchase = FlashSaleCommand::purchase(format!("b{buyer}"), *quantity);
                        let outcome = sales.execute("sale", &purchase).unwrap();
                        let left = sales.read("sale").unwrap().left();
                        assert!(left <= stock, "{left} of {stock}: {outcome:?}");
                    }
                });
            }
        });
        let (mut left, mut buyers, mut version) = (None, BTreeSet::new(), 0);
        for recorded in sales.history("sale").unwrap() {
            let recorded = recorded.unwrap();
            version += 1;
            prop_assert_eq!((recorded.version, recorded.position), (version, version));
            match (recorded.what, left) {
                (Happened::Event(FlashSaleEvent::Created { stock }), None) => left = Some(stock),
                (Happened::Event(FlashSaleEvent::Purchased { buyer, quantity }), Some(before)) => {
                    prop_assert!(quantity <= before, "{} of {} at version {}", quantity, before, version);
                    left = Some(before - quantity);
                    buyers.insert(buyer);
                }
                // A refusal tells the truth about the moment that it has its number for.
                (Happened::Rejection(no), Some(now)) => match no.refusal {
                    Refusal::OutOfStock { wanted, left } => prop_assert!(left == now && wanted > now),
                    Refusal::QuantityAboveStock { wanted, stock: all } => prop_assert!(all == stock && wanted > all),
                    other => prop_assert!(false, "{:?}", other),
                },
                other => prop_assert!(false, "{:?}", other.1),
            }
        }
        let view = sales.read("sale").unwrap();
        prop_assert_eq!((Some(view.left()), view.buyers(), view.version()), (left, buyers.len(), version));
        prop_assert_eq!(version, engine.position());
        engine.close().unwrap();
    }
}

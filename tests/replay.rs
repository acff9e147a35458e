//! Goal: an open gives back exactly what was closed, however many threads replay the log, for logs of large
//! rows and of rows with one entry, with types that are registered and types that are not.
//!
//! Method: a seeded crowd of commands on venues and flash sales, long enough that the replay is spread over
//! every core; what every stream was at the close is compared with what it is after the open.

use std::path::Path;
use std::sync::{Arc, Mutex};

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::layout::Layout;
use boxoffice::options::Builder;
use boxoffice::testing::Prng;
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Handle, Limits, Receipt};

const SEATS: u64 = 50;
const VENUES: u64 = 13;
const SALES: u64 = 9;
/// More than three portions of the replay where every row has one entry: they have 4,096, 8,192 and 16,384.
const COMMANDS: u64 = 30_000;

fn builder() -> Builder {
    Engine::builder().aggregate::<Venue>().aggregate::<FlashSale>()
}

/// A stream: its version and position, and its state as text.
type Streams = Vec<(String, u64, u64, String)>;

fn streams(engine: &Engine) -> Streams {
    let (venues, sales) = handles(engine);
    let mut all: Streams = Vec::new();
    for id in venues.ids() {
        let view = venues.read(&id).unwrap();
        let seats: Vec<_> = view.seats().collect();
        all.push((id.to_string(), view.version(), view.position(), format!("{seats:?}")));
    }
    for id in sales.ids() {
        let view = sales.read(&id).unwrap();
        let buyers: Vec<_> = (0..5).map(|n| view.has_bought(&format!("buyer-{n}"))).collect();
        all.push((id.to_string(), view.version(), view.position(), format!("{} {buyers:?}", view.left())));
    }
    all.sort();
    all
}

fn handles(engine: &Engine) -> (Handle<Venue>, Handle<FlashSale>) {
    (engine.handle(VenueServices::default()).unwrap(), engine.handle(()).unwrap())
}

fn wait<A: boxoffice::Aggregate>(receipts: Vec<Receipt<boxoffice::Outcome<A>>>) {
    for receipt in receipts {
        let _ = receipt.wait().unwrap();
    }
}

/// Fills a file and closes it; returns what it held.
fn fill(path: &Path, limits: Limits, seed: u64) -> Streams {
    let engine = builder().limits(limits).open(path).unwrap();
    let (venues, sales) = handles(&engine);
    let layout = || Layout::from_labels((0..SEATS).map(|seat| format!("S{seat}"))).unwrap();
    let mut dice = Prng::new(seed);
    let (mut of_venues, mut of_sales) = (Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        let venue = format!("venue-{}", dice.below(VENUES));
        let seat = format!("S{}", dice.below(SEATS + 1));
        let customer = dice.below(5);
        match dice.below(8) {
            0 => {
                let sale = format!("sale-{}", dice.below(SALES));
                let buy = FlashSaleCommand::purchase(format!("buyer-{customer}"), 1);
                if sales.read(&sale).is_err() {
                    of_sales.push(sales.submit(&sale, &FlashSaleCommand::create(500)).unwrap());
                }
                of_sales.push(sales.submit(&sale, &buy).unwrap());
            }
            _ if venues.read(&venue).is_err() => {
                of_venues.push(venues.submit(&venue, &VenueCommand::create(layout())).unwrap());
            }
            1..=3 => {
                of_venues.push(venues.submit(&venue, &VenueCommand::release(customer, [&seat])).unwrap())
            }
            _ => of_venues.push(venues.submit(&venue, &VenueCommand::reserve(customer, [&seat])).unwrap()),
        }
    }
    wait(of_venues);
    wait(of_sales);
    let streams = streams(&engine);
    assert_eq!(streams.len() as u64, VENUES + SALES);
    engine.close().unwrap();
    streams
}

fn assert_same(after: &Streams, before: &Streams, name: &str) {
    assert_eq!(after.len(), before.len(), "{name}");
    for (after, before) in after.iter().zip(before) {
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn an_open_gives_back_what_was_closed() {
    let small = Limits { batch_bytes: 1024, entry_bytes: 64 << 10, ..Limits::default() };
    for (seed, limits) in [(1, Limits::default()), (2, small)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.boxoffice");
        let before = fill(&path, limits, seed);
        let events: u64 = before.iter().map(|(_, version, ..)| version).sum();
        for again in 0..2 {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let report = Arc::clone(&seen);
            let engine = builder()
                .on_progress(move |progress| report.lock().unwrap().push((progress.entries, progress.events)))
                .open(&path)
                .unwrap();
            let found = engine.recovery().clone();
            assert_eq!((found.events, found.streams), (events, VENUES + SALES), "seed {seed}");
            assert_eq!(found.entries, engine.position());
            assert!(found.entries >= COMMANDS && found.fenced.is_empty() && found.unregistered.is_empty());
            assert_same(&streams(&engine), &before, &format!("seed {seed}, open {again}"));
            let seen = seen.lock().unwrap();
            assert!(seen.is_sorted(), "progress goes forward");
            assert_eq!(seen.last(), Some(&(found.entries, found.events)));
            // Equal layouts are one, whichever threads read them.
            let (venues, _) = handles(&engine);
            let layouts: Vec<_> = venues
                .ids()
                .iter()
                .map(|id| Arc::clone(venues.read(id).unwrap().layout().unwrap()))
                .collect();
            assert!(layouts.iter().all(|layout| Arc::ptr_eq(layout, &layouts[0])));
            drop((venues, layouts));
            engine.close().unwrap();
        }
        // Types that nobody registered are counted, kept, and there again when somebody does.
        let engine = Engine::builder().aggregate::<Venue>().open(&path).unwrap();
        let found = engine.recovery().clone();
        assert_eq!((found.streams, found.unregistered["flash_sale"]), (VENUES, SALES), "seed {seed}");
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
        let more = venues.execute("venue-0", &VenueCommand::reserve(99, ["nowhere"])).unwrap();
        assert!(!more.is_accepted());
        engine.close().unwrap();
        let engine = builder().open(&path).unwrap();
        let mut after = streams(&engine);
        for (was, is) in before.iter().zip(&mut after) {
            if is.0 == "venue-0" {
                assert_eq!(is.1, was.1 + 1, "the rejection has its version");
                (is.1, is.2) = (was.1, was.2);
            }
        }
        assert_same(&after, &before, &format!("seed {seed}, after more"));
        engine.close().unwrap();
    }
}

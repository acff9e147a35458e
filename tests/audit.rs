//! Goal: the past of a stream is the fold of its history up to then; an audit of what the engine holds finds
//! nothing while all is well, and names what is not; a venue's ledger says who had a seat when.
//!
//! Method: random commands on a few streams under a clock that jumps, then every version, position and time
//! of the log against a fold made here; audits beside threads that sell on a real file; aggregates that are
//! wrong on purpose; ledgers of random events against a count of gifts and returns. Proptest prints the input.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use boxoffice::aggregate::{Audit, Moment};
use boxoffice::clock::{Clock, Timestamp};
use boxoffice::error::{Advice, Fence};
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::history::{At, Happened, Mismatch, Recorded};
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::testing::{FaultyStorage, Prng};
use boxoffice::venue::{SeatLedger, SeatList, Venue, VenueCommand, VenueEvent, VenueServices, VenueState};
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Limits, Options, View};
use common::{Hall, Ledger, State, builder, halls};
use proptest::prelude::*;

/// The time steps by 0 to 2 at every look, so that batches share times and skip some.
struct Jumpy(AtomicU64);

impl Clock for Jumpy {
    fn now(&self) -> Timestamp {
        let looks = self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp(1_000 + looks / 3 * 4)
    }
}

/// What a fold of the first events gives: the state, the version, and the position.
fn fold_while(history: &[Recorded<Hall>], goes_on: impl Fn(&Recorded<Hall>) -> bool) -> (State, u64, u64) {
    let (mut state, mut version, mut position) = (State::default(), 0, 0);
    for recorded in history.iter().take_while(|recorded| goes_on(recorded)) {
        if let Happened::Event(event) = &recorded.what {
            Hall::apply(&mut state, event);
        }
        (version, position) = (recorded.version, recorded.position);
    }
    (state, version, position)
}

fn assert_past(
    found: Result<View<Hall>, Error>,
    (state, version, position): (State, u64, u64),
    first: u64,
    at: At,
) {
    if version == 0 {
        let error = found.map(drop).unwrap_err();
        assert!(matches!(&error, Error::NotYetCreated { first: it, .. } if *it == first), "{at:?}: {error}");
        return;
    }
    let view = found.unwrap_or_else(|error| panic!("{at:?}: {error}"));
    assert_eq!((&*view, view.version(), view.position()), (&state, version, position), "{at:?}");
    assert!(view.is_durable());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_past_is_the_fold_of_the_history_so_far(seed: u64, window in 0..12u64, commands in 1..60usize) {
        let small = Limits { batch_bytes: 1024, entry_bytes: 64 << 10, ..Limits::default() };
        let storage = FaultyStorage::new(0);
        let open = || builder().clock(Jumpy(AtomicU64::new(0))).limits(small).backend(storage.clone()).unwrap();
        let engine = open();
        prop_assert!(Ledger::default().work(&halls(&engine), &mut Prng::new(seed), commands, window).is_empty());
        let mut engine = Some(engine);
        for reopened in [false, true] {
            if reopened {
                engine.take().unwrap().close().unwrap();
                engine = Some(open());
            }
            let engine = engine.as_ref().unwrap();
            let (halls, last) = (halls(engine), engine.durable_position());
            for id in halls.ids() {
                let history: Vec<_> = halls.history(&id).unwrap().map(Result::unwrap).collect();
                let (first, versions) = (history[0].position, history.len() as u64);
                for version in 0..=versions {
                    let then = fold_while(&history, |it| it.version <= version);
                    assert_past(halls.read_at(&id, At::Version(version)), then, first, At::Version(version));
                }
                for position in 0..=last {
                    let then = fold_while(&history, |it| it.position <= position);
                    assert_past(halls.read_at(&id, At::Position(position)), then, first, At::Position(position));
                }
                let times = history.iter().flat_map(|it| it.committed_at.0 - 1..=it.committed_at.0 + 1);
                for time in times.chain([0, u64::MAX]).map(Timestamp) {
                    let then = fold_while(&history, |it| it.committed_at <= time);
                    assert_past(halls.read_at(&id, At::Time(time)), then, first, At::Time(time));
                }
                let error = halls.read_at(&id, At::Version(versions + 1)).map(drop).unwrap_err();
                let Error::UnknownVersion { version, last: it, .. } = error else { panic!("{error}") };
                prop_assert_eq!((version, it), (versions + 1, versions));
                let error = halls.read_at(&id, At::Position(last + 1)).map(drop).unwrap_err();
                let Error::UnknownPosition { position, last: it } = error else { panic!("{error}") };
                prop_assert_eq!((position, it), (last + 1, last));
            }
            let found = halls.verify().unwrap();
            prop_assert!(found.is_clean() && found.fenced.is_empty(), "{found:?}");
            prop_assert_eq!((found.position, found.streams), (last, halls.ids().len() as u64));
        }
    }
}

#[test]
fn what_is_not_on_disk_is_not_past() {
    let storage = FaultyStorage::new(0);
    let held_up = Arc::new(Mutex::new(()));
    let gate = Arc::clone(&held_up);
    storage.on_sync(move |_| drop(gate.lock().unwrap()));
    let engine = builder().backend(storage.clone()).unwrap();
    let halls = halls(&engine);
    let open = common::Command { ticket: 1, ask: common::Ask::Open };
    let _ = halls.execute("hall", &open).unwrap();
    let closed = held_up.lock().unwrap();
    let receipt = halls.submit("hall", &open).unwrap();
    assert_eq!((engine.position(), engine.durable_position()), (2, 1));
    let error = halls.read_at("hall", At::Version(2)).map(drop).unwrap_err();
    assert!(matches!(error, Error::UnknownVersion { version: 2, last: 1, .. }), "{error}");
    let error = halls.read_at("hall", At::Position(2)).map(drop).unwrap_err();
    assert!(matches!(error, Error::UnknownPosition { position: 2, last: 1 }), "{error}");
    assert_eq!(halls.read_at("hall", At::Time(Timestamp(u64::MAX))).unwrap().version(), 1);
    let error = halls.read_at("nowhere", At::Version(1)).map(drop).unwrap_err();
    assert!(matches!(error, Error::UnknownStream { .. }), "{error}");
    let error = halls.read_at("", At::Version(1)).map(drop).unwrap_err();
    assert!(matches!(error, Error::InvalidId { .. }), "{error}");
    drop(closed);
    let _ = receipt.wait().unwrap();
    assert_eq!(halls.read_at("hall", At::Version(2)).unwrap().version(), 2);
    engine.close().unwrap();
    let error = halls.read_at("hall", At::Version(1)).map(drop).unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    assert!(matches!(halls.verify().map(drop), Err(Error::Closed)));
}

const SEATS: u32 = 40;

fn seat_label(seat: u64) -> String {
    format!("S{seat}")
}

fn venues(path: &Path, options: Options) -> (Engine, Handle<Venue>) {
    let engine = Engine::builder().aggregate_with::<Venue>(options).open(path).unwrap();
    let handle = engine.handle(VenueServices::default()).unwrap();
    (engine, handle)
}

/// Threads that sell until they have sent so many commands each.
fn sell(venues: &Handle<Venue>, seed: u64, commands: usize) {
    let mut dice = Prng::new(seed);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut dice = dice.fork();
            scope.spawn(move || {
                for _ in 0..commands {
                    let (venue, customer) = (format!("venue-{}", dice.below(4)), dice.below(3));
                    let seats: Vec<_> =
                        (0..=dice.below(2)).map(|n| seat_label(dice.below(19) * 2 + n)).collect();
                    let command = match dice.below(5) {
                        0 => VenueCommand::release(customer, &seats),
                        1 => VenueCommand::force_release(&seats, "audit"),
                        _ => VenueCommand::reserve(customer, &seats),
                    };
                    let _ = venues.submit(&venue, &command).unwrap().wait().unwrap();
                }
            });
        }
    });
}

/// Beside a sale, and after an open, in both modes.
#[test]
fn an_audit_of_a_sale_finds_nothing() {
    for (options, limit) in [(Options::pessimistic(), None), (Options::optimistic(), Some(9))] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sale.boxoffice");
        let (engine, handle) = venues(&path, options);
        let labels: Vec<_> = (0..u64::from(SEATS)).map(seat_label).collect();
        for venue in 0..4 {
            let layout = Arc::new(Layout::from_labels(&labels).unwrap());
            let create = VenueCommand::Create { layout, limit_per_customer: limit };
            let _ = handle.execute(format!("venue-{venue}"), &create).unwrap();
        }
        let sold = AtomicBool::new(false);
        let audits = std::thread::scope(|scope| {
            let auditor = scope.spawn(|| {
                let mut audits = Vec::new();
                while !sold.load(Ordering::Acquire) || audits.is_empty() {
                    audits.push(handle.verify().unwrap());
                }
                audits
            });
            sell(&handle, 1, 150);
            sold.store(true, Ordering::Release);
            auditor.join().unwrap()
        });
        assert!(audits.iter().all(|found| found.is_clean() && found.streams == 4), "{audits:?}");
        assert!(audits.iter().map(|found| found.position).is_sorted());
        let last = handle.verify().unwrap();
        let events: u64 = (0..4).map(|n| handle.read(format!("venue-{n}")).unwrap().version()).sum();
        assert_eq!((last.events, last.position), (events, engine.position()));
        check_ledger(&handle, "venue-0");
        engine.close().unwrap();
        let (engine, handle) = venues(&path, options);
        let again = handle.verify().unwrap();
        assert!(again.is_clean() && again.events == events, "{again:?}");
        engine.close().unwrap();
    }
}

/// The ledger of a venue says of every version what the state of that version says.
fn check_ledger(handle: &Handle<Venue>, id: &str) {
    let mut ledger = SeatLedger::new();
    let mut last = 0;
    for recorded in handle.history(id).unwrap() {
        let recorded = recorded.unwrap();
        last = recorded.version;
        if let Happened::Event(event) = &recorded.what {
            ledger.record(recorded.moment(), event);
        }
    }
    assert!(ledger.two_holders().is_empty() && ledger.not_held().is_empty());
    assert!(ledger.tenures().any(|tenure| tenure.until.is_some()), "nothing was ever given back");
    for version in (1..=last).step_by(7).chain([last]) {
        let then = handle.read_at(id, At::Version(version)).unwrap();
        for (seat, holder) in then.seats() {
            let holders = ledger.holders_at(seat, version);
            assert_eq!(holders, holder.copied().into_iter().collect::<Vec<_>>(), "{seat} at {version}");
        }
    }
}

/// Counts, and counts otherwise once the test says so.
enum Fickle {}

static REPLAY: AtomicU64 = AtomicU64::new(0);

impl Aggregate for Fickle {
    const TYPE: &'static str = "fickle";
    type State = u64;
    type Command = u64;
    type Event = u64;
    type Rejection = ();
    type Services = ();

    fn decide(_: &u64, add: &u64, _: &Context<'_, ()>) -> Result<Events<u64>, ()> {
        Ok((*add).into())
    }

    fn apply(state: &mut u64, add: &u64) {
        match (REPLAY.load(Ordering::Relaxed), add) {
            (1, 7) => *state += 1,
            (2, 7) => panic!("seven"),
            _ => *state += add,
        }
    }
}

#[test]
fn an_apply_that_gives_another_state_on_replay_is_found() {
    let engine = Engine::builder().aggregate::<Fickle>().aggregate::<FlashSale>().in_memory().unwrap();
    let handle = engine.handle::<Fickle>(()).unwrap();
    // Another type, with ids of this one, is none of its business.
    let sales = engine.handle::<FlashSale>(()).unwrap();
    let _ = sales.execute("a-bad", &FlashSaleCommand::create(7)).unwrap();
    for (id, add) in [("b-good", 1), ("a-bad", 7), ("c-good", 2), ("d-bad", 7), ("a-bad", 3)] {
        let _ = handle.execute(id, &add).unwrap();
    }
    let found = |replay| {
        REPLAY.store(replay, Ordering::Relaxed);
        let found = handle.verify().unwrap();
        REPLAY.store(0, Ordering::Relaxed);
        assert_eq!((found.streams, found.events, found.position), (4, 5, 6));
        assert_eq!(found.is_clean(), found.differences.is_empty());
        let name = |it: boxoffice::history::Difference| (it.stream.id.to_string(), it.version, it.what);
        found.differences.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(found(0), []);
    let of_sales = sales.verify().unwrap();
    assert!(of_sales.is_clean() && (of_sales.streams, of_sales.events) == (1, 1), "{of_sales:?}");
    let state = || Mismatch::State;
    assert_eq!(found(1), [("a-bad".into(), 2, state()), ("d-bad".into(), 1, state())]);
    let panicked = || Mismatch::Unreadable(Fence::ApplyPanicked("seven".into()));
    assert_eq!(found(2), [("a-bad".into(), 2, panicked()), ("d-bad".into(), 1, panicked())]);
    engine.close().unwrap();
}

/// Streams that cannot be read are told apart from those that are wrong, and their past can be read as far
/// as it goes.
#[test]
fn fenced_streams_are_named() {
    struct Newer;
    impl Aggregate for Newer {
        const TYPE: &'static str = "fickle";
        const EVENT_VERSION: u16 = 2;
        type State = u64;
        type Command = u64;
        type Event = u64;
        type Rejection = ();
        type Services = ();
        fn upcasts() -> boxoffice::aggregate::Upcasts<u64> {
            boxoffice::aggregate::Upcasts::unchanged_since(1)
        }
        fn decide(_: &u64, add: &u64, _: &Context<'_, ()>) -> Result<Events<u64>, ()> {
            Ok((*add).into())
        }
        fn apply(state: &mut u64, add: &u64) {
            *state += add;
        }
    }
    let storage = FaultyStorage::new(0);
    let open_old = || Engine::builder().aggregate::<Fickle>().backend(storage.clone()).unwrap();
    let engine = open_old();
    let _ = engine.handle::<Fickle>(()).unwrap().execute("one", &5).unwrap();
    let _ = engine.handle::<Fickle>(()).unwrap().execute("two", &5).unwrap();
    engine.close().unwrap();
    let engine = Engine::builder().aggregate::<Newer>().backend(storage.clone()).unwrap();
    let _ = engine.handle::<Newer>(()).unwrap().execute("one", &5).unwrap();
    engine.close().unwrap();
    let engine = open_old();
    let handle = engine.handle::<Fickle>(()).unwrap();
    let found = handle.verify().unwrap();
    assert!(found.is_clean() && found.streams == 1);
    let reason = Fence::NewerEvent { found: 2, supported: 1 };
    assert!(matches!(&found.fenced[..], [(name, fence)] if name.id == "one" && *fence == reason));
    assert_eq!(*handle.read_at("one", At::Version(1)).unwrap(), 5);
    let error = handle.read_at("one", At::Version(2)).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Fenced { reason: it, .. } if *it == reason), "{error}");
    assert_eq!(error.advice(), Advice::Fix);
    engine.close().unwrap();
}

/// Writes any event under the name of a venue.
enum Forger {}

impl Aggregate for Forger {
    const TYPE: &'static str = "venue.u64";
    type State = u64;
    type Command = Vec<VenueEvent>;
    type Event = VenueEvent;
    type Rejection = ();
    type Services = ();

    fn decide(_: &u64, events: &Vec<VenueEvent>, _: &Context<'_, ()>) -> Result<Events<VenueEvent>, ()> {
        Ok(events.clone().into())
    }

    fn apply(events: &mut u64, _: &VenueEvent) {
        *events += 1;
    }

    fn audit() -> Option<Box<dyn Audit<VenueEvent>>> {
        Venue::<u64>::audit()
    }
}

fn reserved(customer: u64, seats: &[u32]) -> VenueEvent {
    VenueEvent::Reserved { customer, seats: list(seats), price_total: 0, counted: false }
}

fn released(holder: u64, seats: &[u32]) -> VenueEvent {
    VenueEvent::Released { holder, seats: list(seats), forced: None, counted: false }
}

fn list(seats: &[u32]) -> SeatList {
    seats.iter().copied().map(SeatIndex).collect()
}

#[test]
fn a_seat_with_two_holders_is_found() {
    let engine = Engine::builder().aggregate::<Forger>().in_memory().unwrap();
    let handle = engine.handle::<Forger>(()).unwrap();
    let layout = Arc::new(Layout::from_labels(["A1", "A2"]).unwrap());
    let created = VenueEvent::Created { layout, limit_per_customer: None };
    let _ = handle.execute("good", &vec![created.clone(), reserved(1, &[0, 1])]).unwrap();
    let wrong = [created, reserved(1, &[0, 1]), released(1, &[0]), reserved(2, &[0]), reserved(3, &[1])];
    let _ = handle.execute("bad", &wrong.to_vec()).unwrap();
    let _ = handle.execute("bad", &vec![released(4, &[0, 7])]).unwrap();
    let found = handle.verify().unwrap();
    assert!(!found.is_clean() && found.differences.is_empty());
    let said: Vec<_> = found.findings.iter().map(|(name, said)| format!("{}: {said}", name.id)).collect();
    assert_eq!(
        said,
        [
            "bad: seat A2 was given to 3 at version 5, while 1 had it since version 2",
            "bad: seat A1 was taken from 4 at version 6, who did not have it",
            "bad: seat number 7 was taken from 4 at version 6, who did not have it",
        ]
    );
    engine.close().unwrap();
}

fn moment(version: u64) -> Moment {
    let time = Timestamp(version * 10);
    Moment { version, position: version + 3, decided_at: time, committed_at: time }
}

proptest! {
    /// Against a count: a seat has whoever was given it more often than it was taken from him.
    #[test]
    fn a_ledger_is_what_was_given_less_what_was_taken(
        steps in prop::collection::vec((any::<bool>(), 0..3u64, prop::collection::vec(0..4u32, 1..3)), 0..40),
    ) {
        let mut ledger = SeatLedger::new();
        let mut audit = Venue::<u64>::audit().unwrap();
        // By version: who has a seat how often.
        let mut counts = vec![[[0u32; 3]; 4]];
        let (mut twice, mut not_held) = (0, 0);
        for ((gives, customer, seats), version) in steps.into_iter().zip(1..) {
            let event = if gives { reserved(customer, &seats) } else { released(customer, &seats) };
            ledger.record(moment(version), &event);
            audit.record(moment(version), &event);
            let mut now = *counts.last().unwrap();
            for seat in seats {
                let of_seat = &mut now[seat as usize];
                let has = &mut of_seat[customer as usize];
                match (gives, *has) {
                    (true, _) => {
                        *has += 1;
                        twice += of_seat.iter().sum::<u32>() - 1;
                    }
                    (false, 0) => not_held += 1,
                    (false, _) => *has -= 1,
                }
            }
            counts.push(now);
        }
        prop_assert_eq!((ledger.two_holders().len() as u32, ledger.not_held().len()), (twice, not_held));
        prop_assert_eq!(audit.findings().len(), twice as usize + not_held);
        for (version, counts) in counts.iter().enumerate() {
            for (seat, of_seat) in (0..).map(SeatIndex).zip(counts) {
                let mut holders = ledger.holders_at(seat, version as u64);
                holders.sort_unstable();
                let expected = (0..).zip(of_seat).flat_map(|(who, times)| vec![who; *times as usize]);
                prop_assert_eq!(holders, expected.collect::<Vec<u64>>(), "seat {} at {}", seat, version);
            }
        }
        for tenure in ledger.tenures() {
            prop_assert!(tenure.until.is_none_or(|until| until.version > tenure.from.version));
            prop_assert_eq!(tenure.from, moment(tenure.from.version));
        }
    }
}

/// Two states are equal exactly if the same things happened in any order that leads there.
#[test]
fn states_of_venues_are_compared_by_value() {
    let layout = |label: &str| Arc::new(Layout::from_labels(["A1", label]).unwrap());
    let created = |label| VenueEvent::Created { layout: layout(label), limit_per_customer: Some(3) };
    let state = |events: &[VenueEvent]| {
        let mut state = VenueState::default();
        events.iter().for_each(|event| <Venue as Aggregate>::apply(&mut state, event));
        state
    };
    let one = state(&[created("A2"), reserved(1, &[0]), reserved(2, &[1])]);
    let other = state(&[created("A2"), reserved(2, &[1]), reserved(1, &[0])]);
    assert_eq!(one, other);
    for different in [
        state(&[created("B2"), reserved(2, &[1]), reserved(1, &[0])]),
        state(&[created("A2"), reserved(1, &[1]), reserved(2, &[0])]),
        state(&[created("A2"), reserved(1, &[0])]),
        VenueState::default(),
    ] {
        assert_ne!(one, different);
    }
}

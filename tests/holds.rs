//! Holds: no seat has two, they lapse exactly at their deadline, and nobody who looks later sees one again.
//!
//! Goal: whatever is held, extended, confirmed, given back, taken and left to lapse, by several threads at once, in
//! both modes, under a clock that steps forward and back, every answer is that of a plain model which is asked the
//! same in the order of the log, each at the time at which it was decided; and the file opens again to the same.
//!
//! Method: generated halls, callers and steps of the clock through a real engine on a real file, judged by
//! `holds/model.rs`. The generator's seed is fixed; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others, and a
//! failure prints its smallest case. Then the schedules that a wrong design loses, forced by meetings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "holds/model.rs"]
mod model;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use boxoffice::clock::{Clock, ManualClock, Timestamp};
use boxoffice::history::Happened;
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::venue::{
    HoldTime, HoldToken, Request, SeatStatus, Venue, VenueCommand, VenueEvent, VenueServices, VenueState,
};
use boxoffice::{Engine, Error, Handle, Options, Outcome};
use model::Model;
use proptest::prelude::*;
use support::{Meeting, modes};

/// What is asked, of a hall of two rows of four: seats 0 to 3 and 4 to 7. Times are in microseconds.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// These seats, held for so long and at most so long in all or, without that, bought.
    Take(u64, Vec<u32>, Option<(u64, u64)>),
    /// So many side by side.
    Best(u64, u32, Option<(u64, u64)>),
    Release(u64, Vec<u32>),
    Force(Vec<u32>),
    Confirm(u64, HoldToken),
    Extend(u64, HoldToken, u64),
    GiveUp(u64, HoldToken),
}

/// What a caller does next: asks, or something about one of the holds that anybody has got so far, as its customer
/// or as somebody else.
#[derive(Clone, Debug)]
enum Step {
    Ask(Ask),
    Hold(usize, Option<u64>, Deed),
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Confirm,
    Extend(u64),
    GiveUp,
}

const ROW: u32 = 4;
const SEATS: u32 = 2 * ROW;

fn hall() -> Layout {
    let rows = Layout::builder().category("any", 7);
    rows.row("A", "any", [(1, ROW)]).row("B", "any", [(1, ROW)]).build().unwrap()
}

fn labels(seats: &[u32]) -> Vec<String> {
    let label = |seat: &u32| format!("{}{}", if *seat < ROW { 'A' } else { 'B' }, seat % ROW + 1);
    seats.iter().map(label).collect()
}

fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn command(ask: &Ask) -> VenueCommand {
    let term = |(ttl, lifetime): (u64, u64)| HoldTime { ttl: micros(ttl), lifetime: micros(lifetime) };
    match ask {
        Ask::Take(who, seats, None) => VenueCommand::reserve(*who, labels(seats)),
        Ask::Take(who, seats, Some(time)) => VenueCommand::hold(*who, labels(seats), term(*time)),
        Ask::Best(who, count, None) => VenueCommand::reserve_best(*who, *count),
        Ask::Best(who, count, Some(time)) => VenueCommand::hold_best(*who, *count, term(*time)),
        Ask::Release(who, seats) => VenueCommand::release(*who, labels(seats)),
        Ask::Force(seats) => VenueCommand::force_release(labels(seats), "swept"),
        Ask::Confirm(who, token) => VenueCommand::confirm(*who, *token),
        Ask::Extend(who, token, ttl) => VenueCommand::extend(*who, *token, micros(*ttl)),
        Ask::GiveUp(who, token) => VenueCommand::release_hold(*who, *token),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..3_u64;
    let cart = || prop::sample::subsequence((0..SEATS).collect::<Vec<_>>(), 1..4).prop_shuffle();
    let time = || (1..12_u64, 0..12_u64).prop_map(|(ttl, more)| (ttl, ttl + more));
    let maybe = || prop_oneof![2 => time().prop_map(Some), 1 => Just(None)];
    let deed = prop_oneof![
        3 => Just(Deed::Confirm),
        2 => (1..12_u64).prop_map(Deed::Extend),
        1 => Just(Deed::GiveUp),
    ];
    let somebody = prop_oneof![4 => Just(None), 1 => who().prop_map(Some)];
    prop_oneof![
        4 => (who(), cart(), maybe()).prop_map(|(who, cart, time)| Step::Ask(Ask::Take(who, cart, time))),
        2 => (who(), 1..6_u32, maybe()).prop_map(|(who, count, time)| Step::Ask(Ask::Best(who, count, time))),
        2 => (who(), cart()).prop_map(|(who, cart)| Step::Ask(Ask::Release(who, cart))),
        1 => cart().prop_map(|cart| Step::Ask(Ask::Force(cart))),
        6 => (any::<usize>(), somebody, deed).prop_map(|(which, who, deed)| Step::Hold(which, who, deed)),
    ]
}

/// For each thread its steps, and how far the clock moves before each: forward, and back.
fn callers() -> impl Strategy<Value = Vec<Vec<(Step, i64)>>> {
    let steps = prop::collection::vec((step(), -4..6_i64), 1..25);
    prop::collection::vec(steps, 1..4)
}

/// Gives way before it shows the time. An attempt looks at it right after its snapshot, which others then overtake.
struct Polite(ManualClock);

impl Clock for Polite {
    fn now(&self) -> Timestamp {
        thread::yield_now();
        self.0.now()
    }
}

/// In a file or, without one, in memory.
fn open(path: Option<&Path>, clock: Arc<Polite>, options: Options) -> (Engine, Handle<Venue>) {
    let builder = Engine::builder().aggregate_with::<Venue>(options).clock(clock);
    let engine = match path {
        Some(path) => builder.open(path),
        None => builder.in_memory(),
    }
    .unwrap();
    let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
    (engine, venues)
}

/// The holds that anybody has got so far.
type Tokens = Mutex<Vec<(HoldToken, u64)>>;

fn ask(step: &Step, tokens: &Tokens) -> Ask {
    let (which, who, deed) = match step {
        Step::Ask(ask) => return ask.clone(),
        Step::Hold(which, who, deed) => (*which, *who, *deed),
    };
    let tokens = tokens.lock().unwrap();
    // Mostly a new one; now and then one that never was.
    let newest = tokens.len().saturating_sub(4);
    let known = tokens.get(newest + which % 5).copied();
    let (token, customer) = known.unwrap_or((HoldToken::from_u64(1 << 20), 0));
    let who = who.unwrap_or(customer);
    match deed {
        Deed::Confirm => Ask::Confirm(who, token),
        Deed::Extend(ttl) => Ask::Extend(who, token, ttl),
        Deed::GiveUp => Ask::GiveUp(who, token),
    }
}

/// What every caller asked, with what it was told.
fn run(
    venues: &Handle<Venue>,
    clock: &ManualClock,
    callers: &[Vec<(Step, i64)>],
) -> Vec<(Ask, Outcome<Venue>)> {
    let tokens = Tokens::default();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for steps in callers {
            let tokens = &tokens;
            threads.push(scope.spawn(move || -> Vec<_> {
                let one = |(step, by): &(Step, i64)| {
                    clock.set(Timestamp(clock.now().0.saturating_add_signed(*by)));
                    let ask = ask(step, tokens);
                    let outcome = venues.execute("hall", &command(&ask)).unwrap();
                    let hold = outcome.events().first().and_then(VenueEvent::hold);
                    tokens.lock().unwrap().extend(hold.map(|hold| (hold.token, hold.customer)));
                    (ask, outcome)
                };
                steps.iter().map(one).collect()
            }));
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asks the model the same, in the order of the history; the model after all of it.
fn judge(venues: &Handle<Venue>, limit: Option<u32>, told: Vec<(Ask, Outcome<Venue>)>) -> Model {
    let mut model = Model { limit, ..Model::default() };
    let stored = told.into_iter().filter(|(_, outcome)| outcome.position().is_some());
    let mut told: BTreeMap<u64, _> = stored.map(|answer| (answer.1.version(), answer)).collect();
    let mut together = Vec::new();
    for recorded in venues.history("hall").unwrap().skip(1) {
        let recorded = recorded.unwrap();
        let no = match recorded.what {
            Happened::Event(event) => {
                together.push(event);
                None
            }
            Happened::Rejection(no) => Some(no),
        };
        // Events of one command have one entry, and its version is that of the last.
        let Some((ask, outcome)) = told.remove(&recorded.version) else { continue };
        assert_eq!(outcome.events(), together);
        assert_eq!((outcome.rejection(), outcome.decided_at()), (no.as_ref(), recorded.decided_at));
        let word = model.run(&ask, recorded.decided_at.0, &together);
        assert_eq!(outcome.rejection().map(|no| no.reason()), word, "{ask:?}: {outcome:?} in {model:?}");
        together.clear();
    }
    assert!(told.is_empty() && together.is_empty());
    model
}

fn agrees(state: &VenueState, model: &Model, now: u64) {
    for (seat, status) in state.statuses(Timestamp(now)) {
        let status = match status {
            SeatStatus::Held { customer, until } => Some((*customer, Some(until.0))),
            SeatStatus::Reserved { customer } => Some((*customer, None)),
            _ => None,
        };
        assert_eq!(status, model.status(seat.0, now), "seat {seat}");
        assert_eq!(state.sales(seat), model.sales.get(&seat.0).copied().unwrap_or(0), "seat {seat}");
    }
    for who in 0..3 {
        let counted = state.count(&who).zip(state.count_held(&who, Timestamp(now)));
        assert_eq!(counted, model.limit.map(|_| model.has(who, now)), "customer {who}");
    }
}

fn create(venues: &Handle<Venue>, limit: Option<u32>) {
    let create = VenueCommand::Create { layout: Arc::new(hall()), limit_per_customer: limit };
    assert!(venues.execute("hall", &create).unwrap().is_accepted());
}

/// Lets everybody ask, and judges every answer and what is there in the end. The model, and the time of the last.
fn play(
    path: Option<&Path>,
    options: Options,
    limit: Option<u32>,
    callers: &[Vec<(Step, i64)>],
) -> (Engine, Handle<Venue>, Model, u64) {
    let clock = Arc::new(Polite(ManualClock::new(Timestamp(100))));
    let (engine, venues) = open(path, Arc::clone(&clock), options);
    create(&venues, limit);
    let told = run(&venues, &clock.0, callers);
    engine.wait_durable(engine.position()).unwrap();
    let model = judge(&venues, limit, told);
    let times = venues.history("hall").unwrap().map(|recorded| recorded.unwrap().decided_at.0);
    let last = times.max().unwrap();
    let state = venues.read("hall").unwrap();
    (last..last + 25).for_each(|now| agrees(&state, &model, now));
    (engine, venues, model, last)
}

proptest! {
    #![proptest_config(support::cases(0x401D, 64))]

    #[test]
    fn every_answer_is_that_of_one_thing_after_another(
        limit in prop::option::of(2..6_u32),
        callers in callers(),
    ) {
        for (_, options) in modes() {
            play(None, options, limit, &callers).0.close().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(support::cases(0x401D, 8))]

    #[test]
    fn a_file_opens_to_the_holds_that_it_was_closed_with(
        limit in prop::option::of(2..6_u32),
        callers in callers(),
    ) {
        for (mode, options) in modes() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("hall.boxoffice");
            let (engine, venues, model, last) = play(Some(&path), options, limit, &callers);
            let live = venues.read("hall").unwrap();
            engine.close().unwrap();
            let (engine, venues) = open(Some(&path), Arc::new(Polite(ManualClock::default())), options);
            let replayed = venues.read("hall").unwrap();
            prop_assert_eq!(live.version(), replayed.version(), "{}", mode);
            (last..last + 25).for_each(|now| agrees(&replayed, &model, now));
            engine.close().unwrap();
        }
    }
}

fn venue(
    services: VenueServices,
    options: Options,
    limit: Option<u32>,
) -> (Engine, Handle<Venue>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp(100)));
    let engine =
        Engine::builder().aggregate_with::<Venue>(options).clock(Arc::clone(&clock)).in_memory().unwrap();
    let venues = engine.handle::<Venue>(services).unwrap();
    create(&venues, limit);
    (engine, venues, clock)
}

fn held(venues: &Handle<Venue>, command: &VenueCommand) -> HoldToken {
    venues.execute("hall", command).unwrap().events()[0].hold().unwrap().token
}

fn reason(venues: &Handle<Venue>, command: &VenueCommand) -> Option<&'static str> {
    venues.execute("hall", command).unwrap().rejection().map(|no| no.reason())
}

/// A lapsed hold on A1 to A4. T1 takes A1 and T2 takes A2, both decided before either commits. Had each of them
/// freed "the hold" when it took its seat, the second to commit would have freed the seat that the first sold.
#[test]
fn two_who_take_seats_of_one_lapsed_hold_both_keep_them() {
    for (mode, options) in modes() {
        for limit in [None, Some(4)] {
            let meeting = Meeting::new(2);
            let services = VenueServices::default().with_eligibility(move |cart: &Request<'_, u64>| {
                if (1..=2).contains(cart.customer()) {
                    meeting.wait();
                }
                Ok(())
            });
            let (engine, venues, clock) = venue(services, options, limit);
            let token = held(&venues, &VenueCommand::hold(7, ["A1", "A2", "A3", "A4"], micros(10)));
            assert_eq!(reason(&venues, &VenueCommand::reserve(3, ["A1"])), Some("seat_held"), "{mode}");
            clock.set(Timestamp(110));
            thread::scope(|scope| {
                for (customer, seat) in [(1, "A1"), (2, "A2")] {
                    let venues = &venues;
                    scope.spawn(move || {
                        let outcome =
                            venues.execute("hall", &VenueCommand::reserve(customer, [seat])).unwrap();
                        assert!(outcome.is_accepted(), "{mode}: {outcome:?}");
                        let effort = outcome.effort();
                        assert_eq!((effort.conflicts, effort.lock_waits), (0, 0), "{mode}: side by side");
                    });
                }
            });
            for seat in ["A1", "A2"] {
                assert_eq!(
                    reason(&venues, &VenueCommand::reserve(3, [seat])),
                    Some("seat_reserved"),
                    "{mode}"
                );
            }
            for command in [VenueCommand::confirm(7, token), VenueCommand::release_hold(7, token)] {
                assert_eq!(reason(&venues, &command), Some("hold_expired"), "{mode}");
            }
            assert_eq!(reason(&venues, &VenueCommand::reserve(7, ["A3", "A4"])), None, "{mode}");
            let view = venues.read("hall").unwrap();
            let holders: Vec<_> = (0..4).map(|seat| view.holder(SeatIndex(seat)).copied()).collect();
            assert_eq!(holders, [Some(1), Some(2), Some(7), Some(7)], "{mode}");
            engine.close().unwrap();
        }
    }
}

#[test]
fn a_clock_that_steps_back_revives_nothing() {
    for (mode, options) in modes() {
        let (engine, venues, clock) = venue(VenueServices::default(), options, Some(2));
        let token = held(&venues, &VenueCommand::hold(1, ["A1", "A2"], micros(10)));
        clock.set(Timestamp(110));
        assert_eq!(reason(&venues, &VenueCommand::confirm(1, token)), Some("hold_expired"), "{mode}");
        clock.set(Timestamp(105));
        assert_eq!(reason(&venues, &VenueCommand::confirm(1, token)), Some("hold_expired"), "{mode}");
        assert_eq!(
            reason(&venues, &VenueCommand::reserve(1, ["A1", "B1"])),
            None,
            "{mode}: it does not count"
        );
        assert_eq!(
            reason(&venues, &VenueCommand::hold_best(1, 1, micros(1))),
            Some("limit_reached"),
            "{mode}"
        );
        engine.close().unwrap();
    }
}

/// "A seat is sold once in its life", in three lines.
#[test]
fn a_seat_that_was_sold_once_is_not_sold_again_where_that_is_the_rule() {
    for (mode, options) in modes() {
        let builder = Engine::builder()
            .aggregate_with::<Venue>(options)
            .policy::<Venue>("sold once", |_, event, after| {
                event.seats().iter().all(|seat| after.sales(*seat) <= 1)
            });
        let engine = builder.in_memory().unwrap();
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
        create(&venues, None);
        let violates = |command| match venues.execute("hall", &command) {
            Err(Error::PolicyViolated { policy, .. }) => assert_eq!(policy, "sold once", "{mode}"),
            other => panic!("{mode}: {other:?}"),
        };
        let day = Duration::from_secs(60 * 60);
        let first = held(&venues, &VenueCommand::hold(1, ["A1", "A2"], day));
        let commands = [
            VenueCommand::release_hold(1, first),
            VenueCommand::reserve(1, ["A1"]),
            VenueCommand::release(1, ["A1"]),
        ];
        for command in commands {
            assert_eq!(reason(&venues, &command), None, "{mode}");
        }
        violates(VenueCommand::reserve(2, ["A1"]));
        violates(VenueCommand::reserve(2, ["A2", "A1"]));
        let again = held(&venues, &VenueCommand::hold(2, ["A1", "A2"], day));
        violates(VenueCommand::confirm(2, again));
        assert_eq!(reason(&venues, &VenueCommand::release_hold(2, again)), None, "{mode}: it is still there");
        assert_eq!(reason(&venues, &VenueCommand::reserve(2, ["A2"])), None, "{mode}");
        engine.close().unwrap();
    }
}

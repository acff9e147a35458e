//! Goal: given / when / then says what an engine would say, and catches an aggregate that breaks a rule.
//!
//! Method: the domain's own rules as sentences; then aggregates that are wrong on purpose, each in one way,
//! of which each must be caught.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use boxoffice::clock::Timestamp;
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::layout::Layout;
use boxoffice::testing::{Given, Refused, given};
use boxoffice::venue::{HoldToken, Venue, VenueCommand, VenueServices};
use boxoffice::{Aggregate, Context, Events, Part, Scope};
use serde::{Deserialize, Serialize};

#[test]
fn a_venue_in_sentences() {
    let hall = Layout::from_labels(["A1", "A2", "A3"]).unwrap();
    let venue = given::<Venue>(VenueServices::default());
    let first = venue.clone().when(&VenueCommand::reserve(1, ["A1"])).then_refused();
    assert_eq!(first, Refused::UnknownStream);
    let open = venue.after(&VenueCommand::create_with_limit(hall, 2));
    let empty = open.clone().when(&VenueCommand::reserve(1, [""; 0])).then_refused();
    assert!(matches!(empty, Refused::Invalid(why) if why.to_string().contains("at least one seat")));

    let sold = open.after(&VenueCommand::reserve(1, ["A1"])).at(Timestamp(5));
    let late = sold.clone().when(&VenueCommand::reserve(2, ["A2", "A1"])).then_rejected();
    assert_eq!(late.reason(), "seat_reserved");
    let others = || [VenueCommand::reserve(2, ["A3"]), VenueCommand::release(1, ["A1"])];
    let reserve = VenueCommand::reserve(3, ["A2"]);
    let more = sold.when(&reserve).then_accepted().whatever_happens(others());
    assert_eq!(more.so_far().state().sold(), 2);
}

/// Two rows of four, in which one customer has at most so many seats, at time 100.
fn rows(limit: Option<u32>) -> Given<Venue> {
    let hall = Layout::builder().category("any", 5);
    let hall = hall.row("A", "any", [(1, 4)]).row("B", "any", [(1, 4)]).build().unwrap();
    let create = match limit {
        Some(limit) => VenueCommand::create_with_limit(hall, limit),
        None => VenueCommand::create(hall),
    };
    given::<Venue>(VenueServices::default()).after(&create).at(Timestamp(100))
}

/// The command holds seats; what it leads to, and the token.
fn held(venue: Given<Venue>, command: &VenueCommand) -> (Given<Venue>, HoldToken) {
    let then = venue.when(command).then_accepted();
    let token = then.events()[0].hold().unwrap().token;
    (then.so_far(), token)
}

const TTL: Duration = Duration::from_micros(10);

/// Whatever else happens in the hall, by others and by commands of every kind, of which each has an effect.
fn others() -> (Given<Venue>, Given<Venue>, HoldToken, Vec<VenueCommand>) {
    let [limited, open] = [Some(3), None].map(|limit| {
        let venue = rows(limit).after(&VenueCommand::reserve(8, ["B1"]));
        held(venue, &VenueCommand::hold(8, ["B2", "B3"], TTL))
    });
    let token = limited.1;
    let commands = vec![
        VenueCommand::extend(8, token, TTL * 2),
        VenueCommand::release(8, ["B1"]),
        VenueCommand::confirm(8, token),
        VenueCommand::hold(9, ["B4"], TTL * 5),
        VenueCommand::force_release(["B3"], "fire"),
        VenueCommand::reserve_best(8, 1),
        VenueCommand::hold_best(9, 1, TTL),
    ];
    (limited.0, open.0, token, commands)
}

#[test]
fn holding_depends_on_its_seats_and_its_customer_alone() {
    let (limited, open, _, others) = others();
    for (venue, counters) in [(limited, 1), (open, 0)] {
        let venue = venue.at(Timestamp(105));
        let hold = VenueCommand::hold(1, ["A1", "A2"], TTL);
        let (later, token) = held(venue.clone(), &hold);
        let _ = venue.clone().when(&hold).then_accepted().whatever_happens(others.clone());
        let best = VenueCommand::hold_best(1, 2, TTL);
        let _ = venue.clone().when(&best).then_accepted().whatever_happens(others.clone());
        let best = VenueCommand::reserve_best(1, 3);
        let _ = venue.clone().when(&best).then_accepted().whatever_happens(others.clone());
        let deeds = [
            VenueCommand::extend(1, token, TTL * 2),
            VenueCommand::confirm(1, token),
            VenueCommand::release_hold(1, token),
            VenueCommand::force_release(["A2"], "fire"),
        ];
        for deed in deeds {
            let _ = later.clone().when(&deed).then_accepted().whatever_happens(others.clone());
        }
        // The last moment, and the first that is too late: others may then have its seats, one by one.
        let confirm = VenueCommand::confirm(1, token);
        let _ = later.clone().at(Timestamp(114)).when(&confirm).then_accepted();
        let lapsed = later.at(Timestamp(115));
        assert_eq!(lapsed.clone().when(&confirm).then_rejected().reason(), "hold_expired");
        let reserve = VenueCommand::reserve(2, ["A1"]);
        let then = lapsed.when(&reserve).then_accepted();
        let then =
            then.whatever_happens([VenueCommand::reserve(3, ["A2"]), VenueCommand::hold(1, ["A3"], TTL)]);
        assert_eq!(then.scope().named().len(), 1 + counters, "its seat, and no other of the hold's");
        assert_eq!(then.events().iter().map(|event| event.seats().len()).collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn a_hold_in_sentences() {
    let (venue, token) = held(rows(Some(3)), &VenueCommand::hold(7, ["A1", "A2"], TTL));
    let no = venue.clone().when(&VenueCommand::reserve(8, ["A3", "A2"])).then_rejected();
    assert_eq!(no.to_string(), "customer 8: A2: seat_held");
    let no = venue.clone().when(&VenueCommand::reserve(7, ["B1", "B2"])).then_rejected();
    assert_eq!(no.to_string(), "customer 7: limit_reached: has 2, wants 2 more, may have 3");
    let no = venue.clone().when(&VenueCommand::confirm(8, token)).then_rejected();
    assert_eq!(no.to_string(), "customer 8: not_holder");
    let sold = venue.clone().at(Timestamp(109)).after(&VenueCommand::confirm(7, token));
    assert_eq!((sold.state().sold(), sold.state().count(&7)), (2, Some(2)));
    let lapsed = venue.at(Timestamp(110)).after(&VenueCommand::reserve(7, ["B1", "B2", "A2"]));
    assert_eq!((lapsed.state().sold(), lapsed.state().available(Timestamp(110))), (3, 5));
    let no = lapsed.when(&VenueCommand::reserve_best(8, 5)).then_rejected();
    assert_eq!(no.to_string(), "customer 8: no_such_block: wants 5 side by side");
}

/// The customer's counter is in the scope of a limited venue: another reservation of the same customer is
/// not outside, so it tests nothing.
#[test]
#[should_panic(expected = "nothing was tested")]
fn a_disturbance_inside_the_scope_is_none() {
    let hall = Layout::from_labels(["A1", "A2", "A3"]).unwrap();
    let asked = given::<Venue>(VenueServices::default())
        .after(&VenueCommand::create_with_limit(hall, 2))
        .after(&VenueCommand::reserve(1, ["A1"]));
    let reserve = VenueCommand::reserve(1, ["A2"]);
    let _ = asked.when(&reserve).then_accepted().whatever_happens([VenueCommand::reserve(1, ["A3"])]);
}

#[test]
fn a_flash_sale_in_sentences() {
    let sale = given::<FlashSale>(()).after(&FlashSaleCommand::create(1));
    let sold_out = sale.after(&FlashSaleCommand::purchase("ada", 1));
    let _ = sold_out.when(&FlashSaleCommand::purchase("bob", 1)).then_rejected();
}

/// Which rule the aggregate breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    ScopeMoves,
    EventLeavesScope,
    ReadsOutsideScope,
    EncodingLoses,
}

const FLAWS: [Flaw; 5] =
    [Flaw::None, Flaw::ScopeMoves, Flaw::EventLeavesScope, Flaw::ReadsOutsideScope, Flaw::EncodingLoses];

thread_local! {
    static FLAW: Cell<Flaw> = const { Cell::new(Flaw::None) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn has(flaw: Flaw) -> bool {
    FLAW.get() == flaw
}

/// Counters that may each be raised to 3.
struct Counters;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Raised {
    counter: u64,
    #[serde(skip)]
    note: String,
}

impl Aggregate for Counters {
    const TYPE: &'static str = "counters";
    type State = [u64; 3];
    type Command = u64;
    type Event = Raised;
    type Rejection = String;
    type Services = ();

    fn scope(_: &[u64; 3], counter: &u64) -> Scope {
        ASKED.set(ASKED.get() + 1);
        let moved = if has(Flaw::ScopeMoves) { ASKED.get() } else { 0 };
        Scope::parts([Part::number(0, counter + moved)])
    }

    fn decide(state: &[u64; 3], counter: &u64, _: &Context<'_, ()>) -> Result<Events<Raised>, String> {
        let full =
            state[*counter as usize] == 3 || has(Flaw::ReadsOutsideScope) && state.iter().sum::<u64>() > 1;
        let note = if has(Flaw::EncodingLoses) { "lost".into() } else { String::new() };
        if full { Err("full".into()) } else { Ok(Raised { counter: *counter, note }.into()) }
    }

    fn touches(event: &Raised) -> Scope {
        let moved = u64::from(has(Flaw::EventLeavesScope));
        Scope::parts([Part::number(0, event.counter + moved)])
    }

    fn apply(state: &mut [u64; 3], event: &Raised) {
        state[event.counter as usize] += 1;
    }
}

#[test]
fn every_flaw_is_caught_and_a_sound_aggregate_is_not() {
    for flaw in FLAWS {
        FLAW.set(flaw);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let raised = |counter| Raised { counter, note: String::new() };
            let then = given::<Counters>(()).events([raised(1)]).when(&0);
            let _ = then.then_accepted().whatever_happens([1, 1]);
        }));
        let said = caught.err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
        });
        let expected = match flaw {
            Flaw::None => None,
            Flaw::ScopeMoves => Some("must always be the same"),
            Flaw::EventLeavesScope => Some("touches part 0:1"),
            Flaw::ReadsOutsideScope => Some("depends on what its scope does not name"),
            Flaw::EncodingLoses => Some("reads back as something else"),
        };
        match (&said, expected) {
            (None, None) => {}
            (Some(said), Some(expected)) => assert!(said.contains(expected), "{flaw:?}: {said}"),
            other => panic!("{flaw:?}: {other:?}"),
        }
    }
}

#[test]
#[should_panic(expected = "other events than expected")]
fn other_events_are_a_failure() {
    FLAW.set(Flaw::None);
    let _ = given::<Counters>(()).when(&0).then([Raised { counter: 1, note: String::new() }]);
}

#[test]
#[should_panic(expected = "time went back")]
fn time_does_not_go_back() {
    let _ = given::<Counters>(()).at(Timestamp(5)).at(Timestamp(4));
}

//! Goal: given / when / then says what an engine would say, and catches an aggregate that breaks a rule.
//!
//! Method: the domain's own rules as sentences; then aggregates that are wrong on purpose, each in one way,
//! of which each must be caught.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use boxoffice::clock::Timestamp;
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::layout::Layout;
use boxoffice::testing::{Refused, given};
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
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

//! Step 7, the tests: the rules as sentences, without an engine, a file or a thread.
//!
//! Goal: every rule of the garage holds, and no decision reads what its scope does not name.
//!
//! Method: given what has happened, when a command comes, then these events or this refusal. Each step also checks
//! that the scope is repeatable, that events stay in it, and that what is written reads back.
//! `whatever_happens` lets others act outside the scope, and the decision must stay the same.

use std::time::Duration;

use boxoffice::Scope;
use boxoffice::clock::Timestamp;
use boxoffice::testing::{Given, Refused, given};

use crate::command::Command;
use crate::event::{Event, Refusal};
use crate::garage::{Garage, Till, tariff};
use crate::ledger::due;
use crate::state::{Bay, Plan};

const HOUR: u64 = 3_600 * 1_000_000;

fn enter(plate: &str, level: u32) -> Command {
    Command::Enter { plate: plate.into(), level, permit: false }
}

fn enter_with_permit(plate: &str, level: u32) -> Command {
    Command::Enter { plate: plate.into(), level, permit: true }
}

fn leave(plate: &str) -> Command {
    Command::Leave { plate: plate.into() }
}

/// Two levels of three bays: on each one for the disabled and two for everybody. A cent a second.
fn garage() -> Given<Garage> {
    given::<Garage>(Till::new(|stay| stay.as_secs())).after(&Command::Open(Plan {
        levels: 2,
        bays: 3,
        disabled: 1,
    }))
}

fn entered(plate: &str, bay: u32, permit: bool, at: u64) -> Event {
    Event::Entered { plate: plate.into(), bay: Bay(bay), permit, at: Timestamp(at) }
}

#[test]
fn a_car_gets_the_first_free_bay_of_its_level() {
    let after_one = garage().when(&enter("A", 1)).then([entered("A", 4, false, 0)]).so_far();
    let after_two = after_one.when(&enter("B", 1)).then([entered("B", 5, false, 0)]).so_far();
    // Level 1 has no bay for everybody left: the level below it has.
    let _ = after_two.when(&enter("C", 1)).then([entered("C", 1, false, 0)]);
}

#[test]
fn bays_for_the_disabled_are_for_permits() {
    let two = garage().after(&enter("A", 0)).after(&enter("B", 0));
    // One is free on level 0, and stays so.
    let _ = two.clone().when(&enter("C", 0)).then([entered("C", 4, false, 0)]);
    let three = two.when(&enter_with_permit("P", 0)).then([entered("P", 0, true, 0)]).so_far();
    let four = three.after(&enter("C", 1)).after(&enter("D", 1));
    assert_eq!(four.clone().when(&enter("E", 1)).then_rejected(), Refusal::Full { permit: false });
    let all = four.when(&enter_with_permit("Q", 1)).then([entered("Q", 3, true, 0)]).so_far();
    assert_eq!(all.when(&enter_with_permit("R", 1)).then_rejected(), Refusal::Full { permit: true });
    // Who has a permit may stand where everybody may.
    let taken = garage().after(&enter_with_permit("P", 0));
    let _ = taken.when(&enter_with_permit("Q", 0)).then([entered("Q", 1, true, 0)]);
}

#[test]
fn the_policy_sees_a_bay_that_is_taken_without_a_permit() {
    let state = garage().state().clone();
    for (bay, permit, kept) in [(0, false, false), (0, true, true), (1, false, true), (3, false, false)] {
        assert_eq!(entered("A", bay, permit, 0).keeps_bays_free(&state), kept, "bay {bay}, permit: {permit}");
    }
}

#[test]
fn full_is_full_only_if_every_bay_is() {
    let full = ["A", "B", "C", "D"].iter().fold(garage(), |garage, plate| garage.after(&enter(plate, 0)));
    assert_eq!(full.clone().when(&enter("E", 0)).then_rejected(), Refusal::Full { permit: false });
    // It says so of the whole garage, so a bay that becomes free anywhere comes first or after, not between.
    assert_eq!(crate::scope::of_command(full.state(), &enter("E", 0)), Scope::Whole);
    let _ = full.after(&leave("D")).when(&enter("E", 0)).then([entered("E", 5, false, 0)]);
}

#[test]
fn who_leaves_pays_for_the_time_since_the_gate() {
    let parked = garage().at(Timestamp(HOUR)).after(&enter("A", 0));
    let later = parked.at(Timestamp(3 * HOUR));
    let left = Event::Left { plate: "A".into(), bay: Bay(1), fee: 7_200, at: Timestamp(3 * HOUR) };
    let empty = later.when(&leave("A")).then([left]).so_far();
    assert_eq!(empty.state().car("A"), None);
    assert_eq!(empty.when(&leave("A")).then_rejected(), Refusal::NotInside);
}

#[test]
fn a_plate_is_inside_once() {
    let parked = garage().after(&enter("A", 0));
    assert_eq!(parked.when(&enter("A", 1)).then_rejected(), Refusal::AlreadyInside(Bay(1)));
}

#[test]
fn what_depends_on_nothing_else_is_decided_beside_it() {
    let parked = garage().after(&enter("A", 0)).after(&enter("B", 1));
    let _ = parked.clone().when(&enter("C", 0)).then_accepted().whatever_happens([
        enter("D", 1),
        leave("A"),
        leave("B"),
        enter_with_permit("P", 0),
    ]);
    let _ = parked.when(&leave("A")).then_accepted().whatever_happens([enter("C", 0), leave("B")]);
}

#[test]
fn nonsense_is_refused_before_any_decision() {
    for nonsense in [
        enter("", 0),
        leave("a plate too long"),
        Command::Open(Plan { levels: 0, bays: 3, disabled: 1 }),
        Command::Open(Plan { levels: 1, bays: 3, disabled: 4 }),
    ] {
        let refused = garage().when(&nonsense).then_refused();
        assert!(matches!(refused, Refused::Invalid(_)), "{nonsense:?}: {refused:?}");
    }
    let unopened = given::<Garage>(Till::new(|_| 0));
    assert_eq!(unopened.when(&enter("A", 0)).then_refused(), Refused::UnknownStream);
    assert_eq!(garage().when(&enter("A", 2)).then_rejected(), Refusal::NoSuchLevel);
    let again = Command::Open(Plan { levels: 9, bays: 9, disabled: 9 });
    assert_eq!(garage().when(&again).then_rejected(), Refusal::AlreadyOpen);
}

#[test]
fn the_tariff_of_the_house() {
    let minutes = |minutes: u64| tariff(Duration::from_secs(60 * minutes));
    assert_eq!([0, 14, 15, 59, 60, 119].map(minutes), [0, 0, 250, 250, 500, 500]);
    assert_eq!(
        [7 * 60, 8 * 60, 24 * 60 - 1, 24 * 60, 25 * 60].map(minutes),
        [2_000, 2_000, 2_000, 2_250, 2_500]
    );
    // The ledger, which looks for a wrong fee, has the rule in its own words.
    for stay in 0..3 * 24 * 60 {
        assert_eq!(due(stay * 60 * 1_000_000), minutes(stay), "{stay} minutes");
    }
}

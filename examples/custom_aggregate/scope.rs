//! Step 4, the scope: the parts that a decision reads or changes. Exactly these are locked, or checked.
//!
//! Two cars at two gates want two bays: their commands have no part in common and run side by side. The rule to
//! keep: **if it is read in `decide`, it is named here**, or cannot change. What is forgotten is a write skew
//! waiting to happen; step 7 shows how to test for it.

use boxoffice::{Part, Scope};

use crate::command::Command;
use crate::event::Event;
use crate::state::{Bay, GarageState};

/// Two kinds of parts. A plate is one too: that a car is *not* inside is also something that was read.
const BAY: u32 = 0;
const PLATE: u32 = 1;

/// Pure and cheap. It may choose: `decide` finds the bay that was chosen here in its context, and takes that one.
pub(crate) fn of_command(state: &GarageState, command: &Command) -> Scope {
    match command {
        Command::Open(_) => Scope::Whole,
        Command::Enter { plate, level, permit } => {
            // Whoever is inside already is refused for that, whatever the bays are.
            if state.car(plate).is_some() {
                return Scope::parts([Part::name(PLATE, plate)]);
            }
            match state.nearest(*level, *permit) {
                Some(bay) => Scope::parts([part(bay), Part::name(PLATE, plate)]),
                // "Full" is true only if it is true of every bay.
                None => Scope::Whole,
            }
        }
        Command::Leave { plate } => {
            let bay = state.car(plate).map(|(bay, _)| part(bay));
            Scope::parts(bay.into_iter().chain([Part::name(PLATE, plate)]))
        }
    }
}

/// What an event changes: always within the scope of its command, or the engine refuses to store it.
pub(crate) fn of_event(event: &Event) -> Scope {
    match event {
        Event::Opened(_) => Scope::Whole,
        Event::Entered { plate, bay, .. } | Event::Left { plate, bay, .. } => {
            Scope::parts([part(*bay), Part::name(PLATE, plate)])
        }
    }
}

/// The bay that [`of_command`] chose.
pub(crate) fn chosen(scope: &Scope) -> Option<Bay> {
    let bay = scope.named().iter().find(|part| part.kind() == BAY)?;
    u32::try_from(bay.as_number()?).ok().map(Bay)
}

fn part(bay: Bay) -> Part {
    Part::number(BAY, bay.0.into())
}

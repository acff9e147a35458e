//! Step 5, the decision: events, or a refusal. Pure but for its services, and free to be slow.
//!
//! With locks it runs once for each command; with checks once for each attempt, so a service must not charge
//! anybody. Nobody else waits meanwhile, but for cars that want the same bay or have the same plate.

use std::time::Duration;

use boxoffice::{Context, Events};

use crate::command::Command;
use crate::event::{Event, Refusal};
use crate::garage::Till;
use crate::scope;
use crate::state::GarageState;

pub(crate) fn decide(
    state: &GarageState,
    command: &Command,
    context: &Context<'_, Till>,
) -> Result<Events<Event>, Refusal> {
    // The time of this attempt: never before that of any event in the state.
    let at = context.now();
    match command {
        Command::Open(_) if state.plan.is_some() => Err(Refusal::AlreadyOpen),
        Command::Open(plan) => Ok(Event::Opened(plan.clone()).into()),
        Command::Enter { plate, level, permit } => {
            if let Some((bay, _)) = state.car(plate) {
                return Err(Refusal::AlreadyInside(bay));
            }
            if state.plan.as_ref().is_none_or(|plan| *level >= plan.levels) {
                return Err(Refusal::NoSuchLevel);
            }
            let bay = scope::chosen(context.scope()).ok_or(Refusal::Full { permit: *permit })?;
            Ok(Event::Entered { plate: plate.clone(), bay, permit: *permit, at }.into())
        }
        Command::Leave { plate } => {
            let (bay, stay) = state.car(plate).ok_or(Refusal::NotInside)?;
            let fee = context.services().fee(Duration::from_micros(at.0 - stay.since.0));
            Ok(Event::Left { plate: plate.clone(), bay, fee, at }.into())
        }
    }
}

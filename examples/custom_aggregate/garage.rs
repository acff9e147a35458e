//! The aggregate: the steps tied together, and what its decisions ask of the outside world.

use std::thread;
use std::time::Duration;

use boxoffice::error::Invalid;
use boxoffice::{Aggregate, Context, Events, Limits, Scope};

use crate::command::Command;
use crate::event::{Event, Refusal};
use crate::state::GarageState;
use crate::{apply, decide, scope};

/// A parking garage: one stream of events.
pub(crate) struct Garage;

impl Aggregate for Garage {
    /// Its name in the file, for ever.
    const TYPE: &'static str = "example.garage";

    type State = GarageState;
    type Command = Command;
    type Event = Event;
    type Rejection = Refusal;
    type Services = Till;

    fn creates(command: &Command) -> bool {
        command.creates()
    }

    fn check(command: &Command, _: &Limits) -> Result<(), Invalid> {
        command.check()
    }

    fn scope(state: &GarageState, command: &Command) -> Scope {
        scope::of_command(state, command)
    }

    fn decide(
        state: &GarageState,
        command: &Command,
        context: &Context<'_, Till>,
    ) -> Result<Events<Event>, Refusal> {
        decide::decide(state, command, context)
    }

    fn touches(event: &Event) -> Scope {
        scope::of_event(event)
    }

    fn apply(state: &mut GarageState, event: &Event) {
        apply::apply(state, event);
    }
}

/// The services: who knows the tariff. Injected with the handle, so that a test brings its own.
pub(crate) struct Till {
    tariff: Box<dyn Fn(Duration) -> u64 + Send + Sync>,
}

impl Till {
    pub(crate) fn new(tariff: impl Fn(Duration) -> u64 + Send + Sync + 'static) -> Self {
        Self { tariff: Box::new(tariff) }
    }

    /// The tariff of the house, from a service that takes its time.
    pub(crate) fn slow() -> Self {
        Self::new(|stay| {
            thread::sleep(Duration::from_millis(2));
            tariff(stay)
        })
    }

    pub(crate) fn fee(&self, stay: Duration) -> u64 {
        (self.tariff)(stay)
    }
}

/// The first quarter of an hour is free; 2.50 for every hour that has begun, and 20.00 a day at most.
pub(crate) fn tariff(stay: Duration) -> u64 {
    const DAY: u64 = 24 * 3_600;
    let seconds = stay.as_secs();
    if seconds < 15 * 60 {
        return 0;
    }
    let of_part = |seconds: u64| (seconds / 3_600 + 1).saturating_mul(250).min(2_000);
    (seconds / DAY).saturating_mul(2_000).saturating_add(of_part(seconds % DAY))
}

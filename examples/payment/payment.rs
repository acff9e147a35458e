//! The aggregate: a payment is new, then payed or failed, and that is for ever.

use boxoffice::aggregate::{Audit, Moment};
use boxoffice::error::Invalid;
use boxoffice::{Aggregate, Context, Events, Limits};
use serde::{Deserialize, Serialize};

/// One payment. All of it is one thing, so its scope is the default: the whole.
pub(crate) struct Payment;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    New,
    Payed,
    Failed,
}

/// What a job has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bill {
    pub(crate) status: Status,
    pub(crate) cents: u64,
}

pub(crate) enum Command {
    Open { cents: u64 },
    Record(Answer),
}

/// What the provider said. Goes over the wire, and into the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Charged { charge: u64, cents: u64 },
    Declined { reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Opened { cents: u64 },
    Payed { charge: u64, cents: u64 },
    Failed { reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    IsOpenAlready,
    IsSettledAlready,
    AnotherAmount,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Payed => "payed",
            Self::Failed => "failed",
        }
    }
}

impl Aggregate for Payment {
    const TYPE: &'static str = "payment";
    type State = Bill;
    type Command = Command;
    type Event = Event;
    type Rejection = Refusal;
    type Services = ();

    fn creates(command: &Command) -> bool {
        matches!(command, Command::Open { .. })
    }

    fn check(command: &Command, _: &Limits) -> Result<(), Invalid> {
        match command {
            Command::Open { cents: 0 } => Err(Invalid::new("there is nothing to pay; bill 1 cent or more")),
            _ => Ok(()),
        }
    }

    fn decide(bill: &Bill, command: &Command, _: &Context<'_, ()>) -> Result<Events<Event>, Refusal> {
        match command {
            // Only a bill that was opened has an amount.
            Command::Open { .. } if bill.cents > 0 => Err(Refusal::IsOpenAlready),
            Command::Open { cents } => Ok(Event::Opened { cents: *cents }.into()),
            Command::Record(_) if bill.status != Status::New => Err(Refusal::IsSettledAlready),
            Command::Record(Answer::Charged { cents, .. }) if *cents != bill.cents => {
                Err(Refusal::AnotherAmount)
            }
            Command::Record(Answer::Charged { charge, cents }) => {
                Ok(Event::Payed { charge: *charge, cents: *cents }.into())
            }
            Command::Record(Answer::Declined { reason }) => {
                Ok(Event::Failed { reason: reason.clone() }.into())
            }
        }
    }

    fn apply(bill: &mut Bill, event: &Event) {
        match event {
            Event::Opened { cents } => bill.cents = *cents,
            Event::Payed { .. } => bill.status = Status::Payed,
            Event::Failed { .. } => bill.status = Status::Failed,
        }
    }

    fn audit() -> Option<Box<dyn Audit<Event>>> {
        Some(Box::<Ends>::default())
    }
}

/// A second opinion, asked by `verify`: counts the ends of a payment, which must be one or none.
#[derive(Default)]
struct Ends(u32);

impl Audit<Event> for Ends {
    fn record(&mut self, _: Moment, event: &Event) {
        self.0 += u32::from(!matches!(event, Event::Opened { .. }));
    }

    fn findings(&self) -> Vec<String> {
        if self.0 > 1 { vec![format!("settled {} times", self.0)] } else { Vec::new() }
    }
}

//! A list on paper: seats with a version each, into which others write what they decided.
//!
//! It can refuse a write by the version that it was decided on. It cannot choose a seat.

use boxoffice::cow::CowArray;
use boxoffice::layout::SeatIndex;
use boxoffice::{Aggregate, Context, Events, Part, Scope};
use serde::{Deserialize, Serialize};

/// `POLICED` is another type to the engine, so that it can have a policy which the other one has not.
pub(crate) struct Paper<const POLICED: bool>;

pub(crate) enum Command {
    Unfold {
        seats: u32,
    },
    /// Writes a customer's name on a seat: if its version is still the one that was read, or in any case.
    Write {
        customer: u64,
        seat: SeatIndex,
        version: Option<u32>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Unfolded { seats: u32 },
    Written { customer: u64, seat: SeatIndex },
}

impl Event {
    pub(crate) fn seat(&self) -> Option<SeatIndex> {
        match self {
            Self::Unfolded { .. } => None,
            Self::Written { seat, .. } => Some(*seat),
        }
    }
}

/// Somebody wrote since the seat was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stale;

/// For each seat, how often it was written and whose name is on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names(CowArray<(u32, u64)>);

impl Names {
    pub(crate) fn version_of(&self, seat: SeatIndex) -> u32 {
        self.0.get(seat.index()).map_or(0, |(version, _)| *version)
    }

    pub(crate) fn first_free(&self) -> Option<SeatIndex> {
        (0..).map(SeatIndex).zip(self.0.iter()).find(|(_, (version, _))| *version == 0).map(|(seat, _)| seat)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.0.iter().filter(|(version, _)| *version > 0).count() as u64
    }
}

impl<const POLICED: bool> Aggregate for Paper<POLICED> {
    const TYPE: &'static str = if POLICED { "example.paper.policed" } else { "example.paper" };

    type State = Names;
    type Command = Command;
    type Event = Event;
    type Rejection = Stale;
    type Services = ();

    fn creates(command: &Command) -> bool {
        matches!(command, Command::Unfold { .. })
    }

    fn scope(_: &Names, command: &Command) -> Scope {
        match command {
            Command::Unfold { .. } => Scope::Whole,
            Command::Write { seat, .. } => Scope::parts([part(*seat)]),
        }
    }

    fn decide(names: &Names, command: &Command, _: &Context<'_, ()>) -> Result<Events<Event>, Stale> {
        match command {
            Command::Unfold { seats } => Ok(Event::Unfolded { seats: *seats }.into()),
            Command::Write { seat, version: Some(read), .. } if names.version_of(*seat) != *read => {
                Err(Stale)
            }
            Command::Write { customer, seat, .. } => {
                Ok(Event::Written { customer: *customer, seat: *seat }.into())
            }
        }
    }

    fn touches(event: &Event) -> Scope {
        event.seat().map_or(Scope::Whole, |seat| Scope::parts([part(seat)]))
    }

    fn apply(names: &mut Names, event: &Event) {
        match event {
            Event::Unfolded { seats } => names.0 = CowArray::filled(*seats as usize, (0, 0)),
            Event::Written { customer, seat } => {
                if let Some((version, name)) = names.0.get_mut(seat.index()) {
                    *version += 1;
                    *name = *customer;
                }
            }
        }
    }
}

fn part(seat: SeatIndex) -> Part {
    Part::number(0, seat.0.into())
}

//! The wrong way, from public parts: a list of bookings that writes down what was decided elsewhere.
//!
//! It stands for the table of bookings of a program that reads, thinks, and writes. Nobody looks again
//! before the write, so it may end up with several bookings for one seat: the anomalies of the page.

use boxoffice::cow::CowArray;
use boxoffice::layout::SeatIndex;
use boxoffice::{Aggregate, Context, Events, Part, Scope};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub(crate) struct Paper;

pub(crate) enum PaperCommand {
    /// A blank sheet for so many seats; also in place of one that was written on.
    Blank {
        seats: u32,
    },
    Write {
        client: SmolStr,
        lines: Vec<Line>,
    },
}

/// One seat of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) seat: SeatIndex,
    /// Whether the seat was still free in the hall when this was written.
    pub(crate) was_first: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum PaperEvent {
    Blanked { seats: u32 },
    Written { client: SmolStr, lines: Vec<Line> },
}

/// It never says no. That is the trouble.
#[derive(Serialize, Deserialize)]
pub(crate) enum Never {}

/// For each seat, how many bookings it has here, and whether the hall has one of them too.
#[derive(Clone, Default)]
pub(crate) struct Bookings(CowArray<(u32, bool)>);

impl Bookings {
    pub(crate) fn written(&self, seat: SeatIndex) -> u32 {
        self.0.get(seat.index()).map_or(0, |(written, _)| *written)
    }

    /// How many bookings a seat has in all, if the hall has it reserved or not.
    pub(crate) fn count(&self, seat: SeatIndex, reserved: bool) -> u32 {
        let (written, in_hall) = self.0.get(seat.index()).copied().unwrap_or_default();
        written + u32::from(reserved && !in_hall)
    }
}

impl Aggregate for Paper {
    const TYPE: &'static str = "example.bookings";

    type State = Bookings;
    type Command = PaperCommand;
    type Event = PaperEvent;
    type Rejection = Never;
    type Services = ();

    fn creates(command: &PaperCommand) -> bool {
        matches!(command, PaperCommand::Blank { .. })
    }

    fn scope(_: &Bookings, command: &PaperCommand) -> Scope {
        match command {
            PaperCommand::Blank { .. } => Scope::Whole,
            PaperCommand::Write { lines, .. } => lines_of(lines.iter().map(|line| line.seat)),
        }
    }

    fn decide(
        _: &Bookings,
        command: &PaperCommand,
        _: &Context<'_, ()>,
    ) -> Result<Events<PaperEvent>, Never> {
        // Here one would look at the state, and say no. `Venue` does.
        Ok(match command {
            PaperCommand::Blank { seats } => PaperEvent::Blanked { seats: *seats }.into(),
            PaperCommand::Write { client, lines } => {
                PaperEvent::Written { client: client.clone(), lines: lines.clone() }.into()
            }
        })
    }

    fn touches(event: &PaperEvent) -> Scope {
        match event {
            PaperEvent::Blanked { .. } => Scope::Whole,
            PaperEvent::Written { lines, .. } => lines_of(lines.iter().map(|line| line.seat)),
        }
    }

    fn apply(bookings: &mut Bookings, event: &PaperEvent) {
        match event {
            PaperEvent::Blanked { seats } => bookings.0 = CowArray::filled(*seats as usize, (0, false)),
            PaperEvent::Written { lines, .. } => {
                for line in lines {
                    if let Some((written, in_hall)) = bookings.0.get_mut(line.seat.index()) {
                        *written += 1;
                        *in_hall |= line.was_first;
                    }
                }
            }
        }
    }
}

/// What is written about these seats.
pub(crate) fn lines_of(seats: impl IntoIterator<Item = SeatIndex>) -> Scope {
    Scope::parts(seats.into_iter().map(|seat| Part::number(0, seat.0.into())))
}

//! The wrong way, from public parts: an aggregate that writes down what was decided elsewhere.
//!
//! Everything still goes through the engine: it is locked, ordered and on disk. It does not help. The
//! decision was made outside, on what an earlier read had shown, and nobody looks again.

use std::thread;

use boxoffice::cow::CowArray;
use boxoffice::history::{Happened, History};
use boxoffice::layout::SeatIndex;
use boxoffice::{Aggregate, Context, Engine, Error, Events, Handle, Options, Part, Scope, View};
use serde::{Deserialize, Serialize};

use crate::desk::{Answer, Deed, Desk, PRICE_TAKES, Seats};
use crate::stadium::Stadium;
use crate::support::patience::patient;

/// A seating plan on paper.
pub(crate) struct Paper;

pub(crate) enum Command {
    Unfold { seats: u32 },
    JustWrite { fan: u64, seats: Vec<SeatIndex> },
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Event {
    Unfolded { seats: u32 },
    Written { fan: u64, seats: Vec<SeatIndex> },
}

/// It never says no. That is the trouble.
#[derive(Serialize, Deserialize)]
pub(crate) enum Never {}

/// For each seat, how many names are on it, and the last of them.
#[derive(Clone, Default)]
pub(crate) struct Names(CowArray<(u32, u64)>);

impl Aggregate for Paper {
    const TYPE: &'static str = "example.paper";

    type State = Names;
    type Command = Command;
    type Event = Event;
    type Rejection = Never;
    type Services = ();

    fn creates(command: &Command) -> bool {
        matches!(command, Command::Unfold { .. })
    }

    fn scope(_: &Names, command: &Command) -> Scope {
        match command {
            Command::Unfold { .. } => Scope::Whole,
            Command::JustWrite { seats, .. } => parts(seats),
        }
    }

    fn decide(_: &Names, command: &Command, _: &Context<'_, ()>) -> Result<Events<Event>, Never> {
        // Here one would look at the state, and say no. `Venue` does.
        Ok(match command {
            Command::Unfold { seats } => Event::Unfolded { seats: *seats }.into(),
            Command::JustWrite { fan, seats } => Event::Written { fan: *fan, seats: seats.clone() }.into(),
        })
    }

    fn touches(event: &Event) -> Scope {
        match event {
            Event::Unfolded { .. } => Scope::Whole,
            Event::Written { seats, .. } => parts(seats),
        }
    }

    fn apply(names: &mut Names, event: &Event) {
        match event {
            Event::Unfolded { seats } => names.0 = CowArray::filled(*seats as usize, (0, 0)),
            Event::Written { fan, seats } => {
                for seat in seats {
                    if let Some((count, last)) = names.0.get_mut(seat.index()) {
                        *count += 1;
                        *last = *fan;
                    }
                }
            }
        }
    }
}

fn parts(seats: &[SeatIndex]) -> Scope {
    Scope::parts(seats.iter().map(|seat| Part::number(0, seat.0.into())))
}

impl Seats for Names {
    fn holders(&self, seat: SeatIndex) -> usize {
        self.0.get(seat.index()).map_or(0, |(count, _)| *count as usize)
    }

    fn holder(&self, seat: SeatIndex) -> Option<u64> {
        self.0.get(seat.index()).filter(|(count, _)| *count > 0).map(|(_, last)| *last)
    }
}

/// Sells from the paper.
pub(crate) struct PaperDesk {
    papers: Handle<Paper>,
    show: &'static str,
}

impl PaperDesk {
    pub(crate) fn open(engine: &Engine, show: &'static str, stadium: &Stadium) -> Result<Self, Error> {
        let papers = engine.handle::<Paper>(())?.with(patient(Options::default()));
        let _ = papers.execute(show, &Command::Unfold { seats: stadium.layout.len() })?;
        Ok(Self { papers, show })
    }
}

impl Desk for PaperDesk {
    type Show = Paper;
    const LIMIT: Option<u32> = None;

    /// The read: the fan picks seats that are free in it.
    fn look(&self) -> Result<View<Paper>, Error> {
        self.papers.read(self.show)
    }

    /// The pause, and the write. What happened to the seats in the meantime, nobody asks.
    fn buy(&self, fan: u64, seats: &[SeatIndex]) -> Result<Answer, Error> {
        thread::sleep(PRICE_TAKES);
        let outcome = self.papers.execute(self.show, &Command::JustWrite { fan, seats: seats.to_vec() })?;
        Ok(Answer { refused: None, effort: outcome.effort() })
    }

    fn give_back(&self, _fan: u64, _seats: &[SeatIndex]) -> Result<Option<Answer>, Error> {
        Ok(None)
    }

    fn history(&self) -> Result<History<Paper>, Error> {
        self.papers.history(self.show)
    }

    fn deed(what: &Happened<Paper>) -> Deed<'_> {
        match what {
            Happened::Event(Event::Unfolded { .. }) => Deed::Opened,
            Happened::Event(Event::Written { fan, seats }) => Deed::Sold { fan: *fan, seats },
            Happened::Rejection(never) => match *never {},
        }
    }
}

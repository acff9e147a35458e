//! The ways of selling: what a program calls for a customer, and what the customer hears.

use std::thread;
use std::time::Duration;

use boxoffice::history::{Happened, History};
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::options::Wait;
use boxoffice::venue::{Request, Venue, VenueCommand, VenueEvent, VenueServices};
use boxoffice::{Aggregate, Engine, Error, Handle, Options, Outcome};

use crate::SEATS;
use crate::args::Mode;
use crate::paper::{Command, Event, Paper};
use crate::support::Failure;
use crate::support::args::Choice;
use crate::support::patience::patient;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Simple,
    Occ,
    Zen,
    Pessimistic,
    Optimistic,
    SkipLocked,
}

impl Way {
    pub(crate) const ALL: [Self; 6] =
        [Self::Simple, Self::Occ, Self::Zen, Self::Pessimistic, Self::Optimistic, Self::SkipLocked];

    pub(crate) fn name(self) -> &'static str {
        Mode::ALL.iter().find(|(_, mode)| *mode == Mode::Only(self)).map_or("", |(name, _)| *name)
    }
}

/// What a customer hears.
pub(crate) struct Answer {
    pub(crate) told: Told,
    /// How often the engine decided again because another commit came first. A refusal is none, nor is the no of
    /// a policy.
    pub(crate) conflicts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Here is your ticket, for this seat.
    Sold(SeatIndex),
    /// The seat that you saw is gone, although others are free. Try your luck again.
    Gone,
    SoldOut,
}

/// What is stored of a sale, in the words of this example.
pub(crate) enum Deed {
    Sold { customer: u64, seat: SeatIndex },
    SoldOut { customer: Option<u64> },
    Other,
}

/// Somebody who sells the seats of one show. Shared by all threads.
pub(crate) trait Seller: Sync {
    type Show: Aggregate;

    fn sell(&self, customer: u64) -> Result<Answer, Error>;

    /// How many seats have a name on them.
    fn taken(&self) -> Result<u64, Error>;

    fn history(&self) -> Result<History<Self::Show>, Error>;

    fn deed(what: &Happened<Self::Show>) -> Deed;
}

/// Reads, asks for the price, and writes.
pub(crate) struct PaperSeller<'s, const POLICED: bool> {
    papers: Handle<Paper<POLICED>>,
    show: &'s str,
    way: Way,
    price: Duration,
}

impl<'s, const POLICED: bool> PaperSeller<'s, POLICED> {
    pub(crate) fn open(engine: &Engine, way: Way, show: &'s str, price: Duration) -> Result<Self, Error> {
        let papers = engine.handle::<Paper<POLICED>>(())?.with(patient(Options::default()));
        let _ = papers.execute(show, &Command::Unfold { seats: SEATS })?;
        Ok(Self { papers, show, way, price })
    }
}

impl<const POLICED: bool> Seller for PaperSeller<'_, POLICED> {
    type Show = Paper<POLICED>;

    fn sell(&self, customer: u64) -> Result<Answer, Error> {
        let seen = self.papers.read(self.show)?;
        let Some(seat) = seen.first_free() else {
            return Ok(Answer { told: Told::SoldOut, conflicts: 0 });
        };
        // Here lies the mistake: what was read may not be so any more when the price has come.
        thread::sleep(self.price);
        let version = (self.way == Way::Occ).then(|| seen.version_of(seat));
        match self.papers.execute(self.show, &Command::Write { customer, seat, version }) {
            Ok(outcome) => {
                let told = if outcome.is_accepted() { Told::Sold(seat) } else { Told::Gone };
                Ok(Answer { told, conflicts: outcome.effort().conflicts })
            }
            // Nobody counts what it took, and a write with its seat named is never decided again.
            Err(Error::PolicyViolated { .. }) => Ok(Answer { told: Told::Gone, conflicts: 0 }),
            Err(error) => Err(error),
        }
    }

    fn taken(&self) -> Result<u64, Error> {
        Ok(self.papers.read(self.show)?.taken())
    }

    fn history(&self) -> Result<History<Self::Show>, Error> {
        self.papers.history(self.show)
    }

    fn deed(what: &Happened<Self::Show>) -> Deed {
        match what {
            Happened::Event(Event::Written { customer, seat }) => {
                Deed::Sold { customer: *customer, seat: *seat }
            }
            _ => Deed::Other,
        }
    }
}

/// Says what is wanted. The engine chooses, asks for the price and decides.
pub(crate) struct VenueSeller<'s> {
    venues: Handle<Venue>,
    show: &'s str,
    way: Way,
}

impl<'s> VenueSeller<'s> {
    pub(crate) fn open(engine: &Engine, way: Way, show: &'s str, price: Duration) -> Result<Self, Failure> {
        let services = VenueServices::default().with_pricing(move |cart: &Request<'_, u64>| {
            thread::sleep(price);
            cart.list_price()
        });
        let options = match way {
            Way::Optimistic => Options::optimistic(),
            _ => Options::pessimistic(),
        };
        // With no window at all, 1,200 stand in line for the same seat.
        let venues = engine.handle::<Venue>(services)?.with(patient(options));
        let _ = venues.execute(show, &VenueCommand::create(hall()?))?;
        Ok(Self { venues, show, way })
    }

    /// The same, with the first seat that nobody has locked.
    fn skip(&self, wish: &VenueCommand) -> Result<Option<Answer>, Error> {
        let options = Options { wait: Wait::SkipLocked, record_rejections: false, ..self.venues.options() };
        match self.venues.with(options).execute(self.show, wish) {
            Ok(outcome) if outcome.is_accepted() => Ok(Some(answer(&outcome))),
            // All that is left is locked, or the choice was lost too often: it remains to stand in line.
            Ok(_) | Err(Error::WouldBlock { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn answer(outcome: &Outcome<Venue>) -> Answer {
    let seats = outcome.events().iter().flat_map(|event| event.seats());
    let told = match (outcome.rejection().map(|no| no.reason()), seats.copied().next()) {
        (None, Some(seat)) => Told::Sold(seat),
        (Some("sold_out"), _) => Told::SoldOut,
        _ => Told::Gone,
    };
    Answer { told, conflicts: outcome.effort().conflicts }
}

/// 40 rows of 25 seats.
fn hall() -> Result<Layout, Failure> {
    let rows = (1..=SEATS / 25).map(|row| format!("R{row}"));
    let plan = Layout::builder().category("stalls", 4_500);
    Ok(rows.fold(plan, |plan, row| plan.row(row, "stalls", [(1, 25)])).build()?)
}

impl Seller for VenueSeller<'_> {
    type Show = Venue;

    fn sell(&self, customer: u64) -> Result<Answer, Error> {
        let wish = VenueCommand::reserve_best(customer, 1);
        if self.way == Way::SkipLocked
            && let Some(answer) = self.skip(&wish)?
        {
            return Ok(answer);
        }
        let outcome = self.venues.execute(self.show, &wish)?;
        Ok(answer(&outcome))
    }

    fn taken(&self) -> Result<u64, Error> {
        Ok(self.venues.read(self.show)?.sold().into())
    }

    fn history(&self) -> Result<History<Venue>, Error> {
        self.venues.history(self.show)
    }

    fn deed(what: &Happened<Venue>) -> Deed {
        match what {
            Happened::Event(VenueEvent::Reserved { customer, seats, .. }) => {
                let sold = |seat: &SeatIndex| Deed::Sold { customer: *customer, seat: *seat };
                seats.first().map_or(Deed::Other, sold)
            }
            Happened::Rejection(no) if no.reason() == "sold_out" => Deed::SoldOut { customer: no.customer },
            _ => Deed::Other,
        }
    }
}

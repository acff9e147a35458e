//! The right way: the built-in venue decides, and the engine sees to it that nobody comes between.

use std::thread;

use boxoffice::history::{Happened, History};
use boxoffice::layout::SeatIndex;
use boxoffice::venue::{Request, Venue, VenueCommand, VenueEvent, VenueServices, VenueState};
use boxoffice::{Engine, Error, Handle, Options, Outcome, View};

use crate::desk::{Answer, Deed, Desk, PRICE_TAKES, Seats};
use crate::stadium::{MOST_SEATS, Stadium};
use crate::support::patience::patient;

/// Sells one show of the built-in [`Venue`]. Pessimistic or optimistic is only a matter of [`Options`].
pub(crate) struct VenueDesk<'s> {
    venues: Handle<Venue>,
    show: &'static str,
    stadium: &'s Stadium,
}

impl<'s> VenueDesk<'s> {
    /// Opens the show, unless the file has it already.
    pub(crate) fn open(
        engine: &Engine,
        show: &'static str,
        stadium: &'s Stadium,
        options: Options,
    ) -> Result<Self, Error> {
        let services = VenueServices::default().with_pricing(|cart: &Request<'_, u64>| {
            thread::sleep(PRICE_TAKES);
            cart.list_price()
        });
        let venues = engine.handle::<Venue>(services)?.with(patient(options));
        if let Err(Error::UnknownStream { .. }) = venues.read(show) {
            let create = VenueCommand::create_with_limit(stadium.layout.clone(), MOST_SEATS);
            // Nobody else creates it, so this is never the second time, which would be rejected.
            let _ = venues.execute(show, &create)?;
        }
        Ok(Self { venues, show, stadium })
    }

    /// Sells all these seats to a fan, or none of them.
    pub(crate) fn reserve(&self, fan: u64, seats: &[SeatIndex]) -> Result<Outcome<Venue>, Error> {
        self.venues.execute(self.show, &VenueCommand::reserve(fan, self.stadium.labels(seats)))
    }

    pub(crate) fn release(&self, fan: u64, seats: &[SeatIndex]) -> Result<Outcome<Venue>, Error> {
        self.venues.execute(self.show, &VenueCommand::release(fan, self.stadium.labels(seats)))
    }
}

impl Desk for VenueDesk<'_> {
    type Show = Venue;
    const LIMIT: Option<u32> = Some(MOST_SEATS);

    fn look(&self) -> Result<View<Venue>, Error> {
        self.venues.read(self.show)
    }

    fn buy(&self, fan: u64, seats: &[SeatIndex]) -> Result<Answer, Error> {
        self.reserve(fan, seats).map(|outcome| Answer::from(&outcome))
    }

    fn give_back(&self, fan: u64, seats: &[SeatIndex]) -> Result<Option<Answer>, Error> {
        self.release(fan, seats).map(|outcome| Some(Answer::from(&outcome)))
    }

    fn history(&self) -> Result<History<Venue>, Error> {
        self.venues.history(self.show)
    }

    fn deed(what: &Happened<Venue>) -> Deed<'_> {
        match what {
            Happened::Event(VenueEvent::Reserved { customer, seats, .. }) => {
                Deed::Sold { fan: *customer, seats }
            }
            Happened::Event(VenueEvent::Released { holder, seats, .. }) => {
                Deed::GivenBack { fan: *holder, seats }
            }
            Happened::Event(_) => Deed::Opened,
            Happened::Rejection(no) => Deed::Refused(no.reason()),
        }
    }
}

impl From<&Outcome<Venue>> for Answer {
    fn from(outcome: &Outcome<Venue>) -> Self {
        // A rejection is an outcome like any other: decided, stored, and not an error.
        Self { refused: outcome.rejection().map(|no| no.reason()), effort: outcome.effort() }
    }
}

impl Seats for VenueState {
    fn holders(&self, seat: SeatIndex) -> usize {
        usize::from(self.holder(seat).is_some())
    }

    fn holder(&self, seat: SeatIndex) -> Option<u64> {
        VenueState::holder(self, seat).copied()
    }
}

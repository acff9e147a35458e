//! The office: the engine, opened and closed, and what is read from it and set back in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boxoffice::error::{Advice, Error};
use boxoffice::layout::SeatIndex;
use boxoffice::options::{Staged, Wait};
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Handle, Options, Scope, Transaction, View};
use smol_str::SmolStr;
use tokio::time::sleep;

use crate::cinema::{Cinema, SEED, SHOWS, Show};
use crate::paper::{Paper, PaperCommand, lines_of};
use crate::standing::{Standing, bookings, now};
use crate::support::Failure;
use crate::trouble::Trouble;

/// A hall whose customers are known by the text that a browser sends.
pub(crate) type Hall = Venue<SmolStr>;
pub(crate) type HallCommand = VenueCommand<SmolStr>;

/// Ample, for a slow disk and a long line for one seat.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How often a reset is tried while others are booking, and with what pause: a moment for people.
const RESETS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// The engine with its handles, shared by all requests.
pub(crate) struct Office {
    pub(crate) engine: Engine,
    pub(crate) halls: Handle<Hall>,
    pub(crate) papers: Handle<Paper>,
    pub(crate) cinema: Arc<Cinema>,
    pub(crate) terms: Terms,
}

/// What is the same for every request.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// How long a hold lasts if the client does not say.
    pub(crate) hold: Duration,
    /// How long an unsafe booking thinks about each seat if the client does not say.
    pub(crate) delay: Duration,
}

/// The hall and the paper of a show, one after the other.
pub(crate) struct Sight {
    pub(crate) hall: View<Hall>,
    pub(crate) paper: View<Paper>,
}

impl Office {
    /// Opens the file, and every show that it does not have yet. Blocks.
    pub(crate) fn open(file: &Path, terms: Terms) -> Result<Self, Failure> {
        // Who is refused need not be on record: anybody can ask for a taken seat a thousand times.
        let options =
            Options { wait: Wait::AtMost(PATIENCE), record_rejections: false, ..Options::pessimistic() };
        let builder = Engine::builder().aggregate_with::<Hall>(options).aggregate_with::<Paper>(options);
        let engine = builder.open(file)?;
        let halls = engine.handle::<Hall>(VenueServices::default())?;
        let papers = engine.handle::<Paper>(())?;
        let office = Self { engine, halls, papers, cinema: Arc::new(Cinema::new()?), terms };
        for Show { id, .. } in SHOWS {
            office.open_show(id)?;
        }
        Ok(office)
    }

    /// One entry: a hall that exists has its paper too.
    fn open_show(&self, id: &str) -> Result<(), Error> {
        match self.halls.read(id) {
            Err(Error::UnknownStream { .. }) => {}
            known => return known.map(drop),
        }
        let layout = &self.cinema.layout;
        self.engine.transact(self.halls.options(), |unit| {
            let _ = unit.execute(&self.halls, id, &HallCommand::create(Arc::clone(layout)))?;
            let _ = unit.execute(&self.halls, id, &self.beforehand())?;
            let _ = unit.execute(&self.papers, id, &PaperCommand::Blank { seats: layout.len() })?;
            Ok::<_, Error>(())
        })?;
        Ok(())
    }

    fn beforehand(&self) -> HallCommand {
        HallCommand::reserve(SmolStr::new_static(SEED), self.cinema.booked_beforehand())
    }

    /// A show as it is now. Never waits.
    pub(crate) fn look(&self, show: &str) -> Result<Sight, Trouble> {
        let known = |error| match error {
            Error::UnknownStream { .. } | Error::InvalidId { .. } => Trouble::NoSuchShow,
            other => Trouble::Engine(other),
        };
        let hall = self.halls.read(show).map_err(known)?;
        Ok(Sight { hall, paper: self.papers.read(show).map_err(known)? })
    }

    /// The seats that these labels mean, in the order in which all carts are locked.
    pub(crate) fn cart(&self, labels: &[SmolStr]) -> Result<Vec<SeatIndex>, Trouble> {
        if labels.is_empty() {
            return Err(Trouble::NoSeats);
        }
        let find = |label: &SmolStr| self.cinema.layout.seat(label).ok_or(Trouble::NoSuchSeat);
        let mut seats = labels.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        seats.sort_unstable();
        match seats.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Trouble::SeatTwice(self.cinema.label(pair[0]))),
            None => Ok(seats),
        }
    }

    /// Refuses seats that were promised on paper while somebody else held them: free in the hall, and yet not. What it
    /// reads is part of what the transaction depends on. After the seats themselves, so that all lock in one order.
    pub(crate) async fn check_paper(
        &self,
        unit: &mut Transaction,
        show: &str,
        seats: &[SeatIndex],
    ) -> Result<(), Trouble> {
        let paper = unit.read_async(&self.papers, show, lines_of(seats.iter().copied())).await?;
        if seats.iter().any(|seat| paper.written(*seat) > 0) { Err(Trouble::Taken) } else { Ok(()) }
    }

    /// Everything as it was before the doors opened: one entry, so that nobody sees a half of it.
    pub(crate) async fn reset(&self, show: &str) -> Result<(), Trouble> {
        self.look(show)?;
        let body = |unit: Transaction| self.take_all_back(unit, show);
        // Whoever stands in line for the whole hall holds up everybody behind it: rather not wait, and try again.
        let at_once = Options { wait: Wait::Never, ..self.halls.options() };
        for _ in 1..RESETS {
            match self.engine.transact_async(at_once, body).await {
                Err(Trouble::Engine(error)) if error.advice() == Advice::Retry => sleep(BETWEEN).await,
                ended => return ended.map(drop),
            }
        }
        self.engine.transact_async(at_once, body).await.map(drop)
    }

    async fn take_all_back(&self, mut unit: Transaction, show: &str) -> Result<(Transaction, ()), Trouble> {
        let hall = unit.read_for_update_async(&self.halls, show, Scope::Whole).await?;
        let at = now();
        let is_held = |seat: &SeatIndex| hall.hold_on(*seat, at).is_some();
        let (held, reserved): (Vec<_>, Vec<_>) =
            self.cinema.layout.seats().filter(|seat| !hall.is_free(*seat, at)).partition(is_held);
        let take = |seats: &[SeatIndex]| HallCommand::force_release(self.cinema.labels(seats), "reset-demo");
        for seat in held {
            // No seat is held any more that was held together with an earlier one, or whose time is up by now.
            let _ = unit.execute_async(&self.halls, show, &take(&[seat])).await?;
        }
        if !reserved.is_empty() {
            accepted(&unit.execute_async(&self.halls, show, &take(&reserved)).await?)?;
        }
        accepted(&unit.execute_async(&self.halls, show, &self.beforehand()).await?)?;
        let blank = PaperCommand::Blank { seats: self.cinema.layout.len() };
        let _ = unit.execute_async(&self.papers, show, &blank).await?;
        Ok((unit, ()))
    }

    /// Lets what is being decided come to its end, makes it durable, and closes the file. Blocks.
    pub(crate) fn close(self) -> Result<(), Error> {
        self.engine.close_within(PATIENCE)
    }
}

fn accepted(staged: &Staged<Hall>) -> Result<(), Trouble> {
    staged.rejection().map_or(Ok(()), |no| Err(no.clone().into()))
}

impl Sight {
    pub(crate) fn standing(&self, seat: SeatIndex) -> Standing {
        Standing::of(&self.hall, &self.paper, seat, now())
    }

    /// Every seat with more than one booking.
    pub(crate) fn anomalies(&self, cinema: &Cinema) -> Vec<(SmolStr, u32)> {
        let counts = cinema.in_order().map(|(index, seat)| {
            let count = bookings(&self.hall, &self.paper, index);
            (seat.id.clone(), count)
        });
        counts.filter(|(_, count)| *count > 1).collect()
    }
}

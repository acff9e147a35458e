//! Booking at once, as the original wire has it: unsafe and safe, side by side.

use std::time::Duration;

use boxoffice::layout::SeatIndex;
use boxoffice::venue::SEAT;
use boxoffice::{Error, Part, Scope, Transaction};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

use crate::office::{HallCommand, Office};
use crate::paper::{Line, PaperCommand};
use crate::standing::now;
use crate::trouble::Trouble;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Unsafe,
    Safe,
}

/// What comes between the look and the write.
#[derive(Clone, Copy)]
pub(crate) struct Thought<'m> {
    /// For each seat.
    each: Option<Duration>,
    /// Where all who look at the same moment meet.
    meeting: Option<&'m Barrier>,
}

impl<'m> Thought<'m> {
    pub(crate) fn of(each: Option<Duration>) -> Self {
        Self { each, meeting: None }
    }

    /// Nobody thinks before all have looked: at the same moment, however busy the machine is.
    pub(crate) fn together(each: Duration, meeting: &'m Barrier) -> Self {
        Self { each: Some(each), meeting: Some(meeting) }
    }

    /// Whoever fails before the look never comes.
    async fn meet(&self) {
        if let Some(meeting) = self.meeting {
            let _ = timeout(Duration::from_secs(10), meeting.wait()).await;
        }
    }
}

impl Office {
    /// Books all these seats, or none. A safe booking thinks only when it is told to.
    pub(crate) async fn book(
        &self,
        show: &str,
        mode: Mode,
        client: &SmolStr,
        seats: &[SmolStr],
        thought: Thought<'_>,
    ) -> Result<(), Trouble> {
        self.look(show)?;
        let cart = self.cart(seats)?;
        match mode {
            Mode::Unsafe => self.book_unsafely(show, client, &cart, thought).await,
            Mode::Safe => self.book_safely(show, client, &cart, thought.each.unwrap_or_default()).await,
        }
    }

    /// How long it takes to think about so many seats.
    pub(crate) fn thinking(&self, mode: Mode, seats: usize, each: Option<Duration>) -> Duration {
        let usual = if mode == Mode::Unsafe { self.terms.delay } else { Duration::ZERO };
        each.unwrap_or(usual).saturating_mul(u32::try_from(seats).unwrap_or(u32::MAX))
    }

    /// Read, think, write. The transaction at the end is sound, and does not help: what it writes was
    /// decided before it began, on what an earlier read had shown.
    async fn book_unsafely(
        &self,
        show: &str,
        client: &SmolStr,
        cart: &[SeatIndex],
        thought: Thought<'_>,
    ) -> Result<(), Trouble> {
        let seen = self.look(show)?;
        thought.meet().await;
        if cart.iter().any(|seat| !seen.standing(*seat).is_free()) {
            return Err(Trouble::Taken);
        }
        drop(seen);
        sleep(self.thinking(Mode::Unsafe, cart.len(), thought.each)).await;
        let body = |mut unit: Transaction| async move {
            let mut lines = Vec::with_capacity(cart.len());
            for seat in cart {
                // Whoever comes first has the seat in the hall too. The others are written down all the same.
                let reserve = HallCommand::reserve(client.clone(), [self.cinema.label(*seat)]);
                let was_first = unit.execute_async(&self.halls, show, &reserve).await?.is_accepted();
                lines.push(Line { seat: *seat, was_first });
            }
            let write = PaperCommand::Write { client: client.clone(), lines };
            let _ = unit.execute_async(&self.papers, show, &write).await?;
            Ok::<_, Error>((unit, ()))
        };
        self.engine.transact_async(self.halls.options(), body).await?;
        Ok(())
    }

    /// The same thinking, with the seats locked before the look: `SELECT ... FOR UPDATE`. Others who want one of
    /// them wait; others who do not, do not.
    async fn book_safely(
        &self,
        show: &str,
        client: &SmolStr,
        cart: &[SeatIndex],
        each: Duration,
    ) -> Result<(), Trouble> {
        let reserve = &HallCommand::reserve(client.clone(), self.cinema.labels(cart));
        let seats = &Scope::parts(cart.iter().map(|seat| Part::number(SEAT, seat.0.into())));
        let body = |mut unit: Transaction| async move {
            let hall = unit.read_for_update_async(&self.halls, show, seats.clone()).await?;
            let at = now();
            if cart.iter().any(|seat| !hall.is_free(*seat, at)) {
                return Err(Trouble::Taken);
            }
            drop(hall);
            self.check_paper(&mut unit, show, cart).await?;
            sleep(self.thinking(Mode::Safe, cart.len(), Some(each))).await;
            match unit.execute_async(&self.halls, show, reserve).await?.rejection() {
                Some(no) => Err(no.clone().into()),
                None => Ok((unit, ())),
            }
        };
        self.engine.transact_async(self.halls.options(), body).await?;
        Ok(())
    }
}

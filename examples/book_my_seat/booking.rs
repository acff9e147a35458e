//! Booking at once, as the original wire has it: unsafe and safe, side by side.

use std::time::Duration;

use boxoffice::layout::SeatIndex;
use boxoffice::venue::SEAT;
use boxoffice::{Error, Part, Scope, Transaction};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokio::time::sleep;

use crate::office::{HallCommand, Office};
use crate::paper::{Line, PaperCommand};
use crate::trouble::Trouble;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Unsafe,
    Safe,
}

impl Office {
    /// Books all these seats, or none. `delay` is for each seat; a safe booking thinks only when it is told to.
    pub(crate) async fn book(
        &self,
        show: &str,
        mode: Mode,
        client: &SmolStr,
        seats: &[SmolStr],
        delay: Option<Duration>,
    ) -> Result<(), Trouble> {
        let sight = self.look(show)?;
        let cart = self.cart(seats)?;
        if mode == Mode::Safe {
            self.check_paper(&sight, &cart)?;
        }
        drop(sight);
        let think = |each: Duration| each * u32::try_from(cart.len()).unwrap_or(u32::MAX);
        match (mode, delay.map(think)) {
            (Mode::Unsafe, delay) => {
                let delay = delay.unwrap_or_else(|| think(self.terms.delay));
                self.book_unsafely(show, client, &cart, delay).await
            }
            (Mode::Safe, None | Some(Duration::ZERO)) => {
                let reserve = HallCommand::reserve(client.clone(), self.cinema.labels(&cart));
                self.halls.execute_async(show, &reserve).await?.into_result()?;
                Ok(())
            }
            (Mode::Safe, Some(delay)) => self.book_slowly(show, client, &cart, delay).await,
        }
    }

    /// Read, think, write. The transaction at the end is sound, and does not help: what it writes was
    /// decided before it began, on what an earlier read had shown.
    async fn book_unsafely(
        &self,
        show: &str,
        client: &SmolStr,
        cart: &[SeatIndex],
        delay: Duration,
    ) -> Result<(), Trouble> {
        let seen = self.look(show)?;
        if cart.iter().any(|seat| !seen.standing(*seat).is_free()) {
            return Err(Trouble::Taken);
        }
        drop(seen);
        sleep(delay).await;
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
    async fn book_slowly(
        &self,
        show: &str,
        client: &SmolStr,
        cart: &[SeatIndex],
        delay: Duration,
    ) -> Result<(), Trouble> {
        let reserve = HallCommand::reserve(client.clone(), self.cinema.labels(cart));
        let seats = Scope::parts(cart.iter().map(|seat| Part::number(SEAT, seat.0.into())));
        let mut unit = self.engine.begin(self.halls.options());
        let hall = unit.read_for_update_async(&self.halls, show, seats).await?;
        let at = crate::standing::now();
        if cart.iter().any(|seat| !hall.is_free(*seat, at)) {
            return Err(Trouble::Taken);
        }
        drop(hall);
        sleep(delay).await;
        let staged = unit.execute_async(&self.halls, show, &reserve).await?;
        if let Some(no) = staged.rejection() {
            return Err(no.clone().into());
        }
        unit.commit_async().await?;
        Ok(())
    }
}

//! Holds, and the cart that they are together: choose, keep, give back, buy.

use std::time::Duration;

use boxoffice::Transaction;
use boxoffice::layout::SeatIndex;
use boxoffice::venue::{Best, Hold, HoldTime, HoldToken, MAX_HOLD, Refusal, SeatStatus, VenueEvent};
use smol_str::SmolStr;

use crate::office::{HallCommand, Office, Sight};
use crate::standing::now;
use crate::trouble::Trouble;

/// A cart can be kept for so many times its first time, however often it is extended.
const LIFETIMES: u32 = 4;

/// In whose name seats that are promised on paper are kept back.
const ON_PAPER: SmolStr = SmolStr::new_static("on-paper");

/// What somebody wants to hold.
pub(crate) enum Wish {
    These(Vec<SmolStr>),
    /// So many side by side.
    Best(Best),
}

/// What a customer has of a show.
pub(crate) struct Cart {
    pub(crate) holds: Vec<Hold<SmolStr>>,
    pub(crate) booked: Vec<SeatIndex>,
}

impl Office {
    /// Holds the seats, and gives the rest of the cart the same time: a cart lapses as one. Also the position in the log.
    pub(crate) async fn hold(
        &self,
        show: &str,
        client: &SmolStr,
        wish: &Wish,
        ttl: Option<Duration>,
    ) -> Result<(Hold<SmolStr>, Option<u64>), Trouble> {
        let sight = self.look(show)?;
        let ttl = ttl.unwrap_or(self.terms.hold);
        let time = HoldTime { ttl, lifetime: (ttl * LIFETIMES).min(MAX_HOLD) };
        let command = &match wish {
            Wish::These(labels) => {
                HallCommand::hold(client.clone(), self.cinema.labels(&self.cart(labels)?), time)
            }
            Wish::Best(best) => HallCommand::hold_best(client.clone(), best.clone(), time),
        };
        let others = &self.cart_of(&sight, client).holds;
        let body = |mut unit: Transaction| async move {
            let kept_back = match wish {
                Wish::These(_) => Vec::new(),
                Wish::Best(_) => self.keep_back(&mut unit, show).await?,
            };
            let staged = unit.execute_async(&self.halls, show, command).await?;
            if let Some(no) = staged.rejection() {
                return Err(no.clone().into());
            }
            let held = staged.events().iter().find_map(|event| event.hold().cloned());
            self.check_paper(&mut unit, show, held.as_ref().map_or(&[], |hold| &hold.seats)).await?;
            for token in kept_back {
                let release = HallCommand::release_hold(ON_PAPER, token);
                let _ = unit.execute_async(&self.halls, show, &release).await?;
            }
            for other in others {
                let extend = HallCommand::extend(client.clone(), other.token, ttl);
                // It may be gone by now, or as late as it can be.
                let _ = unit.execute_async(&self.halls, show, &extend).await?;
            }
            Ok((unit, held))
        };
        let (held, committed) =
            self.engine.transact_async::<_, Trouble, _, _>(self.halls.options(), body).await?;
        let held = held.ok_or(Trouble::Refused(Refusal::HoldNotFound))?;
        Ok((held, committed.position()))
    }

    /// Holds what is free in the hall and promised on paper, so that the best of the rest is found. It is given back
    /// in the same entry, and nobody ever sees it.
    async fn keep_back(&self, unit: &mut Transaction, show: &str) -> Result<Vec<HoldToken>, Trouble> {
        let (hall, paper) = (unit.peek(&self.halls, show)?, unit.peek(&self.papers, show)?);
        let (at, mut tokens) = (now(), Vec::new());
        let promised = |seat: &SeatIndex| paper.written(*seat) > 0 && hall.is_free(*seat, at);
        for seat in self.cinema.layout.seats().filter(promised) {
            let hold = HallCommand::hold(ON_PAPER, [self.cinema.label(seat)], self.terms.hold);
            let staged = unit.execute_async(&self.halls, show, &hold).await?;
            tokens.extend(staged.events().iter().find_map(|event| event.hold().map(|hold| hold.token)));
        }
        Ok(tokens)
    }

    /// Sells the seats of all these holds, or of none. Sent again, it says yes again.
    pub(crate) async fn confirm(
        &self,
        show: &str,
        client: &SmolStr,
        tokens: &[HoldToken],
    ) -> Result<(), Trouble> {
        self.each(
            show,
            tokens,
            |token| HallCommand::confirm(client.clone(), token),
            |no| matches!(no, Refusal::HoldConfirmed),
        )
        .await
    }

    /// Gives back what is still held of these.
    pub(crate) async fn release(
        &self,
        show: &str,
        client: &SmolStr,
        tokens: &[HoldToken],
    ) -> Result<(), Trouble> {
        self.each(
            show,
            tokens,
            |token| HallCommand::release_hold(client.clone(), token),
            |no| matches!(no, Refusal::HoldExpired),
        )
        .await
    }

    /// More time for all these holds, as far as their lifetimes allow.
    pub(crate) async fn extend(
        &self,
        show: &str,
        client: &SmolStr,
        tokens: &[HoldToken],
        ttl: Option<Duration>,
    ) -> Result<(), Trouble> {
        let ttl = ttl.unwrap_or(self.terms.hold);
        self.each(show, tokens, |token| HallCommand::extend(client.clone(), token, ttl), |_| false).await
    }

    /// One command for each hold, all in one entry. `is_done` is a no that means yes.
    async fn each(
        &self,
        show: &str,
        tokens: &[HoldToken],
        command: impl Fn(HoldToken) -> HallCommand,
        is_done: impl Fn(&Refusal) -> bool,
    ) -> Result<(), Trouble> {
        self.look(show)?;
        let (command, is_done) = (&command, &is_done);
        let body = |mut unit: Transaction| async move {
            for token in tokens {
                let staged = unit.execute_async(&self.halls, show, &command(*token)).await?;
                match staged.rejection() {
                    Some(no) if !is_done(&no.refusal) => return Err(no.clone().into()),
                    _ => {}
                }
                let sold: Vec<_> = staged.events().iter().filter_map(sold_seats).flatten().copied().collect();
                self.check_paper(&mut unit, show, &sold).await?;
            }
            Ok((unit, ()))
        };
        self.engine.transact_async::<_, Trouble, _, _>(self.halls.options(), body).await?;
        Ok(())
    }

    /// What a customer has now. One look at every seat.
    pub(crate) fn cart_of(&self, sight: &Sight, client: &SmolStr) -> Cart {
        let (at, mut cart) = (now(), Cart { holds: Vec::new(), booked: Vec::new() });
        for (seat, _) in self.cinema.in_order() {
            match sight.hall.status(seat, at) {
                Some(SeatStatus::Reserved { customer }) if customer == client => cart.booked.push(seat),
                Some(SeatStatus::Held { customer, .. }) if customer == client => {
                    let hold = sight.hall.hold_on(seat, at);
                    let is_new = |hold: &&Hold<_>| cart.holds.iter().all(|known| known.token != hold.token);
                    cart.holds.extend(hold.filter(is_new).cloned());
                }
                _ => {}
            }
        }
        cart
    }

    pub(crate) fn price_of(&self, seats: &[SeatIndex]) -> u64 {
        seats.iter().filter_map(|seat| self.cinema.layout.price(*seat)).sum()
    }
}

/// The seats of a sale.
fn sold_seats(event: &VenueEvent<SmolStr>) -> Option<&[SeatIndex]> {
    matches!(event, VenueEvent::Confirmed { .. }).then(|| event.seats())
}

/// The tokens of a request, as they are written.
pub(crate) fn tokens(words: &[SmolStr]) -> Result<Vec<HoldToken>, Trouble> {
    let read = |word: &SmolStr| word.parse().map_err(|why: boxoffice::error::Invalid| why.to_string());
    words.iter().map(read).collect::<Result<_, String>>().map_err(Trouble::Malformed)
}

//! The crowd. The same seed brings the same fans; who is quicker is up to the threads.

use std::time::Instant;

use boxoffice::Error;
use boxoffice::error::Advice;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::desk::{Answer, Desk, Seats};
use crate::sale::Tally;
use crate::stadium::{MOST_SEATS, Stadium, Wish};

/// How often a fan looks again after somebody else was quicker.
const LOOKS: usize = 4;

/// Somebody who wants to see the match.
pub(crate) struct Fan {
    number: u64,
    wish: Wish,
    /// Comes back for more once served, which the limit per customer forbids.
    is_greedy: bool,
    /// Thinks better of it and gives the seats back.
    changes_mind: bool,
}

impl Fan {
    pub(crate) fn new(seed: u64, number: u64, stadium: &Stadium) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let stands = &stadium.stands;
        let favourite = lower_throw(&mut dice, stands.len());
        let second_choice = dice.random_range(0..stands.len());
        let places = [favourite, second_choice].map(|stand| {
            let blocks = stands.get(stand).map_or(1, |stand| stand.blocks.len());
            (stand, lower_throw(&mut dice, blocks))
        });
        let wish = Wish {
            seats: dice.random_range(1..=MOST_SEATS as usize),
            looks_at: dice.random_range(1..=4),
            places,
        };
        Self { number, wish, is_greedy: dice.random_bool(0.05), changes_mind: dice.random_bool(0.05) }
    }

    /// Goes to the desk, and stays until served or out of patience.
    pub(crate) fn queue<D: Desk>(&self, desk: &D, stadium: &Stadium, tally: &mut Tally) -> Result<(), Error> {
        for _ in 0..LOOKS {
            let view = desk.look()?;
            let Some(seats) = stadium.find(&self.wish, |seat| view.is_free(seat)) else {
                tally.nothing_left += 1;
                return Ok(());
            };
            if !ask(tally, || desk.buy(self.number, seats).map(Some))? {
                continue;
            }
            tally.sold += seats.len() as u64;
            if self.is_greedy {
                self.buy_more(desk, stadium, tally)?;
            }
            if self.changes_mind && ask(tally, || desk.give_back(self.number, seats))? {
                tally.given_back += seats.len() as u64;
            }
            return Ok(());
        }
        tally.out_of_patience += 1;
        Ok(())
    }

    fn buy_more<D: Desk>(&self, desk: &D, stadium: &Stadium, tally: &mut Tally) -> Result<(), Error> {
        let view = desk.look()?;
        let more = stadium.find(&self.wish, |seat| view.is_free(seat)).unwrap_or_default();
        if !more.is_empty() && ask(tally, || desk.buy(self.number, more).map(Some))? {
            tally.sold += more.len() as u64;
        }
        Ok(())
    }
}

/// The lower of two throws: everybody would like to sit near the pitch, and at the front.
fn lower_throw(dice: &mut StdRng, sides: usize) -> usize {
    dice.random_range(0..sides).min(dice.random_range(0..sides))
}

/// Waits for an answer, takes the time, and says whether it is a yes.
fn ask(tally: &mut Tally, question: impl FnOnce() -> Result<Option<Answer>, Error>) -> Result<bool, Error> {
    let asked = Instant::now();
    match question() {
        Ok(Some(answer)) => {
            tally.note(&answer, asked.elapsed());
            Ok(answer.refused.is_none())
        }
        Ok(None) => Ok(false),
        // The engine says of each error what to do about it. Here, nothing was decided.
        Err(error) if error.advice() == Advice::Retry => {
            tally.try_later += 1;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

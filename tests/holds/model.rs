//! Holds in the plainest words: every outcome of a venue's commands, one after the other, each at its own time.
//!
//! Shares nothing with the crate but names. A hall is two rows of four: seats 0 to 3 and 4 to 7.

use std::collections::BTreeMap;

use boxoffice::venue::{HoldToken, VenueEvent};

use crate::Ask;

/// A hold that ended early is one with a deadline long ago.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    customer: u64,
    seats: Vec<u32>,
    deadline: u64,
    latest: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) limit: Option<u32>,
    /// Who got each seat last, by which hold, and whether it was bought.
    pub(crate) owners: BTreeMap<u32, (u64, Option<HoldToken>, bool)>,
    pub(crate) holds: BTreeMap<HoldToken, Hold>,
    pub(crate) sales: BTreeMap<u32, u32>,
}

impl Model {
    /// Who has a seat, and until when if it is only held.
    pub(crate) fn status(&self, seat: u32, now: u64) -> Option<(u64, Option<u64>)> {
        let (who, token, bought) = self.owners.get(&seat)?;
        let until = token.filter(|_| !bought).map(|token| self.holds[&token].deadline);
        until.is_none_or(|until| now < until).then_some((*who, until))
    }

    /// How many seats a customer has bought, and holds.
    pub(crate) fn has(&self, who: u64, now: u64) -> (u32, u32) {
        let bought = self.owners.values().filter(|(by, _, bought)| *by == who && *bought).count() as u32;
        let live = self.holds.values().filter(|hold| hold.customer == who && now < hold.deadline);
        (bought, live.map(|hold| hold.seats.len() as u32).sum())
    }

    /// The word of the no, or none for a yes, which then happens; seats that were chosen, and tokens, are the events'.
    pub(crate) fn run(&mut self, ask: &Ask, now: u64, events: &[VenueEvent]) -> Option<&'static str> {
        let no = match ask {
            Ask::Take(who, seats, time) => return self.take(*who, seats, *time, now, events),
            Ask::Best(who, count, time) => {
                let free = |seat| self.status(seat, now).is_none();
                let mut blocks =
                    (0..8).filter(|first| first % 4 + count <= 4).map(|first| first..first + count);
                let Some(block) = blocks.find(|block| block.clone().all(free)) else {
                    return Some(if *count > 4 || (0..8).any(free) { "no_such_block" } else { "sold_out" });
                };
                let chosen = events.first().map(|event| event.seats().iter().map(|seat| seat.0).collect());
                return self.take(*who, &chosen.unwrap_or(block.collect::<Vec<_>>()), *time, now, events);
            }
            Ask::Release(who, seats) => seats.iter().find_map(|seat| match self.status(*seat, now) {
                None => Some("seat_not_reserved"),
                Some((_, Some(_))) => Some("seat_held"),
                Some((by, None)) => (by != *who).then_some("not_holder"),
            }),
            Ask::Force(seats) => {
                let free = |seat: &u32| self.status(*seat, now).is_none();
                seats.iter().any(free).then_some("seat_not_reserved")
            }
            Ask::Confirm(who, token) | Ask::Extend(who, token, _) | Ask::GiveUp(who, token) => {
                self.not_theirs(*who, *token, now)
            }
        };
        match ask {
            _ if no.is_some() => return no,
            Ask::Confirm(who, token) => {
                self.end(*token);
                for seat in &self.holds[token].seats {
                    self.owners.insert(*seat, (*who, Some(*token), true));
                    *self.sales.entry(*seat).or_default() += 1;
                }
            }
            Ask::Extend(_, token, ttl) => {
                let hold = self.holds.get_mut(token)?;
                let stuck = now + ttl > hold.deadline && hold.deadline == hold.latest;
                hold.deadline = hold.deadline.max(now + ttl).min(hold.latest);
                return stuck.then_some("lifetime_reached");
            }
            Ask::GiveUp(_, token) => self.end(*token),
            Ask::Take(_, seats, _) | Ask::Release(_, seats) | Ask::Force(seats) => {
                for (_, token, _) in
                    seats.iter().filter_map(|seat| self.owners.remove(seat)).collect::<Vec<_>>()
                {
                    token.into_iter().for_each(|token| self.end(token));
                }
            }
            Ask::Best(..) => {}
        }
        None
    }

    fn take(
        &mut self,
        who: u64,
        seats: &[u32],
        time: Option<(u64, u64)>,
        now: u64,
        events: &[VenueEvent],
    ) -> Option<&'static str> {
        if let Some((_, until)) = seats.iter().find_map(|seat| self.status(*seat, now)) {
            return Some(if until.is_some() { "seat_held" } else { "seat_reserved" });
        }
        let (bought, held) = self.has(who, now);
        if self.limit.is_some_and(|limit| bought + held + seats.len() as u32 > limit) {
            return Some("limit_reached");
        }
        let token = events.first()?.hold().map(|hold| hold.token);
        if let Some((token, (ttl, life))) = token.zip(time) {
            let hold = Hold { customer: who, seats: seats.to_vec(), deadline: now + ttl, latest: now + life };
            assert!(self.holds.insert(token, hold).is_none(), "{token} names two holds");
        }
        for seat in seats {
            self.owners.insert(*seat, (who, token, time.is_none()));
            *self.sales.entry(*seat).or_default() += u32::from(time.is_none());
        }
        None
    }

    fn not_theirs(&self, who: u64, token: HoldToken, now: u64) -> Option<&'static str> {
        let Some(hold) = self.holds.get(&token) else { return Some("hold_not_found") };
        let got = |seat: &u32| self.owners.get(seat).filter(|(_, by, _)| *by == Some(token));
        match hold.seats.first().and_then(got) {
            Some((by, _, true)) => Some(if *by == who { "hold_confirmed" } else { "not_holder" }),
            Some((by, _, false)) if *by != who && hold.deadline > 0 => Some("not_holder"),
            _ => (now >= hold.deadline || !hold.seats.iter().all(|seat| got(seat).is_some()))
                .then_some("hold_expired"),
        }
    }

    fn end(&mut self, token: HoldToken) {
        self.holds.entry(token).and_modify(|hold| hold.deadline = 0);
    }
}

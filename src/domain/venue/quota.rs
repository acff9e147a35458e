//! The limit per customer, and what counts towards it.

use std::hash::Hash;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use smallvec::SmallVec;

use super::{CustomerId, Hold, HoldToken};
use crate::clock::Timestamp;

/// How many lapsed holds an event clears away at most. More than one, so that they get fewer even while every
/// event brings another hold.
const SWEPT_AT_ONCE: usize = 2;

/// The limit per customer, and what counts towards it. Absent without a limit, so that such a venue pays nothing
/// for it.
///
/// A hold that has lapsed counts for nothing, by its deadline and the time of whoever asks. That it is also
/// forgotten, some time after, no decision can tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quota<C: Eq + Hash> {
    pub(super) limit: u32,
    /// How many seats are reserved. Only customers who have some.
    used: HashTrieMapSync<C, u32>,
    /// What is held; nothing to ask, and nothing to clone, where nothing ever was.
    held: Option<Held<C>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Held<C: Eq + Hash> {
    /// Only customers who have holds.
    by: HashTrieMapSync<C, Holds>,
    /// The same holds by deadline.
    lapses: RedBlackTreeMapSync<(Timestamp, HoldToken), C>,
}

type Holds = SmallVec<[Counted; 1]>;

/// A hold, as far as it counts.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    token: HoldToken,
    deadline: Timestamp,
    seats: u32,
}

impl<C: CustomerId> Quota<C> {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, used: HashTrieMapSync::default(), held: None }
    }

    pub(super) fn reserved(&self, customer: &C) -> u32 {
        self.used.get(customer).copied().unwrap_or(0)
    }

    pub(super) fn held(&self, customer: &C, now: Timestamp) -> u32 {
        let Some(holds) = self.held.as_ref().and_then(|held| held.by.get(customer)) else { return 0 };
        let live = holds.iter().filter(|hold| now < hold.deadline);
        live.fold(0, |seats, hold| seats.saturating_add(hold.seats))
    }

    pub(super) fn change(&mut self, customer: &C, change: impl FnOnce(u32) -> u32) {
        match change(self.reserved(customer)) {
            0 => {
                self.used.remove_mut(customer);
            }
            used => self.used.insert_mut(customer.clone(), used),
        }
    }

    /// Counts so many seats for a hold of which an event at `at` told.
    pub(super) fn hold(&mut self, hold: &Hold<C>, seats: u32, at: Timestamp) {
        let Hold { token, deadline, .. } = *hold;
        let Held { by, lapses } = self.held.get_or_insert_with(|| Held {
            by: HashTrieMapSync::default(),
            lapses: RedBlackTreeMapSync::default(),
        });
        let mut holds = by.get(&hold.customer).cloned().unwrap_or_default();
        holds.retain(|old| {
            let keep = old.token != token && at < old.deadline;
            if !keep {
                lapses.remove_mut(&(old.deadline, old.token));
            }
            keep
        });
        holds.push(Counted { token, deadline, seats });
        by.insert_mut(hold.customer.clone(), holds);
        lapses.insert_mut((deadline, token), hold.customer.clone());
    }

    /// Counts a hold no more.
    pub(super) fn end(&mut self, customer: &C, token: HoldToken) {
        let Some(Held { by, lapses }) = &mut self.held else { return };
        let Some(mut holds) = by.get(customer).cloned() else { return };
        let Some(place) = holds.iter().position(|hold| hold.token == token) else { return };
        let ended = holds.remove(place);
        lapses.remove_mut(&(ended.deadline, token));
        if holds.is_empty() {
            by.remove_mut(customer);
        } else {
            by.insert_mut(customer.clone(), holds);
        }
    }

    /// Forgets some holds that have lapsed at `now`, which no decision to come is before.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT_AT_ONCE {
            let first = self.held.as_ref().and_then(|held| held.lapses.first());
            let Some((&(_, token), customer)) = first.filter(|((deadline, _), _)| now >= *deadline) else {
                return;
            };
            let customer = customer.clone();
            self.end(&customer, token);
        }
    }

    /// How many holds are remembered, and of how many customers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        self.held.as_ref().map_or((0, 0), |held| (held.lapses.size(), held.by.size()))
    }

    #[cfg(test)]
    pub(super) fn disturb(&mut self, customer: C, used: u32, hold: Option<&Hold<C>>) {
        self.change(&customer, |_| used);
        let holds = self.held.as_ref().and_then(|held| held.by.get(&customer)).cloned().unwrap_or_default();
        holds.iter().for_each(|hold| self.end(&customer, hold.token));
        if let Some(hold) = hold {
            self.hold(hold, hold.seats.len() as u32, Timestamp(0));
        }
    }
}

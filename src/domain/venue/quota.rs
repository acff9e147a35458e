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
#[derive(Clone, Debug)]
pub(super) struct Quota<C: Eq + Hash> {
    pub(super) limit: u32,
    /// How many seats are reserved. Only customers who have some.
    used: HashTrieMapSync<C, u32>,
    /// What is held. Only customers who have holds.
    held: HashTrieMapSync<C, Holds>,
    /// The same holds by deadline.
    lapses: RedBlackTreeMapSync<(Timestamp, HoldToken), C>,
}

type Holds = SmallVec<[Counted; 1]>;

/// A hold, as far as it counts.
#[derive(Clone, Debug)]
struct Counted {
    token: HoldToken,
    deadline: Timestamp,
    seats: u32,
}

impl<C: CustomerId> Quota<C> {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            used: HashTrieMapSync::default(),
            held: HashTrieMapSync::default(),
            lapses: RedBlackTreeMapSync::default(),
        }
    }

    pub(super) fn reserved(&self, customer: &C) -> u32 {
        self.used.get(customer).copied().unwrap_or(0)
    }

    pub(super) fn held(&self, customer: &C, now: Timestamp) -> u32 {
        // Most sales never see a hold, and are spared the hash.
        if self.held.is_empty() {
            return 0;
        }
        let holds = self.held.get(customer).map_or(&[][..], |holds| holds);
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
        let mut holds = self.held.get(&hold.customer).cloned().unwrap_or_default();
        holds.retain(|old| {
            let keep = old.token != token && at < old.deadline;
            if !keep {
                self.lapses.remove_mut(&(old.deadline, old.token));
            }
            keep
        });
        holds.push(Counted { token, deadline, seats });
        self.held.insert_mut(hold.customer.clone(), holds);
        self.lapses.insert_mut((deadline, token), hold.customer.clone());
    }

    /// Counts a hold no more.
    pub(super) fn end(&mut self, customer: &C, token: HoldToken) {
        let Some(mut holds) = self.held.get(customer).cloned() else { return };
        let Some(place) = holds.iter().position(|hold| hold.token == token) else { return };
        let ended = holds.remove(place);
        self.lapses.remove_mut(&(ended.deadline, token));
        if holds.is_empty() {
            self.held.remove_mut(customer);
        } else {
            self.held.insert_mut(customer.clone(), holds);
        }
    }

    /// Forgets some holds that have lapsed at `now`, which no decision to come is before.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT_AT_ONCE {
            let Some((&(deadline, token), customer)) = self.lapses.first() else { return };
            if now < deadline {
                return;
            }
            let customer = customer.clone();
            self.end(&customer, token);
        }
    }

    /// How many holds are remembered, and of how many customers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.lapses.size(), self.held.size())
    }

    #[cfg(test)]
    pub(super) fn disturb(&mut self, customer: C, used: u32, hold: Option<&Hold<C>>) {
        self.change(&customer, |_| used);
        let tokens: Vec<_> =
            self.held.get(&customer).map_or(&[][..], |holds| holds).iter().map(|hold| hold.token).collect();
        tokens.into_iter().for_each(|token| self.end(&customer, token));
        if let Some(hold) = hold {
            self.hold(hold, hold.seats.len() as u32, Timestamp(0));
        }
    }
}

//! The line for one part: its heads own it together, the others wait in order.

use std::collections::VecDeque;

use slab::Slab;

use super::lock::Request;

/// Requests for one part, in order. Never empty.
pub(super) struct Line {
    // Apart from the rest: a part that nobody fights for needs no allocation.
    first: usize,
    behind: VecDeque<usize>,
    /// How many own the part together: one, or several that share or are of one transaction.
    heads: usize,
}

impl Line {
    pub(super) fn new(id: usize) -> Self {
        Self { first: id, behind: VecDeque::new(), heads: 1 }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.first).chain(self.behind.iter().copied())
    }

    pub(super) fn heads(&self) -> impl Iterator<Item = usize> {
        self.ids().take(self.heads)
    }

    pub(super) fn is_head(&self, id: usize) -> bool {
        self.heads().any(|head| head == id)
    }

    /// Enters at the end. True if it is a head.
    pub(super) fn push(&mut self, id: usize, requests: &Slab<Request>) -> bool {
        let joins = self.heads > self.behind.len() && self.joins(id, requests);
        self.behind.push_back(id);
        self.heads += usize::from(joins);
        joins
    }

    /// Enters before all who only wait. Returns who was a head and is none any more.
    pub(super) fn jump(&mut self, id: usize, requests: &Slab<Request>) -> Vec<usize> {
        let heads: Vec<usize> = self.heads().collect();
        let (firm, waiting): (Vec<usize>, Vec<usize>) =
            self.ids().partition(|other| requests[*other].stands_firm());
        let mut order: VecDeque<usize> = firm.into_iter().chain([id]).chain(waiting).collect();
        if let Some(first) = order.pop_front() {
            *self = Self { first, behind: order, heads: 1 };
        }
        while self.advance(requests).is_some() {}
        heads.into_iter().filter(|head| !self.is_head(*head)).collect()
    }

    /// Takes a request out, wherever it stands. False if it was the last.
    pub(super) fn remove(&mut self, id: usize) -> bool {
        if self.first == id {
            self.heads -= 1;
            return match self.behind.pop_front() {
                Some(next) => {
                    self.first = next;
                    true
                }
                None => false,
            };
        }
        if let Some(index) = self.behind.iter().position(|other| *other == id) {
            self.behind.remove(index);
            self.heads -= usize::from(index + 1 < self.heads);
        }
        true
    }

    /// Makes the next one a head, if it can be one.
    pub(super) fn advance(&mut self, requests: &Slab<Request>) -> Option<usize> {
        let next = self.ids().nth(self.heads)?;
        if self.heads > 0 && !self.joins(next, requests) {
            return None;
        }
        self.heads += 1;
        Some(next)
    }

    /// Whether a request can own the part together with the heads. They all share, or all are of one transaction.
    fn joins(&self, id: usize, requests: &Slab<Request>) -> bool {
        let (asks, all_share) = (&requests[id], |id: usize| requests[id].is_shared());
        let last = self.heads().last().is_none_or(all_share);
        (last && asks.is_shared()) || self.heads().all(|head| requests[head].is_of_same_owner(asks))
    }
}

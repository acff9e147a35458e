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

    /// Enters at the end. True if it is a head.
    pub(super) fn push(&mut self, id: usize, requests: &Slab<Request>) -> bool {
        let joins = self.heads > self.behind.len() && self.joins(id, requests);
        self.behind.push_back(id);
        self.heads += usize::from(joins);
        joins
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
        // A head, or else one of the last: those who give way do, the latest first.
        let head = self.behind.iter().take(self.heads - 1).position(|other| *other == id);
        if let Some(index) = head {
            self.behind.remove(index);
            self.heads -= 1;
        } else if let Some(index) = self.behind.iter().rposition(|other| *other == id) {
            self.behind.remove(index);
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

//! Who is in the way of a request that waits: what the search for deadlocks goes by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::deadlock::Owner;
use super::{Locks, Place, Request, Ticket};
use crate::scope::{Part, Scope};

/// How far one search has come: every line is walked once, however many requests in it are looked at.
#[derive(Default)]
struct Search<'l> {
    todo: Vec<usize>,
    seen: HashSet<usize>,
    /// Commands are compatible with nobody: what one has looked at, the next one need not.
    lines: HashMap<&'l Part, usize>,
    wholes: bool,
    inside: bool,
    found: Vec<Arc<Owner>>,
}

impl Search<'_> {
    fn note(&mut self, locks: &Locks, id: usize) {
        if self.seen.insert(id) {
            match &locks.requests[id].owner {
                Some(owner) => self.found.push(Arc::clone(owner)),
                // It holds nothing: whoever it waits for is waited for.
                None => self.todo.push(id),
            }
        }
    }
}

impl Locks {
    /// The transactions that a waiting request waits for, directly or behind commands that wait too.
    pub(crate) fn in_the_way(&self, Ticket(id): Ticket) -> Vec<Arc<Owner>> {
        let mut search = Search::default();
        let Some(request) = self.requests.get(id) else { return search.found };
        search.seen.insert(id);
        if request.place == Place::Arriving {
            // Among them are all whom they wait for in turn.
            for other in self.arrivals.iter().take_while(|other| **other != id) {
                if !self.requests[*other].is_of_same_owner(request) {
                    search.note(self, *other);
                }
            }
        }
        self.look_before(request, &mut search);
        while let Some(id) = search.todo.pop() {
            self.look_before(&self.requests[id], &mut search);
        }
        search.found
    }

    /// Notes whom a request waits for, but for other arrivals.
    fn look_before<'l>(&'l self, request: &'l Request, search: &mut Search<'l>) {
        match request.place {
            Place::Whole | Place::Inside { missing: 0 } => {}
            Place::Inside { .. } => self.look_along(request, request.stands, search),
            Place::Arriving => {
                self.look_inside(request, search);
                // Whom it will stand behind once it has entered: nobody else would notice then that this closes a
                // circle.
                self.look_along(request, u64::MAX, search);
            }
        }
    }

    /// Notes who keeps a request from coming in.
    fn look_inside<'l>(&'l self, request: &'l Request, search: &mut Search<'l>) {
        let wants_all = request.wants == Scope::Whole;
        let looked = if wants_all { search.inside } else { search.wholes || search.inside };
        if looked || (!wants_all && self.wholes.is_empty()) {
            return;
        }
        for (id, other) in &self.requests {
            let stands = other.place != Place::Arriving && !other.wants.is_empty();
            let meets = wants_all || other.place == Place::Whole;
            if stands && meets && !request.is_compatible(other) {
                search.note(self, id);
            }
        }
        if request.owner.is_none() {
            search.inside |= wants_all;
            search.wholes = true;
        }
    }

    /// Notes who stands in a request's lines before this place.
    fn look_along<'l>(&'l self, request: &'l Request, place: u64, search: &mut Search<'l>) {
        for part in request.wants.named() {
            let Some(line) = self.parts.get(part) else { continue };
            let mut walked = search.lines.get(part).copied().unwrap_or_default();
            for id in line.ids().skip(walked) {
                let other = &self.requests[id];
                if other.stands >= place {
                    break;
                }
                // One that goes first does not wait for those whom it overtakes.
                let overtaken = request.jumped && request.place == Place::Arriving && !other.stands_firm();
                if !overtaken && !request.is_compatible(other) {
                    search.note(self, id);
                }
                walked += 1;
            }
            if request.owner.is_none() {
                search.lines.insert(part, walked);
            }
        }
    }
}

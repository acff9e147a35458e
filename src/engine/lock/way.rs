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
    lines: HashMap<&'l Part, usize>,
    arrivals: usize,
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
        search.seen.insert(id);
        search.todo.push(id);
        while let Some(id) = search.todo.pop() {
            self.look_before(id, &mut search);
        }
        search.found
    }

    fn look_before<'l>(&'l self, id: usize, search: &mut Search<'l>) {
        let Some(request) = self.requests.get(id) else { return };
        match request.place {
            Place::Whole | Place::Inside { missing: 0 } => {}
            Place::Inside { .. } => self.look_along(request, request.stands, search),
            Place::Arriving => {
                let ahead = self.arrivals.iter().position(|other| *other == id).unwrap_or_default();
                // A transaction begins the search; commands go on with it, and each looks at all that the last one did.
                for other in search.arrivals..ahead {
                    if let Some(other) = self.arrivals.get(other)
                        && !self.requests[*other].is_of_same_owner(request)
                    {
                        search.note(self, *other);
                    }
                }
                search.arrivals = search.arrivals.max(ahead);
                let meets = |other: &Request| request.wants == Scope::Whole || other.place == Place::Whole;
                if request.wants == Scope::Whole || !self.wholes.is_empty() {
                    for (other, entered) in &self.requests {
                        let stands = entered.place != Place::Arriving && !entered.wants.is_empty();
                        if stands && meets(entered) && !request.is_compatible(entered) {
                            search.note(self, other);
                        }
                    }
                }
                // Whom it will stand behind once it has entered: nobody else would notice then that this closes a
                // circle.
                self.look_along(request, u64::MAX, search);
            }
        }
    }

    /// Notes who stands in a request's lines before this place.
    fn look_along<'l>(&'l self, request: &'l Request, place: u64, search: &mut Search<'l>) {
        for part in request.wants.named() {
            let Some(line) = self.parts.get(part) else { continue };
            let walked = search.lines.get(part).copied().unwrap_or_default();
            let mut now = walked;
            for other in line.ids().skip(walked) {
                let ahead = &self.requests[other];
                if ahead.stands >= place {
                    break;
                }
                // One that goes first does not wait for those whom it overtakes.
                let overtaken = request.jumped && request.place == Place::Arriving && !ahead.stands_firm();
                if !overtaken && !request.is_compatible(ahead) {
                    search.note(self, other);
                }
                now += 1;
            }
            // What a request may pass over, the next one may have to wait for: commands are compatible with nobody.
            if request.owner.is_none() {
                search.lines.insert(part, now);
            }
        }
    }
}

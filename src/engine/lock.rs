//! Locks on scopes: exclusive, first come first served, exact, all of a scope at once.
//!
//! Every part that somebody wants has a line, and its head owns it. A request enters all its lines in
//! one step under the stream's mutex, so any two requests stand in the same order wherever they meet,
//! and no cycle of waiting can form. A request for the whole waits until everyone who came before has
//! left; whoever comes while it waits or holds stands behind it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;
use slab::Slab;

use crate::scope::{Part, Scope};
use crate::sync::{Waiter, Wakes};

/// The locks of one stream, and who waits for them.
#[derive(Default)]
pub(crate) struct Locks {
    requests: Slab<Request>,
    parts: HashMap<Part, Line, RandomState>,
    /// How many requests stand in lines of parts.
    inside: usize,
    /// The holder of the whole.
    whole: Option<usize>,
    /// Requests that came while somebody held or wanted the whole, in order of arrival.
    arrivals: VecDeque<usize>,
}

/// A request's place in its stream's locks, until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

struct Request {
    wants: Scope,
    place: Place,
    /// Signaled when the request is granted; absent if it was granted at once.
    waiter: Option<Arc<Waiter>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Arriving,
    /// In the lines of its parts, at the head of all but this many.
    Inside {
        missing: usize,
    },
    Whole,
}

struct Line {
    head: usize,
    behind: VecDeque<usize>,
}

impl Locks {
    /// Asks for a scope. Granted at once if there is no waiter to wait on. The ticket must be
    /// released in either case.
    pub(crate) fn request(&mut self, scope: &Scope) -> (Ticket, Option<Arc<Waiter>>) {
        let wants = match scope {
            Scope::Whole => Scope::Whole,
            Scope::Parts(_) => Scope::Parts(scope.keys()),
        };
        let is_whole = wants == Scope::Whole;
        let id = self.requests.insert(Request { wants, place: Place::Arriving, waiter: None });
        let free = self.whole.is_none() && self.arrivals.is_empty();
        let granted = if !free {
            self.arrivals.push_back(id);
            false
        } else if !is_whole {
            self.enter(id)
        } else if self.inside == 0 {
            self.whole = Some(id);
            self.requests[id].place = Place::Whole;
            true
        } else {
            self.arrivals.push_back(id);
            false
        };
        if granted {
            return (Ticket(id), None);
        }
        let waiter = Waiter::new();
        self.requests[id].waiter = Some(Arc::clone(&waiter));
        (Ticket(id), Some(waiter))
    }

    /// Whether somebody holds, or is next to hold, a part of this scope.
    pub(crate) fn blocks(&self, scope: &Scope) -> bool {
        if self.whole.is_some() {
            return true;
        }
        if self.inside == 0 {
            return false;
        }
        match scope {
            Scope::Whole => true,
            Scope::Parts(parts) => parts.iter().any(|part| self.parts.contains_key(part)),
        }
    }

    /// Gives up a ticket, granted or still waiting.
    pub(crate) fn release(&mut self, Ticket(id): Ticket, wakes: &mut Wakes) {
        let Some(request) = self.requests.try_remove(id) else {
            debug_assert!(false, "a ticket released twice");
            return;
        };
        match request.place {
            Place::Arriving => self.arrivals.retain(|other| *other != id),
            Place::Whole => self.whole = None,
            Place::Inside { .. } => {
                for part in request.wants.named() {
                    self.leave(id, part, wakes);
                }
                self.inside -= 1;
            }
        }
        self.admit(wakes);
    }

    /// Puts a request into the lines of its parts. True if it heads them all.
    fn enter(&mut self, id: usize) -> bool {
        let wants = std::mem::replace(&mut self.requests[id].wants, Scope::Whole);
        let mut missing = 0;
        for part in wants.named() {
            match self.parts.get_mut(part) {
                Some(line) => {
                    line.behind.push_back(id);
                    missing += 1;
                }
                None => {
                    self.parts.insert(part.clone(), Line { head: id, behind: VecDeque::new() });
                }
            }
        }
        self.inside += 1;
        self.requests[id].wants = wants;
        self.requests[id].place = Place::Inside { missing };
        missing == 0
    }

    fn leave(&mut self, id: usize, part: &Part, wakes: &mut Wakes) {
        let Some(line) = self.parts.get_mut(part) else { return };
        if line.head != id {
            line.behind.retain(|other| *other != id);
            return;
        }
        let Some(next) = line.behind.pop_front() else {
            self.parts.remove(part);
            return;
        };
        line.head = next;
        let request = &mut self.requests[next];
        if let Place::Inside { missing } = &mut request.place {
            *missing -= 1;
            if *missing == 0
                && let Some(waiter) = request.waiter.take()
            {
                wakes.push(waiter);
            }
        }
    }

    /// Lets in whoever arrived, up to the next request for the whole.
    fn admit(&mut self, wakes: &mut Wakes) {
        while self.whole.is_none()
            && let Some(&id) = self.arrivals.front()
        {
            let granted = if self.requests[id].wants != Scope::Whole {
                self.enter(id)
            } else if self.inside == 0 {
                self.whole = Some(id);
                self.requests[id].place = Place::Whole;
                true
            } else {
                return;
            };
            self.arrivals.pop_front();
            if granted && let Some(waiter) = self.requests[id].waiter.take() {
                wakes.push(waiter);
            }
        }
    }

    #[cfg(all(test, shuttle))]
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty()
            && self.parts.is_empty()
            && self.inside == 0
            && self.whole.is_none()
            && self.arrivals.is_empty()
    }
}

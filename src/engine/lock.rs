//! Locks on scopes: shared or exclusive, first come first served, exact, all of a request at once.
//!
//! Every part that somebody wants has a line; its heads own it: one request, or several that share. Only a request that
//! came when there was no other stands nowhere: it holds, and is entered where it belongs when somebody else looks. A request
//! enters all its lines in one step under the stream's mutex, so any two requests stand in the same order
//! wherever they meet, and requests that are made all at once cannot form a cycle of waiting. A request for the whole
//! waits until those who came before have left; whoever comes while it waits or holds stands behind it.
//!
//! A transaction may ask again while it holds. What it holds already it is not asked to wait for, and it goes before
//! all commands that wait: they hold nothing, and would only wait for it, and it for them. Two transactions may still
//! wait for each other: see `deadlock.rs`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;
use slab::Slab;

use super::deadlock::Owner;
use super::line::Line;
use crate::scope::{LockedParts, Part, Parts, Scope};
use crate::sync::{Caller, Waiter, Wakes};

/// Whether others may hold the same at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Shared,
    Exclusive,
}

/// The locks of one stream, and who waits for them.
#[derive(Default)]
pub(crate) struct Locks {
    requests: Slab<Request>,
    /// The only request there is, if it came when there was none. It holds what it asked for, and is in none of what follows
    /// until somebody else looks: most come and go before that.
    alone: Option<usize>,
    parts: HashMap<Part, Line, RandomState>,
    /// Requests that stand in lines of parts, and holders of the whole.
    inside: Tally,
    wholes: Tally,
    /// Requests that may not enter yet: transactions that hold something, then others in order of arrival.
    arrivals: VecDeque<usize>,
    /// What transactions have here; commands are not in it.
    owners: HashMap<u64, Own, RandomState>,
    /// How many times somebody came to stand in lines.
    stood: u64,
}

/// A request's place in its stream's locks, until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

pub(super) struct Request {
    /// Each part once, unless it is alone.
    wants: Scope,
    access: Access,
    /// The transaction that asks.
    owner: Option<Arc<Owner>>,
    place: Place,
    /// Its number in the order of all who stand in lines, which is the same in every line.
    stands: u64,
    /// Whether it went before others: its transaction holds something here.
    jumped: bool,
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

#[derive(Clone, Copy, Default, PartialEq)]
struct Tally {
    shared: u32,
    exclusive: u32,
}

/// One transaction's share of the tallies.
struct Own {
    owner: Arc<Owner>,
    requests: u32,
    granted: u32,
    inside: Tally,
    wholes: Tally,
}

impl Own {
    fn new(owner: &Arc<Owner>) -> Self {
        let (inside, wholes) = Default::default();
        Self { owner: Arc::clone(owner), requests: 0, granted: 0, inside, wholes }
    }
}

impl Tally {
    fn of(&mut self, access: Access) -> &mut u32 {
        match access {
            Access::Shared => &mut self.shared,
            Access::Exclusive => &mut self.exclusive,
        }
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn without(self, own: Self) -> Self {
        Self { shared: self.shared - own.shared, exclusive: self.exclusive - own.exclusive }
    }
}

impl Request {
    fn number(&self) -> Option<u64> {
        self.owner.as_ref().map(|owner| owner.number)
    }

    fn is_granted(&self) -> bool {
        matches!(self.place, Place::Whole | Place::Inside { missing: 0 })
    }

    pub(super) fn is_of_same_owner(&self, other: &Self) -> bool {
        self.owner.is_some() && self.number() == other.number()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.access == Access::Shared
    }

    /// Who keeps a place before one that jumps. A transaction that waits may hold something elsewhere: were it
    /// overtaken, a circle could close that nobody looks for.
    pub(super) fn stands_firm(&self) -> bool {
        self.is_granted() || self.owner.is_some()
    }

    /// Whether the two can hold at the same time.
    fn is_compatible(&self, other: &Self) -> bool {
        self.is_of_same_owner(other) || (self.is_shared() && other.is_shared())
    }
}

impl Locks {
    /// Asks for a scope. Granted at once if there is no waiter to wait on. The ticket must be
    /// released in either case. One that goes before others may let third ones in.
    pub(crate) fn request(
        &mut self,
        scope: &Scope,
        access: Access,
        owner: Option<&Arc<Owner>>,
        wakes: &mut Wakes,
    ) -> (Ticket, Option<Arc<Waiter>>) {
        let mut wants = scope.clone();
        let mut place = if wants == Scope::Whole { Place::Whole } else { Place::Inside { missing: 0 } };
        let is_alone = self.requests.is_empty();
        let mut jumped = false;
        if !is_alone {
            self.enter_alone();
            (wants, place) = (wants.into_keys(), Place::Arriving);
            if let Some(owner) = owner {
                jumped = self.enrol(owner);
                if jumped {
                    wants = self.without_held(wants, access, owner.number);
                }
            }
        }
        let owner = owner.cloned();
        let id =
            self.requests.insert(Request { wants, access, owner, place, stands: 0, jumped, waiter: None });
        if is_alone {
            self.alone = Some(id);
            return (Ticket(id), None);
        }
        if jumped && !self.may_enter(id) && self.requests[id].wants == Scope::Whole {
            self.send_back_who_only_waits(wakes);
        }
        let asks_for_nothing = self.requests[id].wants.is_empty();
        let granted = if asks_for_nothing || ((jumped || self.arrivals.is_empty()) && self.may_enter(id)) {
            self.enter(id, wakes)
        } else {
            self.queue(id);
            false
        };
        if granted {
            return (Ticket(id), None);
        }
        let waiter = Waiter::new();
        self.requests[id].waiter = Some(Arc::clone(&waiter));
        (Ticket(id), Some(waiter))
    }

    /// A transaction has one more request here. True if it holds something already.
    fn enrol(&mut self, owner: &Arc<Owner>) -> bool {
        let own = self.owners.entry(owner.number).or_insert_with(|| Own::new(owner));
        own.requests += 1;
        own.granted > 0
    }

    /// Puts whoever was alone where somebody else will look.
    #[inline]
    fn enter_alone(&mut self) {
        if let Some(id) = self.alone.take() {
            self.enter_second(id);
        }
    }

    #[cold]
    fn enter_second(&mut self, id: usize) {
        let wants = std::mem::replace(&mut self.requests[id].wants, Scope::Whole);
        self.requests[id].wants = wants.into_keys();
        if let Some(owner) = self.requests[id].owner.clone() {
            self.enrol(&owner);
        }
        self.come_in(id);
    }

    /// Whether this would be granted at once. Who asks and does not wait would have let others pass those whom it
    /// overtakes.
    pub(crate) fn is_free(&mut self, scope: &Scope, access: Access, owner: Option<&Arc<Owner>>) -> bool {
        self.enter_alone();
        let owner = owner.map(|owner| owner.number);
        let holder = owner.filter(|owner| self.owners.get(owner).is_some_and(|own| own.granted > 0));
        let left = holder.map(|holder| self.without_held(scope.clone(), access, holder));
        let wants = left.as_ref().unwrap_or(scope);
        let in_the_way = |other: &Request| {
            let mine = owner.is_some() && other.number() == owner;
            let both_share = access == Access::Shared && other.is_shared();
            let overtaken = holder.is_some() && !other.stands_firm();
            !mine && !both_share && !overtaken
        };
        if wants.is_empty() {
            return true;
        }
        if holder.is_none() && !self.arrivals.is_empty() {
            return false;
        }
        let inside = |other: &Request| other.place != Place::Arriving && !other.wants.is_empty();
        match wants {
            Scope::Whole => !self.requests.iter().any(|(_, other)| inside(other) && in_the_way(other)),
            Scope::Parts(parts) => {
                let (_, wholes) = self.others(owner);
                let open = wholes.exclusive == 0 && (access == Access::Shared || wholes.is_empty());
                let mut lines = parts.iter().filter_map(|part| self.parts.get(part));
                open && !lines.any(|line| line.ids().any(|id| in_the_way(&self.requests[id])))
            }
        }
    }

    /// Whether somebody holds, or is next to hold, a part of this scope, so that it is not to be had.
    pub(crate) fn blocks(&mut self, scope: &Scope, access: Access) -> bool {
        self.enter_alone();
        if access == Access::Shared {
            return self.blocks_sharing(scope);
        }
        if !self.wholes.is_empty() {
            return true;
        }
        if self.inside.is_empty() {
            return false;
        }
        match scope {
            Scope::Whole => true,
            Scope::Parts(parts) => parts.iter().any(|part| self.parts.contains_key(part)),
        }
    }

    /// What was only read is not in the way of who reads it too.
    fn blocks_sharing(&self, scope: &Scope) -> bool {
        let excludes = |line: &Line| line.ids().any(|id| !self.requests[id].is_shared());
        self.wholes.exclusive > 0
            || match scope {
                Scope::Whole => self.inside.exclusive > 0,
                Scope::Parts(parts) => parts.iter().filter_map(|part| self.parts.get(part)).any(excludes),
            }
    }

    /// What somebody else than this transaction holds, or waits for.
    pub(crate) fn locked_parts(&mut self, owner: Option<u64>) -> LockedParts {
        self.enter_alone();
        let mine = |id: usize| owner.is_some() && self.requests[id].number() == owner;
        let whole = self.arrivals.iter().any(|id| !mine(*id)) || !self.others(owner).1.is_empty();
        let of_others = self.parts.iter().filter(|(_, line)| line.ids().any(|id| !mine(id)));
        LockedParts::new(whole, of_others.map(|(part, _)| part.clone()))
    }

    /// Gives up a ticket, granted or still waiting.
    pub(crate) fn release(&mut self, Ticket(id): Ticket, wakes: &mut Wakes) {
        let Some(request) = self.requests.try_remove(id) else {
            debug_assert!(false, "a ticket released twice");
            return;
        };
        if let Some(alone) = self.alone.take() {
            debug_assert_eq!(alone, id, "alone beside another");
            return;
        }
        if let Some(number) = request.number()
            && let Some(own) = self.owners.get_mut(&number)
        {
            own.requests -= 1;
            own.granted -= u32::from(request.is_granted() && !request.wants.is_empty());
            match request.place {
                Place::Arriving => {}
                Place::Whole => *own.wholes.of(request.access) -= 1,
                Place::Inside { .. } => {
                    *own.inside.of(request.access) -= u32::from(!request.wants.is_empty())
                }
            }
            if own.requests == 0 {
                self.owners.remove(&number);
            }
        }
        match request.place {
            Place::Arriving => self.arrivals.retain(|other| *other != id),
            Place::Whole => *self.wholes.of(request.access) -= 1,
            Place::Inside { .. } => {
                *self.inside.of(request.access) -= u32::from(!request.wants.is_empty());
                for part in request.wants.named() {
                    self.leave(id, part, wakes);
                }
            }
        }
        self.admit(wakes);
    }

    /// Whether a transaction of this caller has requests here beside the one of who asks.
    pub(crate) fn has_owner_of(&self, caller: &Caller) -> bool {
        self.owners.values().any(|own| own.owner.caller.is(caller))
    }

    /// What is left to ask for, of what the transaction does not hold yet.
    fn without_held(&self, wants: Scope, access: Access, number: u64) -> Scope {
        let own = self.owners.get(&number).map(|own| own.wholes).unwrap_or_default();
        let enough = |held: Access| held == Access::Exclusive || access == Access::Shared;
        if own.exclusive > 0 || (own.shared > 0 && access == Access::Shared) {
            return Scope::Parts(Parts::new());
        }
        match wants {
            Scope::Whole => Scope::Whole,
            Scope::Parts(parts) => {
                let held = |part: &Part| {
                    let heads = self.parts.get(part).into_iter().flat_map(Line::heads);
                    heads
                        .map(|id| &self.requests[id])
                        .any(|held| held.number() == Some(number) && held.is_granted() && enough(held.access))
                };
                Scope::Parts(parts.into_iter().filter(|part| !held(part)).collect())
            }
        }
    }

    /// What others than this transaction have inside, and hold of the whole.
    fn others(&self, owner: Option<u64>) -> (Tally, Tally) {
        match owner.and_then(|number| self.owners.get(&number)) {
            None => (self.inside, self.wholes),
            Some(own) => (self.inside.without(own.inside), self.wholes.without(own.wholes)),
        }
    }

    /// Whether nobody who is in stands against a request's coming in.
    fn may_enter(&self, id: usize) -> bool {
        let request = &self.requests[id];
        let (inside, wholes) = self.others(request.number());
        match (&request.wants, request.access) {
            (Scope::Parts(_), Access::Shared) => wholes.exclusive == 0,
            (Scope::Parts(_), Access::Exclusive) => wholes.is_empty(),
            (Scope::Whole, Access::Shared) => inside.exclusive == 0 && wholes.exclusive == 0,
            (Scope::Whole, Access::Exclusive) => inside.is_empty() && wholes.is_empty(),
        }
    }

    /// Puts a request into the lines of its parts, or makes it a holder of the whole. True if it is granted.
    fn enter(&mut self, id: usize, wakes: &mut Wakes) -> bool {
        if !self.requests[id].jumped {
            return self.come_in(id);
        }
        let wants = self.requests[id].wants.clone();
        let overtaken = if wants == Scope::Whole { Vec::new() } else { self.take_out(&wants, wakes) };
        let granted = self.come_in(id);
        for other in overtaken {
            let passed = self.line_up(other);
            debug_assert!(!passed, "let in by who went before it");
        }
        granted
    }

    fn come_in(&mut self, id: usize) -> bool {
        let request = &mut self.requests[id];
        let access = request.access;
        let whole = request.wants == Scope::Whole;
        let granted = if whole {
            *self.wholes.of(access) += 1;
            request.place = Place::Whole;
            true
        } else {
            // Who asks for nothing is in nobody's way.
            *self.inside.of(access) += u32::from(!request.wants.is_empty());
            self.line_up(id)
        };
        let request = &self.requests[id];
        if let Some(own) = request.number().and_then(|number| self.owners.get_mut(&number))
            && !request.wants.is_empty()
        {
            let tally = if whole { &mut own.wholes } else { &mut own.inside };
            *tally.of(access) += 1;
            own.granted += u32::from(granted);
        }
        granted
    }

    /// Puts a request at the end of the lines of its parts. True if it is at the head of all.
    fn line_up(&mut self, id: usize) -> bool {
        self.stood += 1;
        self.requests[id].stands = self.stood;
        let Self { requests, parts, .. } = self;
        let mut missing = 0;
        for part in requests[id].wants.named() {
            match parts.entry(part.clone()) {
                Entry::Vacant(free) => {
                    free.insert(Line::new(id));
                }
                Entry::Occupied(mut line) => missing += usize::from(!line.get_mut().push(id, requests)),
            }
        }
        requests[id].place = Place::Inside { missing };
        missing == 0
    }

    fn leave(&mut self, id: usize, part: &Part, wakes: &mut Wakes) {
        let Entry::Occupied(mut entry) = self.parts.entry(part.clone()) else { return };
        if !entry.get_mut().remove(id) {
            entry.remove();
            return;
        }
        while let Some(next) = entry.get_mut().advance(&self.requests) {
            became_head(&mut self.requests[next], &mut self.owners, wakes);
        }
    }

    /// Lets in whoever arrived, up to the first who has to wait.
    fn admit(&mut self, wakes: &mut Wakes) {
        while let Some(&id) = self.arrivals.front() {
            if !self.may_enter(id) {
                return;
            }
            self.arrivals.pop_front();
            if self.enter(id, wakes)
                && let Some(waiter) = self.requests[id].waiter.take()
            {
                wakes.push(waiter);
            }
        }
    }

    /// Puts a request that may not enter in its place among the arrivals.
    fn queue(&mut self, id: usize) {
        if !self.requests[id].jumped {
            self.arrivals.push_back(id);
            return;
        }
        let others = self.arrivals.iter().position(|other| !self.requests[*other].jumped);
        self.arrivals.insert(others.unwrap_or(self.arrivals.len()), id);
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty()
            && self.alone.is_none()
            && self.parts.is_empty()
            && self.inside.is_empty()
            && self.wholes.is_empty()
            && self.arrivals.is_empty()
            && self.owners.is_empty()
    }
}

/// A request is at the head of one more of its lines; of the last, and it has all it asked for.
fn became_head(request: &mut Request, owners: &mut HashMap<u64, Own, RandomState>, wakes: &mut Wakes) {
    let Place::Inside { missing } = &mut request.place else { return };
    *missing -= 1;
    if *missing > 0 {
        return;
    }
    if let Some(own) = request.number().and_then(|number| owners.get_mut(&number)) {
        own.granted += 1;
    }
    if let Some(waiter) = request.waiter.take() {
        wakes.push(waiter);
    }
}

mod overtake;
#[cfg(all(test, not(shuttle)))]
mod tests;
mod way;

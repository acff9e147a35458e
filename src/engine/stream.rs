//! One stream: the mutex, and what it guards. Held for about 100 ns (by a group ten times that), never across user code but
//! `apply`, policies and `State::clone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::deadlock::Owner;
use super::lock::{Access, Locks, Ticket};
use super::stamps::Stamps;
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::{Error, Fence, StreamName};
use crate::log::Log;
use crate::scope::{LockedParts, Scope};
use crate::sync::{Caller, Mutex, Waiter, Wakes};

/// Holds a state. Every commit asks whether somebody else looks at it: here that is a plain load.
pub(crate) type StateArc<S> = triomphe::Arc<S>;

/// A stream in memory.
pub(crate) struct Stream<A: Aggregate> {
    pub(crate) name: StreamName,
    pub(super) presence: Presence,
    pub(super) inner: Mutex<Inner<A>>,
}

/// Whether a stream has a version, and how many work on it who came before it had one: it is there for as long as either
/// holds. One word, because whoever leaves looks at both at once: between two looks somebody could give it a version and
/// leave too. Not through `sync`: read inside the map of streams, where nothing may suspend.
#[derive(Default)]
pub(super) struct Presence(AtomicUsize);

const EXISTS: usize = 1;
const VISITOR: usize = 2;

impl Presence {
    fn exists(&self) -> bool {
        self.0.load(Ordering::Acquire) & EXISTS != 0
    }

    pub(super) fn begin_to_exist(&self) {
        self.0.fetch_or(EXISTS, Ordering::Release);
    }

    /// One more works on it. False if that is not counted: it is there to stay. For one that may go, with the guard of the
    /// map held, or by who is counted already.
    pub(super) fn enter(&self) -> bool {
        let counted = !self.exists();
        if counted {
            self.0.fetch_add(VISITOR, Ordering::Relaxed);
        }
        counted
    }

    /// One who was counted leaves. True if it was the last thing that kept the stream.
    pub(super) fn leave(&self) -> bool {
        self.0.fetch_sub(VISITOR, Ordering::AcqRel) == VISITOR
    }

    /// Whether nothing keeps the stream, with the guard of the map held.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// What the mutex guards.
pub(crate) struct Inner<A: Aggregate> {
    /// Changed in place while nobody else looks at it.
    pub(crate) state: StateArc<A::State>,
    pub(crate) version: u64,
    /// The positions of the first and of the last entry.
    pub(crate) born: u64,
    pub(crate) position: u64,
    /// No later decision of this stream is made at an earlier time.
    pub(crate) decided_at: Timestamp,
    /// The stream's number in the log, once it has one.
    pub(crate) number: Option<u32>,
    pub(crate) fence: Option<Fence>,
    pub(super) stamps: Stamps,
    pub(super) locks: Locks,
}

impl<A: Aggregate> Default for Inner<A> {
    fn default() -> Self {
        Self {
            state: StateArc::default(),
            version: 0,
            born: 0,
            position: 0,
            decided_at: Timestamp::default(),
            number: None,
            fence: None,
            stamps: Stamps::default(),
            locks: Locks::default(),
        }
    }
}

/// Where a stream is in the log.
pub(crate) struct Whereabouts {
    pub(crate) number: u32,
    /// The positions of its first and of its last entry.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) version: u64,
}

/// The state as an attempt sees it.
pub(crate) struct Snapshot<A: Aggregate> {
    pub(crate) state: StateArc<A::State>,
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) decided_at: Timestamp,
}

impl<A: Aggregate> Inner<A> {
    fn whereabouts(&self) -> Option<Whereabouts> {
        let Self { born, position, version, .. } = *self;
        self.number.map(|number| Whereabouts { number, first: born, last: position, version })
    }

    fn snapshot(&self) -> Snapshot<A> {
        Snapshot {
            state: StateArc::clone(&self.state),
            version: self.version,
            position: self.position,
            decided_at: self.decided_at,
        }
    }
}

/// What an attempt keeps in its stream between its snapshot and its end: a stamp and locks.
#[derive(Default)]
pub(crate) struct Held {
    /// The snapshot's version, while its stamp is kept.
    pub(super) since: Option<u64>,
    pub(super) ticket: Option<Ticket>,
}

/// An attempt that is under way: whatever happens, what it keeps is given back.
pub(crate) struct Running<'s, A: Aggregate> {
    pub(super) stream: &'s Stream<A>,
    pub(super) held: Held,
}

/// What became of a request for locks.
pub(crate) enum Requested<'s, A: Aggregate> {
    /// Granted at once.
    Granted(Running<'s, A>, Snapshot<A>),
    /// In line.
    Queued(InLine<'s, A>),
}

/// An attempt that waits for its locks. Signaled when they are granted. The waiter goes last: what it holds of a task is
/// dropped with no mutex held.
pub(crate) struct InLine<'s, A: Aggregate> {
    pub(crate) running: Running<'s, A>,
    pub(crate) waiter: Arc<Waiter>,
}

/// What is asked for, and by whom.
pub(crate) struct Wanted<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) access: Access,
    /// The transaction that asks; none for a command.
    pub(crate) owner: Option<&'a Arc<Owner>>,
    /// Whether to wait for it.
    pub(crate) waits: bool,
}

impl<A: Aggregate> Stream<A> {
    pub(crate) fn new(name: StreamName, inner: Inner<A>) -> Self {
        let presence = Presence::default();
        if inner.version > 0 {
            presence.begin_to_exist();
        }
        Self { name, presence, inner: Mutex::new(inner) }
    }

    pub(crate) fn exists(&self) -> bool {
        self.presence.exists()
    }

    /// The state now, for a reader or for a first look at the scope.
    pub(crate) fn look(&self, log: &Log) -> Result<Snapshot<A>, Error> {
        let inner = self.inner.lock();
        log.check_readable()?;
        self.check_fence(&inner)?;
        Ok(inner.snapshot())
    }

    /// Where the stream is in the log; none without a version.
    pub(crate) fn whereabouts(&self) -> Option<Whereabouts> {
        self.inner.lock().whereabouts()
    }

    /// State, place and fence at one moment, for an audit; none without a version.
    pub(crate) fn examine(&self) -> Option<(StateArc<A::State>, Whereabouts, Option<Fence>)> {
        let inner = self.inner.lock();
        let place = inner.whereabouts()?;
        Some((StateArc::clone(&inner.state), place, inner.fence.clone()))
    }

    /// Who is in the way of a request that waits; nobody for one that was granted.
    pub(crate) fn in_the_way(&self, ticket: Ticket) -> Vec<Arc<Owner>> {
        self.inner.lock().locks.in_the_way(ticket)
    }

    pub(super) fn check(&self, inner: &Inner<A>, log: &Log) -> Result<(), Error> {
        // After the mutex: a commit that met a stopped log may have changed the state.
        log.check_running()?;
        self.check_fence(inner)
    }

    #[inline]
    fn check_fence(&self, inner: &Inner<A>) -> Result<(), Error> {
        match &inner.fence {
            None => Ok(()),
            Some(reason) => Err(Error::Fenced { stream: self.name.clone(), reason: reason.clone() }),
        }
    }

    /// Puts a rebuilt state in the place of one that `apply` left half changed.
    pub(crate) fn unfence(&self, rebuilt: Result<A::State, Fence>) {
        let before = {
            let mut inner = self.inner.lock();
            match rebuilt {
                Ok(state) => {
                    inner.fence = None;
                    std::mem::replace(&mut inner.state, StateArc::new(state))
                }
                Err(fence) => {
                    inner.fence = Some(fence);
                    return;
                }
            }
        };
        drop(before);
    }

    /// Whether nobody holds or waits for a lock, and no attempt runs.
    #[cfg(all(test, shuttle))]
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.locks.is_idle() && inner.stamps.is_idle()
    }
}

impl<'s, A: Aggregate> Running<'s, A> {
    /// Starts an optimistic attempt.
    pub(crate) fn begin(stream: &'s Stream<A>, log: &Log) -> Result<(Self, Snapshot<A>), Error> {
        let mut inner = stream.inner.lock();
        stream.check(&inner, log)?;
        let mut held = Held::default();
        let snapshot = held.start(&mut inner);
        Ok((Self { stream, held }, snapshot))
    }

    /// As [`begin`](Self::begin), with what others than this transaction have locked at that moment.
    pub(crate) fn begin_choosing(
        stream: &'s Stream<A>,
        log: &Log,
        owner: Option<u64>,
    ) -> Result<(Self, Snapshot<A>, LockedParts), Error> {
        let mut inner = stream.inner.lock();
        stream.check(&inner, log)?;
        let mut held = Held::default();
        let snapshot = held.start(&mut inner);
        let locked = inner.locks.locked_parts(owner);
        Ok((Self { stream, held }, snapshot, locked))
    }

    /// Asks for locks; if they are free, starts an attempt as their holder. `seen` is a look from before, which still
    /// serves if nothing has happened since.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if it would have to wait, and is not to: then it has not been asked for.
    pub(crate) fn request(
        stream: &'s Stream<A>,
        log: &Log,
        wanted: &Wanted<'_>,
        mut seen: Option<Snapshot<A>>,
    ) -> Result<Requested<'s, A>, Error> {
        let mut wakes = Wakes::default();
        let requested = {
            let mut inner = stream.inner.lock();
            stream.check(&inner, log)?;
            let Wanted { scope, access, owner, waits } = *wanted;
            if !waits && !inner.locks.is_free(scope, access, owner) {
                return Err(Error::WouldBlock { stream: stream.name.clone() });
            }
            let (ticket, waiter) = inner.locks.request(scope, access, owner, &mut wakes);
            let mut held = Held { since: None, ticket: Some(ticket) };
            match waiter {
                Some(waiter) => Requested::Queued(InLine { running: Self { stream, held }, waiter }),
                None => {
                    held.note(&mut inner);
                    // One that is too old is dropped after the mutex is released.
                    let unchanged = seen.take_if(|seen| seen.version == inner.version);
                    let snapshot = unchanged.unwrap_or_else(|| inner.snapshot());
                    Requested::Granted(Self { stream, held }, snapshot)
                }
            }
        };
        wakes.fire();
        Ok(requested)
    }

    /// Locks a scope that was chosen on this attempt's snapshot, and goes on with a fresh one; not if it changed since, or
    /// somebody else was faster.
    pub(crate) fn lock_unchanged(
        &mut self,
        log: &Log,
        scope: &Scope,
        owner: Option<&Arc<Owner>>,
    ) -> Result<Option<Snapshot<A>>, Error> {
        let mut wakes = Wakes::default();
        let mut inner = self.stream.inner.lock();
        self.stream.check(&inner, log)?;
        if self.held.since.is_none_or(|since| inner.stamps.changed_since(since, scope)) {
            return Ok(None);
        }
        if !inner.locks.is_free(scope, Access::Exclusive, owner) {
            return Ok(None);
        }
        let (ticket, waiter) = inner.locks.request(scope, Access::Exclusive, owner, &mut wakes);
        let snapshot = if waiter.is_none() {
            self.held.ticket = Some(ticket);
            if let Some(since) = self.held.since.take() {
                inner.stamps.end(since);
            }
            Some(self.held.start(&mut inner))
        } else {
            debug_assert!(false, "what is free is granted");
            inner.locks.release(ticket, &mut wakes);
            None
        };
        drop(inner);
        wakes.fire();
        Ok(snapshot)
    }

    /// Starts the attempt of a request whose locks were granted.
    pub(crate) fn granted(&mut self, log: &Log) -> Result<Snapshot<A>, Error> {
        let mut inner = self.stream.inner.lock();
        self.stream.check(&inner, log)?;
        Ok(self.held.start(&mut inner))
    }

    /// Whether a transaction of the one who asks stands in the way: it will not end while its own caller waits.
    pub(crate) fn is_held_by(&self, caller: &Caller) -> bool {
        let Some(ticket) = self.held.ticket else { return false };
        let in_the_way = {
            let inner = self.stream.inner.lock();
            if inner.locks.has_owner_of(caller) { inner.locks.in_the_way(ticket) } else { Vec::new() }
        };
        in_the_way.iter().any(|owner| owner.caller.is(caller))
    }

    /// The place of a request that waits.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.held.ticket
    }

    /// Hands over what is kept: somebody else gives it back.
    pub(crate) fn into_held(mut self) -> Held {
        std::mem::take(&mut self.held)
    }
}

impl Held {
    /// The attempt sees the state as it is now.
    fn start<A: Aggregate>(&mut self, inner: &mut Inner<A>) -> Snapshot<A> {
        self.note(inner);
        inner.snapshot()
    }

    fn note<A: Aggregate>(&mut self, inner: &mut Inner<A>) {
        inner.stamps.begin(inner.version);
        self.since = Some(inner.version);
    }

    pub(super) fn end<A: Aggregate>(&mut self, inner: &mut Inner<A>, wakes: &mut Wakes) {
        self.look_away(inner);
        if let Some(ticket) = self.ticket.take() {
            inner.locks.release(ticket, wakes);
        }
    }

    /// Whether what was seen of this scope still is as it was.
    pub(super) fn is_unchanged<A: Aggregate>(&self, inner: &Inner<A>, scope: &Scope) -> bool {
        self.since.is_some_and(|since| !inner.stamps.changed_since(since, scope))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_none() && self.ticket.is_none()
    }
}

impl<A: Aggregate> Drop for Running<'_, A> {
    fn drop(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let mut wakes = Wakes::default();
        self.held.end(&mut self.stream.inner.lock(), &mut wakes);
        wakes.fire();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    /// A stream without a version goes with the last who worked on it, and with nobody else.
    #[test]
    fn whoever_comes_keeps_it_and_the_last_who_leaves_does_not() {
        let presence = Presence::default();
        assert!(presence.enter() && presence.enter());
        assert!(!presence.leave() && !presence.is_over());
        assert!(presence.leave() && presence.is_over());
        // Between the leaving of the last and a look somebody else came.
        assert!(presence.enter() && !presence.is_over());
    }

    /// One that got a version meanwhile stays, whoever leaves and looks, and counts nobody any more.
    #[test]
    fn what_exists_stays() {
        let presence = Presence::default();
        assert!(presence.enter() && presence.enter());
        presence.begin_to_exist();
        assert!(!presence.enter());
        assert!(!presence.leave() && !presence.is_over());
        assert!(!presence.leave() && !presence.is_over());
        assert!(presence.exists());
    }
}

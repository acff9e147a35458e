//! One stream: the mutex, and what it guards. Held for about 100 ns, never across user code but
//! `apply`, policies and `State::clone`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock::{Locks, Ticket};
use super::policy::Policy;
use super::replay::panic_message;
use super::stamps::Stamps;
use smallvec::SmallVec;

use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::{Cause, Error, Fence, StreamName};
use crate::log::{Draft, Entry, Log, StreamRef};
use crate::scope::Scope;
use crate::sync::{Mutex, Waiter, Wakes};

/// Holds a state. Every commit asks whether somebody else looks at it: here that is a plain load.
pub(crate) type StateArc<S> = triomphe::Arc<S>;

/// A stream in memory.
pub(crate) struct Stream<A: Aggregate> {
    pub(crate) name: StreamName,
    /// Whether the stream has a version. Not through `sync`: read inside the map of streams, where
    /// nothing may suspend.
    exists: AtomicBool,
    inner: Mutex<Inner<A>>,
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
    stamps: Stamps,
    locks: Locks,
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
    fn snapshot(&self) -> Snapshot<A> {
        Snapshot {
            state: StateArc::clone(&self.state),
            version: self.version,
            position: self.position,
            decided_at: self.decided_at,
        }
    }
}

/// An attempt between its snapshot and its end: whatever happens, its stamp and its locks are given
/// back.
pub(crate) struct Running<'s, A: Aggregate> {
    stream: &'s Stream<A>,
    /// The snapshot's version, while its stamp is kept.
    since: Option<u64>,
    ticket: Option<Ticket>,
}

/// What became of a request for locks.
pub(crate) enum Requested<'s, A: Aggregate> {
    /// Granted at once.
    Granted(Running<'s, A>, Snapshot<A>),
    /// Signaled when granted.
    Queued(Running<'s, A>, Arc<Waiter>),
}

/// An entry to commit: encoded, and checked against its own scope.
pub(crate) struct Proposal<'a, A: Aggregate> {
    pub(crate) scope: &'a Scope,
    /// None for a rejection, which takes a number and touches nothing.
    pub(crate) events: &'a [A::Event],
    /// What each event touches.
    pub(crate) touched: &'a [Scope],
    pub(crate) policies: &'a [Policy<A>],
    pub(crate) decided_at: Timestamp,
    pub(crate) draft: &'a Draft,
    /// What the entry takes at most.
    pub(crate) bytes: usize,
    /// Whether to wake the writer.
    pub(crate) nudge: bool,
}

type Replaced<A> = SmallVec<[StateArc<<A as Aggregate>::State>; 1]>;

/// What must wait until the mutex is released.
struct After<'a, A: Aggregate> {
    /// May be the last holders of a user's value.
    replaced: &'a mut Replaced<A>,
    /// What `apply` or a policy panicked with: dropping it is foreign code too.
    panic: &'a mut Option<Box<dyn Any + Send>>,
    wakes: &'a mut Wakes,
}

/// What became of a proposal.
pub(crate) enum Commit {
    /// Stored at this position, as the events up to this version.
    Done { position: u64, version: u64 },
    /// A part of the scope changed since the snapshot.
    Conflict,
    /// Somebody else holds a lock on the scope.
    Locked,
    /// An event breaks this policy; nothing was stored, nothing has changed.
    Violated(&'static str),
    /// As when one is broken; the panic passes through to the caller.
    PolicyPanicked,
    /// `apply` panicked; nothing was stored, the stream is fenced.
    Panicked(Cause),
}

impl<A: Aggregate> Stream<A> {
    pub(crate) fn new(name: StreamName, inner: Inner<A>) -> Self {
        let exists = AtomicBool::new(inner.version > 0);
        Self { name, exists, inner: Mutex::new(inner) }
    }

    pub(crate) fn exists(&self) -> bool {
        self.exists.load(Ordering::Acquire)
    }

    /// The state now, for a reader or for a first look at the scope.
    pub(crate) fn look(&self, log: &Log) -> Result<Snapshot<A>, Error> {
        let inner = self.inner.lock();
        self.check(&inner, log)?;
        Ok(inner.snapshot())
    }

    /// Where the stream is in the log; none without a version.
    pub(crate) fn whereabouts(&self) -> Option<Whereabouts> {
        let inner = self.inner.lock();
        let Inner { born, position, version, .. } = *inner;
        inner.number.map(|number| Whereabouts { number, first: born, last: position, version })
    }

    /// Starts an optimistic attempt.
    pub(crate) fn begin(&self, log: &Log) -> Result<(Running<'_, A>, Snapshot<A>), Error> {
        let mut inner = self.inner.lock();
        self.check(&inner, log)?;
        let version = inner.version;
        inner.stamps.begin(version);
        let running = Running { stream: self, since: Some(version), ticket: None };
        Ok((running, inner.snapshot()))
    }

    /// Asks for the locks of `scope`; if they are free, starts an attempt as their holder.
    pub(crate) fn request(&self, log: &Log, scope: &Scope) -> Result<Requested<'_, A>, Error> {
        let mut inner = self.inner.lock();
        self.check(&inner, log)?;
        let (ticket, waiter) = inner.locks.request(scope);
        let mut running = Running { stream: self, since: None, ticket: Some(ticket) };
        Ok(match waiter {
            Some(waiter) => Requested::Queued(running, waiter),
            None => {
                let snapshot = running.start(&mut inner);
                Requested::Granted(running, snapshot)
            }
        })
    }

    fn check(&self, inner: &Inner<A>, log: &Log) -> Result<(), Error> {
        // After the mutex: a commit that met a stopped log may have changed the state.
        log.check_running()?;
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
    /// Starts the attempt of a request whose locks were granted.
    pub(crate) fn granted(&mut self, log: &Log) -> Result<Snapshot<A>, Error> {
        let mut inner = self.stream.inner.lock();
        self.stream.check(&inner, log)?;
        Ok(self.start(&mut inner))
    }

    fn start(&mut self, inner: &mut Inner<A>) -> Snapshot<A> {
        inner.stamps.begin(inner.version);
        self.since = Some(inner.version);
        inner.snapshot()
    }

    /// The decisive step: check, apply, number, append, unlock, as one.
    pub(crate) fn commit(mut self, log: &Log, proposal: &Proposal<'_, A>) -> Result<Commit, Error> {
        let stream = self.stream;
        let mut wakes = Wakes::default();
        let (mut replaced, mut panic) = (Replaced::<A>::new(), None);
        let result = {
            let mut inner = stream.inner.lock();
            let result = match stream.check(&inner, log) {
                Ok(()) => {
                    let mut after = After { replaced: &mut replaced, panic: &mut panic, wakes: &mut wakes };
                    self.commit_locked(&mut inner, log, proposal, &mut after)
                }
                Err(error) => Err(error),
            };
            self.end(&mut inner, &mut wakes);
            result
        };
        wakes.fire();
        if replaced.is_empty() && panic.is_none() {
            return result;
        }
        let passed_on = panic.take_if(|_| matches!(result, Ok(Commit::PolicyPanicked)));
        // The decision stands, whatever a user's `Drop` does.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((replaced, panic))));
        if let Some(panic) = passed_on {
            resume_unwind(panic);
        }
        result
    }

    fn commit_locked(
        &mut self,
        inner: &mut Inner<A>,
        log: &Log,
        proposal: &Proposal<'_, A>,
        after: &mut After<'_, A>,
    ) -> Result<Commit, Error> {
        let Proposal { scope, events, touched, policies, decided_at, draft, bytes, nudge } = *proposal;
        let Some(since) = self.since else {
            let rule = format!("{}: a commit without a snapshot", self.stream.name);
            return Err(log.broken_under_mutex(rule, after.wakes));
        };
        if self.ticket.is_none() && inner.locks.blocks(scope) {
            return Ok(Commit::Locked);
        }
        if inner.stamps.changed_since(since, scope) {
            if self.ticket.is_some() {
                let rule = format!("{}: a locked part changed", self.stream.name);
                return Err(log.broken_under_mutex(rule, after.wakes));
            }
            return Ok(Commit::Conflict);
        }
        // This attempt no longer asks; what it touches concerns the others.
        inner.stamps.end(since);
        self.since = None;

        if !events.is_empty() {
            let state = &mut inner.state;
            let applied = match policies {
                [] => catch_unwind(AssertUnwindSafe(|| {
                    for event in events {
                        A::apply(writable::<A>(state, after.replaced), event);
                    }
                })),
                policies => match apply_checked(state, events, policies, after) {
                    Ok(applied) => applied,
                    Err(broken) => return Ok(broken),
                },
            };
            if let Err(panic) = applied {
                inner.fence = Some(Fence::Rebuilding);
                let message = panic_message(&*panic);
                *after.panic = Some(panic);
                return Ok(Commit::Panicked(message));
            }
        }
        let count = events.len().max(1) as u32;
        let first_version = inner.version + 1;
        let name = &self.stream.name;
        let entry = Entry {
            decided_at,
            stream: match inner.number {
                Some(number) => StreamRef::Known(number),
                None => StreamRef::New { aggregate: &name.aggregate, id: &name.id },
            },
            first_version,
            events: count,
            draft,
        };
        let appended = log.append(&entry, bytes, nudge)?;
        if let Some(writer) = appended.writer {
            after.wakes.push(writer);
        }
        inner.version += u64::from(count);
        inner.position = appended.position;
        inner.decided_at = inner.decided_at.max(decided_at);
        if inner.number.is_none() {
            inner.number = Some(appended.stream);
            inner.born = appended.position;
            self.stream.exists.store(true, Ordering::Release);
        }
        for (version, touched) in (first_version..).zip(touched) {
            inner.stamps.touch(version, touched);
        }
        Ok(Commit::Done { position: appended.position, version: inner.version })
    }

    fn end(&mut self, inner: &mut Inner<A>, wakes: &mut Wakes) {
        if let Some(since) = self.since.take() {
            inner.stamps.end(since);
        }
        if let Some(ticket) = self.ticket.take() {
            inner.locks.release(ticket, wakes);
        }
    }
}

impl<A: Aggregate> Drop for Running<'_, A> {
    fn drop(&mut self) {
        if self.since.is_none() && self.ticket.is_none() {
            return;
        }
        let mut wakes = Wakes::default();
        self.end(&mut self.stream.inner.lock(), &mut wakes);
        wakes.fire();
    }
}

/// Applies events that have policies to keep. If one is broken, or panics, the state is what it was, and that
/// is returned.
#[cold]
fn apply_checked<A: Aggregate>(
    state: &mut StateArc<A::State>,
    events: &[A::Event],
    policies: &[Policy<A>],
    after: &mut After<'_, A>,
) -> Result<std::thread::Result<()>, Commit> {
    let original = StateArc::clone(state);
    for event in events {
        let before = StateArc::clone(state);
        let applied =
            catch_unwind(AssertUnwindSafe(|| A::apply(writable::<A>(state, after.replaced), event)));
        if applied.is_err() {
            after.replaced.extend([original, before]);
            return Ok(applied);
        }
        let asked = catch_unwind(AssertUnwindSafe(|| Policy::first_broken(policies, &before, event, state)));
        after.replaced.push(before);
        let broken = match asked {
            Ok(None) => continue,
            Ok(Some(policy)) => Commit::Violated(policy),
            Err(panic) => {
                *after.panic = Some(panic);
                Commit::PolicyPanicked
            }
        };
        after.replaced.push(std::mem::replace(state, original));
        return Err(broken);
    }
    after.replaced.push(original);
    Ok(Ok(()))
}

/// The state for changing: itself if nobody else looks at it, otherwise a clone in its place.
fn writable<'s, A: Aggregate>(
    state: &'s mut StateArc<A::State>,
    replaced: &mut Replaced<A>,
) -> &'s mut A::State {
    if !StateArc::is_unique(state) {
        let clone = StateArc::new(A::State::clone(state));
        replaced.push(std::mem::replace(state, clone));
    }
    // Nobody can have looked since: that takes the stream's mutex.
    StateArc::make_mut(state)
}

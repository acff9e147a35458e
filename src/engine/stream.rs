//! One stream: the mutex, and what it guards. Held for about 100 ns, never across user code but
//! `apply`, policies and `State::clone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock::{Locks, Ticket};
use super::stamps::Stamps;
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::{Error, Fence, StreamName};
use crate::log::Log;
use crate::scope::Scope;
use crate::sync::{Mutex, Waiter, Wakes};

/// Holds a state. Every commit asks whether somebody else looks at it: here that is a plain load.
pub(crate) type StateArc<S> = triomphe::Arc<S>;

/// A stream in memory.
pub(crate) struct Stream<A: Aggregate> {
    pub(crate) name: StreamName,
    /// Whether the stream has a version. Not through `sync`: read inside the map of streams, where
    /// nothing may suspend.
    pub(super) exists: AtomicBool,
    pub(super) inner: Mutex<Inner<A>>,
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
    pub(super) stream: &'s Stream<A>,
    /// The snapshot's version, while its stamp is kept.
    pub(super) since: Option<u64>,
    pub(super) ticket: Option<Ticket>,
}

/// What became of a request for locks.
pub(crate) enum Requested<'s, A: Aggregate> {
    /// Granted at once.
    Granted(Running<'s, A>, Snapshot<A>),
    /// Signaled when granted.
    Queued(Running<'s, A>, Arc<Waiter>),
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

    pub(super) fn check(&self, inner: &Inner<A>, log: &Log) -> Result<(), Error> {
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

    pub(super) fn end(&mut self, inner: &mut Inner<A>, wakes: &mut Wakes) {
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

//! The path of a command: find, snapshot, scope, lock, decide, encode, commit. One path for both
//! modes, and for threads and tasks.

use std::sync::Arc;

use smallvec::SmallVec;

use super::handle::Handle;
use super::options::{Concurrency, Exhausted, Wait};
use super::outcome::{Decision, Effort, Outcome};
use super::rebuild;
use super::stream::{Change, Commit, Proposal, Requested, Running, Snapshot, Stream};
use crate::aggregate::{Aggregate, Context, Events};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::log::{Draft, EventKind, Reservation};
use crate::scope::Scope;
use crate::sync::{Patience, Waiter};

/// How often a turn plans again because its scope moved, before it locks the whole: whoever moved it
/// got something done, but this caller has to get through too.
const MOVES_BEFORE_WHOLE: u32 = if cfg!(all(test, shuttle)) { 1 } else { 3 };

/// A decision that has its place, and what must be durable before it is.
pub(crate) struct Decided<A: Aggregate> {
    pub(crate) outcome: Outcome<A>,
    pub(crate) wait_for: u64,
}

/// One call: a command on a stream, until it has an outcome.
pub(crate) struct Call<'c, 't, A: Aggregate> {
    pub(crate) handle: &'c Handle<A>,
    pub(crate) id: &'c str,
    pub(crate) command: &'c A::Command,
    pub(crate) patience: &'c mut Patience<'t>,
    /// Whether the caller leaves without waiting, so that the writer must be told of the entry.
    pub(crate) nudge: bool,
}

/// What a call has been through.
struct Progress {
    effort: Effort,
    /// How often the scope of a turn moved.
    moves: u32,
}

/// A started attempt: what it sees, and what it depends on.
struct Start<'s, A: Aggregate> {
    running: Running<'s, A>,
    snapshot: Snapshot<A>,
    scope: Scope,
}

/// A decision that is ready to be committed.
struct Prepared<'s, A: Aggregate> {
    running: Running<'s, A>,
    scope: Scope,
    decision: Decision<A>,
    /// None if there is nothing to store.
    change: Option<Change>,
    draft: Draft,
    decided_at: Timestamp,
    /// The snapshot's.
    version: u64,
}

/// How far an attempt came without waiting. What has to wait is boxed: the path without waits, which
/// is the fast one, then keeps nothing in a future.
enum Step<'s, A: Aggregate> {
    Decided(Decided<A>),
    /// Another commit came first, or somebody else holds a lock, or the scope moved: start again.
    Again,
    /// In line for locks.
    Queued(Box<Queued<'s, A>>),
    /// Decided, but there is no room in the write queue.
    Full(Box<Prepared<'s, A>>),
}

/// A turn that waits for its locks.
struct Queued<'s, A: Aggregate> {
    running: Running<'s, A>,
    waiter: Arc<Waiter>,
    planned: Plan,
}

/// The scope that a turn asked for.
struct Plan {
    scope: Scope,
    /// The version it was planned on.
    version: u64,
    /// What was locked: the scope, or Whole after the scope had moved too often.
    whole: bool,
}

impl<A: Aggregate> Call<'_, '_, A> {
    pub(crate) async fn run(mut self) -> Result<Decided<A>, Error> {
        let log = &*self.handle.shared.log;
        log.check_running()?;
        self.handle.check_id(self.id)?;
        A::check(self.command, log.limits()).map_err(|why| Error::InvalidCommand { why })?;
        let visit = self.handle.registry.visit(self.id, A::creates(self.command))?;
        let Some(stream) = visit.stream() else {
            return Err(Error::UnknownStream { stream: self.handle.name(self.id) });
        };
        let mut progress = Progress {
            effort: Effort {
                turn: self.handle.options.concurrency == Concurrency::Pessimistic,
                ..Effort::default()
            },
            moves: 0,
        };
        loop {
            let mut step = self.start(stream, &mut progress)?;
            if let Step::Queued(queued) = step {
                step = self.wait_for_locks(stream, *queued, &mut progress).await?;
            }
            if let Step::Full(prepared) = step {
                step = self.wait_for_room(stream, *prepared, &mut progress).await?;
            }
            if let Step::Decided(decided) = step {
                return Ok(decided);
            }
        }
    }

    /// One attempt, as far as it goes without waiting.
    fn start<'s>(&self, stream: &'s Arc<Stream<A>>, progress: &mut Progress) -> Result<Step<'s, A>, Error> {
        let log = &*self.handle.shared.log;
        if !progress.effort.turn {
            let (running, snapshot) = stream.begin(log)?;
            let scope = A::scope(&snapshot.state, self.command);
            return self.attempt(stream, Start { running, snapshot, scope }, progress);
        }
        let seen = stream.look(log)?;
        let scope = A::scope(&seen.state, self.command);
        let version = seen.version;
        drop(seen);
        let planned = Plan { scope, version, whole: progress.moves >= MOVES_BEFORE_WHOLE };
        let locks = if planned.whole { &Scope::Whole } else { &planned.scope };
        match stream.request(log, locks)? {
            Requested::Granted(running, snapshot) => self.turn(stream, running, snapshot, planned, progress),
            Requested::Queued(..) if self.handle.options.wait == Wait::Never => {
                Err(Error::WouldBlock { stream: stream.name.clone() })
            }
            Requested::Queued(running, waiter) => {
                Ok(Step::Queued(Box::new(Queued { running, waiter, planned })))
            }
        }
    }

    async fn wait_for_locks<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        queued: Queued<'s, A>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        // The waiter is bound first and goes last: what it holds of a task is dropped with no mutex held.
        let Queued { waiter, mut running, planned } = queued;
        progress.effort.lock_waits += 1;
        if !waiter.wait(self.patience).await {
            let waited = self.patience.waited();
            return Err(Error::LockTimeout { stream: stream.name.clone(), waited });
        }
        let snapshot = running.granted(&self.handle.shared.log)?;
        self.turn(stream, running, snapshot, planned, progress)
    }

    /// Goes on as the holder of the locks. The scope is looked at again: what was free when the command
    /// was planned may be taken now, and then other parts are to be locked.
    fn turn<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        planned: Plan,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let Plan { mut scope, version, whole } = planned;
        if version != snapshot.version {
            let now = A::scope(&snapshot.state, self.command);
            if !whole && now != scope {
                progress.moves += 1;
                return Ok(Step::Again);
            }
            scope = now;
        }
        self.attempt(stream, Start { running, snapshot, scope }, progress)
    }

    fn attempt<'s>(
        &self,
        stream: &Arc<Stream<A>>,
        start: Start<'s, A>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let log = &*self.handle.shared.log;
        let prepared = self.prepare(stream, start)?;
        if prepared.change.is_none() {
            let Prepared { running, decision, decided_at, version, .. } = prepared;
            drop(running);
            let effort = progress.effort;
            let outcome = Outcome { decision, version, position: None, decided_at, effort };
            // It was decided on what others wrote: durable when all of that is.
            return Ok(Step::Decided(Decided { outcome, wait_for: log.tail() }));
        }
        match log.try_reserve(prepared.draft.bytes_with(stream.name.bytes()))? {
            Some(reservation) => self.commit(stream, prepared, reservation, progress),
            None if self.handle.options.wait == Wait::Never => {
                Err(Error::Busy { waited: self.patience.waited() })
            }
            None => Ok(Step::Full(Box::new(prepared))),
        }
    }

    async fn wait_for_room<'s>(
        &mut self,
        stream: &Arc<Stream<A>>,
        prepared: Prepared<'s, A>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let bytes = prepared.draft.bytes_with(stream.name.bytes());
        let reservation = self.handle.shared.log.reserve(bytes, self.patience).await?;
        self.commit(stream, prepared, reservation, progress)
    }

    fn commit<'s>(
        &self,
        stream: &Arc<Stream<A>>,
        prepared: Prepared<'s, A>,
        reservation: Reservation<'_>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let shared = &self.handle.shared;
        let Prepared { running, scope, decision, change, draft, decided_at, .. } = prepared;
        let Some(change) = change else { return Ok(Step::Again) };
        let events: &[A::Event] = match &decision {
            Decision::Accepted(events) => events,
            Decision::Rejected(_) => &[],
        };
        let proposal =
            Proposal { scope: &scope, change: &change, events, decided_at, draft: &draft, nudge: self.nudge };
        match running.commit(&shared.log, &proposal, reservation)? {
            Commit::Done { position, version } => {
                let effort = progress.effort;
                let outcome = Outcome { decision, version, position: Some(position), decided_at, effort };
                Ok(Step::Decided(Decided { outcome, wait_for: position }))
            }
            Commit::Locked => {
                progress.effort.turn = true;
                Ok(Step::Again)
            }
            Commit::Conflict => self.conflict(stream, progress),
            Commit::Panicked(message) => {
                rebuild::start(shared, &self.handle.registry, stream, &message);
                Err(Error::ApplyPanicked { stream: stream.name.clone(), message })
            }
        }
    }

    #[cold]
    fn conflict<'s>(&self, stream: &Stream<A>, progress: &mut Progress) -> Result<Step<'s, A>, Error> {
        let options = &self.handle.options;
        let effort = &mut progress.effort;
        effort.conflicts += 1;
        if effort.conflicts > options.retries {
            match options.exhausted {
                Exhausted::Turn => effort.turn = true,
                Exhausted::Conflict => {
                    let attempts = effort.conflicts;
                    return Err(Error::Conflict { stream: stream.name.clone(), attempts });
                }
            }
        }
        Ok(Step::Again)
    }

    /// Decides and encodes. The snapshot is gone afterwards, so that the commit can change the state in
    /// place.
    fn prepare<'s>(&self, stream: &Stream<A>, start: Start<'s, A>) -> Result<Prepared<'s, A>, Error> {
        let Start { running, snapshot, scope } = start;
        let shared = &self.handle.shared;
        let decided_at = shared.clock.now().max(snapshot.decided_at);
        let services = &*self.handle.services;
        let context = Context { now: decided_at, services, scope: &scope };
        let decided = A::decide(&snapshot.state, self.command, &context);
        let version = snapshot.version;
        drop(snapshot);

        let mut draft = Draft::new(shared.log.limits().entry_bytes);
        let (decision, change) = match decided {
            Ok(events) => {
                let events = self.intern(events, version);
                let mut touched = SmallVec::<[Scope; 1]>::new();
                for event in events.iter() {
                    let touches = A::touches(event);
                    if let Some(outside) = scope.first_outside(&touches) {
                        return Err(Error::OutOfScope {
                            stream: stream.name.clone(),
                            part: outside.to_string().into(),
                        });
                    }
                    touched.push(touches);
                    draft.push(EventKind::Event, A::EVENT_VERSION, event)?;
                }
                let change = (!events.is_empty()).then_some(Change::Events { touched });
                (Decision::Accepted(events), change)
            }
            Err(rejection) => {
                // A stream is not created by a rejection.
                let record = version > 0 && self.handle.options.record_rejections;
                if record {
                    draft.push(EventKind::Rejection, A::EVENT_VERSION, &rejection)?;
                }
                (Decision::Rejected(rejection), record.then_some(Change::Rejection))
            }
        };
        Ok(Prepared { running, scope, decision, change, draft, decided_at, version })
    }

    /// What a new stream has in common with others is shared before the stream keeps it.
    fn intern(&self, events: Events<A::Event>, version: u64) -> Events<A::Event> {
        if version > 0 {
            return events;
        }
        let mut pool = self.handle.registry.interner.lock();
        events.map(|event| A::intern(event, &mut pool))
    }
}

//! The path of a command: find, snapshot, scope, lock, decide, encode, commit. One path for both
//! modes, and for threads and tasks.

use std::sync::Arc;

use smallvec::SmallVec;

use super::commit::{Change, Commit, Proposal, Refusal};
use super::handle::Handle;
use super::lock::Access;
use super::options::{Concurrency, Exhausted, Wait};
use super::outcome::{Decision, Effort, Outcome};
use super::rebuild;
use super::stream::{Requested, Running, Snapshot, Stream, Wanted};
use crate::aggregate::{Aggregate, Context, Events};
use crate::clock::Timestamp;
use crate::error::{Error, StreamName};
use crate::log::{Draft, EventKind, entry_bytes, put_answer};
use crate::scope::Scope;
use crate::sync::{Patience, Waiter};

/// How often a command that skips what is locked chooses anew because somebody else was faster.
pub(super) const CHOICES: u32 = if cfg!(all(test, shuttle)) { 2 } else { 64 };

/// How often a turn plans again because its scope moved, before it locks the whole: whoever moved it
/// got something done, but this caller has to get through too.
pub(super) const MOVES_BEFORE_WHOLE: u32 = if cfg!(all(test, shuttle)) { 1 } else { 3 };

/// A decision that has its place, and what must be durable before it is.
pub(crate) struct Decided<A: Aggregate> {
    pub(crate) outcome: Outcome<A>,
    pub(crate) wait_for: u64,
}

/// A command on a stream, until it has an outcome.
pub(crate) struct Execution<'c, 't, A: Aggregate> {
    pub(crate) handle: &'c Handle<A>,
    pub(crate) id: &'c str,
    pub(crate) command: &'c A::Command,
    pub(crate) patience: &'c mut Patience<'t>,
    /// Whether the caller leaves without waiting, so that the writer must be told of the entry.
    pub(crate) nudge: bool,
    /// What the entry carries beside its events.
    pub(crate) sections: &'c [u8],
    /// Whether there is an entry whatever was decided: the command has an id, which has to be known again.
    pub(crate) always: bool,
}

/// Where a decision was stored.
struct Place {
    position: u64,
    version: u64,
}

impl Place {
    fn outcome<A: Aggregate>(
        self,
        decision: Decision<A>,
        encoded: &Encoded,
        decided_at: Timestamp,
        effort: Effort,
    ) -> Decided<A> {
        let position = self.position;
        // An answer is about the version that was looked at, as its entry says.
        let version = if encoded.versions == 0 { encoded.seen } else { self.version };
        let outcome = Outcome { decision, version, position, decided_at, effort };
        Decided { outcome, wait_for: position }
    }
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

/// A decision that is ready to be committed, while it waits for room in the write queue.
struct Prepared<'s, A: Aggregate> {
    running: Running<'s, A>,
    scope: Scope,
    decision: Decision<A>,
    encoded: Encoded,
    decided_at: Timestamp,
}

/// What an entry needs beside the decision itself.
struct Encoded {
    draft: Draft,
    /// What each event touches; nothing for a rejection.
    touched: SmallVec<[Scope; 1]>,
    /// The version that it was decided on, and how many the entry takes.
    seen: u64,
    versions: u32,
    /// The call's sections and the answer, for an entry that takes none.
    answer: Vec<u8>,
    /// What the entry takes at most.
    bytes: usize,
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

impl<A: Aggregate> Execution<'_, '_, A> {
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
        if self.handle.options.wait == Wait::SkipLocked {
            return self.start_skipping(stream, progress);
        }
        if !progress.effort.turn {
            let (running, snapshot) = Running::begin(stream, log)?;
            let scope = A::scope(&snapshot.state, self.command);
            return self.attempt(stream, Start { running, snapshot, scope }, progress);
        }
        let seen = stream.look(log)?;
        let scope = A::scope(&seen.state, self.command);
        let version = seen.version;
        drop(seen);
        let planned = Plan { scope, version, whole: progress.moves >= MOVES_BEFORE_WHOLE };
        let locks = if planned.whole { &Scope::Whole } else { &planned.scope };
        let wanted = Wanted { scope: locks, access: Access::Exclusive, owner: None };
        match Running::request(stream, log, &wanted)? {
            Requested::Granted(running, snapshot) => self.turn(stream, running, snapshot, planned, progress),
            Requested::Queued(..) if self.handle.options.wait == Wait::Never => {
                Err(Error::WouldBlock { stream: stream.name.clone() })
            }
            Requested::Queued(running, waiter) => {
                Ok(Step::Queued(Box::new(Queued { running, waiter, planned })))
            }
        }
    }

    /// Chooses among what nobody has locked, and never waits for it.
    #[cold]
    fn start_skipping<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let log = &*self.handle.shared.log;
        let (mut running, mut snapshot, locked) = Running::begin_choosing(stream, log, None)?;
        let scope = A::scope_skipping(&snapshot.state, self.command, &locked)
            .map_err(|why| Error::InvalidCommand { why })?;
        if progress.effort.turn {
            drop(snapshot);
            match running.lock_unchanged(log, &scope, None)? {
                Some(locked) => snapshot = locked,
                None if progress.moves >= CHOICES => {
                    return Err(Error::WouldBlock { stream: stream.name.clone() });
                }
                None => {
                    progress.moves += 1;
                    return Ok(Step::Again);
                }
            }
        }
        self.attempt(stream, Start { running, snapshot, scope }, progress)
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
        let caller = self.patience.caller().await;
        if running.is_held_by(&caller) {
            return Err(Error::HeldByCaller { stream: stream.name.clone() });
        }
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

    /// Decides, encodes and commits. The snapshot is gone before the commit, so that it can change the
    /// state in place. All in one frame: moving a decision from function to function costs as much as
    /// making it.
    fn attempt<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        start: Start<'s, A>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let Start { running, snapshot, scope } = start;
        let shared = &*self.handle.shared;
        let log = &*shared.log;
        let decided_at = shared.clock.now().max(snapshot.decided_at);
        let context = Context { now: decided_at, services: &*self.handle.services, scope: &scope };
        let decided = A::decide(&snapshot.state, self.command, &context);
        let version = snapshot.version;
        drop(snapshot);
        let decision = match decided {
            Ok(events) if version == 0 => Decision::Accepted(self.intern(events)),
            Ok(events) => Decision::Accepted(events),
            Err(rejection) => Decision::Rejected(rejection),
        };
        let draft = Draft::new(log.limits().entry_bytes);
        let mut encoded = Encoded {
            draft,
            touched: SmallVec::new(),
            seen: version,
            versions: 0,
            answer: Vec::new(),
            bytes: 0,
        };
        self.encode(stream, &scope, &decision, &mut encoded)?;
        if encoded.versions == 0 && !self.always {
            drop(running);
            let effort = progress.effort;
            let outcome = Outcome { decision, version, position: 0, decided_at, effort };
            // It was decided on what others wrote: durable when all of that is.
            return Ok(Step::Decided(Decided { outcome, wait_for: log.tail() }));
        }
        let sections = self.sections.len() + encoded.answer.len();
        encoded.bytes = entry_bytes(sections, stream.name.bytes(), &encoded.draft);
        if !log.has_room(encoded.bytes)? {
            if self.handle.options.limit().is_none() {
                log.check_running()?;
                return Err(Error::Busy { waited: self.patience.waited() });
            }
            return Ok(Step::Full(Box::new(Prepared { running, scope, decision, encoded, decided_at })));
        }
        let proposal = self.proposal(&scope, &decision, &encoded, decided_at);
        match self.commit(stream, running, &proposal, progress)? {
            Some(place) => Ok(Step::Decided(place.outcome(decision, &encoded, decided_at, progress.effort))),
            None => Ok(Step::Again),
        }
    }

    #[cold]
    async fn wait_for_room<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        prepared: Prepared<'s, A>,
        progress: &mut Progress,
    ) -> Result<Step<'s, A>, Error> {
        let Prepared { running, scope, decision, encoded, decided_at } = prepared;
        self.handle.shared.log.wait_for_room(encoded.bytes, self.patience).await?;
        let proposal = self.proposal(&scope, &decision, &encoded, decided_at);
        match self.commit(stream, running, &proposal, progress)? {
            Some(place) => Ok(Step::Decided(place.outcome(decision, &encoded, decided_at, progress.effort))),
            None => Ok(Step::Again),
        }
    }

    /// Encodes what is to be stored and checks that it stays in scope.
    fn encode(
        &self,
        stream: &Stream<A>,
        scope: &Scope,
        decision: &Decision<A>,
        encoded: &mut Encoded,
    ) -> Result<(), Error> {
        let Encoded { draft, touched, seen, versions, .. } = encoded;
        match decision {
            Decision::Accepted(events) => {
                for event in events.iter() {
                    touched.push(stay_in_scope::<A>(&stream.name, scope, event)?);
                    draft.push(EventKind::Event, A::EVENT_VERSION, event)?;
                }
                *versions = events.len() as u32;
            }
            // A stream is not created by a rejection.
            Decision::Rejected(rejection) if self.always || self.handle.options.record_rejections => {
                if *seen > 0 || self.always {
                    draft.push(EventKind::Rejection, A::EVENT_VERSION, rejection)?;
                }
                *versions = u32::from(*seen > 0);
            }
            Decision::Rejected(_) => {}
        }
        if self.always && *versions == 0 {
            encoded.answer = self.sections.to_vec();
            put_answer(&mut encoded.answer, *seen, draft);
        }
        Ok(())
    }

    fn proposal<'p>(
        &'p self,
        scope: &'p Scope,
        decision: &'p Decision<A>,
        encoded: &'p Encoded,
        decided_at: Timestamp,
    ) -> Proposal<'p, A> {
        let events: &[A::Event] = match decision {
            Decision::Accepted(events) => events,
            Decision::Rejected(_) => &[],
        };
        let Encoded { draft, touched, versions, answer, bytes, .. } = encoded;
        Proposal {
            scope,
            change: Change { events, touched, draft, versions: *versions },
            policies: &self.handle.registry.policies,
            decided_at,
            sections: if answer.is_empty() { self.sections } else { answer },
            bytes: *bytes,
            nudge: self.nudge,
        }
    }

    /// The decision's place in the log; none if the attempt has to start again.
    fn commit(
        &self,
        stream: &Arc<Stream<A>>,
        running: Running<'_, A>,
        proposal: &Proposal<'_, A>,
        progress: &mut Progress,
    ) -> Result<Option<Place>, Error> {
        let shared = &self.handle.shared;
        let refusal = match running.commit(&shared.log, proposal)? {
            Commit::Done { position, version } => return Ok(Some(Place { position, version })),
            Commit::Refused(refusal) => refusal,
        };
        match refusal {
            Refusal::Locked => {
                progress.effort.turn = true;
                Ok(None)
            }
            Refusal::Conflict => self.conflict(stream, progress).map(|()| None),
            // Does not come back: the panic has passed through.
            Refusal::PolicyPanicked => Ok(None),
            Refusal::Violated(policy) => Err(Error::PolicyViolated { stream: stream.name.clone(), policy }),
            Refusal::Panicked(message) => {
                rebuild::start(shared, &self.handle.registry, stream, &message);
                Err(Error::ApplyPanicked { stream: stream.name.clone(), message })
            }
        }
    }

    #[cold]
    fn conflict(&self, stream: &Stream<A>, progress: &mut Progress) -> Result<(), Error> {
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
        Ok(())
    }

    /// What a new stream has in common with others is shared before the stream keeps it.
    #[cold]
    fn intern(&self, events: Events<A::Event>) -> Events<A::Event> {
        let mut pool = self.handle.registry.interner.again();
        events.map(|event| A::intern(event, &mut pool))
    }
}

/// What an event touches: only parts of the scope that its decision depended on.
#[inline]
pub(super) fn stay_in_scope<A: Aggregate>(
    stream: &StreamName,
    scope: &Scope,
    event: &A::Event,
) -> Result<Scope, Error> {
    let touches = A::touches(event);
    match scope.first_outside(&touches) {
        None => Ok(touches),
        Some(outside) => Err(Error::OutOfScope { stream: stream.clone(), part: outside.to_string().into() }),
    }
}

//! The path of a command: find, snapshot, scope, lock, decide, encode, commit. One path for both
//! modes, and for threads and tasks.

use std::sync::Arc;

use smallvec::SmallVec;

use super::handle::Handle;
use super::options::{Concurrency, Exhausted, Wait};
use super::outcome::{Decision, Effort, Outcome};
use super::rebuild;
use super::stream::{Change, Commit, Proposal, Running, Snapshot, Stream};
use crate::aggregate::{Aggregate, Context, Events};
use crate::error::Error;
use crate::log::{Draft, EventKind};
use crate::scope::Scope;
use crate::sync::Patience;

/// How often a turn plans again because its scope moved, before it locks the whole: whoever moved it
/// got something done, but this caller has to get through too.
const MOVES_BEFORE_WHOLE: u32 = 3;

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

/// A started attempt: what it sees, and what it depends on.
struct Start<'s, A: Aggregate> {
    running: Running<'s, A>,
    snapshot: Snapshot<A>,
    scope: Scope,
}

/// How one attempt ended.
enum End<A: Aggregate> {
    Decided(Decided<A>),
    Conflict,
    Locked,
}

impl<A: Aggregate> Call<'_, '_, A> {
    pub(crate) async fn run(mut self) -> Result<Decided<A>, Error> {
        let log = &*self.handle.shared.log;
        log.check_running()?;
        let limit = log.limits().id_bytes;
        if self.id.is_empty() || self.id.len() > limit {
            return Err(Error::InvalidId { bytes: self.id.len(), limit });
        }
        A::check(self.command, log.limits()).map_err(|why| Error::InvalidCommand { why })?;
        let visit = self.handle.registry.visit(self.id, A::creates(self.command))?;
        match visit.stream() {
            Some(stream) => self.decide(stream).await,
            None => Err(Error::UnknownStream { stream: self.handle.name(self.id) }),
        }
    }

    async fn decide(&mut self, stream: &Arc<Stream<A>>) -> Result<Decided<A>, Error> {
        let options = self.handle.options;
        let mut effort =
            Effort { turn: options.concurrency == Concurrency::Pessimistic, ..Effort::default() };
        loop {
            let start = if effort.turn {
                self.turn(stream, &mut effort).await?
            } else {
                let (running, snapshot) = stream.begin(&self.handle.shared.log)?;
                let scope = A::scope(&snapshot.state, self.command);
                Start { running, snapshot, scope }
            };
            match self.attempt(stream, start, effort).await? {
                End::Decided(decided) => return Ok(decided),
                End::Locked => effort.turn = true,
                End::Conflict => {
                    effort.conflicts += 1;
                    if effort.conflicts > options.retries {
                        match options.exhausted {
                            Exhausted::Turn => effort.turn = true,
                            Exhausted::Conflict => {
                                return Err(Error::Conflict {
                                    stream: stream.name.clone(),
                                    attempts: effort.conflicts,
                                });
                            }
                        }
                    }
                }
            }
        }
    }

    /// Locks the command's scope. It is looked at again as the locks' holder: what was free when the
    /// command was planned may be taken now, and then other parts are to be locked.
    async fn turn<'s>(&mut self, stream: &'s Stream<A>, effort: &mut Effort) -> Result<Start<'s, A>, Error> {
        let log = &*self.handle.shared.log;
        let mut moves = 0;
        loop {
            let (planned, locks) = {
                let seen = stream.look(log)?;
                let planned = A::scope(&seen.state, self.command);
                let locks = if moves < MOVES_BEFORE_WHOLE { planned.clone() } else { Scope::Whole };
                (Some((planned, seen.version)), locks)
            };
            let mut requested = stream.request(log, &locks)?;
            if let Some(waiter) = requested.waiter {
                if self.handle.options.wait == Wait::Never {
                    return Err(Error::WouldBlock { stream: stream.name.clone() });
                }
                effort.lock_waits += 1;
                if !waiter.wait(self.patience).await {
                    return Err(Error::LockTimeout {
                        stream: stream.name.clone(),
                        waited: self.patience.waited(),
                    });
                }
                requested.snapshot = Some(requested.running.granted(log)?);
            }
            let Some(snapshot) = requested.snapshot else {
                return Err(log.broken(format!("{}: granted without a snapshot", stream.name)));
            };
            let running = requested.running;
            let scope = match planned {
                Some((planned, version)) if version == snapshot.version => planned,
                _ => A::scope(&snapshot.state, self.command),
            };
            if locks == Scope::Whole || scope == locks {
                return Ok(Start { running, snapshot, scope });
            }
            moves += 1;
        }
    }

    async fn attempt(
        &mut self,
        stream: &Arc<Stream<A>>,
        start: Start<'_, A>,
        effort: Effort,
    ) -> Result<End<A>, Error> {
        let Start { running, snapshot, scope } = start;
        let shared = &self.handle.shared;
        let log = &*shared.log;
        let now = shared.clock.now().max(snapshot.decided_at);
        let services = &*self.handle.services;
        let context = Context { now, services, scope: &scope };
        let decided = A::decide(&snapshot.state, self.command, &context);
        let version = snapshot.version;

        let mut draft = Draft::new(log.limits().entry_bytes);
        let mut touched = SmallVec::<[Scope; 1]>::new();
        let decision = match decided {
            Ok(events) => {
                let events = self.intern(events, version);
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
                Decision::Accepted(events)
            }
            Err(rejection) => {
                draft.push(EventKind::Rejection, A::EVENT_VERSION, &rejection)?;
                Decision::Rejected(rejection)
            }
        };
        let change = match &decision {
            Decision::Accepted(events) if events.is_empty() => None,
            Decision::Accepted(events) => Some(Change::Events { events, touched: &touched }),
            // A stream is not created by a rejection.
            Decision::Rejected(_) if version == 0 => None,
            Decision::Rejected(_) => self.handle.options.record_rejections.then_some(Change::Rejection),
        };
        drop(snapshot);
        let Some(change) = change else {
            drop(running);
            // It was decided on what others wrote: durable when all of that is.
            let wait_for = log.tail();
            let outcome = Outcome { decision, version, position: None, decided_at: now, effort };
            return Ok(End::Decided(Decided { outcome, wait_for }));
        };

        let names = stream.name.aggregate.len() + stream.name.id.len();
        let wait = self.handle.options.wait != Wait::Never;
        let reservation = log.reserve(draft.bytes_with(names), self.patience, wait).await?;
        let nudge = self.nudge;
        let proposal = Proposal { scope: &scope, change, decided_at: now, draft: &draft, nudge };
        match running.commit(log, &proposal, reservation)? {
            Commit::Done { position, version } => {
                let position = Some(position);
                let outcome = Outcome { decision, version, position, decided_at: now, effort };
                let wait_for = outcome.position.unwrap_or_default();
                Ok(End::Decided(Decided { outcome, wait_for }))
            }
            Commit::Conflict => Ok(End::Conflict),
            Commit::Locked => Ok(End::Locked),
            Commit::Panicked(message) => {
                rebuild::start(shared, &self.handle.registry, stream, &message);
                Err(Error::ApplyPanicked { stream: stream.name.clone(), message })
            }
        }
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

//! The path of a command: find, snapshot, scope, lock, decide, encode, commit. One path for both
//! modes, and for threads and tasks.

use std::sync::Arc;

use super::commit::{Commit, Refusal};
use super::encoded::{Encoded, Stored};
use super::handle::Handle;
use super::lock::Access;
use super::locking::{self, Plan};
use super::options::{Concurrency, Exhausted, Options, Wait};
use super::outcome::{Effort, Outcome};
use super::rebuild;
use super::registry::{Registry, Visit};
use super::stream::{InLine, Requested, Running, Snapshot, Stream, Wanted};
use crate::aggregate::{Aggregate, Context};
use crate::error::Error;
use crate::scope::Scope;
use crate::sync::{Patience, run_blocking};

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

/// What a call has been through.
struct Progress<'o, A: Aggregate> {
    /// Where the outcome belongs. Written in place: to move one costs a tenth of what it costs to decide it.
    outcome: &'o mut Option<Outcome<A>>,
    effort: Effort,
    /// How often the scope of a turn moved.
    moves: u32,
}

/// A decision that is ready to be committed, while it waits for room in the write queue.
struct Prepared<'s, A: Aggregate> {
    running: Running<'s, A>,
    scope: Scope,
    encoded: Encoded,
}

/// How far an attempt came without waiting. What has to wait is boxed: the path without waits, which
/// is the fast one, then keeps nothing in a future.
enum Step<'s, A: Aggregate> {
    /// The outcome is where it belongs, and durable when everything up to this position is.
    Decided(u64),
    /// Another commit came first, or somebody else holds a lock, or the scope moved: start again.
    Again,
    /// A turn that is in line for what it planned to lock.
    InLine(Box<(InLine<'s, A>, Plan)>),
    /// Decided, but there is no room in the write queue.
    Full(Box<Prepared<'s, A>>),
}

impl<'c, A: Aggregate> Execution<'c, '_, A> {
    /// Leaves the outcome in its place. Returns the position up to which all must be durable before it is.
    pub(crate) fn run(self, outcome: &mut Option<Outcome<A>>) -> Result<u64, Error> {
        self.run_after(None, outcome)
    }

    /// As [`run`](Self::run), of a command that has been through something before.
    #[inline(always)]
    pub(crate) fn run_after(
        mut self,
        effort: Option<Effort>,
        outcome: &mut Option<Outcome<A>>,
    ) -> Result<u64, Error> {
        let (visit, mut progress) = (self.visit(effort.is_some())?, self.progress(effort, outcome));
        let stream = visit.stream();
        match self.start(stream, &mut progress)? {
            Step::Decided(position) => Ok(position),
            // All that a thread waits for is in there; without it, there is no future to set up.
            step => run_blocking(self.go_on(stream, step, &mut progress)),
        }
    }

    /// As [`run`](Self::run), for a task.
    pub(crate) async fn run_async(self, outcome: &mut Option<Outcome<A>>) -> Result<u64, Error> {
        self.run_after_async(None, outcome).await
    }

    /// As [`run_after`](Self::run_after), for a task.
    pub(crate) async fn run_after_async(
        mut self,
        effort: Option<Effort>,
        outcome: &mut Option<Outcome<A>>,
    ) -> Result<u64, Error> {
        let (visit, mut progress) = (self.visit(effort.is_some())?, self.progress(effort, outcome));
        let stream = visit.stream();
        match self.start(stream, &mut progress)? {
            Step::Decided(position) => Ok(position),
            step => self.go_on(stream, step, &mut progress).await,
        }
    }

    /// What has begun goes on while only what is new is refused.
    fn visit(&self, begun: bool) -> Result<Visit<&'c Registry<A>, A>, Error> {
        let log = &*self.handle.shared.log;
        if begun { log.check_running() } else { log.check_open() }?;
        self.handle.check_id(self.id)?;
        A::check(self.command, log.limits()).map_err(|why| Error::InvalidCommand { why })?;
        Visit::begin(&*self.handle.registry, self.id, A::creates(self.command))
    }

    fn progress<'o>(&self, effort: Option<Effort>, outcome: &'o mut Option<Outcome<A>>) -> Progress<'o, A> {
        let effort = effort.unwrap_or_else(|| Effort {
            turn: self.handle.options.concurrency == Concurrency::Pessimistic,
            ..Effort::default()
        });
        Progress { outcome, effort, moves: 0 }
    }

    /// Waits where the attempt has to, and starts again where it must.
    async fn go_on<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        mut step: Step<'s, A>,
        progress: &mut Progress<'_, A>,
    ) -> Result<u64, Error> {
        loop {
            step = match step {
                Step::Decided(position) => return Ok(position),
                Step::Again => self.start(stream, progress)?,
                Step::InLine(waiting) => self.wait_for_locks(stream, *waiting, progress).await?,
                Step::Full(prepared) => self.wait_for_room(stream, *prepared, progress).await?,
            };
        }
    }

    /// One attempt, as far as it goes without waiting.
    fn start<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        let log = &*self.handle.shared.log;
        let options = &self.handle.options;
        if options.wait == Wait::SkipLocked {
            return self.start_skipping(stream, progress);
        }
        if !progress.effort.turn {
            let (running, snapshot) = Running::begin(stream, log)?;
            let scope = A::scope(&snapshot.state, self.command);
            return self.attempt(stream, running, snapshot, &scope, progress);
        }
        let seen = stream.look(log)?;
        let plan = Plan::new(&seen, self.command, progress.moves);
        let (access, waits) = (Access::Exclusive, options.wait.waits());
        let wanted = Wanted { scope: plan.locks(), access, owner: None, waits };
        match Running::request(stream, log, &wanted, Some(seen))? {
            Requested::Granted(running, snapshot) => self.turn(stream, running, snapshot, plan, progress),
            Requested::Queued(line) => Ok(Step::InLine(Box::new((line, plan)))),
        }
    }

    /// Chooses among what nobody has locked, and never waits for it.
    #[cold]
    fn start_skipping<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        let (log, turn) = (&self.handle.shared.log, progress.effort.turn);
        let (running, snapshot, scope) = locking::choose(stream, log, self.command, (None, turn), Ok)?;
        self.attempt(stream, running, snapshot, &scope, progress)
    }

    async fn wait_for_locks<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        (line, plan): (InLine<'s, A>, Plan),
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        let shared = &self.handle.shared;
        let granted = line.wait(stream, shared, None, &mut progress.effort, self.patience).await;
        let (running, snapshot) = granted?;
        self.turn(stream, running, snapshot, plan, progress)
    }

    /// Goes on as the holder of the locks, unless others are to be locked by now.
    fn turn<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        plan: Plan,
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        match plan.check(&snapshot, self.command) {
            Some(scope) => self.attempt(stream, running, snapshot, &scope, progress),
            None => {
                progress.moves += 1;
                Ok(Step::Again)
            }
        }
    }

    /// Decides, encodes and commits. The snapshot is gone before the commit, so that it can change the
    /// state in place.
    fn attempt<'s>(
        &self,
        stream: &'s Arc<Stream<A>>,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        scope: &Scope,
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        let shared = &*self.handle.shared;
        let log = &*shared.log;
        let decided_at = shared.clock.now().max(snapshot.decided_at);
        let context = Context { now: decided_at, services: &*self.handle.services, scope };
        let (version, effort) = (snapshot.version, progress.effort);
        let decided = A::decide(&snapshot.state, self.command, &context);
        let outcome = progress.outcome.insert(Outcome { decided, version, position: 0, decided_at, effort });
        if version == 0
            && let Ok(events) = &mut outcome.decided
        {
            self.handle.registry.intern(events);
        }
        let mut encoded = Encoded::new(log.limits());
        let stored = Stored { sections: self.sections, always: self.always, options: &self.handle.options };
        encoded.fill(stream, scope, outcome, &stored)?;
        // Given up only now: the locked instruction waits for the trip to memory for what was decided on, and the work
        // until here goes on beside it.
        drop(snapshot);
        if encoded.versions == 0 && !self.always {
            drop(running);
            // It was decided on what others wrote: durable when all of that is.
            return Ok(Step::Decided(log.tail()));
        }
        if !log.has_room(encoded.bytes)? {
            if self.handle.options.limit().is_none() {
                return Err(log.busy(self.patience.waited()));
            }
            let scope = scope.clone();
            return Ok(Step::Full(Box::new(Prepared { running, scope, encoded })));
        }
        self.commit(stream, running, scope, &encoded, progress)
    }

    #[cold]
    async fn wait_for_room<'s>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        prepared: Prepared<'s, A>,
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        let Prepared { running, scope, encoded } = prepared;
        self.handle.shared.log.wait_for_room(encoded.bytes, self.patience).await?;
        self.commit(stream, running, &scope, &encoded, progress)
    }

    /// Gives the outcome its place in the log, if it still holds.
    fn commit<'s>(
        &self,
        stream: &Arc<Stream<A>>,
        running: Running<'s, A>,
        scope: &Scope,
        encoded: &Encoded,
        progress: &mut Progress<'_, A>,
    ) -> Result<Step<'s, A>, Error> {
        let shared = &self.handle.shared;
        let Some(outcome) = progress.outcome else { return Ok(Step::Again) };
        let proposal = encoded.proposal(self.handle, scope, outcome, self.sections, self.nudge);
        let refusal = match running.commit(&shared.log, &proposal)? {
            Commit::Done { position, version } => {
                encoded.decided(outcome, position, version);
                return Ok(Step::Decided(position));
            }
            Commit::Refused(refusal) => refusal,
        };
        refused(self.handle, stream, refusal, &mut progress.effort)?;
        // Dropped while nothing is held: it may run anything.
        *progress.outcome = None;
        Ok(Step::Again)
    }
}

/// What follows a refusal: another try, by this effort, or the end of it.
pub(super) fn refused<A: Aggregate>(
    handle: &Handle<A>,
    stream: &Arc<Stream<A>>,
    refusal: Refusal,
    effort: &mut Effort,
) -> Result<(), Error> {
    match refusal {
        Refusal::Locked => effort.turn = true,
        Refusal::Conflict => conflict(&handle.options, stream, effort)?,
        // Does not come back: the panic has passed through.
        Refusal::PolicyPanicked => {}
        Refusal::Violated(policy) => {
            return Err(Error::PolicyViolated { stream: stream.name.clone(), policy });
        }
        Refusal::Panicked(message) => {
            rebuild::start(&handle.shared, &handle.registry, stream, &message);
            return Err(Error::ApplyPanicked { stream: stream.name.clone(), message });
        }
    }
    Ok(())
}

#[cold]
fn conflict<A: Aggregate>(options: &Options, stream: &Stream<A>, effort: &mut Effort) -> Result<(), Error> {
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

//! The steps of a transaction: each locks or notes what it depends on, and stages what it decides.

use std::sync::Arc;

use super::Shared;
use super::branch::{AnyBranch, Branch, Work};
use super::handle::Handle;
use super::lock::Access;
use super::locking::{self, Locking, Plan, Wish};
use super::options::Wait;
use super::outcome::View;
use super::staged::{Lock, Staged, branch_of};
use super::stream::{InLine, Requested, Running, Snapshot, Stream};
use super::transaction::Transaction;
use crate::aggregate::{Aggregate, Context, Events};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::scope::Scope;
use crate::sync::Patience;

impl Transaction {
    fn check<A: Aggregate>(&self, handle: &Handle<A>) -> Result<(), Error> {
        if !Arc::ptr_eq(&handle.shared, &self.locking.shared) {
            return Err(Error::OtherEngine { aggregate: A::TYPE });
        }
        let log = &handle.shared.log;
        if self.branches.is_empty() { log.check_open() } else { log.check_running() }
    }

    /// The index of a stream's branch.
    fn branch<A: Aggregate>(&mut self, handle: &Handle<A>, id: &str, create: bool) -> Result<usize, Error> {
        let known = self.branches.iter().position(|branch| {
            let name = branch.name();
            name.id == id && name.aggregate == A::TYPE
        });
        if let Some(index) = known {
            if create || self.branches.get(index).is_some_and(|branch| branch.exists()) {
                return Ok(index);
            }
            return Err(Error::UnknownStream { stream: handle.name(id) });
        }
        self.branches.push(branch_of(handle, id, create)?);
        Ok(self.branches.len() - 1)
    }

    /// Notes an error after which this transaction cannot be committed.
    fn note<T>(lost: &mut Option<Error>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ (Error::Conflict { .. } | Error::Deadlock { .. })) = &result {
            *lost = Some(error.clone());
        }
        result
    }

    pub(super) async fn lock_all(
        &mut self,
        locks: impl IntoIterator<Item = Lock>,
        patience: &mut Patience<'_>,
    ) -> Result<(), Error> {
        let mut wanted: Vec<(Box<dyn AnyBranch>, Wish)> = Vec::new();
        for Lock { branch, shared, aggregate, wish } in locks {
            if !Arc::ptr_eq(&shared, &self.locking.shared) {
                return Err(Error::OtherEngine { aggregate });
            }
            let branch = branch?;
            // One request for each stream: two would be taken in the order of the call.
            match wanted.iter_mut().find(|(known, _)| known.address() == branch.address()) {
                Some((_, known)) => known.join(wish),
                None => wanted.push((branch, wish)),
            }
        }
        wanted.sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
        for (branch, wish) in wanted {
            let known = self.branches.iter().position(|known| known.address() == branch.address());
            let index = known.unwrap_or(self.branches.len());
            if known.is_none() {
                self.branches.push(branch);
            }
            if let Some(branch) = self.branches.get_mut(index) {
                let taken = branch.take(&mut self.locking, wish, patience).await;
                Self::note(&mut self.lost, taken)?;
            }
        }
        Ok(())
    }

    pub(super) async fn look<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: &str,
        wish: Wish,
        patience: &mut Patience<'_>,
    ) -> Result<View<A>, Error> {
        self.check(handle)?;
        // Also of a stream that is not there: that it is not is something to depend on.
        let index = self.branch(handle, id, true)?;
        let Self { branches, locking, lost, .. } = self;
        let branch = typed::<A>(branches, index)?;
        // Whatever creates it touches something, but who knows what.
        let scope = if branch.exists() { wish.scope } else { Scope::Whole };
        let wish = Wish { scope, ..wish };
        let (stream, work) = branch.parts();
        let begun = locking.begin(work, stream, &wish, patience).await;
        let (running, snapshot) = Self::note(lost, begun)?;
        work.depend(running.into_held(), wish);
        if snapshot.version == 0 && !work.has_events() {
            return Err(Error::UnknownStream { stream: handle.name(id) });
        }
        Ok(view(&handle.shared, snapshot, work.has_events()))
    }

    pub(super) async fn put<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: &str,
        mut events: Events<A::Event>,
        patience: &mut Patience<'_>,
    ) -> Result<(), Error> {
        self.check(handle)?;
        self.say_as(handle);
        let room = self.room();
        let index = self.branch(handle, id, true)?;
        let Self { branches, locking, lost, now, .. } = self;
        let (stream, work) = typed::<A>(branches, index)?.parts();
        let scope = events.iter().map(A::touches).fold(Scope::parts([]), Scope::and);
        let wish = Wish { scope, access: Access::Exclusive };
        let begun = locking.begin(work, stream, &wish, patience).await;
        let (running, snapshot) = Self::note(lost, begun)?;
        *now = (*now).max(handle.shared.clock.now()).max(snapshot.decided_at);
        if work.is_new(&snapshot) {
            handle.registry.intern(&mut events);
        }
        drop(snapshot);
        work.stage(stream, &mut events, &wish.scope, room)?;
        work.depend(running.into_held(), wish);
        Ok(())
    }

    pub(super) async fn decide<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: &str,
        command: &A::Command,
        patience: &mut Patience<'_>,
    ) -> Result<Staged<'_, A>, Error> {
        self.check(handle)?;
        A::check(command, handle.shared.log.limits()).map_err(|why| Error::InvalidCommand { why })?;
        self.say_as(handle);
        let index = self.branch(handle, id, true)?;
        if !A::creates(command) && !self.branches.get(index).is_some_and(|branch| branch.exists()) {
            let absence = Wish { scope: Scope::Whole, access: Access::Shared };
            drop(self.look(handle, id, absence, patience).await?);
        }
        let room = self.room();
        let Self { branches, locking, lost, now, .. } = self;
        locking.be_somebody(patience).await;
        let (stream, work) = typed::<A>(branches, index)?.parts();
        let staged = work.events().len();
        let mut deciding = Deciding { handle, stream, command, work, locking, lost, now, room };
        let rejection = match deciding.start(0)? {
            Step::Decided(rejection) => rejection,
            step => deciding.go_on(step, patience).await?,
        };
        let Deciding { work, .. } = deciding;
        Ok(match rejection {
            None => Staged::Accepted(work.events().get(staged..).unwrap_or_default()),
            Some(rejection) => Staged::Rejected(rejection),
        })
    }

    /// What a handle says about its commands holds for those of a transaction too.
    fn say_as<A: Aggregate>(&mut self, handle: &Handle<A>) {
        if let Some(metadata) = &handle.metadata {
            self.metadata(metadata);
        }
    }

    /// How many bytes more can be staged.
    fn room(&self) -> usize {
        let staged: usize = self.branches.iter().map(|branch| branch.staged_bytes()).sum();
        self.locking.shared.log.limits().entry_bytes.saturating_sub(staged)
    }

    pub(super) fn look_at<A: Aggregate>(&mut self, handle: &Handle<A>, id: &str) -> Result<View<A>, Error> {
        self.check(handle)?;
        let index = self.branch(handle, id, false)?;
        let (stream, work) = typed::<A>(&mut self.branches, index)?.parts();
        let seen = stream.look(&handle.shared.log)?;
        // What is staged may only be applied to what it was decided on.
        Self::note(&mut self.lost, work.check_unchanged(stream))?;
        let seen = work.see(stream, seen)?;
        Ok(view(&handle.shared, seen, work.has_events()))
    }

    /// Locks the whole of every stream that the branches are of.
    pub(super) async fn take_all_in_order(&mut self, patience: &mut Patience<'_>) -> Result<(), Error> {
        self.branches.sort_by(|one, other| one.name().cmp(other.name()));
        for branch in &mut self.branches {
            let wish = Wish { scope: Scope::Whole, access: Access::Exclusive };
            branch.take(&mut self.locking, wish, patience).await?;
        }
        Ok(())
    }
}

/// The branch at an index, whose type is known by its name.
fn typed<A: Aggregate>(branches: &mut [Box<dyn AnyBranch>], index: usize) -> Result<&mut Branch<A>, Error> {
    // Not `ok_or`: the error would be made, and dropped, each time.
    match branches.get_mut(index).and_then(|branch| branch.as_any_mut().downcast_mut()) {
        Some(branch) => Ok(branch),
        None => Err(Error::NotRegistered { aggregate: A::TYPE }),
    }
}

fn view<A: Aggregate>(shared: &Shared, seen: Snapshot<A>, staged: bool) -> View<A> {
    let durable = !staged && shared.log.durable() >= seen.position;
    View { state: seen.state, version: seen.version, position: seen.position, durable }
}

/// A command's step: on one stream, in what the transaction has done to it.
struct Deciding<'c, 's, A: Aggregate> {
    handle: &'c Handle<A>,
    command: &'c A::Command,
    stream: &'s Arc<Stream<A>>,
    work: &'s mut Work<A>,
    locking: &'s mut Locking,
    /// Of the transaction: why it can no longer be committed, and the time of its latest step.
    lost: &'s mut Option<Error>,
    now: &'s mut Timestamp,
    /// How many bytes more can be staged.
    room: usize,
}

/// How far a command's step came without waiting.
enum Step<'s, A: Aggregate> {
    /// Its events are staged, or it was rejected.
    Decided(Option<A::Rejection>),
    /// Other parts are to be locked: start again.
    Moved,
    /// In line for what it planned to lock.
    InLine(Box<(InLine<'s, A>, Plan)>),
}

impl<'s, A: Aggregate> Deciding<'_, 's, A> {
    /// As far as it goes without waiting. `moves` is how often the scope moved so far.
    fn start(&mut self, moves: u32) -> Result<Step<'s, A>, Error> {
        let Self { handle, stream, command, .. } = *self;
        let Self { work, locking, lost, .. } = self;
        let log = &handle.shared.log;
        if locking.options.wait == Wait::SkipLocked {
            let Locking { owner, effort, .. } = &**locking;
            let see = |snapshot| {
                work.check_unchanged(stream)?;
                work.see(stream, snapshot)
            };
            let chosen = locking::choose(stream, log, command, (owner.as_ref(), effort.turn), see);
            let (running, snapshot, scope) = Transaction::note(lost, chosen)?;
            return self.finish(running, snapshot, scope);
        }
        if !locking.effort.turn {
            let (running, snapshot) = Transaction::note(lost, locking.begin_with_checks(work, stream))?;
            let scope = A::scope(&snapshot.state, command);
            return self.finish(running, snapshot, scope);
        }
        let seen = stream.look(log)?;
        // What is staged is not what the stream has: then that look serves for the plan only.
        let (plan, seen) = if work.has_events() {
            (Plan::new(&work.see(stream, seen)?, command, moves), None)
        } else {
            (Plan::new(&seen, command, moves), Some(seen))
        };
        match locking.request(stream, plan.locks(), Access::Exclusive, seen)? {
            Requested::Granted(running, snapshot) => self.turn(running, snapshot, plan),
            Requested::Queued(line) => Ok(Step::InLine(Box::new((line, plan)))),
        }
    }

    /// Waits where the step has to, and starts again where it must.
    async fn go_on(
        &mut self,
        mut step: Step<'s, A>,
        patience: &mut Patience<'_>,
    ) -> Result<Option<A::Rejection>, Error> {
        let mut moves = 0;
        loop {
            step = match step {
                Step::Decided(rejection) => return Ok(rejection),
                Step::Moved => {
                    moves += 1;
                    self.start(moves)?
                }
                Step::InLine(waiting) => {
                    let (line, plan) = *waiting;
                    let granted = self.locking.wait(line, self.stream, patience).await;
                    let (running, snapshot) = Transaction::note(self.lost, granted)?;
                    self.turn(running, snapshot, plan)?
                }
            };
        }
    }

    /// Goes on as the holder of the locks, unless others are to be locked by now.
    fn turn(
        &mut self,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        plan: Plan,
    ) -> Result<Step<'s, A>, Error> {
        let snapshot = self.work.see(self.stream, snapshot)?;
        match plan.check(&snapshot, self.command) {
            Some(scope) => self.finish(running, snapshot, scope),
            None => Ok(Step::Moved),
        }
    }

    /// Decides, and stages what comes of it.
    fn finish(
        &mut self,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        scope: Scope,
    ) -> Result<Step<'s, A>, Error> {
        let Handle { shared, services, registry, .. } = self.handle;
        let now = (*self.now).max(shared.clock.now()).max(snapshot.decided_at);
        *self.now = now;
        let context = Context { now, services: &**services, scope: &scope };
        // Looked at where it is, and moved once.
        let mut decided = A::decide(&snapshot.state, self.command, &context);
        if let Ok(events) = &mut decided {
            if self.work.is_new(&snapshot) {
                registry.intern(events);
            }
            self.work.stage(self.stream, events, &scope, self.room)?;
        }
        drop(snapshot);
        self.work.depend(running.into_held(), Wish { scope, access: Access::Exclusive });
        Ok(Step::Decided(decided.err()))
    }
}

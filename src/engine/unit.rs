//! The steps of a transaction: each locks or notes what it depends on, and stages what it decides.

use std::sync::Arc;

use super::Shared;
use super::branch::{AnyBranch, Branch};
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
            if create || typed::<A>(&mut self.branches, index)?.exists() {
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
        let branch = typed::<A>(&mut self.branches, index)?;
        // Whatever creates it touches something, but who knows what.
        let scope = if branch.exists() { wish.scope } else { Scope::Whole };
        let wish = Wish { scope, ..wish };
        let stream = Arc::clone(&branch.stream);
        let begun = self.locking.begin(branch, &stream, &wish, patience).await;
        let (running, snapshot) = Self::note(&mut self.lost, begun)?;
        branch.depend(running.into_held(), wish);
        if snapshot.version == 0 && !branch.has_events() {
            return Err(Error::UnknownStream { stream: handle.name(id) });
        }
        Ok(view(&handle.shared, snapshot, branch.has_events()))
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
        let branch = typed::<A>(&mut self.branches, index)?;
        let stream = Arc::clone(&branch.stream);
        let scope = events.iter().map(A::touches).fold(Scope::parts([]), Scope::and);
        let wish = Wish { scope, access: Access::Exclusive };
        let begun = self.locking.begin(branch, &stream, &wish, patience).await;
        let (running, snapshot) = Self::note(&mut self.lost, begun)?;
        self.now = self.now.max(handle.shared.clock.now()).max(snapshot.decided_at);
        if branch.is_new(&snapshot) {
            handle.registry.intern(&mut events);
        }
        drop(snapshot);
        branch.stage(events, &wish.scope, room)?;
        branch.depend(running.into_held(), wish);
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
        let mut branch = typed::<A>(&mut self.branches, index)?;
        if !A::creates(command) && !branch.exists() {
            let absence = Wish { scope: Scope::Whole, access: Access::Shared };
            drop(self.look(handle, id, absence, patience).await?);
            branch = typed::<A>(&mut self.branches, index)?;
        }
        let (stream, staged) = (Arc::clone(&branch.stream), branch.events().len());
        self.locking.be_somebody(patience).await;
        let deciding = Deciding { handle, stream: &stream, command, index };
        let mut moves = 0;
        let mut step = self.start(&deciding, moves)?;
        let rejection = loop {
            step = match step {
                Step::Decided(rejection) => break rejection,
                Step::Moved => {
                    moves += 1;
                    self.start(&deciding, moves)?
                }
                Step::InLine(waiting) => {
                    let (line, plan) = *waiting;
                    let granted = self.locking.wait(line, &stream, patience).await;
                    let granted = Self::note(&mut self.lost, granted)?;
                    self.resume(&deciding, granted, plan)?
                }
            };
        };
        if let Some(rejection) = rejection {
            return Ok(Staged::Rejected(rejection));
        }
        let branch = typed::<A>(&mut self.branches, index)?;
        Ok(Staged::Accepted(branch.events().get(staged..).unwrap_or_default()))
    }

    /// A command's step, as far as it goes without waiting.
    fn start<'s, A: Aggregate>(
        &mut self,
        deciding: &Deciding<'s, A>,
        moves: u32,
    ) -> Result<Step<'s, A>, Error> {
        let Deciding { stream, command, index, .. } = *deciding;
        let room = self.room();
        let Self { branches, locking, lost, now, .. } = self;
        let branch = typed::<A>(branches, index)?;
        let Locking { shared, owner, effort, .. } = &*locking;
        let log = &shared.log;
        if locking.options.wait == Wait::SkipLocked {
            let see = |snapshot| {
                branch.check_unchanged()?;
                branch.see(snapshot)
            };
            let chosen = locking::choose(stream, log, command, (owner.as_ref(), effort.turn), see);
            let (running, snapshot, scope) = Self::note(lost, chosen)?;
            return deciding.finish(branch, running, snapshot, scope, room, now);
        }
        if !effort.turn {
            let (running, snapshot) = Self::note(lost, locking.begin_with_checks(branch, stream))?;
            let scope = A::scope(&snapshot.state, command);
            return deciding.finish(branch, running, snapshot, scope, room, now);
        }
        let plan = Plan::new(&branch.see(stream.look(log)?)?, command, moves);
        match locking.request(stream, plan.locks(), Access::Exclusive)? {
            Requested::Granted(running, snapshot) => {
                deciding.turn(branch, running, snapshot, plan, room, now)
            }
            Requested::Queued(line) => Ok(Step::InLine(Box::new((line, plan)))),
        }
    }

    /// As the holder of the locks that a command's step waited for.
    fn resume<'s, A: Aggregate>(
        &mut self,
        deciding: &Deciding<'s, A>,
        (running, snapshot): (Running<'s, A>, Snapshot<A>),
        plan: Plan,
    ) -> Result<Step<'s, A>, Error> {
        let room = self.room();
        let branch = typed::<A>(&mut self.branches, deciding.index)?;
        deciding.turn(branch, running, snapshot, plan, room, &mut self.now)
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
        let branch = typed::<A>(&mut self.branches, index)?;
        let seen = branch.stream.look(&handle.shared.log)?;
        // What is staged may only be applied to what it was decided on.
        Self::note(&mut self.lost, branch.check_unchanged())?;
        let seen = branch.see(seen)?;
        Ok(view(&handle.shared, seen, branch.has_events()))
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

/// A command's step.
struct Deciding<'s, A: Aggregate> {
    handle: &'s Handle<A>,
    stream: &'s Arc<Stream<A>>,
    command: &'s A::Command,
    /// Which branch.
    index: usize,
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

impl<'s, A: Aggregate> Deciding<'s, A> {
    /// Goes on as the holder of the locks, unless others are to be locked by now.
    fn turn(
        &self,
        branch: &mut Branch<A>,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        plan: Plan,
        room: usize,
        now: &mut Timestamp,
    ) -> Result<Step<'s, A>, Error> {
        let snapshot = branch.see(snapshot)?;
        match plan.check(&snapshot, self.command) {
            Some(scope) => self.finish(branch, running, snapshot, scope, room, now),
            None => Ok(Step::Moved),
        }
    }

    /// Decides, and stages what comes of it, in at most `room` bytes.
    fn finish(
        &self,
        branch: &mut Branch<A>,
        running: Running<'s, A>,
        snapshot: Snapshot<A>,
        scope: Scope,
        room: usize,
        now: &mut Timestamp,
    ) -> Result<Step<'s, A>, Error> {
        let Handle { shared, services, registry, .. } = self.handle;
        *now = (*now).max(shared.clock.now()).max(snapshot.decided_at);
        let context = Context { now: *now, services: &**services, scope: &scope };
        let decided = A::decide(&snapshot.state, self.command, &context);
        let new = branch.is_new(&snapshot);
        drop(snapshot);
        let rejection = match decided {
            Err(rejection) => Some(rejection),
            Ok(mut events) => {
                if new {
                    registry.intern(&mut events);
                }
                branch.stage(events, &scope, room)?;
                None
            }
        };
        branch.depend(running.into_held(), Wish { scope, access: Access::Exclusive });
        Ok(Step::Decided(rejection))
    }
}

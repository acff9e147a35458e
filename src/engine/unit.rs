//! The steps of a transaction: each locks or notes what it depends on, and stages what it decides.

use std::sync::Arc;

use super::Shared;
use super::attempt::{CHOICES, MOVES_BEFORE_WHOLE};
use super::branch::{AnyBranch, Branch};
use super::handle::Handle;
use super::lock::Access;
use super::locking::{Locking, Wish};
use super::options::Wait;
use super::outcome::View;
use super::staged::{Lock, Staged, branch_of};
use super::stream::{Running, Snapshot, Stream};
use super::transaction::Transaction;
use crate::aggregate::{Aggregate, Context, Events};
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
        self.branches.push(Box::new(branch_of(handle, id, create)?));
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
        events: Events<A::Event>,
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
        let events = interned(handle, branch, &snapshot, events);
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
        let room = self.room();
        let index = self.branch(handle, id, true)?;
        if !A::creates(command) && !typed::<A>(&mut self.branches, index)?.exists() {
            let absence = Wish { scope: Scope::Whole, access: Access::Shared };
            drop(self.look(handle, id, absence, patience).await?);
        }
        let branch = typed::<A>(&mut self.branches, index)?;
        let stream = Arc::clone(&branch.stream);
        let begun = begin::<A>(&mut self.locking, branch, &stream, command, patience).await;
        let (running, snapshot, scope) = Self::note(&mut self.lost, begun)?;
        self.now = self.now.max(handle.shared.clock.now()).max(snapshot.decided_at);
        let context = Context { now: self.now, services: &*handle.services, scope: &scope };
        let decided = A::decide(&snapshot.state, command, &context);
        let staged = branch.events().len();
        let decided = decided.map(|events| interned(handle, branch, &snapshot, events));
        drop(snapshot);
        match decided {
            Err(rejection) => {
                branch.depend(running.into_held(), Wish { scope, access: Access::Exclusive });
                Ok(Staged::Rejected(rejection))
            }
            Ok(events) => {
                branch.stage(events, &scope, room)?;
                branch.depend(running.into_held(), Wish { scope, access: Access::Exclusive });
                Ok(Staged::Accepted(branch.events().get(staged..).unwrap_or_default()))
            }
        }
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
    let branch = branches.get_mut(index).and_then(|branch| branch.as_any_mut().downcast_mut());
    branch.ok_or(Error::NotRegistered { aggregate: A::TYPE })
}

fn view<A: Aggregate>(shared: &Shared, seen: Snapshot<A>, staged: bool) -> View<A> {
    let durable = !staged && shared.log.durable() >= seen.position;
    View { state: seen.state, version: seen.version, position: seen.position, durable }
}

/// What a new stream has in common with others is shared before the stream keeps it.
fn interned<A: Aggregate>(
    handle: &Handle<A>,
    branch: &Branch<A>,
    snapshot: &Snapshot<A>,
    events: Events<A::Event>,
) -> Events<A::Event> {
    if snapshot.version > 0 || !branch.events().is_empty() {
        return events;
    }
    let mut pool = handle.registry.interner.again();
    events.map(|event| A::intern(event, &mut pool))
}

/// The state for a command, with what it depends on locked or noted.
async fn begin<'s, A: Aggregate>(
    locking: &mut Locking,
    branch: &mut Branch<A>,
    stream: &'s Arc<Stream<A>>,
    command: &A::Command,
    patience: &mut Patience<'_>,
) -> Result<(Running<'s, A>, Snapshot<A>, Scope), Error> {
    if locking.options.wait == Wait::SkipLocked {
        return begin_skipping(locking, branch, stream, command, patience).await;
    }
    if !locking.effort.turn {
        let (running, snapshot) = locking.begin_with_checks(branch, stream)?;
        let scope = A::scope(&snapshot.state, command);
        return Ok((running, snapshot, scope));
    }
    let mut moves = 0;
    loop {
        let seen = stream.look(&locking.shared.log)?;
        let seen = branch.see(seen)?;
        let planned = A::scope(&seen.state, command);
        let version = seen.version;
        drop(seen);
        let whole = moves >= MOVES_BEFORE_WHOLE;
        let scope = if whole { Scope::Whole } else { planned.clone() };
        let wish = Wish { scope, access: Access::Exclusive };
        let (running, snapshot) = locking.begin(branch, stream, &wish, patience).await?;
        if version == snapshot.version {
            return Ok((running, snapshot, planned));
        }
        let now = A::scope(&snapshot.state, command);
        if whole || now == planned {
            return Ok((running, snapshot, now));
        }
        moves += 1;
    }
}

/// As [`begin`], for a command that chooses among what nobody else has locked.
async fn begin_skipping<'s, A: Aggregate>(
    locking: &mut Locking,
    branch: &mut Branch<A>,
    stream: &'s Arc<Stream<A>>,
    command: &A::Command,
    patience: &mut Patience<'_>,
) -> Result<(Running<'s, A>, Snapshot<A>, Scope), Error> {
    let owner = locking.owner(patience).await;
    let log = &locking.shared.log;
    for _ in 0..CHOICES {
        let (mut running, snapshot, locked) = Running::begin_choosing(stream, log, Some(owner.number))?;
        branch.check_unchanged()?;
        let snapshot = branch.see(snapshot)?;
        let scope = A::scope_skipping(&snapshot.state, command, &locked)
            .map_err(|why| Error::InvalidCommand { why })?;
        if !locking.effort.turn {
            return Ok((running, snapshot, scope));
        }
        drop(snapshot);
        if let Some(snapshot) = running.lock_unchanged(log, &scope, Some(&owner))? {
            return Ok((running, branch.see(snapshot)?, scope));
        }
    }
    Err(Error::WouldBlock { stream: stream.name.clone() })
}

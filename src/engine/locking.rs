//! How a command or a transaction gets at a stream: with locks, for which it may have to wait, or with checks.

use std::sync::Arc;

use super::Shared;
use super::branch::Work;
use super::deadlock::{Owner, Waited};
use super::lock::{Access, Ticket};
use super::options::Options;
use super::outcome::Effort;
use super::stream::{InLine, Requested, Running, Snapshot, Stream, Wanted};
use crate::aggregate::Aggregate;
use crate::error::{Error, StreamName};
use crate::log::Log;
use crate::scope::Scope;
use crate::sync::Patience;

/// How often a command that skips what is locked chooses anew because somebody else was faster.
const CHOICES: u32 = if cfg!(all(test, shuttle)) { 2 } else { 64 };

/// How often a turn plans again because its scope moved, before it locks the whole: whoever moved it
/// got something done, but this caller has to get through too.
const MOVES_BEFORE_WHOLE: u32 = if cfg!(all(test, shuttle)) { 1 } else { 3 };

/// What is wanted of a stream.
pub(super) struct Wish {
    pub(super) scope: Scope,
    pub(super) access: Access,
}

impl Wish {
    /// What either wants, exclusively if one of them does.
    pub(super) fn join(&mut self, other: Self) {
        let mine = std::mem::replace(&mut self.scope, Scope::Whole);
        self.scope = mine.and(other.scope);
        if other.access == Access::Exclusive {
            self.access = Access::Exclusive;
        }
    }
}

/// What a turn is going to lock, as the command's scope was at a first look.
pub(super) struct Plan {
    scope: Scope,
    /// The version it was planned on.
    version: u64,
    /// Whether to lock the whole: the scope has moved too often.
    whole: bool,
}

impl Plan {
    /// `moves` is how often the scope moved so far.
    pub(super) fn new<A: Aggregate>(seen: &Snapshot<A>, command: &A::Command, moves: u32) -> Self {
        let whole = moves >= MOVES_BEFORE_WHOLE;
        Self { scope: A::scope(&seen.state, command), version: seen.version, whole }
    }

    pub(super) fn locks(&self) -> &Scope {
        if self.whole { &Scope::Whole } else { &self.scope }
    }

    /// The scope as it is now that it is locked. What was free when it was planned may be taken now, and then other
    /// parts are to be locked: none.
    pub(super) fn check<A: Aggregate>(self, locked: &Snapshot<A>, command: &A::Command) -> Option<Scope> {
        if self.version == locked.version {
            return Some(self.scope);
        }
        let now = A::scope(&locked.state, command);
        (self.whole || now == self.scope).then_some(now)
    }
}

impl<'s, A: Aggregate> InLine<'s, A> {
    /// Waits for the locks, and begins as their holder.
    pub(super) async fn wait(
        self,
        stream: &Arc<Stream<A>>,
        shared: &Shared,
        owner: Option<&Arc<Owner>>,
        effort: &mut Effort,
        patience: &mut Patience<'_>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        let Self { waiter, mut running } = self;
        let name = || stream.name.clone();
        effort.lock_waits += 1;
        let is_mine = match owner {
            Some(owner) => running.is_held_by(&owner.caller),
            None => running.is_held_by(&patience.caller().await),
        };
        if is_mine {
            return Err(Error::HeldByCaller { stream: name() });
        }
        let in_time = {
            // A command holds nothing: nobody waits for it who does not wait for those before it.
            let _waits = match (owner, running.ticket()) {
                (Some(owner), Some(ticket)) => {
                    let waited = Arc::clone(stream) as Arc<dyn Waited>;
                    let entered = shared.deadlocks.enter(owner, waited, ticket);
                    Some(entered.map_err(|cycle| Error::Deadlock { cycle })?)
                }
                _ => None,
            };
            waiter.wait(patience).await
        };
        if !in_time {
            return Err(Error::LockTimeout { stream: name(), waited: patience.waited() });
        }
        let snapshot = running.granted(&shared.log)?;
        Ok((running, snapshot))
    }
}

/// Chooses a scope among what nobody else has locked, and locks it for a turn. Never waits. `see` says how the
/// state looks to who chooses.
pub(super) fn choose<'s, A: Aggregate>(
    stream: &'s Stream<A>,
    log: &Log,
    command: &A::Command,
    (owner, turn): (Option<&Arc<Owner>>, bool),
    mut see: impl FnMut(Snapshot<A>) -> Result<Snapshot<A>, Error>,
) -> Result<(Running<'s, A>, Snapshot<A>, Scope), Error> {
    for _ in 0..CHOICES {
        let number = owner.map(|owner| owner.number);
        let (mut running, snapshot, locked) = Running::begin_choosing(stream, log, number)?;
        let snapshot = see(snapshot)?;
        let scope = A::scope_skipping(&snapshot.state, command, &locked)
            .map_err(|why| Error::InvalidCommand { why })?;
        if !turn {
            return Ok((running, snapshot, scope));
        }
        drop(snapshot);
        if let Some(snapshot) = running.lock_unchanged(log, &scope, owner)? {
            return Ok((running, see(snapshot)?, scope));
        }
    }
    Err(Error::WouldBlock { stream: stream.name.clone() })
}

/// What a transaction knows of itself when it asks for locks.
pub(super) struct Locking {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    /// As whom it asks. Made before it first does.
    pub(super) owner: Option<Arc<Owner>>,
    pub(super) effort: Effort,
}

impl Locking {
    pub(super) fn new(shared: Arc<Shared>, options: Options, effort: Effort) -> Self {
        Self { shared, options, owner: None, effort }
    }

    /// Before this transaction asks for locks.
    pub(super) async fn be_somebody(&mut self, patience: &Patience<'_>) {
        if self.owner.is_none() && self.effort.turn {
            self.owner = Some(Arc::new(self.shared.deadlocks.owner(patience.caller().await)));
        }
    }

    /// The state as it is now, with what was staged; from here on the scope stays as it is, or the commit
    /// notices.
    pub(super) async fn begin<'s, A: Aggregate>(
        &mut self,
        work: &mut Work<A>,
        stream: &'s Arc<Stream<A>>,
        wish: &Wish,
        patience: &mut Patience<'_>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        if !self.effort.turn {
            return self.begin_with_checks(work, stream);
        }
        self.be_somebody(patience).await;
        let (running, snapshot) = match self.request(stream, &wish.scope, wish.access, None)? {
            Requested::Granted(running, snapshot) => (running, snapshot),
            Requested::Queued(line) => self.wait(line, stream, patience).await?,
        };
        Ok((running, work.see(stream, snapshot)?))
    }

    /// As [`begin`](Self::begin), for a transaction that does not lock.
    pub(super) fn begin_with_checks<'s, A: Aggregate>(
        &self,
        work: &mut Work<A>,
        stream: &'s Stream<A>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        let (running, snapshot) = Running::begin(stream, &self.shared.log)?;
        // After the look, so that the new snapshot is at one with what was seen before.
        work.check_unchanged(stream)?;
        Ok((running, work.see(stream, snapshot)?))
    }

    pub(super) fn request<'s, A: Aggregate>(
        &self,
        stream: &'s Stream<A>,
        scope: &Scope,
        access: Access,
        seen: Option<Snapshot<A>>,
    ) -> Result<Requested<'s, A>, Error> {
        let (owner, waits) = (self.owner.as_ref(), self.options.wait.waits());
        Running::request(stream, &self.shared.log, &Wanted { scope, access, owner, waits }, seen)
    }

    pub(super) async fn wait<'s, A: Aggregate>(
        &mut self,
        line: InLine<'s, A>,
        stream: &Arc<Stream<A>>,
        patience: &mut Patience<'_>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        line.wait(stream, &self.shared, self.owner.as_ref(), &mut self.effort, patience).await
    }
}

impl<A: Aggregate> Waited for Stream<A> {
    fn name(&self) -> &StreamName {
        &self.name
    }

    fn in_the_way(&self, ticket: Ticket) -> Vec<Arc<Owner>> {
        Stream::in_the_way(self, ticket)
    }
}

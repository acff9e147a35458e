//! How a transaction gets at a stream: with locks, step by step, or with checks.

use std::sync::Arc;

use super::Shared;
use super::branch::Branch;
use super::deadlock::{Owner, Waited};
use super::lock::{Access, Ticket};
use super::options::{Options, Wait};
use super::outcome::Effort;
use super::stream::{Requested, Running, Snapshot, Stream, Wanted};
use crate::aggregate::Aggregate;
use crate::error::{Error, StreamName};
use crate::scope::Scope;
use crate::sync::Patience;

/// What a transaction wants of a stream.
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

/// What a transaction knows of itself when it asks for locks.
pub(super) struct Locking {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    /// Made when it first asks.
    owner: Option<Arc<Owner>>,
    pub(super) effort: Effort,
}

impl Locking {
    pub(super) fn new(shared: Arc<Shared>, options: Options, effort: Effort) -> Self {
        Self { shared, options, owner: None, effort }
    }

    /// As whom this transaction asks.
    pub(super) async fn owner(&mut self, patience: &Patience<'_>) -> Arc<Owner> {
        match &self.owner {
            Some(owner) => Arc::clone(owner),
            None => {
                let owner = Arc::new(self.shared.deadlocks.owner(patience.caller().await));
                self.owner = Some(Arc::clone(&owner));
                owner
            }
        }
    }

    /// The state as it is now, with what the branch has staged; from here on the scope stays as it is, or the commit
    /// notices.
    pub(super) async fn begin<'s, A: Aggregate>(
        &mut self,
        branch: &mut Branch<A>,
        stream: &'s Arc<Stream<A>>,
        wish: &Wish,
        patience: &mut Patience<'_>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        if !self.effort.turn {
            return self.begin_with_checks(branch, stream);
        }
        let (running, snapshot) = self.lock(stream, wish, patience).await?;
        Ok((running, branch.see(snapshot)?))
    }

    /// As [`begin`](Self::begin), for a transaction that does not lock.
    pub(super) fn begin_with_checks<'s, A: Aggregate>(
        &self,
        branch: &mut Branch<A>,
        stream: &'s Stream<A>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        let (running, snapshot) = Running::begin(stream, &self.shared.log)?;
        // After the look, so that the new snapshot is at one with what was seen before.
        branch.check_unchanged()?;
        Ok((running, branch.see(snapshot)?))
    }

    async fn lock<'s, A: Aggregate>(
        &mut self,
        stream: &'s Arc<Stream<A>>,
        wish: &Wish,
        patience: &mut Patience<'_>,
    ) -> Result<(Running<'s, A>, Snapshot<A>), Error> {
        let owner = self.owner(patience).await;
        let log = &self.shared.log;
        let waits = matches!(self.options.wait, Wait::AtMost(_));
        let wanted = Wanted { scope: &wish.scope, access: wish.access, owner: Some(&owner), waits };
        // The waiter is bound first and goes last: what it holds of a task is dropped with no mutex held.
        let (waiter, mut running) = match Running::request(stream, log, &wanted)? {
            Requested::Granted(running, snapshot) => return Ok((running, snapshot)),
            Requested::Taken => return Err(Error::WouldBlock { stream: stream.name.clone() }),
            Requested::Queued(running, waiter) => (waiter, running),
        };
        let name = || stream.name.clone();
        self.effort.lock_waits += 1;
        if running.is_held_by(&owner.caller) {
            return Err(Error::HeldByCaller { stream: name() });
        }
        let in_time = {
            let Some(ticket) = running.ticket() else { return Err(Error::Closed) };
            let waited = Arc::clone(stream) as Arc<dyn Waited>;
            let _waits = self
                .shared
                .deadlocks
                .enter(&owner, waited, ticket)
                .map_err(|cycle| Error::Deadlock { cycle })?;
            waiter.wait(patience).await
        };
        if !in_time {
            return Err(Error::LockTimeout { stream: name(), waited: patience.waited() });
        }
        let snapshot = running.granted(log)?;
        Ok((running, snapshot))
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

//! What goes into a transaction's step, and what comes out of it.

use std::fmt;
use std::sync::Arc;

use super::Shared;
use super::branch::{AnyBranch, Branch};
use super::handle::Handle;
use super::lock::Access;
use super::locking::Wish;
use super::outcome::Effort;
use super::registry::Visit;
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::scope::Scope;

/// What a transaction stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// 0 if nothing was stored: positions begin at 1.
    pub(super) position: u64,
    pub(super) decided_at: Timestamp,
    pub(super) effort: Effort,
}

impl Committed {
    /// The place of its entry in the log; none if nothing was staged.
    pub fn position(&self) -> Option<u64> {
        (self.position > 0).then_some(self.position)
    }

    /// The time of its entry, if there is one.
    pub fn decided_at(&self) -> Timestamp {
        self.decided_at
    }

    /// What it took.
    pub fn effort(&self) -> Effort {
        self.effort
    }
}

/// What a transaction's step decided. Look at it: a rejection stages nothing, and does not end the transaction.
#[must_use = "the command may have been rejected"]
pub enum Staged<'t, A: Aggregate> {
    /// These events are staged; none if nothing had to change.
    Accepted(&'t [A::Event]),
    /// Why the domain said no. It is not recorded.
    Rejected(A::Rejection),
}

impl<A: Aggregate> Staged<'_, A> {
    /// Whether the domain said yes.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    /// The staged events, none for a rejection.
    pub fn events(&self) -> &[A::Event] {
        match self {
            Self::Accepted(events) => events,
            Self::Rejected(_) => &[],
        }
    }

    /// Why the domain said no, if it did.
    pub fn rejection(&self) -> Option<&A::Rejection> {
        match self {
            Self::Accepted(_) => None,
            Self::Rejected(rejection) => Some(rejection),
        }
    }
}

impl<A: Aggregate> fmt::Debug for Staged<'_, A>
where
    A::Event: fmt::Debug,
    A::Rejection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(events) => f.debug_tuple("Accepted").field(events).finish(),
            Self::Rejected(rejection) => f.debug_tuple("Rejected").field(rejection).finish(),
        }
    }
}

/// A lock for [`Transaction::lock`](crate::Transaction::lock) to take: on the whole stream and exclusive, unless told otherwise. Made by
/// [`Handle::lock`](crate::Handle::lock).
#[must_use = "nothing is locked until a transaction is given this"]
pub struct Lock {
    pub(super) branch: Result<Box<dyn AnyBranch>, Error>,
    pub(super) shared: Arc<Shared>,
    pub(super) aggregate: &'static str,
    pub(super) wish: Wish,
}

impl Lock {
    pub(super) fn new<A: Aggregate>(handle: &Handle<A>, id: &str) -> Self {
        let wish = Wish { scope: Scope::Whole, access: Access::Exclusive };
        let branch = branch_of(handle, id, false).map(|it| it as Box<dyn AnyBranch>);
        Self { branch, shared: Arc::clone(&handle.shared), aggregate: A::TYPE, wish }
    }

    /// On these parts only.
    pub fn on(self, scope: Scope) -> Self {
        Self { wish: Wish { scope, ..self.wish }, ..self }
    }

    /// Together with others who share; nobody changes what is locked.
    pub fn shared(self) -> Self {
        Self { wish: Wish { access: Access::Shared, ..self.wish }, ..self }
    }
}

/// A stream for a transaction to work on.
pub(super) fn branch_of<A: Aggregate>(
    handle: &Handle<A>,
    id: &str,
    create: bool,
) -> Result<Box<Branch<A>>, Error> {
    handle.check_id(id)?;
    let visit = Visit::begin(Arc::clone(&handle.registry), id, create)?;
    Ok(Branch::new(visit, handle.shared.log.limits().entry_bytes))
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("type", &self.aggregate)
            .field("scope", &self.wish.scope)
            .finish_non_exhaustive()
    }
}

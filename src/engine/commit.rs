//! The decisive step, under the stream's mutex: check, apply, number, append, unlock, as one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use smallvec::SmallVec;

use super::lock::Access;
use super::policy::Policy;
use super::replay::panic_message;
use super::stream::{Held, Inner, Running, StateArc, Stream};
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::{Cause, Error, Fence, StreamName};
use crate::log::{Draft, Entry, Log, NewSpan, StreamRef};
use crate::scope::Scope;
use crate::sync::Wakes;

/// What a decision does to one stream: encoded, and checked against its own scope.
pub(super) struct Change<'a, A: Aggregate> {
    /// None for a rejection, which takes a number and touches nothing.
    pub(super) events: &'a [A::Event],
    /// What each event touches.
    pub(super) touched: &'a [Scope],
    pub(super) draft: &'a Draft,
    /// How many versions it takes: none for an answer that is kept beside the stream.
    pub(super) versions: u32,
}

/// An entry of one stream, to commit.
pub(super) struct Proposal<'a, A: Aggregate> {
    pub(super) scope: &'a Scope,
    pub(super) change: Change<'a, A>,
    pub(super) policies: &'a [Policy<A>],
    pub(super) decided_at: Timestamp,
    /// What the entry carries beside its events.
    pub(super) sections: &'a [u8],
    /// What the entry takes at most.
    pub(super) bytes: usize,
    /// Whether to wake the writer.
    pub(super) nudge: bool,
}

pub(super) type Replaced<A> = SmallVec<[StateArc<<A as Aggregate>::State>; 1]>;

/// What must wait until the mutex is released.
pub(super) struct After<'a, A: Aggregate> {
    /// May be the last holders of a user's value.
    pub(super) replaced: &'a mut Replaced<A>,
    /// What `apply` or a policy panicked with: dropping it is foreign code too.
    pub(super) panic: &'a mut Option<Box<dyn Any + Send>>,
}

/// What became of a proposal.
pub(super) enum Commit {
    /// Stored at this position, as the events up to this version.
    Done {
        position: u64,
        version: u64,
    },
    Refused(Refusal),
}

/// Why nothing was stored.
pub(super) enum Refusal {
    /// A part of the scope changed since the snapshot.
    Conflict,
    /// Somebody else holds a lock on the scope.
    Locked,
    /// An event breaks this policy; nothing has changed.
    Violated(&'static str),
    /// As when one is broken; the panic passes through to the caller.
    PolicyPanicked,
    /// `apply` panicked; the stream is fenced.
    Panicked(Cause),
}

impl<A: Aggregate> Running<'_, A> {
    pub(super) fn commit(self, log: &Log, proposal: &Proposal<'_, A>) -> Result<Commit, Error> {
        self.decisive(
            log,
            |running, inner, after, wakes| running.commit_locked(inner, log, proposal, after, wakes),
            |commit| matches!(commit, Commit::Refused(Refusal::PolicyPanicked)),
        )
    }

    /// The last step of an attempt, under the mutex, and what has to wait until that is released. `passes_on` says
    /// whether a panic passes through to the caller.
    #[inline(always)]
    pub(super) fn decisive<T>(
        mut self,
        log: &Log,
        step: impl FnOnce(&mut Self, &mut Inner<A>, After<'_, A>, &mut Wakes) -> Result<T, Error>,
        passes_on: impl FnOnce(&T) -> bool,
    ) -> Result<T, Error> {
        let mut wakes = Wakes::default();
        let (mut replaced, mut panic) = (Replaced::<A>::new(), None);
        let result = {
            let stream = self.stream;
            let mut inner = stream.inner.lock();
            let result = match stream.check(&inner, log) {
                Ok(()) => {
                    let after = After { replaced: &mut replaced, panic: &mut panic };
                    step(&mut self, &mut inner, after, &mut wakes)
                }
                Err(error) => Err(error),
            };
            self.held.end(&mut inner, &mut wakes);
            result
        };
        wakes.fire();
        if replaced.is_empty() && panic.is_none() {
            return result;
        }
        let passed_on = panic.take_if(|_| result.as_ref().is_ok_and(passes_on));
        // The decision stands, whatever a user's `Drop` does.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((replaced, panic))));
        if let Some(panic) = passed_on {
            resume_unwind(panic);
        }
        result
    }

    fn commit_locked(
        &mut self,
        inner: &mut Inner<A>,
        log: &Log,
        proposal: &Proposal<'_, A>,
        after: After<'_, A>,
        wakes: &mut Wakes,
    ) -> Result<Commit, Error> {
        let Proposal { scope, ref change, policies, decided_at, sections, bytes, nudge } = *proposal;
        if let Some(refusal) =
            self.held.verify(inner, &self.stream.name, scope, Access::Exclusive, log, wakes)?
        {
            return Ok(Commit::Refused(refusal));
        }
        if !change.events.is_empty()
            && let Err(refusal) = inner.apply(change.events, policies, after)
        {
            return Ok(Commit::Refused(refusal));
        }
        let span = [inner.span(&self.stream.name, change)];
        // An answer has no span: it is kept beside the stream.
        let spans = if change.versions == 0 { &[] } else { &span[..] };
        let appended = log.append(&Entry { decided_at, sections, spans }, bytes, nudge)?;
        if let Some(writer) = appended.writer {
            wakes.push(writer);
        }
        let mut new_stream = appended.new_stream;
        inner.number(self.stream, change, appended.position, &mut new_stream, decided_at);
        Ok(Commit::Done { position: appended.position, version: inner.version })
    }
}

impl Held {
    /// Whether what this attempt saw of `scope` still holds. It then no longer asks: what is touched from here
    /// on concerns the others.
    #[inline]
    pub(super) fn verify<A: Aggregate>(
        &mut self,
        inner: &mut Inner<A>,
        name: &StreamName,
        scope: &Scope,
        access: Access,
        log: &Log,
        wakes: &mut Wakes,
    ) -> Result<Option<Refusal>, Error> {
        let refusal = self.check(inner, name, scope, access, log, wakes)?;
        if refusal.is_none() {
            self.look_away(inner);
        }
        Ok(refusal)
    }

    /// The same, and it may ask again.
    #[inline(always)]
    pub(super) fn check<A: Aggregate>(
        &self,
        inner: &mut Inner<A>,
        name: &StreamName,
        scope: &Scope,
        access: Access,
        log: &Log,
        wakes: &mut Wakes,
    ) -> Result<Option<Refusal>, Error> {
        let Some(since) = self.since else {
            let rule = format!("{name}: a commit without a snapshot");
            return Err(log.broken_under_mutex(rule, wakes));
        };
        if self.ticket.is_none() && inner.locks.blocks(scope, access) {
            return Ok(Some(Refusal::Locked));
        }
        if inner.stamps.changed_since(since, scope) {
            if self.ticket.is_some() {
                let rule = format!("{name}: a locked part changed");
                return Err(log.broken_under_mutex(rule, wakes));
            }
            return Ok(Some(Refusal::Conflict));
        }
        Ok(None)
    }

    /// From here on the attempt does not ask what changes.
    #[inline]
    pub(super) fn look_away<A: Aggregate>(&mut self, inner: &mut Inner<A>) {
        if let Some(since) = self.since.take() {
            inner.stamps.end(since);
        }
    }
}

impl<A: Aggregate> Inner<A> {
    /// Changes the state, or leaves it as it was, or fences the stream.
    pub(super) fn apply(
        &mut self,
        events: &[A::Event],
        policies: &[Policy<A>],
        after: After<'_, A>,
    ) -> Result<(), Refusal> {
        let state = &mut self.state;
        let After { replaced, panic } = after;
        let applied = match policies {
            [] => catch_unwind(AssertUnwindSafe(|| {
                for event in events {
                    A::apply(writable::<A>(state, replaced), event);
                }
            })),
            policies => apply_checked(state, events, policies, After { replaced, panic: &mut *panic })?,
        };
        applied.map_err(|said| {
            self.fence = Some(Fence::Rebuilding);
            let message = panic_message(&*said);
            *panic = Some(said);
            Refusal::Panicked(message)
        })
    }

    /// The stream's share of an entry.
    pub(super) fn span<'s>(&self, name: &'s StreamName, change: &Change<'s, A>) -> NewSpan<'s> {
        let stream = match self.number {
            Some(number) => StreamRef::Known(number),
            None => StreamRef::New { aggregate: &name.aggregate, id: &name.id },
        };
        NewSpan { stream, first_version: self.version + 1, events: change.versions, draft: change.draft }
    }

    /// Counts what the log has taken. `new_stream` is the number of the entry's next new stream.
    pub(super) fn number(
        &mut self,
        stream: &Stream<A>,
        change: &Change<'_, A>,
        position: u64,
        new_stream: &mut u32,
        decided_at: Timestamp,
    ) {
        if change.versions == 0 {
            return;
        }
        let first_version = self.version + 1;
        self.version += u64::from(change.versions);
        self.position = position;
        self.decided_at = self.decided_at.max(decided_at);
        if self.number.is_none() {
            self.number = Some(*new_stream);
            *new_stream += 1;
            self.born = position;
            stream.presence.begin_to_exist();
        }
        for (version, touched) in (first_version..).zip(change.touched) {
            self.stamps.touch(version, touched);
        }
    }
}

/// Applies events that have policies to keep. If one is broken, or panics, the state is what it was, and that
/// is returned.
#[cold]
fn apply_checked<A: Aggregate>(
    state: &mut StateArc<A::State>,
    events: &[A::Event],
    policies: &[Policy<A>],
    after: After<'_, A>,
) -> Result<std::thread::Result<()>, Refusal> {
    let original = StateArc::clone(state);
    for event in events {
        let before = StateArc::clone(state);
        let applied =
            catch_unwind(AssertUnwindSafe(|| A::apply(writable::<A>(state, after.replaced), event)));
        if applied.is_err() {
            after.replaced.extend([original, before]);
            return Ok(applied);
        }
        let asked = catch_unwind(AssertUnwindSafe(|| Policy::first_broken(policies, &before, event, state)));
        after.replaced.push(before);
        let broken = match asked {
            Ok(None) => continue,
            Ok(Some(policy)) => Refusal::Violated(policy),
            Err(panic) => {
                *after.panic = Some(panic);
                Refusal::PolicyPanicked
            }
        };
        after.replaced.push(std::mem::replace(state, original));
        return Err(broken);
    }
    after.replaced.push(original);
    Ok(Ok(()))
}

/// The state for changing: itself if nobody else looks at it, otherwise a clone in its place.
pub(super) fn writable<'s, A: Aggregate>(
    state: &'s mut StateArc<A::State>,
    replaced: &mut Replaced<A>,
) -> &'s mut A::State {
    if !StateArc::is_unique(state) {
        let clone = StateArc::new(A::State::clone(state));
        replaced.push(std::mem::replace(state, clone));
    }
    // Nobody can have looked since: that takes the stream's mutex.
    StateArc::make_mut(state)
}

//! What an entry needs beside the decision itself: encoded, and checked against its scope, before any mutex is held.

use smallvec::SmallVec;

use super::commit::{Change, Proposal};
use super::handle::Handle;
use super::options::Options;
use super::outcome::Outcome;
use super::stream::Stream;
use crate::aggregate::Aggregate;
use crate::error::{Error, StreamName};
use crate::limits::Limits;
use crate::log::{Draft, EventKind, entry_bytes, put_answer};
use crate::scope::Scope;

pub(super) struct Encoded {
    draft: Draft,
    /// What each event touches; nothing for a rejection.
    touched: SmallVec<[Scope; 1]>,
    /// How many versions the entry takes.
    pub(super) versions: u32,
    /// The call's sections and the answer, for an entry that takes none.
    answer: Vec<u8>,
    /// What the entry takes at most.
    pub(super) bytes: usize,
}

/// What of a call is stored beside its events.
pub(super) struct Stored<'c> {
    /// What the entry carries.
    pub(super) sections: &'c [u8],
    /// Whether there is an entry whatever was decided.
    pub(super) always: bool,
    /// Whether there is one for a rejection.
    pub(super) options: &'c Options,
}

impl Encoded {
    #[inline(always)]
    pub(super) fn new(limits: &Limits) -> Self {
        let (draft, touched, answer) = (Draft::new(limits.entry_bytes), SmallVec::new(), Vec::new());
        Self { draft, touched, versions: 0, answer, bytes: 0 }
    }

    /// Forgets what was encoded.
    pub(super) fn clear(&mut self) {
        let Self { draft, touched, versions, answer, bytes } = self;
        draft.clear();
        touched.clear();
        answer.clear();
        (*versions, *bytes) = (0, 0);
    }

    /// Encodes what is to be stored and checks that it stays in scope.
    #[inline(always)]
    pub(super) fn fill<A: Aggregate>(
        &mut self,
        stream: &Stream<A>,
        scope: &Scope,
        outcome: &Outcome<A>,
        stored: &Stored<'_>,
    ) -> Result<(), Error> {
        let Self { draft, touched, versions, answer, bytes } = self;
        match &outcome.decided {
            Ok(events) => {
                for event in events.iter() {
                    // Looked at before it is moved: what was just written in pieces is slow to read as a whole.
                    let touches = A::touches(event);
                    stay_in_scope(&stream.name, scope, &touches)?;
                    touched.push(touches);
                    draft.push(EventKind::Event, A::EVENT_VERSION, event)?;
                }
                *versions = events.len() as u32;
            }
            // A stream is not created by a rejection.
            Err(rejection) if stored.always || stored.options.record_rejections => {
                if outcome.version > 0 || stored.always {
                    draft.push(EventKind::Rejection, A::EVENT_VERSION, rejection)?;
                }
                *versions = u32::from(outcome.version > 0);
            }
            Err(_) => {}
        }
        if stored.always && *versions == 0 {
            *answer = stored.sections.to_vec();
            put_answer(answer, outcome.version, draft);
        }
        *bytes = entry_bytes(stored.sections.len() + answer.len(), stream.name.bytes(), draft);
        Ok(())
    }

    #[inline(always)]
    pub(super) fn change<'a, A: Aggregate>(&'a self, outcome: &'a Outcome<A>) -> Change<'a, A> {
        let Self { draft, touched, versions, .. } = self;
        Change { events: outcome.events(), touched, draft, versions: *versions }
    }

    #[inline(always)]
    pub(super) fn proposal<'a, A: Aggregate>(
        &'a self,
        handle: &'a Handle<A>,
        scope: &'a Scope,
        outcome: &'a Outcome<A>,
        sections: &'a [u8],
        nudge: bool,
    ) -> Proposal<'a, A> {
        let Self { answer, bytes, .. } = self;
        Proposal {
            scope,
            change: self.change(outcome),
            policies: &handle.registry.policies,
            decided_at: outcome.decided_at,
            sections: if answer.is_empty() { sections } else { answer },
            bytes: *bytes,
            nudge,
        }
    }

    /// Tells the outcome where it is.
    #[inline(always)]
    pub(super) fn decided<A: Aggregate>(&self, outcome: &mut Outcome<A>, position: u64, version: u64) {
        outcome.position = position;
        // An answer is about the version that was looked at, as its entry says.
        if self.versions > 0 {
            outcome.version = version;
        }
    }
}

/// An event touches only parts of the scope that its decision depended on.
#[inline]
pub(super) fn stay_in_scope(stream: &StreamName, scope: &Scope, touched: &Scope) -> Result<(), Error> {
    match scope.first_outside(touched) {
        None => Ok(()),
        Some(outside) => Err(Error::OutOfScope { stream: stream.clone(), part: outside.to_string().into() }),
    }
}

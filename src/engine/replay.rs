//! State from the log: one stream's events folded, the same way at open and after a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::registry::Registry;
use super::schema::Schema;
use super::stream::{Inner, StateArc, Stream};
use crate::aggregate::{Aggregate, Interner};
use crate::error::{Cause, Error, Fence, StreamName};
use crate::log::{EventKind, Events, Malformed, Run};

/// A stream being read from the log.
pub(crate) struct Fold<A: Aggregate> {
    registry: Arc<Registry<A>>,
    pub(crate) state: A::State,
    inner: Inner<A>,
    name: StreamName,
    pool: Interner,
}

/// A fold whose type is not known here.
pub(crate) trait AnyFold: Send {
    /// Takes what the stream got next. An event that cannot be taken fences the stream.
    fn run(&mut self, run: &Run<'_>) -> Result<(), Malformed>;

    /// Puts the stream into its registry; returns why it is fenced, if it is.
    fn finish(self: Box<Self>) -> Result<Option<(StreamName, Fence)>, Error>;
}

/// Why no further event is taken.
enum Stop {
    Malformed(Malformed),
    Fence(Fence),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Fence> for Stop {
    fn from(fence: Fence) -> Self {
        Self::Fence(fence)
    }
}

impl<A: Aggregate> Fold<A> {
    pub(crate) fn new(registry: Arc<Registry<A>>, id: &str, number: u32) -> Self {
        let inner = Inner { number: Some(number), ..Inner::default() };
        let pool = registry.interner.again();
        Self { registry, state: A::State::default(), inner, name: Registry::<A>::name(id), pool }
    }

    /// Why the events so far could not all be taken.
    pub(crate) fn fence(&self) -> Option<&Fence> {
        self.inner.fence.as_ref()
    }

    pub(crate) fn version(&self) -> u64 {
        self.inner.version
    }

    pub(crate) fn position(&self) -> u64 {
        self.inner.position
    }

    /// Takes events up to the first that cannot be taken. The first `shared` of them are interned.
    fn take(&mut self, events: &mut Events<'_>, mut shared: u32) -> Result<(), Stop> {
        let Self { registry, state, pool, .. } = self;
        for event in events {
            let event = event?;
            if event.kind == EventKind::Rejection {
                Schema::<A>::refuse_newer(&event)?;
            } else {
                let mut event = registry.schema.event(&event)?;
                if shared > 0 {
                    event = A::intern(event, pool);
                }
                A::apply(state, &event);
            }
            shared = shared.saturating_sub(1);
        }
        Ok(())
    }
}

impl<A: Aggregate> AnyFold for Fold<A> {
    fn run(&mut self, run: &Run<'_>) -> Result<(), Malformed> {
        let mut events = run.events();
        if self.inner.fence.is_none() {
            // Only what a stream begins with is shared with others.
            let shared = if self.inner.version == 0 { run.begins_with } else { 0 };
            // All of this is foreign code, the decoding too.
            self.inner.fence = match catch_unwind(AssertUnwindSafe(|| self.take(&mut events, shared))) {
                Ok(Ok(())) => None,
                Ok(Err(Stop::Fence(fence))) => Some(fence),
                Ok(Err(Stop::Malformed(malformed))) => return Err(malformed),
                Err(panic) => Some(Fence::ApplyPanicked(panic_message(&*panic))),
            };
        }
        // Of what comes after a fence only the form is looked at.
        events.finish()?;
        if self.inner.born == 0 {
            self.inner.born = run.first;
        }
        self.inner.version += run.count;
        self.inner.position = run.last;
        self.inner.decided_at = self.inner.decided_at.max(run.decided_at);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Option<(StreamName, Fence)>, Error> {
        let Self { registry, state, mut inner, name, pool: _ } = *self;
        inner.state = StateArc::new(state);
        let fenced = inner.fence.clone().map(|fence| (name.clone(), fence));
        registry.insert(Stream::new(name, inner))?;
        Ok(fenced)
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> Cause {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    Cause::from(said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message"))
}

//! State from the log: one stream's events folded, the same way at open and after a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::registry::Registry;
use super::schema::Schema;
use super::stream::{Inner, StateArc, Stream};
use crate::aggregate::{Aggregate, Interner};
use crate::clock::Timestamp;
use crate::error::{Cause, Error, Fence, StreamName};
use crate::log::{EventKind, EventView, Events as LogEvents, Malformed, Span};

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
    /// Takes the events of one span. An event that cannot be taken fences the stream.
    fn span(
        &mut self,
        position: u64,
        decided_at: Timestamp,
        span: &Span<'_>,
        events: &mut LogEvents<'_>,
    ) -> Result<(), Malformed>;

    /// Puts the stream into its registry; returns why it is fenced, if it is.
    fn finish(self: Box<Self>) -> Result<Option<(StreamName, Fence)>, Error>;
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

    fn take(&mut self, event: &EventView<'_>) -> Result<(), Fence> {
        if event.kind == EventKind::Rejection {
            return Schema::<A>::refuse_newer(event);
        }
        let Self { registry, state, inner, pool, .. } = self;
        // All of this is foreign code, the decoding too.
        catch_unwind(AssertUnwindSafe(|| {
            let mut event = registry.schema.event(event)?;
            // Only what a stream begins with is shared with others.
            if inner.version == 0 {
                event = A::intern(event, pool);
            }
            A::apply(state, &event);
            Ok(())
        }))
        .unwrap_or_else(|panic| Err(Fence::ApplyPanicked(panic_message(&*panic))))
    }
}

impl<A: Aggregate> AnyFold for Fold<A> {
    fn span(
        &mut self,
        position: u64,
        decided_at: Timestamp,
        span: &Span<'_>,
        events: &mut LogEvents<'_>,
    ) -> Result<(), Malformed> {
        events.of_span(span, |event| {
            if self.inner.fence.is_none() {
                self.inner.fence = self.take(&event).err();
            }
        })?;
        if self.inner.born == 0 {
            self.inner.born = position;
        }
        self.inner.version += u64::from(span.events);
        self.inner.position = position;
        self.inner.decided_at = self.inner.decided_at.max(decided_at);
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

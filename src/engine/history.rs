//! A stream's events as they were stored, read from the log.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smol_str::SmolStr;

use super::Shared;
use super::registry::Registry;
use super::replay::panic_message;
use super::scan::spans_of;
use super::schema::Schema;
use super::stream::Whereabouts;
use crate::aggregate::{Aggregate, Moment};
use crate::clock::Timestamp;
use crate::error::{Error, Fence, StreamName};
use crate::log::{EventKind, EventView};
use crate::metadata::Metadata;

/// One number of a stream's history.
pub struct Recorded<A: Aggregate> {
    /// The event's number in its stream, from 1, without a gap.
    pub version: u64,
    /// The place of its entry in the log.
    pub position: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it became durable: never decreases along the log, also across restarts.
    pub committed_at: Timestamp,
    /// The id of the command that caused it, if it had one.
    pub command_id: Option<SmolStr>,
    /// What the call said about itself, if it did.
    pub metadata: Option<Arc<Metadata>>,
    /// What happened.
    pub what: Happened<A>,
}

impl<A: Aggregate> Recorded<A> {
    /// When it happened.
    pub fn moment(&self) -> Moment {
        let Self { version, position, decided_at, committed_at, .. } = *self;
        Moment { version, position, decided_at, committed_at }
    }
}

/// What a number of a stream's history holds.
pub enum Happened<A: Aggregate> {
    /// Something was decided.
    Event(A::Event),
    /// Something was refused.
    Rejection(A::Rejection),
}

/// Iterates over a stream's durable history, the oldest first. Keeps one batch in memory.
///
/// Each item is an error instead if the log cannot be read or the event does not decode; the iterator
/// then ends.
pub struct History<A: Aggregate> {
    shared: Arc<Shared>,
    registry: Arc<Registry<A>>,
    name: StreamName,
    number: u32,
    /// The next position to look at, and the last one.
    next: u64,
    last: u64,
    ready: VecDeque<Result<Recorded<A>, Error>>,
}

impl<A: Aggregate> History<A> {
    pub(super) fn new(
        shared: Arc<Shared>,
        registry: Arc<Registry<A>>,
        name: StreamName,
        place: Whereabouts,
    ) -> Self {
        let last = place.last.min(shared.log.durable());
        let Whereabouts { number, first: next, .. } = place;
        Self { shared, registry, name, number, next, last, ready: VecDeque::new() }
    }

    /// Reads on until the next row that holds something of this stream.
    fn fill(&mut self) -> Result<(), Error> {
        while self.ready.is_empty() && self.next <= self.last {
            let mut row = Vec::new();
            let Some(view) = self.shared.log.read_row(self.next, &mut row)? else {
                self.next = u64::MAX;
                return Ok(());
            };
            let until = (view.end() - 1).min(self.last);
            let (schema, name, ready) = (&self.registry.schema, &self.name, &mut self.ready);
            spans_of(&view, self.number, self.next..=until, |found| {
                let (position, decided_at) = (found.position, found.decided_at);
                let command_id = found.sections.command()?.map(|asked| SmolStr::new(asked.id));
                let metadata = found.sections.metadata()?.map(Arc::new);
                let events = found.events.take(found.span.events as usize);
                for (version, event) in (found.span.first_version..).zip(events) {
                    let what = happened(schema, &event?)
                        .map_err(|reason| Error::Fenced { stream: name.clone(), reason })?;
                    ready.push_back(Ok(Recorded {
                        version,
                        position,
                        decided_at,
                        committed_at: view.committed_at,
                        command_id: command_id.clone(),
                        metadata: metadata.clone(),
                        what,
                    }));
                }
                Ok(())
            })?;
            self.next = until + 1;
        }
        Ok(())
    }
}

pub(super) fn happened<A: Aggregate>(
    schema: &Schema<A>,
    event: &EventView<'_>,
) -> Result<Happened<A>, Fence> {
    // Decoding is foreign code.
    catch_unwind(AssertUnwindSafe(|| match event.kind {
        EventKind::Event => schema.event(event).map(Happened::Event),
        EventKind::Rejection => schema.rejection(event).map(Happened::Rejection),
    }))
    .unwrap_or_else(|panic| {
        let said = panic_message(&*panic);
        Err(Fence::Undecodable(format!("decoding panicked: {said}").into()))
    })
}

impl<A: Aggregate> Iterator for History<A> {
    type Item = Result<Recorded<A>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.next = u64::MAX;
            self.ready.push_back(Err(error));
        }
        self.ready.pop_front()
    }
}

impl<A: Aggregate> fmt::Debug for Recorded<A>
where
    A::Event: fmt::Debug,
    A::Rejection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = f.debug_struct("Recorded");
        line.field("version", &self.version).field("position", &self.position);
        match &self.what {
            Happened::Event(event) => line.field("event", event),
            Happened::Rejection(rejection) => line.field("rejection", rejection),
        };
        line.finish_non_exhaustive()
    }
}

impl<A: Aggregate> fmt::Debug for History<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("stream", &self.name).finish_non_exhaustive()
    }
}

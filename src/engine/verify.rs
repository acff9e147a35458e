//! The audit: every stream folded from the log once more, and compared with what the engine decides on.

use std::collections::HashMap;
use std::sync::Arc;

use super::handle::Handle;
use super::registry::Registry;
use super::replay::{AnyFold, Fold};
use super::schema::Schema;
use super::stream::{StateArc, Whereabouts};
use crate::aggregate::{Aggregate, Audit, Moment};
use crate::clock::Timestamp;
use crate::error::{Error, Fence, StreamName};
use crate::log::{Auditor, EventKind, Events, Gap, Log, Malformed, Run, Span};
use crate::sync::{Patience, run_blocking};

/// What [`Handle::verify`](crate::Handle::verify) found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verification {
    /// How many streams were compared.
    pub streams: u64,
    /// How many events and recorded rejections these have.
    pub events: u64,
    /// The last position of the log that was looked at.
    pub position: u64,
    /// Streams whose state is not what their events add up to. There must be none.
    pub differences: Vec<Difference>,
    /// What the types' own [`audit`](crate::Aggregate::audit) says: for a venue, every seat that ever had two
    /// holders. There must be none.
    pub findings: Vec<(StreamName, String)>,
    /// Streams that take no commands and no reads: there is no state to compare.
    pub fenced: Vec<(StreamName, Fence)>,
}

impl Verification {
    /// Whether nothing is wrong. Fenced streams are not looked at here.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.findings.is_empty()
    }
}

/// A stream that is not what its events add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The stream.
    pub stream: StreamName,
    /// Its version when it was looked at.
    pub version: u64,
    /// In what way.
    pub what: Mismatch,
}

/// In what way a stream is not what its events add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The states are not equal: `apply` or `intern` is not deterministic, or `eq` is not an equality.
    State,
    /// The log has another number of events up to the stream's last position.
    Version {
        /// How many.
        in_log: u64,
    },
    /// An event that was applied once cannot be read or applied again.
    Unreadable(Fence),
    /// The log has the stream, memory does not.
    NotInMemory,
}

impl<A: Aggregate> Handle<A> {
    /// Folds every stream of this type from the log once more, and compares that with the state on which
    /// commands are decided; checks every row's checksum and that no position and no version is missing; asks
    /// the type's own [`audit`](Aggregate::audit).
    ///
    /// Waits until what it compares is on disk, then reads the log once, from its beginning, on the calling
    /// thread. Decisions go on meanwhile: each stream is compared as it was when the call began. Needs memory for
    /// a second copy of all states.
    ///
    /// ```
    /// use boxoffice::Engine;
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
    ///
    /// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
    /// let sales = engine.handle::<FlashSale>(())?;
    /// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
    /// let found = sales.verify()?;
    /// assert!(found.is_clean() && found.streams == 1 && found.events == 1);
    /// # Ok::<(), boxoffice::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the log itself is wrong; or why the engine has stopped. A state that differs is not
    /// an error but in the [`Verification`].
    ///
    /// # Panics
    ///
    /// A panic of the state's `eq` or of the audit passes through.
    pub fn verify(&self) -> Result<Verification, Error>
    where
        A::State: PartialEq,
    {
        let log = &self.shared.log;
        // What has a position now belongs to a stream that is in memory below.
        let known = log.tail();
        let mut found = Verification::default();
        let mut checks = HashMap::new();
        let mut end = known;
        for stream in self.registry.all() {
            let Some((state, place, fence)) = stream.examine() else { continue };
            end = end.max(place.last);
            let check = match fence {
                Some(fence) => {
                    found.fenced.push((stream.name.clone(), fence));
                    None
                }
                None => Some(Check::new(&self.registry, stream.name.clone(), state, &place)),
            };
            checks.insert(place.number, check);
        }
        // After the look: a commit that met a stopped log may have changed a state.
        log.check_readable()?;
        if end > 0 {
            run_blocking(log.wait_durable(end, &mut Patience::of_thread(None)))?;
        }
        found.position = end;
        self.pass(end, |span, at, events| match checks.get_mut(&span.stream) {
            Some(Some(check)) if at.position <= check.last => {
                check.take(&self.registry.schema, span, at, events)
            }
            Some(_) => events.of_span(span, drop),
            None => {
                if let Some((aggregate, id)) = span.defines
                    && aggregate == A::TYPE
                    && at.position <= known
                {
                    let stream = Registry::<A>::name(id);
                    found.differences.push(Difference { stream, version: 0, what: Mismatch::NotInMemory });
                }
                events.of_span(span, drop)
            }
        })?;
        for check in checks.into_values().flatten() {
            found.streams += 1;
            found.events += check.fold.version();
            let findings = check.audit.as_ref().map(|audit| audit.findings()).unwrap_or_default();
            found.findings.extend(findings.into_iter().map(|finding| (check.name.clone(), finding)));
            found.differences.extend(check.difference());
        }
        found.differences.sort_by(|one, other| one.stream.id.cmp(&other.stream.id));
        found.findings.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        Ok(found)
    }

    /// Reads the log up to a position that is durable, and hands out every span with its place.
    fn pass(
        &self,
        end: u64,
        mut visit: impl FnMut(&Span<'_>, Place, &mut Events<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        let log: &Log = &self.shared.log;
        let (mut auditor, mut row) = (Auditor::default(), Vec::new());
        while auditor.next_position() <= end {
            let Some(view) = log.read_row(auditor.next_position(), &mut row)? else { break };
            let committed_at = view.committed_at;
            view.for_each(|position, entry| {
                auditor.entry(position, entry)?;
                let mut events = entry.events();
                let at = Place { position, decided_at: entry.decided_at, committed_at };
                entry.spans.iter().try_for_each(|span| visit(span, at, &mut events))?;
                Ok(events.finish()?)
            })
            .map_err(|Gap(cause)| Error::Corrupt { cause: cause.into() })?;
        }
        Ok(())
    }
}

/// Where an entry is, and when it came there.
#[derive(Clone, Copy)]
struct Place {
    position: u64,
    decided_at: Timestamp,
    committed_at: Timestamp,
}

/// A stream that is being compared.
struct Check<A: Aggregate> {
    name: StreamName,
    /// As it was when the audit began.
    state: StateArc<A::State>,
    version: u64,
    last: u64,
    /// From the log.
    fold: Fold<A>,
    audit: Option<Box<dyn Audit<A::Event>>>,
}

impl<A: Aggregate> Check<A> {
    fn new(
        registry: &Arc<Registry<A>>,
        name: StreamName,
        state: StateArc<A::State>,
        place: &Whereabouts,
    ) -> Self {
        let fold = Fold::new(Arc::clone(registry), &name.id, place.number);
        Self { name, state, version: place.version, last: place.last, fold, audit: A::audit() }
    }

    fn take(
        &mut self,
        schema: &Schema<A>,
        span: &Span<'_>,
        at: Place,
        events: &mut Events<'_>,
    ) -> Result<(), Malformed> {
        let Place { position, decided_at, committed_at } = at;
        let mut again = events.clone();
        self.fold.run(&Run::of_span(position, decided_at, span, events)?)?;
        // What the fold has read can be read once more.
        let (Some(audit), None) = (&mut self.audit, self.fold.fence()) else { return Ok(()) };
        let mut version = span.first_version;
        again.of_span(span, |event| {
            if event.kind == EventKind::Event
                && let Ok(event) = schema.event(&event)
            {
                audit.record(Moment { version, position, decided_at, committed_at }, &event);
            }
            version += 1;
        })
    }

    fn difference(self) -> Option<Difference>
    where
        A::State: PartialEq,
    {
        let what = match self.fold.fence() {
            Some(fence) => Mismatch::Unreadable(fence.clone()),
            None if self.fold.version() != self.version => Mismatch::Version { in_log: self.fold.version() },
            None if self.fold.state != *self.state => Mismatch::State,
            None => return None,
        };
        Some(Difference { stream: self.name, version: self.version, what })
    }
}

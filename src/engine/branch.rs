//! What a transaction has done to one stream: what it depends on, and what it has staged.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Shared;
use super::commit::{After, Change, Refusal, Replaced};
use super::encoded::stay_in_scope;
use super::locking::{Locking, Wish};
use super::rebuild;
use super::registry::{Registry, Visit};
use super::replay::panic_message;
use super::stream::{Held, Inner, Snapshot, StateArc, Stream};
use crate::aggregate::{Aggregate, Events};
use crate::clock::Timestamp;
use crate::error::{Cause, Error, Fence, StreamName};
use crate::log::{Draft, EventKind, Log, NewSpan, span_bytes};
use crate::scope::Scope;
use crate::sync::{MutexGuard, Patience, Wakes};

/// One stream in a transaction. Whatever happens, what it keeps in the stream is given back.
pub(super) struct Branch<A: Aggregate> {
    work: Work<A>,
    /// Last: a stream that has no version goes with the last who worked on it.
    visit: Visit<Arc<Registry<A>>, A>,
}

/// What has been done to a stream. Beside it, so that a step can change the one while it looks at the other.
pub(super) struct Work<A: Aggregate> {
    /// What was looked at, each part of it since a look of its own, and the locks.
    steps: SmallVec<[Reliance; 1]>,
    staged: Staged<A>,
    /// A state with staged events in it: of this version, with the first so many.
    ahead: Option<(u64, usize, StateArc<A::State>)>,
    aftermath: Aftermath<A>,
}

struct Reliance {
    held: Held,
    wish: Wish,
}

/// What will be stored.
struct Staged<A: Aggregate> {
    events: SmallVec<[A::Event; 1]>,
    /// What each of them touches.
    touched: SmallVec<[Scope; 1]>,
    draft: Draft,
}

/// Events of which some may be encoded: none of them is staged unless all are, whatever fails or panics.
struct Partly<'b, A: Aggregate> {
    staged: &'b mut Staged<A>,
    bytes: usize,
    count: usize,
}

impl<A: Aggregate> Partly<'_, A> {
    fn all(mut self, events: &mut Events<A::Event>) {
        events.move_to(&mut self.staged.events);
        (self.bytes, self.count) = (self.staged.draft.bytes().len(), self.staged.touched.len());
    }
}

impl<A: Aggregate> Drop for Partly<'_, A> {
    fn drop(&mut self) {
        self.staged.draft.truncate(self.bytes);
        self.staged.touched.truncate(self.count);
    }
}

/// What the commit leaves: may run anything when it is dropped, and is dropped with no mutex held.
struct Aftermath<A: Aggregate> {
    replaced: Replaced<A>,
    original: Option<StateArc<A::State>>,
    panic: Option<Box<dyn Any + Send>>,
    fenced: bool,
}

/// The streams of a transaction; up to two need no further allocation.
pub(super) type Branches = SmallVec<[Box<dyn AnyBranch>; 2]>;

/// A branch whose type is not known here.
pub(super) trait AnyBranch: Send {
    fn name(&self) -> &StreamName;
    /// Tells its stream from others.
    fn address(&self) -> usize;
    fn has_events(&self) -> bool;
    /// Whether the stream has a version, or will have one.
    fn exists(&self) -> bool;
    /// How many bytes are staged, and at most how many its share of an entry takes.
    fn staged_bytes(&self) -> usize;
    fn entry_bytes(&self) -> usize;
    /// Locks a scope, or notes that it is depended on.
    fn take<'a>(
        &'a mut self,
        locking: &'a mut Locking,
        wish: Wish,
        patience: &'a mut Patience<'_>,
    ) -> Taking<'a>;
    /// Forgets what was staged, and gives back what is held.
    fn restart(&mut self);
    /// Drops the state with what was staged, which may run anything: the commit would have to copy what nobody
    /// looks at any more.
    fn forget_ahead(&mut self);
    fn lock(&mut self) -> Box<dyn AnyLocked + '_>;
    fn take_panic(&mut self) -> Option<Box<dyn Any + Send>>;
    /// Starts what has to follow a commit that panicked.
    fn recover(&self, shared: &Shared, said: &Cause);
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

pub(super) type Taking<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// A branch whose stream's mutex is held.
pub(super) trait AnyLocked {
    fn name(&self) -> &StreamName;
    fn has_policies(&self) -> bool;
    fn verify(&mut self, log: &Log, wakes: &mut Wakes) -> Result<Option<Refusal>, Error>;
    /// Keeps the state as it is, for [`undo`](Self::undo).
    fn keep(&mut self);
    fn apply(&mut self) -> Result<(), Refusal>;
    /// Takes back what was applied. A state that was not kept is rebuilt from the log.
    fn undo(&mut self);
    fn span(&self) -> Option<NewSpan<'_>>;
    fn number(&mut self, position: u64, new_stream: &mut u32, decided_at: Timestamp);
    /// Gives back what was held.
    fn end(&mut self, wakes: &mut Wakes);
}

impl<A: Aggregate> Branch<A> {
    pub(super) fn new(visit: Visit<Arc<Registry<A>>, A>, entry_bytes: usize) -> Box<Self> {
        let draft = Draft::new(entry_bytes);
        let work = Work {
            steps: SmallVec::new(),
            staged: Staged { events: SmallVec::new(), touched: SmallVec::new(), draft },
            ahead: None,
            aftermath: Aftermath { replaced: SmallVec::new(), original: None, panic: None, fenced: false },
        };
        Box::new(Self { work, visit })
    }

    pub(super) fn parts(&mut self) -> (&Arc<Stream<A>>, &mut Work<A>) {
        (self.visit.stream(), &mut self.work)
    }

    fn give_back(&mut self) {
        let (stream, Work { steps, .. }) = self.parts();
        if steps.iter().all(|step| step.held.is_empty()) {
            return steps.clear();
        }
        let mut wakes = Wakes::default();
        {
            let mut inner = stream.inner.lock();
            for step in &mut *steps {
                step.held.end(&mut inner, &mut wakes);
            }
        }
        wakes.fire();
        steps.clear();
    }
}

impl<A: Aggregate> Work<A> {
    pub(super) fn has_events(&self) -> bool {
        !self.staged.events.is_empty()
    }

    /// Whether what is staged next will be the stream's first.
    pub(super) fn is_new(&self, snapshot: &Snapshot<A>) -> bool {
        snapshot.version == 0 && !self.has_events()
    }

    pub(super) fn events(&self) -> &[A::Event] {
        &self.staged.events
    }

    /// The state as this transaction sees it: with what it has staged.
    pub(super) fn see(
        &mut self,
        stream: &Stream<A>,
        mut snapshot: Snapshot<A>,
    ) -> Result<Snapshot<A>, Error> {
        let events = &self.staged.events;
        if events.is_empty() {
            return Ok(snapshot);
        }
        let (applied, mut state) = match self.ahead.take() {
            Some((version, applied, state)) if version == snapshot.version => (applied, state),
            _ => (0, StateArc::clone(&snapshot.state)),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for event in events.iter().skip(applied) {
                A::apply(StateArc::make_mut(&mut state), event);
            }
        }));
        if let Err(panic) = outcome {
            let message = panic_message(&*panic);
            return Err(Error::ApplyPanicked { stream: stream.name.clone(), message });
        }
        snapshot.state = StateArc::clone(&state);
        self.ahead = Some((snapshot.version, events.len(), state));
        Ok(snapshot)
    }

    /// Notes what the transaction depends on from here on.
    pub(super) fn depend(&mut self, held: Held, wish: Wish) {
        self.steps.push(Reliance { held, wish });
    }

    /// Whether what was looked at so far still is as it was.
    pub(super) fn check_unchanged(&self, stream: &Stream<A>) -> Result<(), Error> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let inner = stream.inner.lock();
        if self.steps.iter().all(|step| step.held.is_unchanged(&inner, &step.wish.scope)) {
            return Ok(());
        }
        Err(Error::Conflict { stream: stream.name.clone(), attempts: 1 })
    }

    /// Adds events, all or none, in at most `room` bytes. They are taken out of where they are.
    pub(super) fn stage(
        &mut self,
        stream: &Stream<A>,
        events: &mut Events<A::Event>,
        scope: &Scope,
        room: usize,
    ) -> Result<(), Error> {
        let (bytes, count) = (self.staged.draft.bytes().len(), self.staged.touched.len());
        let part = Partly { staged: &mut self.staged, bytes, count };
        for event in events.iter() {
            let touches = A::touches(event);
            stay_in_scope(&stream.name, scope, &touches)?;
            part.staged.touched.push(touches);
            part.staged.draft.push(EventKind::Event, A::EVENT_VERSION, event)?;
            let added = part.staged.draft.bytes().len() - bytes;
            if added > room {
                return Err(Error::TooLarge { bytes: added, limit: room });
            }
        }
        part.all(events);
        Ok(())
    }
}

impl<A: Aggregate> Drop for Branch<A> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<A: Aggregate> AnyBranch for Branch<A> {
    fn name(&self) -> &StreamName {
        &self.visit.stream().name
    }

    fn address(&self) -> usize {
        Arc::as_ptr(self.visit.stream()) as usize
    }

    fn has_events(&self) -> bool {
        self.work.has_events()
    }

    fn exists(&self) -> bool {
        self.has_events() || self.visit.stream().exists()
    }

    fn staged_bytes(&self) -> usize {
        self.work.staged.draft.bytes().len()
    }

    fn entry_bytes(&self) -> usize {
        if self.has_events() { span_bytes(self.name().bytes(), &self.work.staged.draft) } else { 0 }
    }

    fn take<'a>(
        &'a mut self,
        locking: &'a mut Locking,
        wish: Wish,
        patience: &'a mut Patience<'_>,
    ) -> Taking<'a> {
        Box::pin(async move {
            let (stream, work) = self.parts();
            let (running, _) = locking.begin(work, stream, &wish, patience).await?;
            work.depend(running.into_held(), wish);
            Ok(())
        })
    }

    fn restart(&mut self) {
        self.give_back();
        let Work { staged: Staged { events, touched, draft }, ahead, .. } = &mut self.work;
        events.clear();
        touched.clear();
        draft.truncate(0);
        *ahead = None;
    }

    fn forget_ahead(&mut self) {
        self.work.ahead = None;
    }

    fn lock(&mut self) -> Box<dyn AnyLocked + '_> {
        let Self { work: Work { steps, staged, aftermath, .. }, visit } = self;
        let (stream, registry) = (visit.stream(), visit.registry());
        Box::new(Locked { inner: stream.inner.lock(), stream, registry, steps, staged, aftermath })
    }

    fn take_panic(&mut self) -> Option<Box<dyn Any + Send>> {
        self.work.aftermath.panic.take()
    }

    fn recover(&self, shared: &Shared, said: &Cause) {
        if self.work.aftermath.fenced {
            rebuild::start(shared, self.visit.registry(), self.visit.stream(), said);
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Locked<'b, A: Aggregate> {
    inner: MutexGuard<'b, Inner<A>>,
    stream: &'b Stream<A>,
    registry: &'b Registry<A>,
    steps: &'b mut [Reliance],
    staged: &'b Staged<A>,
    aftermath: &'b mut Aftermath<A>,
}

impl<A: Aggregate> Locked<'_, A> {
    fn change(&self) -> Change<'_, A> {
        let Staged { events, touched, draft } = self.staged;
        Change { events, touched, draft, versions: events.len() as u32 }
    }
}

impl<A: Aggregate> AnyLocked for Locked<'_, A> {
    fn name(&self) -> &StreamName {
        &self.stream.name
    }

    fn has_policies(&self) -> bool {
        !self.registry.policies.is_empty()
    }

    fn verify(&mut self, log: &Log, wakes: &mut Wakes) -> Result<Option<Refusal>, Error> {
        // What was only peeked at is no concern of the commit.
        if self.steps.is_empty() {
            return Ok(None);
        }
        self.stream.check(&self.inner, log)?;
        for Reliance { held, wish } in &mut *self.steps {
            let refusal =
                held.verify(&mut self.inner, &self.stream.name, &wish.scope, wish.access, log, wakes)?;
            if refusal.is_some() {
                return Ok(refusal);
            }
        }
        Ok(None)
    }

    fn keep(&mut self) {
        self.aftermath.original = Some(StateArc::clone(&self.inner.state));
    }

    fn apply(&mut self) -> Result<(), Refusal> {
        let Aftermath { replaced, panic, fenced, .. } = &mut *self.aftermath;
        if self.staged.events.is_empty() {
            return Ok(());
        }
        let after = After { replaced, panic };
        let applied = self.inner.apply(&self.staged.events, &self.registry.policies, after);
        *fenced = matches!(applied, Err(Refusal::Panicked(_)));
        applied
    }

    fn undo(&mut self) {
        let Aftermath { replaced, original, fenced, .. } = &mut *self.aftermath;
        if self.staged.events.is_empty() {
            return;
        }
        match original.take() {
            Some(original) => {
                replaced.push(std::mem::replace(&mut self.inner.state, original));
                self.inner.fence = None;
                *fenced = false;
            }
            None => {
                self.inner.fence = Some(Fence::Rebuilding);
                *fenced = true;
            }
        }
    }

    fn span(&self) -> Option<NewSpan<'_>> {
        let change = self.change();
        (change.versions > 0).then(|| self.inner.span(&self.stream.name, &change))
    }

    fn number(&mut self, position: u64, new_stream: &mut u32, decided_at: Timestamp) {
        let Staged { events, touched, draft } = self.staged;
        let change = Change { events, touched, draft, versions: events.len() as u32 };
        self.inner.number(self.stream, &change, position, new_stream, decided_at);
    }

    fn end(&mut self, wakes: &mut Wakes) {
        for step in &mut *self.steps {
            step.held.end(&mut self.inner, wakes);
        }
    }
}

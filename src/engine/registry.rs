//! The streams of one aggregate type, by id.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::quality::RandomState;
use smol_str::SmolStr;

use super::options::Options;
use super::policy::Policy;
use super::replay::{AnyFold, Fold};
use super::schema::Schema;
use super::stream::{Inner, Stream};
use crate::aggregate::{Aggregate, Events, Interner};
use crate::error::{Error, StreamName};

/// All that is in memory of one aggregate type.
pub(crate) struct Registry<A: Aggregate> {
    pub(crate) options: Options,
    pub(crate) interner: Interner,
    pub(crate) policies: Vec<Policy<A>>,
    pub(crate) schema: Schema<A>,
    streams: DashMap<SmolStr, Arc<Stream<A>>, RandomState>,
}

impl<A: Aggregate> Registry<A> {
    pub(crate) fn new(options: Options) -> Self {
        let (interner, schema) = (Interner::default(), Schema::default());
        Self { options, interner, policies: Vec::new(), schema, streams: DashMap::default() }
    }

    pub(crate) fn name(id: &str) -> StreamName {
        StreamName { aggregate: SmolStr::new_static(A::TYPE), id: SmolStr::new(id) }
    }

    // A guard of the map never outlives the lookup: holding one while asking the map again, on the
    // same thread, would hang.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Stream<A>>> {
        self.streams.get(id).map(|found| Arc::clone(&found))
    }

    /// Looks at a stream for one call. A stream that has no version yet is only there for as long as
    /// somebody works on it: neither a rejection nor a read creates one.
    pub(crate) fn visit(&self, id: &str, create: bool) -> Result<Visit<&Self, A>, Error> {
        let stream = match self.find(id) {
            Some(stream) => stream,
            None if create => {
                // Made before the map is locked: `State::default` is foreign code.
                let new = Arc::new(Stream::new(Self::name(id), Inner::default()));
                // Dropped after the guard, should somebody else have been first: a user's `Drop`.
                let spare = Arc::clone(&new);
                let stream = Arc::clone(&self.streams.entry(SmolStr::new(id)).or_insert(new));
                drop(spare);
                stream
            }
            None => return Err(Error::UnknownStream { stream: Self::name(id) }),
        };
        let visit = Visit { registry: self, stream: Some(stream) };
        if !create && !visit.stream().is_some_and(|stream| stream.exists()) {
            return Err(Error::UnknownStream { stream: Self::name(id) });
        }
        Ok(visit)
    }

    /// What a new stream has in common with others is shared before the stream keeps it.
    #[cold]
    pub(crate) fn intern(&self, events: &mut Events<A::Event>) {
        let mut pool = self.interner.again();
        let given = std::mem::replace(events, Events::none());
        *events = given.map(|event| A::intern(event, &mut pool));
    }

    /// Keeps a stream in mind for work that outlives the call that started it.
    pub(crate) fn stay(&self, stream: Arc<Stream<A>>) -> Visit<&Self, A> {
        Visit { registry: self, stream: Some(stream) }
    }

    pub(crate) fn insert(&self, stream: Stream<A>) -> Result<(), Error> {
        let name = stream.name.clone();
        match self.streams.insert(name.id.clone(), Arc::new(stream)) {
            None => Ok(()),
            Some(_) => Err(Error::Corrupt { cause: format!("{name} is defined twice").into() }),
        }
    }

    pub(crate) fn ids(&self) -> Vec<SmolStr> {
        let existing = self.streams.iter().filter(|stream| stream.exists());
        existing.map(|stream| stream.key().clone()).collect()
    }

    /// All streams, also those that somebody is about to give their first version.
    pub(crate) fn all(&self) -> Vec<Arc<Stream<A>>> {
        self.streams.iter().map(|stream| Arc::clone(&stream)).collect()
    }

    /// Whether a call or a transaction is at work on a stream.
    fn is_busy(&self) -> bool {
        // Whoever visits a stream has it too.
        self.streams.iter().any(|stream| Arc::strong_count(&stream) > 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }
}

/// A stream for the time of one call, or of one transaction.
pub(crate) struct Visit<R: Deref<Target = Registry<A>>, A: Aggregate> {
    registry: R,
    // Absent only while dropping.
    stream: Option<Arc<Stream<A>>>,
}

impl<R: Deref<Target = Registry<A>>, A: Aggregate> Visit<R, A> {
    /// The same visit for longer than the call.
    pub(crate) fn extend<L: Deref<Target = Registry<A>>>(mut self, registry: L) -> Visit<L, A> {
        Visit { registry, stream: self.stream.take() }
    }

    pub(crate) fn registry(&self) -> &R {
        &self.registry
    }

    pub(crate) fn stream(&self) -> Option<&Arc<Stream<A>>> {
        self.stream.as_ref()
    }
}

impl<R: Deref<Target = Registry<A>>, A: Aggregate> Drop for Visit<R, A> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if stream.exists() {
            return;
        }
        let id = stream.name.id.clone();
        // Given up before the look: of several that leave, the last one finds the map's own only.
        drop(stream);
        #[cfg(all(test, shuttle))]
        shuttle::thread::yield_now();
        self.registry.streams.remove_if(&id, |_, stream| !stream.exists() && Arc::strong_count(stream) == 1);
    }
}

/// A registry whose type is not known here.
pub(crate) trait AnyRegistry: Send + Sync {
    fn type_name(&self) -> &'static str;
    fn fold(self: Arc<Self>, id: &str, number: u32) -> Box<dyn AnyFold>;
    fn is_busy(&self) -> bool;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<A: Aggregate> AnyRegistry for Registry<A> {
    fn type_name(&self) -> &'static str {
        A::TYPE
    }

    fn fold(self: Arc<Self>, id: &str, number: u32) -> Box<dyn AnyFold> {
        Box::new(Fold::new(self, id, number))
    }

    fn is_busy(&self) -> bool {
        Self::is_busy(self)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

//! What a program calls: commands, reads and histories of one aggregate type.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use super::Shared;
use super::call::Call;
use super::group::Groups;
use super::history::History;
use super::options::Options;
use super::outcome::{Outcome, View};
use super::receipt::Receipt;
use super::registry::{Registry, Visit};
use super::staged::Lock;
use crate::aggregate::Aggregate;
use crate::error::{Error, StreamName};
use crate::metadata::Metadata;

/// The aggregates of one type in an [`Engine`](crate::Engine).
///
/// Cheap to clone, usable from any thread or task. The calls that take a command differ in what they
/// wait for: `execute` for the disk, `submit` only for the decision; each has an `_async` twin that
/// suspends a task where the other blocks a thread. A future that is dropped before its decision is
/// committed leaves nothing behind; after that the decision stands.
pub struct Handle<A: Aggregate> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Arc<Registry<A>>,
    pub(crate) services: Arc<A::Services>,
    pub(crate) options: Options,
    /// What every call of this handle says about itself.
    pub(crate) metadata: Option<Arc<Metadata>>,
}

impl<A: Aggregate> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            registry: Arc::clone(&self.registry),
            services: Arc::clone(&self.services),
            options: self.options,
            metadata: self.metadata.clone(),
        }
    }
}

impl<A: Aggregate> Handle<A> {
    pub(super) fn new(shared: &Arc<Shared>, services: Arc<A::Services>) -> Result<Self, Error> {
        let registered = shared.registries.get(&TypeId::of::<A>());
        let registry = registered
            .and_then(|registry| Arc::clone(registry).into_any().downcast::<Registry<A>>().ok())
            .ok_or(Error::NotRegistered { aggregate: A::TYPE })?;
        let options = registry.options;
        Ok(Self { shared: Arc::clone(shared), registry, services, options, metadata: None })
    }

    /// The same aggregates with other options: make one per way of calling and keep it.
    #[must_use]
    pub fn with(&self, options: Options) -> Self {
        Self { options, ..self.clone() }
    }

    /// The same aggregates, whose commands all say this about themselves, on top of what this handle's say:
    /// make one per request or session.
    #[must_use]
    pub fn with_metadata(&self, metadata: &Metadata) -> Self {
        let mine = self.metadata.as_deref();
        let all = mine.map_or_else(|| metadata.clone(), |mine| mine.overlaid(metadata));
        Self { metadata: Some(Arc::new(all)), ..self.clone() }
    }

    /// Starts a call that has more to say than its command: an id, so that the same call again is one
    /// decision, or metadata.
    pub fn call(&self) -> Call<'_, A> {
        Call::new(self)
    }

    /// A lock on a stream for [`Transaction::lock`](crate::Transaction::lock) to take: on all of it and exclusive, unless
    /// told otherwise.
    pub fn lock(&self, id: impl AsRef<str>) -> Lock {
        Lock::new(self, id.as_ref())
    }

    /// The options that this handle's commands run with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Decides a command and blocks until the decision is on disk.
    ///
    /// Blocks for locks that others hold, for room in the write queue and for the sync, all within
    /// [`Options::wait`]; the clock, the services and `decide` run on this thread.
    ///
    /// # Errors
    ///
    /// Every [`Error`] says what to do about it. Of note: [`Error::LockTimeout`],
    /// [`Error::Conflict`] and [`Error::Busy`] mean that nothing was decided;
    /// [`Error::NotYetDurable`] that the decision stands but the wait for the disk ended;
    /// [`Error::OutcomeUnknown`] that only the next open can tell.
    ///
    /// # Panics
    ///
    /// A panic of `decide`, of a service or of the clock passes through to the caller. It leaves no
    /// trace and frees every lock.
    pub fn execute(&self, id: impl AsRef<str>, command: &A::Command) -> Result<Outcome<A>, Error> {
        self.call().execute(id, command)
    }

    /// [`execute`](Self::execute) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn execute_async(
        &self,
        id: impl AsRef<str>,
        command: &A::Command,
    ) -> Result<Outcome<A>, Error> {
        self.call().execute_async(id, command).await
    }

    /// Decides a command and returns as soon as the decision has its place in the log. Wait on the
    /// receipt before telling anybody.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), except for those of the wait for the disk, which the receipt
    /// reports.
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn submit(&self, id: impl AsRef<str>, command: &A::Command) -> Result<Receipt<Outcome<A>>, Error> {
        self.call().submit(id, command)
    }

    /// [`submit`](Self::submit) for a task: suspends for locks and for room in the queue.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn submit_async(
        &self,
        id: impl AsRef<str>,
        command: &A::Command,
    ) -> Result<Receipt<Outcome<A>>, Error> {
        self.call().submit_async(id, command).await
    }

    /// Decides many commands in one call, and returns a receipt or an error for each, in their order. Commands of one
    /// stream are decided in their order, streams in any. Each is an entry of its own; for all or nothing there is
    /// [`Engine::transact`](crate::Engine::transact).
    ///
    /// Made for whoever has many at hand: a queue that filled up during the last call, an import. Up to 16 commands of one
    /// stream whose scopes have nothing in common are a group: decided on one snapshot, at one time, and committed in one
    /// hold of the stream's mutex. With [`Concurrency::Pessimistic`](crate::options::Concurrency) they share one lock,
    /// and hold it until the last of them is decided. A command that chooses its parts chooses on that snapshot too: a
    /// seat that one just before it gives back may not be among them. When another commit changes what one of a group
    /// depends on, it and those after it are decided again; only its own [`Effort`](crate::options::Effort) and retries
    /// count that.
    ///
    /// `decide` runs on this thread, for one after the other, and a task is not suspended between them: slow decisions
    /// belong in calls of their own. What would make a group wait goes alone, and so do commands whose scope is the whole,
    /// the first of a stream, and all with [`Wait::SkipLocked`](crate::options::Wait). Each waits for as long as
    /// [`Options::wait`] says, one after the other, and all that are not decided yet wait with it. Needs memory for a
    /// receipt per command.
    ///
    /// ```
    /// use boxoffice::Engine;
    /// use boxoffice::venue::{Venue, VenueCommand, VenueServices};
    ///
    /// let engine = Engine::builder().aggregate::<Venue>().in_memory()?;
    /// let venues = engine.handle::<Venue>(VenueServices::default())?;
    /// let receipts = venues.submit_all(&[
    ///     ("tonight", VenueCommand::create(boxoffice::layout::Layout::from_labels(["A1", "A2"])?)),
    ///     ("tonight", VenueCommand::reserve(7, ["A1"])),
    ///     ("tonight", VenueCommand::reserve(8, ["A2"])),
    ///     ("tonight", VenueCommand::reserve(9, ["A2"])),
    /// ]);
    /// let mut sold = Vec::new();
    /// for receipt in receipts {
    ///     sold.push(receipt?.wait()?.is_accepted());
    /// }
    /// assert_eq!(sold, [true, true, true, false]);
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// That of one command leaves the others as they are. They are those of [`submit`](Self::submit); after
    /// [`Error::ApplyPanicked`] the next commands of the stream may be [`Error::Fenced`], and what is not decided when the
    /// engine is about to close is [`Error::Closed`].
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute); a panic of `check`, `scope` or `prefetch` passes through as well. Of every stream
    /// the commands up to some point may have been decided, also of streams that come later in the call, and all receipts
    /// are gone: only the streams tell.
    pub fn submit_all<S: AsRef<str>>(
        &self,
        commands: &[(S, A::Command)],
    ) -> Vec<Result<Receipt<Outcome<A>>, Error>> {
        Groups::new(self, commands).run()
    }

    /// [`submit_all`](Self::submit_all) for a task: suspends where a command has to wait. If the future is dropped, of
    /// every stream the commands up to some point have been decided.
    pub async fn submit_all_async<S: AsRef<str>>(
        &self,
        commands: &[(S, A::Command)],
    ) -> Vec<Result<Receipt<Outcome<A>>, Error>> {
        Groups::new(self, commands).run_async().await
    }

    /// The state of a stream now. Never waits for a decision that is being made, nor for the disk:
    /// the view says whether it is durable.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`] or [`Error::InvalidId`]; [`Error::Fenced`]; or why the engine has stopped.
    pub fn read(&self, id: impl AsRef<str>) -> Result<View<A>, Error> {
        let log = &self.shared.log;
        log.check_readable()?;
        self.check_id(id.as_ref())?;
        let seen = Visit::begin(&*self.registry, id.as_ref(), false)?.stream().look(log)?;
        let durable = log.durable() >= seen.position;
        Ok(View { state: seen.state, version: seen.version, position: seen.position, durable })
    }

    /// Everything that happened to a stream and is on disk, the oldest first, rejections included.
    /// Scans the log from the stream's first event: its time grows with the log, not with the stream.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`] or [`Error::InvalidId`]; or why the engine has stopped.
    pub fn history(&self, id: impl AsRef<str>) -> Result<History<A>, Error> {
        self.shared.log.check_readable()?;
        self.check_id(id.as_ref())?;
        match Visit::begin(&*self.registry, id.as_ref(), false)?.stream().whereabouts() {
            Some(place) => {
                let (shared, registry) = (Arc::clone(&self.shared), Arc::clone(&self.registry));
                Ok(History::new(shared, registry, self.name(id.as_ref()), place))
            }
            None => Err(Error::UnknownStream { stream: self.name(id.as_ref()) }),
        }
    }

    /// The ids of all streams of this type, in no particular order.
    pub fn ids(&self) -> Vec<SmolStr> {
        self.registry.ids()
    }

    /// Before anything keeps or repeats the id.
    pub(crate) fn check_id(&self, id: &str) -> Result<(), Error> {
        let (bytes, limit) = (id.len(), self.shared.log.limits().id_bytes);
        if bytes == 0 || bytes > limit { Err(Error::InvalidId { bytes, limit }) } else { Ok(()) }
    }

    pub(crate) fn name(&self, id: &str) -> StreamName {
        Registry::<A>::name(id)
    }
}

impl<A: Aggregate> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("type", &A::TYPE)
            .field("streams", &self.registry.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

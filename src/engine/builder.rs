//! Opening: what is registered, where the log is, and what was found in it.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::StorageBackend;
use smol_str::SmolStr;

use super::deadlock::Deadlocks;
use super::ids::Ids;
use super::options::Options;
use super::policy::Policy;
use super::recover::replay_all;
use super::registry::{AnyRegistry, Registry};
use super::{Engine, Shared};
use crate::aggregate::Aggregate;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Fence, StreamName};
use crate::limits::Limits;
use crate::log::{Log, Opening, RedbStore, Source, Store};
use crate::sync::{Timer, spawn};

/// Cache of redb in bytes: replay reads once and the writer appends, so little is enough.
const DEFAULT_CACHE: usize = 64 << 20;

/// Builds an [`Engine`]: register every aggregate type that the file may hold, then open.
///
/// ```
/// use boxoffice::{Engine, Limits, Options};
/// use boxoffice::flash_sale::FlashSale;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("sales.boxoffice");
/// let engine = Engine::builder()
///     .aggregate_with::<FlashSale>(Options::optimistic())
///     .on_progress(|progress| eprintln!("{} events read", progress.events))
///     .open(&path)?;
/// assert_eq!(engine.recovery().events, 0);
/// engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
pub struct Builder {
    registries: HashMap<TypeId, Arc<dyn AnyRegistry>>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    cache_bytes: usize,
    on_progress: Option<Box<dyn FnMut(Progress)>>,
    read_only: bool,
    /// The first thing that was wrong with how the builder was used.
    misuse: Option<Error>,
}

/// How far an open has come. Reported after every batch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Entries read and verified so far; what was read of a large log is replayed some
    /// hundred thousand entries later.
    pub entries: u64,
    /// Events and recorded rejections in them.
    pub events: u64,
}

/// What an open found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// Entries in the log: also the position of the last one.
    pub entries: u64,
    /// Events and recorded rejections.
    pub events: u64,
    /// Streams of registered types.
    pub streams: u64,
    /// Types in the log that nobody registered, with how many streams each has. They are kept as they
    /// are.
    pub unregistered: BTreeMap<SmolStr, u64>,
    /// Streams that take no commands and no reads, with the reason.
    pub fenced: Vec<(StreamName, Fence)>,
    /// How long opening and verifying the storage took.
    pub verify_time: Duration,
    /// How long replaying the log took.
    pub replay_time: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            registries: HashMap::new(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            cache_bytes: DEFAULT_CACHE,
            on_progress: None,
            read_only: false,
            misuse: None,
        }
    }
}

impl Builder {
    /// Registers an aggregate type with the default [`Options`].
    #[must_use]
    pub fn aggregate<A: Aggregate>(self) -> Self {
        self.aggregate_with::<A>(Options::default())
    }

    /// Registers an aggregate type. Registering it again replaces the options and drops
    /// its policies. Whether its [`upcasts`](Aggregate::upcasts) lead to its event version is looked at here, and said
    /// by the open.
    #[must_use]
    pub fn aggregate_with<A: Aggregate>(mut self, options: Options) -> Self {
        let registry = Registry::<A>::new(options);
        self.misuse = self.misuse.or(registry.schema.check().err());
        self.registries.insert(TypeId::of::<A>(), Arc::new(registry));
        self
    }

    /// Adds a rule that every event of an aggregate type must keep, whatever command caused it: true if the
    /// event may take the first state to the second. It is asked at the commit, about the current state, so
    /// that it also holds what no scope covers. An event that breaks it is
    /// [`Error::PolicyViolated`], and nothing of its command is stored.
    ///
    /// Register the type first. The rule runs like [`apply`](Aggregate::apply), under the stream's mutex: pure
    /// and quick. It is not asked about what the log holds already. Types without policies pay nothing.
    ///
    /// ```
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
    /// use boxoffice::{Engine, Error};
    ///
    /// let engine = Engine::builder()
    ///     .aggregate::<FlashSale>()
    ///     .policy::<FlashSale>("one is kept for the press", |_, _, after| after.left() >= 1)
    ///     .in_memory()?;
    /// let sales = engine.handle::<FlashSale>(())?;
    /// assert!(sales.execute("tour", &FlashSaleCommand::create(2))?.is_accepted());
    /// assert!(sales.execute("tour", &FlashSaleCommand::purchase("ada", 1))?.is_accepted());
    /// let last = sales.execute("tour", &FlashSaleCommand::purchase("bob", 1));
    /// assert!(matches!(last, Err(Error::PolicyViolated { policy: "one is kept for the press", .. })));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn policy<A: Aggregate>(
        mut self,
        name: &'static str,
        holds: impl Fn(&A::State, &A::Event, &A::State) -> bool + Send + Sync + 'static,
    ) -> Self {
        // Nobody else has the registry before the engine is open.
        let registry = self.registries.get_mut(&TypeId::of::<A>()).and_then(Arc::get_mut);
        match registry.and_then(|registry| registry.as_any_mut().downcast_mut::<Registry<A>>()) {
            Some(registry) => registry.policies.push(Policy::new(name, holds)),
            None => self.misuse = self.misuse.or(Some(Error::NotRegistered { aggregate: A::TYPE })),
        }
        self
    }

    /// Where the time comes from. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The bounds to work within.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Memory in bytes that redb may use for its cache. Default 64 MiB.
    #[must_use]
    pub fn cache_size(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Called while the log is replayed, on the opening thread.
    #[must_use]
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + 'static) -> Self {
        self.on_progress = Some(Box::new(callback));
        self
    }

    /// Opens the file, or creates it if there is none or an empty one. Blocks while the log is
    /// verified and replayed.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyOpen`], [`Error::NotALog`], [`Error::NewerFormat`], [`Error::Corrupt`] or
    /// [`Error::Storage`], by what is wrong with the file; [`Error::RegisteredTwice`],
    /// [`Error::NotRegistered`], [`Error::InvalidUpcasts`] or [`Error::InvalidLimits`] if the builder was
    /// used wrongly.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Engine, Error> {
        self.open_on(Source::File(path.as_ref().to_owned()))
    }

    /// Opens a file to look at it, without changing a byte of it: reads, histories, audits and backups work, commands
    /// are refused with [`Error::ReadOnly`]. Several may look at one file at a time, with no engine that writes to it.
    /// Blocks while the log is verified and replayed.
    ///
    /// A file that was left by a crash needs repair, which is done in memory: it is shown as
    /// [`open`](Self::open) would leave it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`Error::CannotOpen`] if there is no such file. [`Error::AlreadyOpen`] while an engine
    /// has the file open for writing; that one can make a [`backup`](Engine::backup) to look at.
    pub fn open_read_only(mut self, path: impl AsRef<Path>) -> Result<Engine, Error> {
        self.read_only = true;
        self.open_on(Source::ReadOnly(path.as_ref().to_owned()))
    }

    /// Opens an engine that keeps its log in memory: everything works, nothing survives.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn in_memory(self) -> Result<Engine, Error> {
        self.open_on(Source::Memory)
    }

    /// Opens or creates a log on storage of your own. Storage whose creation was cut off before anything
    /// could be acknowledged is begun anew.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). Only storage that implements redb's range locks can be refused with
    /// [`Error::AlreadyOpen`].
    pub fn backend(self, storage: impl StorageBackend) -> Result<Engine, Error> {
        self.open_on(Source::Custom(Box::new(storage)))
    }

    fn open_on(self, source: Source) -> Result<Engine, Error> {
        let began = Instant::now();
        if let Some(misuse) = self.misuse {
            return Err(misuse);
        }
        self.limits.check()?;
        let store = RedbStore::open(source, self.cache_bytes)?;
        let verify_time = began.elapsed();
        let mut engine = self.start(Box::new(store))?;
        engine.recovery.verify_time = verify_time;
        Ok(engine)
    }

    pub(super) fn start(mut self, store: Box<dyn Store>) -> Result<Engine, Error> {
        let began = Instant::now();
        let mut opening = Opening::new(store);
        let mut report = |entries, events| {
            if let Some(report) = &mut self.on_progress {
                report(Progress { entries, events });
            }
        };
        let ids = Ids::new(self.limits.command_ids);
        let mut recovery = replay_all(&mut opening, &self.registries, &ids, &mut report)?;
        recovery.replay_time = began.elapsed();
        let log = Arc::new(opening.into_log(Arc::clone(&self.clock), self.limits));
        if self.read_only {
            log.refuse_entries();
        }
        let writer = start_writer(&log)?;
        let timer = Timer::default();
        let (deadlocks, registries) = (Deadlocks::default(), self.registries);
        let shared = Arc::new(Shared { log, clock: self.clock, timer, ids, deadlocks, registries });
        Ok(Engine { shared, writer: Some(writer), recovery })
    }
}

fn start_writer(log: &Arc<Log>) -> Result<crate::sync::JoinHandle<()>, Error> {
    let log = Arc::clone(log);
    spawn("boxoffice-writer", move || log.run_writer())
        .map_err(|error| Error::Storage { cause: format!("no writer thread: {error}").into() })
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

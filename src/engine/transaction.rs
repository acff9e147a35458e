//! A unit of work over any streams: look, decide, stage; then all of it as one entry, or nothing.

use std::fmt;
use std::sync::Arc;

use super::Shared;
use super::branch::Branches;
use super::handle::Handle;
use super::lock::Access;
use super::locking::{Locking, Wish};
use super::options::{Concurrency, Options};
use super::outcome::{Effort, View};
use super::receipt::Receipt;
use super::staged::{Committed, Lock, Staged};
use super::transact::IfLost;
use crate::aggregate::{Aggregate, Events};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::metadata::Metadata;
use crate::scope::Scope;
use crate::sync::{Patience, run_blocking};

/// A unit of work over one stream or several, of any types: all of it is stored as one entry, or nothing is.
///
/// Begun by [`Engine::begin`](crate::Engine::begin), or by
/// [`Engine::transact`](crate::Engine::transact), which runs it again when it has to. Between the steps do whatever you
/// like, also await. Later steps see what earlier ones staged; nobody else does before the commit. Dropping it
/// is rolling back: nothing was stored, and its locks are free at once.
///
/// Under [`Concurrency::Pessimistic`] each step locks what it depends on, in the order of the steps, until the end.
/// Two transactions that lock in different orders may end up waiting for each other; one of them gets
/// [`Error::Deadlock`] at once. Under [`Concurrency::Optimistic`] nothing is locked, and the commit checks
/// that all of it is as it was seen; until then what it sees of one stream is of one moment, what it sees of several
/// may not be.
///
/// [`Options::wait`] is the limit of each step by itself, and of the commit.
///
/// A transaction belongs to the thread or task whose call first locks for it: a call from there that would wait
/// for it is [`Error::HeldByCaller`].
///
/// ```
/// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
/// use boxoffice::{Engine, Options};
///
/// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
/// let sales = engine.handle::<FlashSale>(())?;
/// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
/// assert!(sales.execute("bulb", &FlashSaleCommand::create(1))?.is_accepted());
///
/// // A lamp and its bulb, or neither.
/// let mut both = engine.begin(Options::pessimistic());
/// assert!(both.execute(&sales, "lamp", &FlashSaleCommand::purchase("ada", 1))?.is_accepted());
/// assert!(both.execute(&sales, "bulb", &FlashSaleCommand::purchase("ada", 1))?.is_accepted());
/// both.commit()?;
///
/// let mut too_late = engine.begin(Options::pessimistic());
/// assert!(too_late.execute(&sales, "lamp", &FlashSaleCommand::purchase("bob", 1))?.is_accepted());
/// assert!(!too_late.execute(&sales, "bulb", &FlashSaleCommand::purchase("bob", 1))?.is_accepted());
/// drop(too_late);
/// assert_eq!(sales.read("lamp")?.left(), 4);
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
///
/// What was committed cannot be committed again, nor used:
///
/// ```compile_fail,E0382
/// # use boxoffice::{Engine, Options};
/// # let engine = Engine::builder().in_memory()?;
/// let unit = engine.begin(Options::default());
/// unit.commit()?;
/// unit.commit()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {
    pub(super) branches: Branches,
    pub(super) metadata: Option<Metadata>,
    /// The time of the latest step.
    pub(super) now: Timestamp,
    /// Why it can no longer be committed: what it saw has changed, or it was to give way.
    pub(super) lost: Option<Error>,
    /// For one that is run again when it is lost.
    pub(super) if_lost: Option<IfLost>,
    /// Last: it knows the owner of the locks.
    pub(super) locking: Locking,
}

impl Transaction {
    pub(super) fn new(shared: Arc<Shared>, options: Options) -> Self {
        let turn = options.concurrency == Concurrency::Pessimistic;
        Self::resumed(shared, options, Effort { turn, ..Effort::default() })
    }

    /// The next run of one that has been through this.
    pub(super) fn resumed(shared: Arc<Shared>, options: Options, effort: Effort) -> Self {
        let locking = Locking::new(shared, options, effort);
        let now = Timestamp::default();
        Self { branches: Branches::new(), metadata: None, now, lost: None, if_lost: None, locking }
    }

    /// Says something about the entry that this transaction will be, on top of what was said.
    pub fn metadata(&mut self, metadata: &Metadata) {
        let mine = self.metadata.take().unwrap_or_default();
        self.metadata = Some(mine.overlaid(metadata));
    }

    /// What this transaction has been through so far: waits for locks, and, as a rerun of
    /// [`Engine::transact`](crate::Engine::transact), conflicts.
    pub fn effort(&self) -> Effort {
        self.locking.effort
    }

    /// Takes several locks at once: in one order for all transactions, by type and id, so that two that know what they
    /// will need cannot deadlock. Under [`Concurrency::Optimistic`] it notes that all this is depended on.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read). What was locked until then stays locked.
    pub fn lock(&mut self, locks: impl IntoIterator<Item = Lock>) -> Result<(), Error> {
        run_blocking(self.lock_all(locks, &mut Patience::of_thread(self.locking.options.limit())))
    }

    /// [`lock`](Self::lock) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn lock_async(&mut self, locks: impl IntoIterator<Item = Lock>) -> Result<(), Error> {
        let shared = Arc::clone(&self.locking.shared);
        let mut patience = Patience::of_task(self.locking.options.limit(), &shared.timer);
        self.lock_all(locks.into_iter().collect::<Vec<_>>(), &mut patience).await
    }

    /// The state as this transaction sees it, without depending on it: it may be another when the transaction is
    /// committed. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Handle::read`](crate::Handle::read); [`Error::Conflict`] if something that this transaction depends on in
    /// that stream has changed; [`Error::OtherEngine`].
    pub fn peek<A: Aggregate>(&mut self, handle: &Handle<A>, id: impl AsRef<str>) -> Result<View<A>, Error> {
        self.look_at(handle, id.as_ref())
    }

    /// The state, of which these parts stay as they are until the transaction has ended: nobody else can change
    /// them (`FOR SHARE`), or the commit notices that somebody did. Of other parts the state is a
    /// [`peek`](Self::peek).
    ///
    /// Blocks while others have locked these parts exclusively. That a stream does not exist can be depended on too: after
    /// [`Error::UnknownStream`] nobody else creates it, or the commit notices.
    ///
    /// # Errors
    ///
    /// As [`Handle::read`](crate::Handle::read); [`Error::LockTimeout`], [`Error::WouldBlock`], [`Error::Deadlock`];
    /// [`Error::Conflict`] if something that was read before has changed meanwhile: begin again;
    /// [`Error::HeldByCaller`], [`Error::OtherEngine`].
    pub fn read<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        scope: Scope,
    ) -> Result<View<A>, Error> {
        let mut patience = Patience::of_thread(self.locking.options.limit());
        run_blocking(self.look(handle, id.as_ref(), Wish { scope, access: Access::Shared }, &mut patience))
    }

    /// [`read`](Self::read) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read_async<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        scope: Scope,
    ) -> Result<View<A>, Error> {
        let mut patience = Patience::of_task(self.locking.options.limit(), &handle.shared.timer);
        self.look(handle, id.as_ref(), Wish { scope, access: Access::Shared }, &mut patience).await
    }

    /// As [`read`](Self::read), for parts that a later step is going to change (`FOR UPDATE`): nobody else can lock them
    /// meanwhile, so that the later step does not have to wait for who shares them.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_for_update<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        scope: Scope,
    ) -> Result<View<A>, Error> {
        let mut patience = Patience::of_thread(self.locking.options.limit());
        run_blocking(self.look(handle, id.as_ref(), Wish { scope, access: Access::Exclusive }, &mut patience))
    }

    /// [`read_for_update`](Self::read_for_update) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn read_for_update_async<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        scope: Scope,
    ) -> Result<View<A>, Error> {
        let mut patience = Patience::of_task(self.locking.options.limit(), &handle.shared.timer);
        self.look(handle, id.as_ref(), Wish { scope, access: Access::Exclusive }, &mut patience).await
    }

    /// Decides a command on the state as this transaction sees it, and stages its events.
    ///
    /// Blocks while others have locked what the command depends on. A rejection stages nothing; the transaction
    /// goes on, and still depends on what was rejected.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`Error::InvalidCommand`], [`Error::OutOfScope`], [`Error::TooLarge`],
    /// [`Error::Encode`], [`Error::ApplyPanicked`]. Nothing of this command is staged then.
    ///
    /// # Panics
    ///
    /// A panic of `decide`, of a service or of the clock passes through.
    pub fn execute<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        command: &A::Command,
    ) -> Result<Staged<'_, A>, Error> {
        let mut patience = Patience::of_thread(self.locking.options.limit());
        run_blocking(self.decide(handle, id.as_ref(), command, &mut patience))
    }

    /// [`execute`](Self::execute) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn execute_async<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        command: &A::Command,
    ) -> Result<Staged<'_, A>, Error> {
        let mut patience = Patience::of_task(self.locking.options.limit(), &handle.shared.timer);
        self.decide(handle, id.as_ref(), command, &mut patience).await
    }

    /// Stages events that you decided yourself, on what you read. Depends on what they touch.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn stage<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        events: impl Into<Events<A::Event>>,
    ) -> Result<(), Error> {
        let mut patience = Patience::of_thread(self.locking.options.limit());
        run_blocking(self.put(handle, id.as_ref(), events.into(), &mut patience))
    }

    /// [`stage`](Self::stage) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn stage_async<A: Aggregate>(
        &mut self,
        handle: &Handle<A>,
        id: impl AsRef<str>,
        events: impl Into<Events<A::Event>>,
    ) -> Result<(), Error> {
        let mut patience = Patience::of_task(self.locking.options.limit(), &handle.shared.timer);
        self.put(handle, id.as_ref(), events.into(), &mut patience).await
    }

    /// Stores everything that was staged as one entry, and blocks until it is on disk.
    ///
    /// Without anything staged it checks what was read, and blocks until that is on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if something that it depends on has changed, [`Error::WouldBlock`] if somebody else has
    /// locked it: nothing was stored, begin again. [`Error::PolicyViolated`], [`Error::ApplyPanicked`],
    /// [`Error::TooLarge`], [`Error::MetadataTooLarge`]; [`Error::Busy`]; and those of the wait for the disk:
    /// [`Error::NotYetDurable`], [`Error::OutcomeUnknown`], [`Error::NotStored`].
    pub fn commit(mut self) -> Result<Committed, Error> {
        let mut patience = Patience::of_thread(self.locking.options.limit());
        run_blocking(self.commit_to_disk(&mut patience))
    }

    /// [`commit`](Self::commit) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn commit_async(mut self) -> Result<Committed, Error> {
        let shared = Arc::clone(&self.locking.shared);
        let mut patience = Patience::of_task(self.locking.options.limit(), &shared.timer);
        self.commit_to_disk(&mut patience).await
    }

    /// As [`commit`](Self::commit), but returns as soon as the entry has its place in the log.
    ///
    /// # Errors
    ///
    /// As there, except for those of the wait for the disk, which the receipt reports.
    pub fn submit(mut self) -> Result<Receipt<Committed>, Error> {
        let mut patience = Patience::of_thread(self.locking.options.limit());
        let (committed, wait_for) = run_blocking(self.settle(&mut patience, true))?;
        Ok(Receipt::new(Arc::clone(&self.locking.shared), Some(committed), wait_for))
    }

    /// [`submit`](Self::submit) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn submit_async(mut self) -> Result<Receipt<Committed>, Error> {
        let shared = Arc::clone(&self.locking.shared);
        let mut patience = Patience::of_task(self.locking.options.limit(), &shared.timer);
        let (committed, wait_for) = self.settle(&mut patience, true).await?;
        Ok(Receipt::new(Arc::clone(&shared), Some(committed), wait_for))
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams: Vec<String> = self.branches.iter().map(|branch| branch.name().to_string()).collect();
        f.debug_struct("Transaction").field("streams", &streams).finish_non_exhaustive()
    }
}

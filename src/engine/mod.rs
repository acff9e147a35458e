//! The engine: one file, any number of threads, every decision on one path.

mod at;
mod attempt;
mod backup;
mod branch;
mod builder;
mod call;
mod commit;
mod deadlock;
mod encoded;
mod feed;
mod group;
mod handle;
mod history;
mod ids;
mod line;
mod lock;
mod locking;
#[cfg(all(test, shuttle))]
mod model;
mod options;
mod outcome;
mod policy;
mod projection;
mod rebuild;
mod receipt;
mod recover;
mod registry;
mod replay;
mod scan;
mod schema;
mod settle;
mod staged;
mod stamps;
mod stream;
mod transact;
mod transaction;
mod unit;
mod verify;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use at::At;
pub use backup::Backup;
pub use builder::{Builder, Progress, Recovery};
pub use call::Call;
pub use feed::{AsyncFeed, Feed, FeedEntry, FeedEvent, FeedSpan};
pub use handle::Handle;
pub use history::{Happened, History, Recorded};
pub use options::{Concurrency, Exhausted, Options, Wait};
pub use outcome::{Decision, Effort, Outcome, View};
pub use projection::Projection;
pub use receipt::Receipt;
pub use staged::{Committed, Lock, Staged};
pub use transaction::Transaction;
pub use verify::{Difference, Mismatch, Verification};

use crate::aggregate::Aggregate;
use crate::clock::Clock;
use crate::error::Error;
use crate::log::Log;
use crate::sync::{JoinHandle, Patience, Timer, current, run_blocking, sleep};
use deadlock::Deadlocks;
use ids::Ids;
use registry::AnyRegistry;
use replay::panic_message;

/// One open file of reservations.
///
/// Get one from [`Engine::builder`], then a [`Handle`] per aggregate type. Handles are cheap to clone
/// and may be used from any thread or task; the engine itself is what you keep, and what you close.
///
/// Dropping it does what [`close`](Engine::close) does, without telling whether it worked.
pub struct Engine {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    recovery: Recovery,
}

/// What the engine and all its handles have in common.
pub(crate) struct Shared {
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Timer,
    pub(crate) ids: Ids,
    pub(crate) deadlocks: Deadlocks,
    pub(crate) registries: HashMap<TypeId, Arc<dyn AnyRegistry>>,
}

impl Engine {
    /// Starts building an engine: register aggregate types, then open.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A handle to the aggregates of one type, with the services that their decisions use.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegistered`] if the builder was not given this type.
    pub fn handle<A: Aggregate>(&self, services: A::Services) -> Result<Handle<A>, Error> {
        Handle::new(&self.shared, Arc::new(services))
    }

    /// What opening the file found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The last position that was given out, durable or not. 0 for an empty log.
    pub fn position(&self) -> u64 {
        self.shared.log.tail()
    }

    /// The last position that is on disk. Everything at or below it survives a crash. To look is not to wait: see
    /// [`Receipt`].
    pub fn durable_position(&self) -> u64 {
        self.shared.log.durable()
    }

    /// Blocks until everything up to `position` is on disk.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPosition`] if nothing has that position yet; [`Error::OutcomeUnknown`] or
    /// [`Error::NotStored`] if the storage failed first.
    pub fn wait_durable(&self, position: u64) -> Result<(), Error> {
        let mut patience = Patience::of_thread(None);
        run_blocking(self.shared.log.wait_durable(position, &mut patience))
    }

    /// [`wait_durable`](Self::wait_durable) for a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn wait_durable_async(&self, position: u64) -> Result<(), Error> {
        let mut patience = Patience::of_task(None, &self.shared.timer);
        self.shared.log.wait_durable(position, &mut patience).await
    }

    /// Refuses new commands, makes what was decided durable, and closes the file. Blocks for the last
    /// sync. Handles and receipts stay usable: receipts resolve, handles answer [`Error::Closed`].
    ///
    /// # Errors
    ///
    /// What the storage said, now or earlier. Everything that was acknowledged is on disk even then.
    ///
    /// Called by a waker that the engine itself is just waking, it cannot wait for that very thread: it
    /// returns at once, and the file is closed when the last decision is on disk and nobody holds a handle.
    pub fn close(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    /// As [`close`](Self::close), but lets what has begun come to its end first: calls that are deciding or stand in
    /// line, and transactions that have made a step. What is new is refused with [`Error::Closed`] at once. Blocks for
    /// that, at most for `limit`, and then for the last sync; whoever has not finished by then gets
    /// [`Error::Closed`] and has decided nothing.
    ///
    /// A transaction that its own thread holds open while it calls this is waited for in vain.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let engine = boxoffice::Engine::builder().in_memory()?;
    /// // On a signal to stop:
    /// engine.close_within(Duration::from_secs(10))?;
    /// # Ok::<(), boxoffice::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`close`](Self::close).
    pub fn close_within(mut self, limit: Duration) -> Result<(), Error> {
        self.shared.log.drain();
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        while self.shared.registries.values().any(|registry| registry.is_busy()) {
            let Some(left) = limit.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) else { break };
            // Nobody tells of an end: a command would have to look whether somebody waits for it.
            sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(16));
        }
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.shared.log.close();
        // Dropped by a waker that the writer itself calls, the engine cannot wait for that thread. It ends
        // by itself, and whoever holds the log last closes the file.
        if writer.thread().id() == current().id() {
            return match self.shared.log.check_running() {
                Err(Error::Closed) | Ok(()) => Ok(()),
                Err(failed) => Err(failed),
            };
        }
        let ended = writer.join().map_err(|panic| {
            let said = panic_message(&*panic);
            self.shared.log.broken(format!("the writer panicked: {said}"))
        });
        ended.and(self.shared.log.release())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.shut_down();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("position", &self.position())
            .field("durable", &self.durable_position())
            .finish_non_exhaustive()
    }
}

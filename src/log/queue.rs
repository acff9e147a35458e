//! The commit queue: entries get positions and wait in batches; one committer at a time makes the
//! oldest batch durable. Natural batching: what queued during one sync is the next batch, no timer.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use crossbeam::utils::CachePadded;

use super::audit::{Auditor, Gap};
use super::entry::{Entry, StreamRef};
use super::failure::{Failure, FailureKind};
use super::room::Room;
use super::row::{HEADER, RowView, seal};
use super::store::Store;
use crate::clock::{Clock, Timestamp};
use crate::error::{Cause, Error};
use crate::limits::Limits;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Patience, Waiter, Wakes};

/// Decides positions, and when they are durable.
pub(crate) struct Log {
    pub(super) queue: Mutex<Queue>,
    /// The last durable position. Everything at or below it is on disk, in order.
    durable: CachePadded<AtomicU64>,
    /// No more decisions, and no more reads: the log failed or was closed.
    stopped: AtomicBool,
    pub(super) room: Room,
    failure: OnceLock<Failure>,
    store: Box<dyn Store>,
    /// What only the committer of the moment uses.
    committer: Mutex<Committer>,
    clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
}

pub(super) struct Queue {
    pub(super) state: State,
    next_position: u64,
    next_stream: u32,
    /// Full batches, the oldest first.
    sealed: VecDeque<Batch>,
    /// Takes entries.
    open: Batch,
    /// The batch that is being committed, while one is.
    committing: Option<Committing>,
    /// The writer thread, while it has nothing to do.
    writer: Option<Arc<Waiter>>,
    /// Who waits for room in the queue.
    pub(super) room_line: Vec<Arc<Waiter>>,
    /// An emptied buffer to use again.
    spare: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Closing,
    Failed,
}

struct Committing {
    positions: Range<u64>,
    line: Vec<Arc<Waiter>>,
}

struct Committer {
    auditor: Auditor,
    last_committed_at: Timestamp,
}

/// Entries that will be committed together.
struct Batch {
    /// A row: room for its header, then entries.
    row: Vec<u8>,
    first: u64,
    entries: u32,
    line: Vec<Arc<Waiter>>,
}

/// What the log made of an entry.
pub(crate) struct Appended {
    pub(crate) position: u64,
    pub(crate) stream: u32,
    /// The writer, if it should be woken: by the caller, once it holds no mutex.
    pub(crate) writer: Option<Arc<Waiter>>,
}

impl Batch {
    fn new(first: u64, mut row: Vec<u8>) -> Self {
        row.clear();
        row.resize(HEADER, 0);
        Self { row, first, entries: 0, line: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn end(&self) -> u64 {
        self.first + u64::from(self.entries)
    }
}

impl Queue {
    fn is_drained(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty() && self.committing.is_none()
    }

    /// The oldest batch, whose committer the caller becomes.
    fn take_batch(&mut self) -> Option<Batch> {
        if self.state == State::Failed || self.committing.is_some() {
            return None;
        }
        let mut batch = match self.sealed.pop_front() {
            Some(batch) => batch,
            None if self.open.is_empty() => return None,
            None => self.seal_open(),
        };
        let line = std::mem::take(&mut batch.line);
        self.committing = Some(Committing { positions: batch.first..batch.end(), line });
        Some(batch)
    }

    fn seal_open(&mut self) -> Batch {
        let row = std::mem::take(&mut self.spare);
        std::mem::replace(&mut self.open, Batch::new(self.next_position, row))
    }

    fn line_of(&mut self, position: u64) -> Option<&mut Vec<Arc<Waiter>>> {
        if position >= self.open.first {
            return Some(&mut self.open.line);
        }
        let sealed = self.sealed.iter_mut().find(|batch| position < batch.end());
        match sealed {
            Some(batch) if position >= batch.first => Some(&mut batch.line),
            _ => self.committing.as_mut().map(|committing| &mut committing.line),
        }
    }
}

impl Log {
    /// The log that goes on after what the auditor has seen.
    pub(super) fn after(
        store: Box<dyn Store>,
        auditor: Auditor,
        last_committed_at: Timestamp,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let next = auditor.next_position();
        Log {
            queue: Mutex::new(Queue {
                state: State::Running,
                next_position: next,
                next_stream: auditor.streams(),
                sealed: VecDeque::new(),
                open: Batch::new(next, Vec::new()),
                committing: None,
                writer: None,
                room_line: Vec::new(),
                spare: Vec::new(),
            }),
            durable: CachePadded::new(AtomicU64::new(next - 1)),
            stopped: AtomicBool::new(false),
            room: Room::default(),
            failure: OnceLock::new(),
            store,
            committer: Mutex::new(Committer { auditor, last_committed_at }),
            clock,
            limits,
        }
    }

    /// The last durable position; 0 before the first.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The last position given out.
    pub(crate) fn tail(&self) -> u64 {
        self.queue.lock().next_position - 1
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Nothing may be decided on, or shown from, memory once the log has stopped.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) { Err(self.stop_reason()) } else { Ok(()) }
    }

    pub(super) fn stop_reason(&self) -> Error {
        self.failure.get().map_or(Error::Closed, Failure::latched)
    }

    /// Gives the entry, of up to `bytes`, its position and copies it. The order of calls is the order of
    /// the log.
    ///
    /// `nudge` says whether to wake the writer; a caller that is about to wait need not.
    pub(crate) fn append(&self, entry: &Entry<'_>, bytes: usize, nudge: bool) -> Result<Appended, Error> {
        let mut queue = self.queue.lock();
        if queue.state != State::Running {
            drop(queue);
            return Err(self.stop_reason());
        }
        if !queue.open.is_empty() && queue.open.row.len() + bytes > self.limits.batch_bytes {
            let full = queue.seal_open();
            queue.sealed.push_back(full);
        }
        let position = queue.next_position;
        queue.next_position += 1;
        let stream = match entry.stream {
            StreamRef::Known(number) => number,
            StreamRef::New { .. } => {
                queue.next_stream += 1;
                queue.next_stream - 1
            }
        };
        let before = queue.open.row.len();
        entry.write(stream, &mut queue.open.row);
        self.room.take(queue.open.row.len() - before);
        queue.open.entries += 1;
        let writer = if nudge && queue.committing.is_none() { queue.writer.take() } else { None };
        Ok(Appended { position, stream, writer })
    }

    /// Waits until everything up to `position` is on disk. A thread that finds nobody committing
    /// commits in place, which saves two thread switches.
    pub(crate) async fn wait_durable(&self, position: u64, patience: &mut Patience<'_>) -> Result<(), Error> {
        loop {
            if self.durable() >= position {
                return Ok(());
            }
            let waiter = {
                let mut queue = self.queue.lock();
                if let Some(verdict) = self.verdict(&queue, position) {
                    return verdict;
                }
                if patience.is_thread()
                    && let Some(batch) = queue.take_batch()
                {
                    drop(queue);
                    self.commit(batch);
                    continue;
                }
                match queue.line_of(position) {
                    Some(line) => {
                        let waiter = Waiter::new();
                        line.push(Arc::clone(&waiter));
                        waiter
                    }
                    None => return Err(Error::Closed),
                }
            };
            if !waiter.wait(patience).await {
                return Err(Error::NotYetDurable { position });
            }
        }
    }

    /// A task's look at whether `position` is durable; keeps its place in line in `place`.
    pub(crate) fn poll_durable(
        &self,
        position: u64,
        place: &mut Option<Arc<Waiter>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if self.durable() >= position {
                return Poll::Ready(Ok(()));
            }
            if place.is_none() {
                let mut queue = self.queue.lock();
                if let Some(verdict) = self.verdict(&queue, position) {
                    return Poll::Ready(verdict);
                }
                let waiter = Waiter::new();
                match queue.line_of(position) {
                    Some(line) => line.push(Arc::clone(&waiter)),
                    None => return Poll::Ready(Err(Error::Closed)),
                }
                *place = Some(waiter);
            }
            match place.as_ref().map(|waiter| waiter.poll_signal(cx)) {
                Some(Poll::Pending) => return Poll::Pending,
                _ => *place = None,
            }
        }
    }

    /// What is already known of a position, looked at under the queue's mutex.
    fn verdict(&self, queue: &Queue, position: u64) -> Option<Result<(), Error>> {
        if self.durable() >= position {
            return Some(Ok(()));
        }
        if position >= queue.next_position {
            return Some(Err(Error::UnknownPosition { position, last: queue.next_position - 1 }));
        }
        match (queue.state, self.failure.get()) {
            (State::Failed, Some(failure)) => Some(Err(failure.verdict(position))),
            _ => None,
        }
    }

    /// Makes a batch durable and tells who waits. The caller got the batch from `take_batch`, which
    /// makes it the only committer.
    fn commit(&self, mut batch: Batch) {
        let written = self.write(&mut batch);
        let mut queue = self.queue.lock();
        let line = queue.committing.take().map(|committing| committing.line).unwrap_or_default();
        if let Err(kind) = written {
            // A batch that the audit refused never reached the storage.
            let unknown = match &kind {
                FailureKind::Storage(_) => batch.first..batch.end(),
                FailureKind::Broken(_) => 0..0,
            };
            let wakes = self.latch(&mut queue, Failure { unknown, kind });
            drop(queue);
            Wakes::from(line).fire();
            Wakes::from(wakes).fire();
            return;
        }
        self.durable.store(batch.end() - 1, Ordering::Release);
        self.room.give_back(batch.row.len() - HEADER);
        if queue.spare.capacity() < batch.row.capacity() {
            queue.spare = std::mem::take(&mut batch.row);
        }
        let room_line = std::mem::take(&mut queue.room_line);
        // More has queued, or the last entry before a close is done: the writer has work.
        let writer =
            if queue.is_drained() && queue.state != State::Closing { None } else { queue.writer.take() };
        drop(queue);
        if let Some(writer) = writer {
            writer.signal();
        }
        Wakes::from(line).fire();
        Wakes::from(room_line).fire();
    }

    fn write(&self, batch: &mut Batch) -> Result<(), FailureKind> {
        // The clock is foreign code. If it panics here, the batch is as late as the one before.
        let now = catch_unwind(AssertUnwindSafe(|| self.clock.now())).unwrap_or_default();
        let mut committer = self.committer.lock();
        let committed_at = now.max(committer.last_committed_at);
        committer.last_committed_at = committed_at;
        seal(&mut batch.row, batch.first, batch.entries, committed_at);
        let row =
            RowView::open(&batch.row).map_err(|malformed| FailureKind::Broken(Cause::from(malformed.0)))?;
        let audited = committer.auditor.row(&row);
        audited.map_err(|Gap(rule)| FailureKind::Broken(rule.into()))?;
        self.store.append(batch.first, &batch.row).map_err(FailureKind::Storage)
    }

    /// Stops the log for good. The latch is set before anyone wakes; who waits is returned.
    fn latch(&self, queue: &mut Queue, failure: Failure) -> Vec<Arc<Waiter>> {
        self.store.shut();
        let _ = self.failure.set(failure);
        queue.state = State::Failed;
        self.stopped.store(true, Ordering::Release);
        let mut everyone = std::mem::take(&mut queue.room_line);
        everyone.extend(queue.writer.take());
        everyone.append(&mut queue.open.line);
        for batch in &mut queue.sealed {
            everyone.append(&mut batch.line);
        }
        everyone
    }

    /// A storage that fails to read has failed: nothing is written to it any more either.
    fn read_failed(&self, error: Error) -> Error {
        match error {
            Error::Storage { cause } | Error::Corrupt { cause } => {
                self.stop(FailureKind::Storage(cause));
                self.stop_reason()
            }
            other => other,
        }
    }

    /// Stops the engine because a rule that it promises to keep was found broken.
    pub(crate) fn broken(&self, invariant: String) -> Error {
        self.stop(FailureKind::Broken(invariant.into()));
        self.stop_reason()
    }

    fn stop(&self, kind: FailureKind) {
        let everyone = {
            let mut queue = self.queue.lock();
            // The storage is shut under whatever is being committed.
            let unknown = queue.committing.as_ref().map_or(0..0, |now| now.positions.clone());
            self.latch(&mut queue, Failure { unknown, kind })
        };
        Wakes::from(everyone).fire();
    }

    /// Commits batches until the log is closed and drained, or has failed: the writer thread.
    pub(crate) fn run_writer(&self) {
        let mut idle = Patience::of_thread(None);
        loop {
            let mut queue = self.queue.lock();
            if let Some(batch) = queue.take_batch() {
                drop(queue);
                self.commit(batch);
                continue;
            }
            let done = queue.state == State::Failed || (queue.state == State::Closing && queue.is_drained());
            if done {
                return;
            }
            let waiter = Waiter::new();
            queue.writer = Some(Arc::clone(&waiter));
            drop(queue);
            crate::sync::run_blocking(waiter.wait(&mut idle));
        }
    }

    /// Takes no more entries; what was taken is still made durable by the writer.
    pub(crate) fn close(&self) {
        let mut wakes = {
            let mut queue = self.queue.lock();
            if queue.state != State::Running {
                return;
            }
            queue.state = State::Closing;
            self.stopped.store(true, Ordering::Release);
            let mut wakes = std::mem::take(&mut queue.room_line);
            wakes.extend(queue.writer.take());
            wakes
        };
        Wakes::from(std::mem::take(&mut wakes)).fire();
    }

    /// Gives up the storage, after the writer has ended.
    pub(crate) fn release(&self) -> Result<(), Error> {
        let closed = self.store.close();
        match self.failure.get() {
            Some(failure) => Err(failure.latched()),
            None => closed.map_err(|cause| Error::Storage { cause }),
        }
    }

    /// The durable row that holds `position`, verified; none beyond the last.
    pub(crate) fn read_row<'r>(
        &self,
        position: u64,
        row: &'r mut Vec<u8>,
    ) -> Result<Option<RowView<'r>>, Error> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.latched());
        }
        if position > self.durable() {
            return Ok(None);
        }
        let from = self.store.row_of(position).map_err(|error| self.read_failed(error))?;
        let from = from.unwrap_or(position);
        let found = self.store.read(from, row).map_err(|error| self.read_failed(error))?;
        match RowView::open(row) {
            Ok(view) if found && view.first <= position && position < view.end() => Ok(Some(view)),
            Ok(_) => {
                let cause = format!("position {position} is gone").into();
                Err(self.read_failed(Error::Corrupt { cause }))
            }
            Err(malformed) => {
                let cause = format!("{}, in the batch at position {from}", malformed.0).into();
                Err(self.read_failed(Error::Corrupt { cause }))
            }
        }
    }
}

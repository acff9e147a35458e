//! The commit queue: entries get positions and wait in batches; one committer at a time makes the
//! oldest batch durable. Natural batching: what queued during one sync is the next batch. Only while nobody waits for
//! anything does the writer rest in between.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam::utils::CachePadded;

use super::audit::{Auditor, Gap};
use super::directory::Directory;
use super::entry::Entry;
use super::failure::{Failure, FailureKind};
use super::rest::Rest;
use super::room::Room;
use super::row::{HEADER, RowView, seal};
use super::store::Store;
use crate::clock::{Clock, Timestamp};
use crate::error::{Cause, Error};
use crate::limits::Limits;
use crate::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Line, Mutex, MutexGuard, Patience, Place, Waiter, Wakes,
};

// What `Log::stopped` says. What has begun goes on while only what is new is refused.
const RUNNING: usize = 0;
const DRAINING: usize = 1;
const STOPPED: usize = 2;

/// Decides positions, and when they are durable.
pub(crate) struct Log {
    pub(super) queue: Mutex<Queue>,
    /// The last durable position. Everything at or below it is on disk, in order.
    durable: CachePadded<AtomicU64>,
    /// No more decisions, and no more reads: the log failed or was closed. Or no new ones: it is about to be.
    stopped: AtomicUsize,
    /// Stopped for decisions only, from the beginning.
    pub(super) read_only: AtomicBool,
    pub(super) room: Room,
    pub(super) failure: OnceLock<Failure>,
    pub(super) store: Box<dyn Store>,
    directory: Directory,
    /// What only the committer of the moment uses.
    committer: Mutex<Committer>,
    clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
}

pub(super) struct Queue {
    pub(super) state: State,
    pub(super) next_position: u64,
    next_stream: u32,
    /// Full batches, the oldest first.
    pub(super) sealed: VecDeque<Batch>,
    /// Takes entries.
    pub(super) open: Batch,
    /// The batch that is being committed, while one is.
    pub(super) committing: Option<Committing>,
    /// The writer thread, while it has nothing to do, or rests.
    pub(super) writer: Option<Arc<Waiter>>,
    pub(super) rest: Rest,
    /// Who waits for room in the queue.
    pub(super) room_line: Line,
    /// Who reads along and waits for the next durable entry.
    pub(super) readers: Line,
    /// An emptied buffer to use again.
    spare: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Closing,
    Failed,
}

pub(super) struct Committing {
    pub(super) positions: Range<u64>,
    pub(super) line: Line,
}

struct Committer {
    auditor: Auditor,
    last_committed_at: Timestamp,
}

/// Entries that will be committed together.
pub(super) struct Batch {
    /// A row: room for its header, then entries.
    row: Vec<u8>,
    first: u64,
    entries: u32,
    pub(super) line: Line,
}

/// What the log made of an entry.
pub(crate) struct Appended {
    pub(crate) position: u64,
    /// The number of the first of its new streams; the others have the next ones.
    pub(crate) new_stream: u32,
    /// The writer, if it should be woken: by the caller, once it holds no mutex.
    pub(crate) writer: Option<Arc<Waiter>>,
}

/// The right to append.
pub(crate) struct Appending<'l> {
    log: &'l Log,
    queue: MutexGuard<'l, Queue>,
}

impl Appending<'_> {
    /// [`Log::append`].
    #[inline(always)]
    pub(crate) fn append(&mut self, entry: &Entry<'_>, bytes: usize, nudge: bool) -> Appended {
        let Self { log, queue } = self;
        if !queue.open.is_empty() && queue.open.row.len() + bytes > log.limits.batch_bytes {
            let full = queue.seal_open();
            queue.sealed.push_back(full);
        }
        let position = queue.next_position;
        queue.next_position += 1;
        let (new_stream, before) = (queue.next_stream, queue.open.row.len());
        queue.next_stream = entry.write(new_stream, &mut queue.open.row);
        log.room.take(queue.open.row.len() - before);
        queue.open.entries += 1;
        if log.is_half_full() {
            // Whoever comes next should find room.
            queue.rest.note_wait();
        }
        let writer = if nudge && queue.committing.is_none() { queue.call_writer() } else { None };
        Appended { position, new_stream, writer }
    }
}

impl Batch {
    fn new(first: u64, mut row: Vec<u8>) -> Self {
        row.clear();
        row.resize(HEADER, 0);
        Self { row, first, entries: 0, line: Line::default() }
    }

    fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.entries)
    }
}

impl Queue {
    pub(super) fn is_drained(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty() && self.committing.is_none()
    }

    /// The position after the last entry of the oldest batch that nobody commits yet.
    pub(super) fn oldest_end(&self) -> u64 {
        self.sealed.front().unwrap_or(&self.open).end()
    }

    /// The oldest batch, whose committer the caller becomes.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
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

    /// A place in the line of the batch that has this position, and whom to wake.
    pub(super) fn wait_for(&mut self, position: u64) -> Option<(Place, Wakes)> {
        let place = self.line_of(position)?.enter();
        Some((place, self.begin_wait()))
    }

    fn line_of(&mut self, position: u64) -> Option<&mut Line> {
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
                rest: Rest::default(),
                room_line: Line::default(),
                readers: Line::default(),
                spare: Vec::new(),
            }),
            durable: CachePadded::new(AtomicU64::new(next - 1)),
            stopped: AtomicUsize::new(RUNNING),
            read_only: AtomicBool::new(false),
            room: Room::default(),
            failure: OnceLock::new(),
            store,
            directory: auditor.directory().clone(),
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

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes no entries from here on, and is read all the same.
    pub(crate) fn refuse_entries(&self) {
        self.read_only.store(true, Ordering::Release);
        self.set_stopped();
    }

    pub(super) fn set_stopped(&self) {
        self.stopped.store(STOPPED, Ordering::Release);
    }

    /// From here on nothing new begins.
    pub(crate) fn drain(&self) {
        // Not over a stop.
        let _ = self.stopped.compare_exchange(RUNNING, DRAINING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Before anything new begins.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) == RUNNING { Ok(()) } else { Err(self.stop_reason()) }
    }

    /// Nothing may be decided on memory once the log has stopped.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) < STOPPED { Ok(()) } else { Err(self.stop_reason()) }
    }

    /// Nothing may be shown from memory either, unless it was never changed.
    pub(crate) fn check_readable(&self) -> Result<(), Error> {
        match self.check_running() {
            Err(Error::ReadOnly) => Ok(()),
            running => running,
        }
    }

    pub(super) fn stop_reason(&self) -> Error {
        match self.failure.get() {
            Some(failure) => failure.latched(),
            None if self.read_only.load(Ordering::Acquire) => Error::ReadOnly,
            None => Error::Closed,
        }
    }

    /// Gives the entry, of up to `bytes`, its position and copies it. The order of calls is the order of
    /// the log.
    ///
    /// `nudge` says whether to wake the writer; a caller that is about to wait need not.
    pub(crate) fn append(&self, entry: &Entry<'_>, bytes: usize, nudge: bool) -> Result<Appended, Error> {
        Ok(self.begin_append()?.append(entry, bytes, nudge))
    }

    /// For several entries one after the other, with nobody's between them.
    #[inline(always)]
    pub(crate) fn begin_append(&self) -> Result<Appending<'_>, Error> {
        let queue = self.queue.lock();
        if queue.state != State::Running {
            drop(queue);
            return Err(self.stop_reason());
        }
        Ok(Appending { log: self, queue })
    }

    /// Makes a batch durable and tells who waits. The caller got the batch from `take_batch`, which
    /// makes it the only committer.
    pub(super) fn commit(&self, mut batch: Batch) {
        let written = self.write(&mut batch);
        let mut queue = self.queue.lock();
        let mut line = queue.committing.take().map(|committing| committing.line).unwrap_or_default();
        if let Err(kind) = written {
            // A batch that the audit refused never reached the storage.
            let unknown = match &kind {
                FailureKind::Storage(_) => batch.first..batch.end(),
                FailureKind::Broken(_) => 0..0,
            };
            let wakes = self.latch(&mut queue, Failure { unknown, kind });
            drop(queue);
            line.leave().fire();
            wakes.fire();
            return;
        }
        self.durable.store(batch.end() - 1, Ordering::Release);
        self.room.give_back(batch.row.len() - HEADER);
        if queue.spare.capacity() < batch.row.capacity() {
            queue.spare = std::mem::take(&mut batch.row);
        }
        let room_line = queue.room_line.leave();
        let readers = queue.readers.leave();
        // More has queued, or the last entry before a close is done: the writer has work.
        let writer =
            if queue.is_drained() && queue.state != State::Closing { None } else { queue.call_writer() };
        drop(queue);
        if let Some(writer) = writer {
            writer.signal();
        }
        line.leave().fire();
        room_line.fire();
        readers.fire();
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

    /// Commits batches until the log is closed and drained, or has failed: the writer thread.
    pub(crate) fn run_writer(&self) {
        let mut took = None;
        loop {
            let mut queue = self.queue.lock();
            queue.writer = None;
            let rest = queue.rest_after(took.take(), self.is_half_full());
            if rest.is_none()
                && let Some(batch) = queue.take_batch()
            {
                drop(queue);
                let began = Instant::now();
                self.commit(batch);
                took = Some(began.elapsed());
                continue;
            }
            let done = queue.state == State::Failed || (queue.state == State::Closing && queue.is_drained());
            if done {
                return;
            }
            let waiter = Waiter::new();
            queue.writer = Some(Arc::clone(&waiter));
            drop(queue);
            crate::sync::run_blocking(waiter.wait(&mut Patience::of_thread(rest)));
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

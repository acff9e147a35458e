//! Reading along the durable log: entry by entry, and waiting for the next.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::bytes::Malformed;
use super::directory::Directory;
use super::entry::EntryView;
use super::queue::{Log, State};
use super::row::{At, VerifiedRow};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::sync::{Patience, Place};

/// A place in the durable log that moves on, entry by entry.
///
/// Between two entries of a row it keeps the row, otherwise nothing: each row is read in a transaction of
/// its own, so that a reader who comes late holds up nobody.
pub(crate) struct Reader {
    next: u64,
    row: Option<Reading>,
    /// Whether the row before was read to its end, so that the next one begins at `next`.
    continues: bool,
}

struct Reading {
    row: Arc<DurableRow>,
    /// The next entry.
    at: At,
    /// The position after the last one.
    end: u64,
}

/// A durable row in memory, for as long as somebody looks at one of its entries.
pub(crate) struct DurableRow {
    row: VerifiedRow,
    committed_at: Timestamp,
    directory: Directory,
}

/// A durable entry.
#[derive(Clone)]
pub(crate) struct DurableEntry {
    row: Arc<DurableRow>,
    at: At,
    pub(crate) decided_at: Timestamp,
}

/// What became of the wait for a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Durable,
    /// Not before the deadline.
    NotYet,
    /// The log was closed before.
    Never,
}

enum Look {
    Arrived(Arrival),
    Wait(Place),
}

impl DurableEntry {
    pub(crate) fn position(&self) -> u64 {
        self.at.position
    }

    pub(crate) fn committed_at(&self) -> Timestamp {
        self.row.committed_at
    }

    pub(crate) fn view(&self) -> Result<EntryView<'_>, Malformed> {
        self.row.row.entry(self.at)
    }

    /// The names of the streams in it.
    pub(crate) fn directory(&self) -> &Directory {
        &self.row.directory
    }

    pub(crate) fn checksum(&self) -> Result<u32, Malformed> {
        self.row.row.checksum_of(self.at)
    }
}

impl Reader {
    /// Stands before the entry at `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self { next, row: None, continues: false }
    }

    /// The position of the next entry.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// The next entry, if it is durable. Reads from the disk at the end of a row.
    pub(crate) fn next(&mut self, log: &Log) -> Result<Option<DurableEntry>, Error> {
        if self.row.as_ref().is_none_or(|reading| reading.at.position == reading.end) {
            let before = self.row.take();
            if self.next > log.durable() {
                return Ok(None);
            }
            self.row = self.read_row(log, before)?;
        }
        let Some(reading) = &mut self.row else { return Ok(None) };
        let at = reading.at;
        let decided_at = reading.step().map_err(|malformed| log.damaged(malformed, self.next))?;
        self.next += 1;
        Ok(Some(DurableEntry { row: Arc::clone(&reading.row), at, decided_at }))
    }

    fn read_row(&mut self, log: &Log, before: Option<Reading>) -> Result<Option<Reading>, Error> {
        // The buffer again, unless somebody still looks at an entry in it.
        let mut bytes = before
            .and_then(|reading| Arc::into_inner(reading.row))
            .map_or_else(Vec::new, |row| row.row.into_buffer());
        let Some(view) = log.read_row(self.next, &mut bytes)? else { return Ok(None) };
        if self.continues && view.first != self.next {
            return Err(log.damaged(Malformed("a batch that overlaps the one before"), self.next));
        }
        self.continues = true;
        let (at, end, committed_at) = (At::first_of(&view), view.end(), view.committed_at);
        let directory = log.directory().clone();
        let row = Arc::new(DurableRow { row: VerifiedRow::new(bytes), committed_at, directory });
        let mut reading = Reading { row, at, end };
        while reading.at.position < self.next {
            reading.step().map_err(|malformed| log.damaged(malformed, self.next))?;
        }
        Ok(Some(reading))
    }
}

impl Reading {
    /// Passes the next entry, and says when it was decided.
    fn step(&mut self) -> Result<Timestamp, Malformed> {
        let row = &self.row.row;
        let (entry, next) = row.entry_and_next(self.at)?;
        if next.position == self.end && !row.ends_at(next) {
            return Err(Malformed("bytes after the last entry"));
        }
        self.at = next;
        Ok(entry.decided_at)
    }
}

impl Log {
    fn damaged(&self, malformed: Malformed, position: u64) -> Error {
        let cause = format!("{}, at position {position}", malformed.0).into();
        self.read_failed(Error::Corrupt { cause })
    }

    /// Waits until the entry at `position` is durable, or will never be.
    pub(crate) async fn wait_for(
        &self,
        position: u64,
        patience: &mut Patience<'_>,
    ) -> Result<Arrival, Error> {
        loop {
            let place = match self.look_for(position)? {
                Look::Arrived(arrival) => return Ok(arrival),
                Look::Wait(place) => place,
            };
            if !place.wait(patience).await {
                return Ok(Arrival::NotYet);
            }
        }
    }

    /// A task's look at whether `position` has arrived; keeps its place in line in `place`.
    pub(crate) fn poll_for(
        &self,
        position: u64,
        place: &mut Option<Place>,
        cx: &Context<'_>,
    ) -> Poll<Result<Arrival, Error>> {
        loop {
            if place.is_none() {
                match self.look_for(position) {
                    Ok(Look::Arrived(arrival)) => return Poll::Ready(Ok(arrival)),
                    Ok(Look::Wait(entered)) => *place = Some(entered),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            match place.as_ref().map(|place| place.poll_signal(cx)) {
                Some(Poll::Pending) => return Poll::Pending,
                _ => *place = None,
            }
        }
    }

    fn look_for(&self, position: u64) -> Result<Look, Error> {
        if self.durable() >= position {
            return Ok(Look::Arrived(Arrival::Durable));
        }
        let mut queue = self.queue.lock();
        // The mark moves under this mutex, and then wakes who stands in line.
        if self.durable() >= position {
            return Ok(Look::Arrived(Arrival::Durable));
        }
        match queue.state {
            State::Failed => {
                drop(queue);
                Err(self.stop_reason())
            }
            State::Closing if queue.is_drained() => Ok(Look::Arrived(Arrival::Never)),
            State::Closing | State::Running => {
                let (place, writer) = (queue.readers.enter(), queue.begin_wait());
                drop(queue);
                writer.fire();
                Ok(Look::Wait(place))
            }
        }
    }

    /// How many wait for the next entry.
    #[cfg(test)]
    pub(crate) fn waiting_readers(&self) -> usize {
        self.queue.lock().readers.len()
    }
}

#[cfg(all(test, not(shuttle)))]
pub(super) mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::clock::ManualClock;
    use crate::limits::Limits;
    use crate::log::{Draft, Entry, EventKind, NewSpan, Opening, RedbStore, Source, StreamRef};
    use crate::sync::{Timer, run_blocking};

    pub(in crate::log) fn log() -> Log {
        log_with(Limits::default())
    }

    pub(in crate::log) fn log_with(limits: Limits) -> Log {
        let store = RedbStore::open(Source::Memory, 1 << 20).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1)));
        Opening::new(Box::new(store)).into_log(clock, limits)
    }

    /// Appends one entry to stream 0; durable if the caller commits.
    pub(in crate::log) fn append(log: &Log, version: u64) {
        let mut draft = Draft::new(100);
        draft.push(EventKind::Event, 1, &version).unwrap();
        let stream = match version {
            1 => StreamRef::New { aggregate: "t", id: "a" },
            _ => StreamRef::Known(0),
        };
        let spans = [NewSpan { stream, first_version: version, events: 1, draft: &draft }];
        let entry = Entry { decided_at: Timestamp(version), sections: &[], spans: &spans };
        log.append(&entry, 100, true).unwrap();
    }

    pub(in crate::log) fn commit(log: &Log, position: u64) {
        run_blocking(log.wait_durable(position, &mut Patience::of_thread(None))).unwrap();
    }

    #[test]
    fn whoever_gives_up_stands_in_no_line() {
        let (log, timer) = (log(), Timer::default());
        append(&log, 1);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut place = None;
            let mut patience = Patience::of_task(None, &timer);
            {
                let mut waiting = pin!(log.wait_for(1, &mut patience));
                let mut polled = pin!(poll_fn(|cx| log.poll_for(1, &mut place, cx)));
                assert!(waiting.as_mut().poll(&mut cx).is_pending());
                assert!(polled.as_mut().poll(&mut cx).is_pending());
                assert_eq!(log.waiting_readers(), 2);
            }
            assert_eq!(log.waiting_readers(), 1);
            drop(place);
            assert_eq!(log.waiting_readers(), 0);
        }
        let mut patience = Patience::of_task(None, &timer);
        let mut waiting = Box::pin(log.wait_for(1, &mut patience));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        commit(&log, 1);
        assert_eq!(log.waiting_readers(), 0);
        assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(Arrival::Durable))));
    }

    /// A row is read once, and kept for as long as there is something to read in it.
    #[test]
    fn a_reader_keeps_a_row_only_until_its_end() {
        let log = log();
        (1..=5).for_each(|version| append(&log, version));
        let mut reader = Reader::new(2);
        assert!(reader.next(&log).unwrap().is_none());
        commit(&log, 5);
        (6..=7).for_each(|version| append(&log, version));
        commit(&log, 7);
        let mut rows = Vec::new();
        for position in 2..=7 {
            let entry = reader.next(&log).unwrap().unwrap();
            assert_eq!((entry.position(), entry.decided_at), (position, Timestamp(position)));
            assert_eq!(entry.view().unwrap().spans[0].first_version, position);
            rows.push(entry.row);
        }
        assert!(rows[..4].iter().all(|row| Arc::ptr_eq(row, &rows[0])) && Arc::ptr_eq(&rows[4], &rows[5]));
        let last = Arc::downgrade(&rows[5]);
        drop(rows);
        assert_eq!(last.strong_count(), 1);
        assert!(reader.next(&log).unwrap().is_none());
        assert_eq!(last.strong_count(), 0, "it keeps what it has read");
    }
}

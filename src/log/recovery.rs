//! Reading a log before it takes entries: row by row, verified.

use std::sync::Arc;

use super::audit::{Auditor, Gap};
use super::bytes::Malformed;
use super::entry::EntryView;
use super::queue::Log;
use super::row::RowView;
use super::store::Store;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::limits::Limits;

/// A log that is being read, before it takes entries.
pub(crate) struct Opening {
    store: Box<dyn Store>,
    auditor: Auditor,
    last_committed_at: Timestamp,
    /// The row that is being read.
    row: Vec<u8>,
}

impl Opening {
    pub(crate) fn new(store: Box<dyn Store>) -> Self {
        Self { store, auditor: Auditor::default(), last_committed_at: Timestamp::default(), row: Vec::new() }
    }

    /// Reads the next row and verifies its checksum, its entries and their numbers. `visit` sees each entry and its
    /// position. Returns how many bytes the row has; none at the end of the log.
    pub(crate) fn next_row(
        &mut self,
        mut visit: impl FnMut(u64, &EntryView<'_>) -> Result<(), Malformed>,
    ) -> Result<Option<usize>, Error> {
        let position = self.auditor.next_position();
        if !self.store.read(position, &mut self.row)? {
            return Ok(None);
        }
        let damaged = |cause: String| Error::Corrupt {
            cause: format!("{cause}, in the batch at position {position}").into(),
        };
        let view = RowView::open(&self.row).map_err(|malformed| damaged(malformed.0.into()))?;
        view.for_each(|position, entry| {
            self.auditor.entry(position, entry)?;
            visit(position, entry)?;
            Ok(())
        })
        .map_err(|Gap(rule)| damaged(rule))?;
        if view.committed_at < self.last_committed_at {
            return Err(damaged("the commit time decreases".into()));
        }
        self.last_committed_at = view.committed_at;
        Ok(Some(self.row.len()))
    }

    /// How many entries were read, and how many events and recorded rejections are in them.
    pub(crate) fn read_so_far(&self) -> (u64, u64) {
        (self.auditor.next_position() - 1, self.auditor.events())
    }

    pub(crate) fn into_log(self, clock: Arc<dyn Clock>, limits: Limits) -> Log {
        Log::after(self.store, self.auditor, self.last_committed_at, clock, limits)
    }
}

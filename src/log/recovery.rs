//! Reading a log before it takes entries: row by row, verified.

use std::sync::Arc;

use super::audit::{Auditor, Gap};
use super::bytes::Malformed;
use super::entry::EntryView;
use super::queue::Log;
use super::row::{At, RowView, VerifiedRow};
use super::store::Store;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::limits::Limits;

/// A log that is being read, before it takes entries.
pub(crate) struct Opening {
    store: Box<dyn Store>,
    auditor: Auditor,
    last_committed_at: Timestamp,
}

impl Opening {
    pub(crate) fn new(store: Box<dyn Store>) -> Self {
        Self { store, auditor: Auditor::default(), last_committed_at: Timestamp::default() }
    }

    /// The next row, verified: its checksum, its entries and their numbers. `visit` sees each entry, and
    /// where it lies. None at the end of the log.
    pub(crate) fn next_row(
        &mut self,
        mut visit: impl FnMut(At, &EntryView<'_>) -> Result<(), Malformed>,
    ) -> Result<Option<VerifiedRow>, Error> {
        let position = self.auditor.next_position();
        let mut row = Vec::new();
        if !self.store.read(position, &mut row)? {
            return Ok(None);
        }
        let damaged = |cause: String| Error::Corrupt {
            cause: format!("{cause}, in the batch at position {position}").into(),
        };
        let view = RowView::open(&row).map_err(|malformed| damaged(malformed.0.into()))?;
        view.for_each_at(|at, entry| {
            self.auditor.entry(at.position, entry)?;
            visit(at, entry)?;
            Ok(())
        })
        .map_err(|Gap(rule)| damaged(rule))?;
        if view.committed_at < self.last_committed_at {
            return Err(damaged("the commit time decreases".into()));
        }
        self.last_committed_at = view.committed_at;
        Ok(Some(VerifiedRow::new(row)))
    }

    /// How many entries were read, and how many events and recorded rejections are in them.
    pub(crate) fn read_so_far(&self) -> (u64, u64) {
        (self.auditor.next_position() - 1, self.auditor.events())
    }

    pub(crate) fn into_log(self, clock: Arc<dyn Clock>, limits: Limits) -> Log {
        Log::after(self.store, self.auditor, self.last_committed_at, clock, limits)
    }
}

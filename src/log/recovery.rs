//! Reading a log before it takes entries: row by row, verified.

use std::sync::Arc;

use super::audit::{Auditor, Gap};
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
    row: Vec<u8>,
}

impl Opening {
    pub(crate) fn new(store: Box<dyn Store>) -> Self {
        Self { store, auditor: Auditor::default(), last_committed_at: Timestamp::default(), row: Vec::new() }
    }

    /// Shows the entries of the next row, verified, to `visit`. False at the end of the log.
    pub(crate) fn next_row(
        &mut self,
        mut visit: impl FnMut(u64, &EntryView<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let position = self.auditor.next_position();
        let mut row = std::mem::take(&mut self.row);
        let found = self.store.read(position, &mut row)?;
        if found {
            let damaged = |cause: String| Error::Corrupt {
                cause: format!("{cause}, in the batch at position {position}").into(),
            };
            let view = RowView::open(&row).map_err(|malformed| damaged(malformed.0.into()))?;
            view.for_each(|position, entry| {
                let Gap(rule) = match self.auditor.entry(position, entry) {
                    Ok(()) => return visit(position, entry),
                    Err(gap) => gap,
                };
                Err(damaged(rule))
            })?;
            if view.committed_at < self.last_committed_at {
                return Err(damaged("the commit time decreases".into()));
            }
            self.last_committed_at = view.committed_at;
        }
        self.row = row;
        Ok(found)
    }

    pub(crate) fn into_log(self, clock: Arc<dyn Clock>, limits: Limits) -> Log {
        Log::after(self.store, self.auditor, self.last_committed_at, clock, limits)
    }
}

//! A copy of the log, taken while it is written.

use super::audit::{Auditor, Gap};
use super::queue::Log;
use super::storage::Source;
use super::store::{RedbStore, Store};
use crate::error::{Cause, Error};

/// Bytes of rows that are written to a copy as one commit.
const PORTION_BYTES: usize = 8 << 20;

/// What was copied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

fn failed(cause: Cause) -> Error {
    Error::BackupFailed { cause }
}

impl Log {
    /// Copies every row up to `end`, which is durable, to storage in which there is nothing. The copy is not a log
    /// until its last commit.
    pub(crate) fn copy_to(&self, target: Source, end: u64) -> Result<Copied, Error> {
        let copy = RedbStore::begin_copy(target)?;
        let copied = self.fill(&copy, end);
        if copied.is_err() {
            // Closing a copy that has failed writes nothing more.
            copy.shut();
        }
        let closed = copy.close().map_err(failed);
        copied.and_then(|copied| closed.map(|()| copied))
    }

    fn fill(&self, copy: &RedbStore, end: u64) -> Result<Copied, Error> {
        // From here on there is a table in it: what is cut off is not taken for a log without entries.
        copy.append_all(&[]).map_err(failed)?;
        let (mut auditor, mut copied) = (Auditor::default(), Copied::default());
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while auditor.next_position() <= end {
            let (first, mut row) = (auditor.next_position(), Vec::new());
            let missing = || Error::Corrupt { cause: format!("position {first} is missing").into() };
            let view = self.read_row(first, &mut row)?.ok_or_else(missing)?;
            auditor.row(&view).map_err(|Gap(rule)| Error::Corrupt { cause: rule.into() })?;
            bytes += row.len();
            copied.bytes += row.len() as u64;
            portion.push((first, row));
            if bytes >= PORTION_BYTES {
                copy.append_all(&portion).map_err(failed)?;
                portion.clear();
                bytes = 0;
            }
        }
        copy.append_all(&portion).map_err(failed)?;
        copy.finish_copy().map_err(failed)?;
        copied.events = auditor.events();
        Ok(copied)
    }
}

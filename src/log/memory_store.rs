//! Rows in memory, on storage that may fail: what the model-checked tests put below the log.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use shuttle::thread::yield_now;

use super::row::RowView;
use super::store::Store;
use crate::error::{Cause, Error};
use crate::model::chance;

/// Rows in memory. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore(pub(super) Arc<parking_lot::Mutex<Disk>>);

#[derive(Default)]
pub(super) struct Disk {
    pub(super) rows: BTreeMap<u64, Vec<u8>>,
    /// How many appends succeed, if not all.
    healthy: Option<usize>,
    pub(super) shut: bool,
    /// Reads fail.
    pub(super) blind: bool,
    appends: Vec<Append>,
}

#[derive(Clone, Debug)]
pub(super) struct Append {
    pub(super) positions: Range<u64>,
    /// Whether it began when the storage was shut already.
    pub(super) late: bool,
    pub(super) stored: bool,
}

impl MemoryStore {
    /// Storage whose appends fail after so many.
    pub(crate) fn failing_after(appends: usize) -> Self {
        Self(Arc::new(parking_lot::Mutex::new(Disk { healthy: Some(appends), ..Disk::default() })))
    }

    /// What a fresh open finds.
    pub(crate) fn reopened(&self) -> Self {
        let rows = self.0.lock().rows.clone();
        Self(Arc::new(parking_lot::Mutex::new(Disk { rows, ..Disk::default() })))
    }

    /// The last position that is stored.
    pub(crate) fn end(&self) -> u64 {
        let disk = self.0.lock();
        disk.rows.values().next_back().map_or(0, |row| RowView::open(row).unwrap().end() - 1)
    }

    pub(super) fn appends(&self) -> Vec<Append> {
        self.0.lock().appends.clone()
    }
}

impl Store for MemoryStore {
    fn append(&self, first: u64, row: &[u8]) -> Result<(), Cause> {
        let positions = first..RowView::open(row).unwrap().end();
        let attempt = {
            let mut disk = self.0.lock();
            let late = disk.shut;
            let fine = disk.appends.iter().all(|before| before.stored && !before.late);
            assert!(fine, "written after a failure");
            disk.appends.push(Append { positions, late, stored: false });
            disk.appends.len()
        };
        // A sync takes time: others run.
        yield_now();
        let mut disk = self.0.lock();
        assert_eq!(disk.appends.len(), attempt, "two commits at a time");
        let refused = disk.shut && chance();
        if refused || disk.healthy.is_some_and(|healthy| attempt > healthy) {
            disk.shut = true;
            // After a failure the row may or may not be there.
            if chance() {
                disk.rows.insert(first, row.to_vec());
            }
            return Err("the disk failed".into());
        }
        disk.appends[attempt - 1].stored = true;
        disk.rows.insert(first, row.to_vec());
        Ok(())
    }

    fn read(&self, from: u64, out: &mut Vec<u8>) -> Result<bool, Error> {
        let disk = self.0.lock();
        if disk.blind {
            return Err(Error::Storage { cause: "the disk cannot be read".into() });
        }
        let Some((_, row)) = disk.rows.range(from..).next() else { return Ok(false) };
        row.clone_into(out);
        Ok(true)
    }

    fn row_of(&self, position: u64) -> Result<Option<u64>, Error> {
        Ok(self.0.lock().rows.range(..=position).next_back().map(|(first, _)| *first))
    }

    fn shut(&self) {
        self.0.lock().shut = true;
    }

    fn close(&self) -> Result<(), Cause> {
        Ok(())
    }
}

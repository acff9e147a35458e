//! Storage that is only read: what is written over it stays in memory.
//!
//! A file that was left by a kill needs repair, and redb writes at every open. Here it does so in memory, page by
//! page, and the file keeps its bytes. What it would lock for itself alone it locks with others who read.

use std::collections::HashMap;
use std::io;
use std::ops::Bound;

use parking_lot::RwLock;
use redb::{BackendError, StorageBackend};

const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Overlay {
    below: Box<dyn StorageBackend>,
    /// None until redb has its locks: before that the length may change.
    above: RwLock<Option<Above>>,
}

#[derive(Debug)]
struct Above {
    len: u64,
    /// What is below counts up to here; beyond it are zeros.
    below: u64,
    pages: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(super) fn new(below: Box<dyn StorageBackend>) -> Self {
        Self { below, above: RwLock::new(None) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Above) -> io::Result<T>) -> io::Result<T> {
        let mut above = self.above.write();
        match &mut *above {
            Some(above) => change(above),
            None => {
                let len = self.below.len()?;
                change(above.insert(Above { len, below: len, pages: HashMap::new() }))
            }
        }
    }

    /// What is below, or zeros.
    fn read_below(&self, until: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(until.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (there, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        if there.is_empty() { Ok(()) } else { self.below.read(offset, there) }
    }
}

/// Splits a range into pieces of pages: the page's number, where in it the piece begins, and how long it is.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut offset, mut left) = (offset, len);
    std::iter::from_fn(move || {
        let within = (offset % PAGE as u64) as usize;
        let piece = (offset / PAGE as u64, within, left.min(PAGE - within));
        offset += piece.2 as u64;
        left -= piece.2;
        (piece.2 > 0).then_some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        self.with(|above| Ok(above.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.above.read();
        let Some(above) = &*above else { return self.below.read(offset, out) };
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > above.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if above.pages.is_empty() {
            return self.read_below(above.below, offset, out);
        }
        let (mut at, mut rest) = (offset, out);
        for (number, within, len) in pieces(offset, rest.len()) {
            let (part, after) = rest.split_at_mut(len);
            match above.pages.get(&number) {
                Some(page) => part.copy_from_slice(&page[within..within + len]),
                None => self.read_below(above.below, at, part)?,
            }
            (at, rest) = (at + len as u64, after);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|above| {
            above.len = len;
            above.below = above.below.min(len);
            above.pages.retain(|number, page| {
                let kept = len.saturating_sub(number * PAGE as u64).min(PAGE as u64) as usize;
                page[kept..].fill(0);
                kept > 0
            });
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|above| {
            let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
            above.len = above.len.max(end);
            let mut rest = data;
            for (number, within, len) in pieces(offset, data.len()) {
                let (part, after) = rest.split_at(len);
                let page = match above.pages.get_mut(&number) {
                    Some(page) => page,
                    None => {
                        let mut page = vec![0; PAGE].into_boxed_slice();
                        self.read_below(above.below, number * PAGE as u64, &mut page)?;
                        above.pages.entry(number).or_insert(page)
                    }
                };
                page[within..within + len].copy_from_slice(part);
                rest = after;
            }
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.below.close()
    }

    // Whoever reads shares the file; an engine that writes has it for itself.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.below.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.below.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.below.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.below.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.below.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.below.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    /// Memory that can be looked at from outside.
    #[derive(Clone, Debug)]
    struct Below(Arc<InMemoryBackend>);

    impl StorageBackend for Below {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            StorageBackend::read(&*self.0, offset, out)
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            panic!("changed");
        }
        fn sync_data(&self) -> io::Result<()> {
            panic!("synced");
        }
        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            panic!("written");
        }
    }

    #[derive(Clone, Debug)]
    enum Change {
        Write(usize, u8, usize),
        SetLen(usize),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        // Around the borders of pages, and across them.
        let at = (0..5usize, 0..3usize).prop_map(|(page, around)| (page * PAGE + around).saturating_sub(1));
        prop_oneof![
            3 => (at.clone(), 1..=255u8, 1..3 * PAGE).prop_map(|(at, byte, len)| Change::Write(at, byte, len)),
            1 => at.prop_map(Change::SetLen),
        ]
    }

    proptest! {
        /// Against a plain vector of bytes; what is below is never touched.
        #[test]
        fn reads_as_if_it_were_written(len in 0..4 * PAGE, changes in prop::collection::vec(any_change(), 0..12)) {
            let memory = Arc::new(InMemoryBackend::new());
            let mut model: Vec<u8> = (0..len).map(|at| (at % 251) as u8 + 1).collect();
            memory.set_len(len as u64).unwrap();
            StorageBackend::write(&*memory, 0, &model).unwrap();
            let overlay = Overlay::new(Box::new(Below(memory)));
            prop_assert_eq!(overlay.len().unwrap(), len as u64);
            for change in changes {
                match change {
                    Change::Write(at, byte, len) => {
                        overlay.write(at as u64, &vec![byte; len]).unwrap();
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].fill(byte);
                    }
                    Change::SetLen(len) => {
                        overlay.set_len(len as u64).unwrap();
                        model.resize(len, 0);
                    }
                }
                prop_assert_eq!(overlay.len().unwrap(), model.len() as u64);
                let mut all = vec![7; model.len()];
                overlay.read(0, &mut all).unwrap();
                prop_assert!(all == model);
                let mut beyond = vec![0; 2];
                prop_assert!(overlay.read(model.len() as u64 - 1.min(model.len() as u64), &mut beyond).is_err());
            }
        }
    }
}

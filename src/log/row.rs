//! The row that one commit writes: a header, then the entries of a batch.
//!
//! ```text
//! row := "bxof", format u16, reserved u16, first position u64, entries u32, body length u32,
//!        committed_at u64, checksum u32 (CRC-32 of all but itself and the four bytes after), reserved u32, entry...
//! ```

use super::bytes::{Cursor, Malformed};
use super::entry::EntryView;
use crate::clock::Timestamp;

pub(crate) const HEADER: usize = 40;
const MAGIC: [u8; 4] = *b"bxof";
const FORMAT: u16 = 1;
const CHECKED: usize = 32;
const CUT_SHORT: Malformed = Malformed("a batch cut short");

/// Fills in the header of `row`, whose first [`HEADER`] bytes were left for it.
pub(crate) fn seal(row: &mut [u8], first: u64, entries: u32, committed_at: Timestamp) {
    let Some((header, body)) = row.split_first_chunk_mut::<HEADER>() else { return };
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    header[8..16].copy_from_slice(&first.to_le_bytes());
    header[16..20].copy_from_slice(&entries.to_le_bytes());
    header[20..24].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[24..32].copy_from_slice(&committed_at.0.to_le_bytes());
    let sum = checksum(&header[..CHECKED], body);
    header[32..36].copy_from_slice(&sum.to_le_bytes());
}

/// A row of these entries.
#[cfg(all(test, not(shuttle)))]
pub(crate) fn sealed(first: u64, entries: u32, body: &[u8]) -> Vec<u8> {
    let mut row = vec![0; HEADER];
    row.extend_from_slice(body);
    seal(&mut row, first, entries, Timestamp(1));
    row
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

/// A row whose length and checksum were found right.
#[derive(Clone, Copy)]
pub(crate) struct RowView<'a> {
    pub(crate) first: u64,
    pub(crate) entries: u32,
    pub(crate) committed_at: Timestamp,
    body: &'a [u8],
}

impl<'a> RowView<'a> {
    pub(crate) fn open(row: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = row.split_first_chunk::<HEADER>().ok_or(CUT_SHORT)?;
        let mut fields = Cursor(header);
        if fields.array()? != MAGIC {
            return Err(Malformed("a batch without its mark"));
        }
        if fields.array()? != FORMAT.to_le_bytes() {
            return Err(Malformed("a batch of an unknown format"));
        }
        fields.take(2)?;
        let first = fields.u64()?;
        let entries = fields.u32()?;
        let length = fields.u32()? as usize;
        let committed_at = Timestamp(fields.u64()?);
        let stored = fields.u32()?;
        if length != body.len() {
            return Err(Malformed("a batch of the wrong length"));
        }
        if checksum(&header[..CHECKED], body) != stored {
            return Err(Malformed("a batch whose checksum is wrong"));
        }
        if entries == 0 || first == 0 || first.checked_add(u64::from(entries)).is_none() {
            return Err(Malformed("a batch without entries"));
        }
        Ok(Self { first, entries, committed_at, body })
    }

    /// The position after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.entries)
    }

    /// Calls `visit` with each entry and its position; the entries must fill the row exactly.
    pub(crate) fn for_each<E: From<Malformed>>(
        &self,
        mut visit: impl FnMut(u64, &EntryView<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut body, mut entry) = (Cursor(self.body), EntryView::default());
        for position in self.first..self.end() {
            entry.become_next(&mut body)?;
            visit(position, &entry)?;
        }
        if body.is_empty() { Ok(()) } else { Err(Malformed("bytes after the last entry").into()) }
    }
}

/// Where an entry lies in its row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) position: u64,
    offset: usize,
}

impl At {
    /// Where the first entry of a row lies.
    pub(super) fn first_of(row: &RowView<'_>) -> Self {
        Self { position: row.first, offset: 0 }
    }
}

/// A row that was verified once and is looked at by several.
pub(super) struct VerifiedRow(Vec<u8>);

impl VerifiedRow {
    /// A row that [`RowView::open`] has accepted.
    pub(super) fn new(row: Vec<u8>) -> Self {
        Self(row)
    }

    /// One entry of it.
    pub(super) fn entry(&self, at: At) -> Result<EntryView<'_>, Malformed> {
        Ok(self.entry_and_rest(at)?.0)
    }

    /// One entry of it, and where the next one lies, if there is one.
    pub(super) fn entry_and_next(&self, at: At) -> Result<(EntryView<'_>, At), Malformed> {
        let (entry, rest) = self.entry_and_rest(at)?;
        let offset = self.0.len() - HEADER - rest.len();
        Ok((entry, At { position: at.position + 1, offset }))
    }

    /// A checksum of one entry's bytes.
    pub(super) fn checksum_of(&self, at: At) -> Result<u32, Malformed> {
        let (_, next) = self.entry_and_next(at)?;
        let entry = self.0.get(HEADER + at.offset..HEADER + next.offset).ok_or(CUT_SHORT)?;
        Ok(checksum(&[], entry))
    }

    fn entry_and_rest(&self, at: At) -> Result<(EntryView<'_>, &[u8]), Malformed> {
        let mut bytes = Cursor(self.0.get(HEADER + at.offset..).ok_or(CUT_SHORT)?);
        let entry = EntryView::read(&mut bytes)?;
        Ok((entry, bytes.0))
    }

    /// Whether the row ends where this entry would begin.
    pub(super) fn ends_at(&self, at: At) -> bool {
        self.0.len() == HEADER + at.offset
    }

    /// Its buffer, to use again.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_changed_bit_is_noticed(body in prop::collection::vec(any::<u8>(), 1..200), bit: prop::sample::Index) {
            let mut row = vec![0; HEADER];
            row.extend(&body);
            seal(&mut row, 7, 3, Timestamp(9));
            let view = RowView::open(&row).unwrap();
            prop_assert_eq!((view.first, view.entries, view.committed_at, view.end()), (7, 3, Timestamp(9), 10));
            let bit = bit.index(row.len() * 8);
            row[bit / 8] ^= 1 << (bit % 8);
            // The reserved bytes carry nothing yet.
            let reserved = [6, 7, 36, 37, 38, 39].contains(&(bit / 8)) && bit / 8 >= 36;
            prop_assert_eq!(RowView::open(&row).is_ok(), reserved);
        }
    }
}

//! The independent check of what the engine promises: positions and versions without a gap.
//!
//! The writer runs it over every batch before the batch is written, recovery over every batch it
//! reads. It trusts nothing but the bytes.

use super::bytes::Malformed;
use super::directory::Directory;
use super::entry::EntryView;
use super::row::RowView;

/// What has been seen so far.
#[derive(Debug)]
pub(crate) struct Auditor {
    next_position: u64,
    events: u64,
    /// The last version of each stream, by number.
    versions: Vec<u64>,
    /// Their names.
    directory: Directory,
}

impl Default for Auditor {
    fn default() -> Self {
        Self { next_position: 1, events: 0, versions: Vec::new(), directory: Directory::default() }
    }
}

/// Which rule is broken, where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap(pub(crate) String);

impl From<Malformed> for Gap {
    fn from(malformed: Malformed) -> Self {
        Self(malformed.0.into())
    }
}

impl Auditor {
    pub(crate) fn next_position(&self) -> u64 {
        self.next_position
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn streams(&self) -> u32 {
        self.versions.len() as u32
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Checks a whole row. After an error the auditor is of no further use.
    pub(crate) fn row(&mut self, row: &RowView<'_>) -> Result<(), Gap> {
        row.for_each(|position, entry| self.entry(position, entry))
    }

    #[inline(always)]
    pub(crate) fn entry(&mut self, position: u64, entry: &EntryView<'_>) -> Result<(), Gap> {
        if position != self.next_position {
            return Err(Gap(format!("position {position} follows {}", self.next_position - 1)));
        }
        self.next_position += 1;
        for span in &entry.spans {
            let index = span.stream as usize;
            if let Some((aggregate, id)) = span.defines {
                if index != self.versions.len() {
                    return Err(Gap(format!("position {position} defines stream {index} out of order")));
                }
                self.versions.push(0);
                self.directory.define(aggregate, id);
            }
            let Some(version) = self.versions.get_mut(index) else {
                return Err(Gap(format!("position {position} uses stream {index} before its definition")));
            };
            if span.first_version != *version + 1 {
                return Err(Gap(format!(
                    "at position {position} version {} of stream {index} follows {version}",
                    span.first_version
                )));
            }
            *version += u64::from(span.events);
            self.events += u64::from(span.events);
        }
        Ok(())
    }
}

//! Where a projection is kept: its view and the position that it has come to, written as one.

use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};

use super::bytes::{Cursor, Malformed, Sink};
use super::storage::{Latch, Source};
use super::store::{corrupt, guarded, open_database};
use crate::clock::Timestamp;
use crate::error::{Cause, Error};

/// What tells an entry from any other that could have its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: u64,
    pub(crate) committed_at: Timestamp,
    /// Of its bytes.
    pub(crate) checksum: u32,
}

/// What is kept with a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// The last entry that the view has counted; position 0 before the first.
    pub(crate) mark: Mark,
}

/// One projection in a redb file.
pub(crate) struct ViewStore {
    database: Database,
    latch: Latch,
}

/// Both values as they are in the table.
type Saved = Option<(Vec<u8>, Vec<u8>)>;

const PROJECTION: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("boxoffice.projection");
const HEAD: &str = "head";
const VIEW: &str = "view";
const FORMAT: u8 = 1;
/// A view is read once and written now and then, as a whole.
const CACHE_BYTES: usize = 4 << 20;

impl Head {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.put_varint(self.version.into());
        bytes.put_varint(self.mark.position);
        bytes.put_varint(self.mark.committed_at.0);
        bytes.put_varint(self.mark.checksum.into());
        bytes.put_block(self.name.as_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = Cursor(bytes);
        if bytes.array()? != [FORMAT] {
            return Err(Malformed("it is of an unknown format"));
        }
        let version = bytes.varint_u32()?;
        let position = bytes.varint()?;
        let committed_at = Timestamp(bytes.varint()?);
        let mark = Mark { position, committed_at, checksum: bytes.varint_u32()? };
        Ok(Self { name: bytes.text()?.into(), version, mark })
    }
}

impl ViewStore {
    pub(crate) fn open(source: Source) -> Result<Self, Error> {
        match open_database(source, CACHE_BYTES, check) {
            Ok((database, latch)) => Ok(Self { database, latch }),
            Err(Error::NotALog { cause }) => Err(Error::NotThisProjection { cause }),
            Err(other) => Err(other),
        }
    }

    /// What was saved last; none if nothing ever was.
    pub(crate) fn load(&self) -> Result<Option<(Head, Vec<u8>)>, Error> {
        let read = || -> Result<Saved, redb::Error> {
            let transaction = self.database.begin_read()?;
            if transaction.list_tables()?.next().is_none() {
                return Ok(None);
            }
            let table = transaction.open_table(PROJECTION)?;
            let value = |key| Ok::<_, redb::Error>(table.get(key)?.map(|bytes| bytes.value().to_vec()));
            Ok(value(HEAD)?.zip(value(VIEW)?))
        };
        let found = guarded(read).map_err(|cause| Error::Corrupt { cause })?.map_err(corrupt)?;
        let Some((head, view)) = found else { return Ok(None) };
        match Head::read(&head) {
            Ok(head) => Ok(Some((head, view))),
            Err(malformed) => Err(Error::NotThisProjection { cause: malformed.0.into() }),
        }
    }

    /// Replaces what was saved, all of it or nothing. After an error nothing is written any more.
    pub(crate) fn save(&self, head: &Head, view: &[u8]) -> Result<(), Error> {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let mut table = transaction.open_table(PROJECTION)?;
            table.insert(HEAD, head.to_bytes().as_slice())?;
            table.insert(VIEW, view)?;
            drop(table);
            Ok(transaction.commit()?)
        };
        let written: Result<(), Cause> =
            guarded(write).and_then(|written| written.map_err(|error| error.to_string().into()));
        written.map_err(|cause| {
            self.latch.shut();
            Error::Storage { cause }
        })
    }
}

/// A file of ours has one table, or, before the first save, none.
fn check(database: &Database) -> Result<(), Error> {
    let read = database.begin_read().map_err(corrupt)?;
    let other = read.list_tables().map_err(corrupt)?.find(|table| table.name() != PROJECTION.name());
    match other {
        None => Ok(()),
        Some(table) => {
            let cause = format!("a redb database with a table named {:?}", table.name());
            Err(Error::NotThisProjection { cause: cause.into() })
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_reads_as_written(name: String, version: u32, position: u64, time: u64, checksum: u32) {
            let mark = Mark { position, committed_at: Timestamp(time), checksum };
            let head = Head { name, version, mark };
            let bytes = head.to_bytes();
            prop_assert_eq!(Head::read(&bytes), Ok(head));
            for cut in 0..bytes.len() {
                prop_assert!(Head::read(&bytes[..cut]).is_err());
            }
        }
    }
}

//! The narrow seam to what keeps rows: append one, read from a position, close. redb is the default.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::RwLock;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, StorageError, TableDefinition,
    TableError, TableHandle, WriteTransaction,
};

use super::storage::{Gate, Latch, Source};
use crate::error::{Cause, Error};

/// Keeps rows by their first position.
pub(crate) trait Store: Send + Sync {
    /// Makes one row durable. Called by one thread at a time. After an error the row may or may not
    /// be there, and nothing more is written.
    fn append(&self, first: u64, row: &[u8]) -> Result<(), Cause>;

    /// Replaces `out` by the first row at or after `from`; false if there is none.
    fn read(&self, from: u64, out: &mut Vec<u8>) -> Result<bool, Error>;

    /// The first position of the row that holds `position`, or of the last row before it.
    fn row_of(&self, position: u64) -> Result<Option<u64>, Error>;

    /// Writes nothing from here on, also not when it is closed or dropped.
    fn shut(&self);

    /// Gives up the storage. Later calls fail.
    fn close(&self) -> Result<(), Cause>;
}

/// Rows in a redb file: one commit, one row.
pub(crate) struct RedbStore {
    // Taken for reading by every call, for writing once, to close.
    database: RwLock<Option<Database>>,
    latch: Latch,
}

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("boxoffice.meta");
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("boxoffice.rows");
const FORMAT_KEY: &str = "format";
const FORMAT: u32 = 1;
/// Cache of redb in bytes for a copy, which only appends.
const COPY_CACHE: usize = 4 << 20;

impl RedbStore {
    /// Opens or creates. Every page is read once, to verify redb's own checksums, which its read path does
    /// not look at.
    pub(crate) fn open(source: Source, cache_bytes: usize) -> Result<Self, Error> {
        Self::open_with(source, cache_bytes, prepare)
    }

    /// Begins a copy on storage in which there is nothing. It is not a log until
    /// [`finish_copy`](Self::finish_copy).
    pub(super) fn begin_copy(target: Source) -> Result<Self, Error> {
        let failed = |error: redb::Error| Error::BackupFailed { cause: error.to_string().into() };
        let is_empty = |database: &Database| {
            let read = database.begin_read().map_err(|error| failed(error.into()))?;
            match read.list_tables().map_err(|error| failed(error.into()))?.next() {
                None => Ok(()),
                Some(table) => Err(Error::NotEmpty { cause: format!("a table {:?}", table.name()).into() }),
            }
        };
        Self::open_with(target, COPY_CACHE, is_empty).map_err(|error| match error {
            kept @ (Error::NotEmpty { .. } | Error::CannotOpen { .. } | Error::BackupFailed { .. }) => kept,
            other => Error::BackupFailed { cause: other.to_string().into() },
        })
    }

    fn open_with(
        source: Source,
        cache_bytes: usize,
        prepare: impl FnOnce(&Database) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let (database, latch) = open_database(source, cache_bytes, prepare)?;
        Ok(Self { database: RwLock::new(Some(database)), latch })
    }

    /// Makes rows durable, all or none.
    pub(super) fn append_all(&self, rows: &[(u64, Vec<u8>)]) -> Result<(), Cause> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ROWS)?;
            for (first, row) in rows {
                table.insert(first, row.as_slice())?;
            }
            Ok(())
        })
    }

    /// Makes a copy a log.
    pub(super) fn finish_copy(&self) -> Result<(), Cause> {
        self.write(mark)
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), Cause> {
        let database = self.database.read();
        let database = database.as_ref().ok_or_else(|| Cause::from("closed"))?;
        guarded(|| write(database, change))?.map_err(|error| error.to_string().into())
    }
}

/// Opens or creates a redb database, which `prepare` checks to be one of ours, or makes one.
pub(super) fn open_database(
    source: Source,
    cache_bytes: usize,
    prepare: impl FnOnce(&Database) -> Result<(), Error>,
) -> Result<(Database, Latch), Error> {
    let (gate, latch, new_file) = Gate::open(source)?;
    let shut_on_failure = latch.clone();
    // redb's own checks find almost all damage; a few damaged files still make it panic.
    let opened = guarded(move || {
        let database = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(true)
            .create_with_backend(gate)
            .map_err(opening)?;
        prepare(&database)?;
        Ok::<_, Error>(database)
    });
    let database = match opened {
        Ok(database) => database?,
        Err(cause) => {
            shut_on_failure.shut();
            return Err(Error::Corrupt { cause });
        }
    };
    new_file.settle()?;
    Ok((database, latch))
}

/// Checks that the database is ours and of a format that we read, or makes an empty one ours.
fn prepare(database: &Database) -> Result<(), Error> {
    let read = database.begin_read().map_err(corrupt)?;
    match read.open_table(META) {
        Ok(meta) => {
            let format = meta.get(FORMAT_KEY).map_err(corrupt)?;
            let format = format.and_then(|bytes| bytes.value().try_into().ok());
            let found = format
                .map(u32::from_le_bytes)
                .ok_or_else(|| Error::Corrupt { cause: "the format number is missing".into() })?;
            return match found {
                FORMAT => Ok(()),
                // There never was one.
                0 => Err(Error::Corrupt { cause: "the format number is 0".into() }),
                found => Err(Error::NewerFormat { found, supported: FORMAT }),
            };
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(TableError::Storage(error)) => return Err(corrupt(error)),
        Err(error) => return Err(Error::NotALog { cause: error.to_string().into() }),
    }
    if let Some(table) = read.list_tables().map_err(corrupt)?.next() {
        let cause = format!("a redb database with a table named {:?}", table.name());
        return Err(Error::NotALog { cause: cause.into() });
    }
    drop(read);
    write(database, mark).map_err(|error| Error::Storage { cause: error.to_string().into() })
}

/// Makes a database ours.
fn mark(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
    transaction.open_table(ROWS)?;
    Ok(())
}

/// One commit.
fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // One phase is not enough: after a failed fsync that the kernel forgot, a one-phase
    // commit left files that could not be opened again.
    transaction.set_two_phase_commit(true);
    change(&transaction)?;
    Ok(transaction.commit()?)
}

fn opening(error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Error::AlreadyOpen,
        DatabaseError::UpgradeRequired(version) => {
            Error::NotALog { cause: format!("a redb file of the older format {version}").into() }
        }
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            Error::NotALog { cause: error.to_string().into() }
        }
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Error::Corrupt { cause: "it is cut short".into() }
        }
        DatabaseError::Storage(StorageError::Corrupted(cause)) => Error::Corrupt { cause: cause.into() },
        DatabaseError::RepairAborted => Error::Corrupt { cause: "not repairable".into() },
        other => Error::Storage { cause: other.to_string().into() },
    }
}

pub(super) fn corrupt(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Corrupted(cause) => Error::Corrupt { cause: cause.into() },
        other => Error::Storage { cause: other.to_string().into() },
    }
}

/// Runs what may panic on a damaged file or inside a user's storage, and turns that into a cause.
pub(super) fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, Cause> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panicked: {}", said.unwrap_or("no message")).into()
    })
}

impl Store for RedbStore {
    fn append(&self, first: u64, row: &[u8]) -> Result<(), Cause> {
        self.write(|transaction| {
            transaction.open_table(ROWS)?.insert(first, row)?;
            Ok(())
        })
    }

    fn read(&self, from: u64, out: &mut Vec<u8>) -> Result<bool, Error> {
        let database = self.database.read();
        let database = database.as_ref().ok_or(Error::Closed)?;
        let read = || -> Result<bool, redb::Error> {
            let table = database.begin_read()?.open_table(ROWS)?;
            let Some(row) = table.range(from..)?.next() else { return Ok(false) };
            out.clear();
            out.extend_from_slice(row?.1.value());
            Ok(true)
        };
        guarded(read).map_err(|cause| Error::Corrupt { cause })?.map_err(corrupt)
    }

    fn row_of(&self, position: u64) -> Result<Option<u64>, Error> {
        let database = self.database.read();
        let database = database.as_ref().ok_or(Error::Closed)?;
        let read = || -> Result<Option<u64>, redb::Error> {
            let table = database.begin_read()?.open_table(ROWS)?;
            if table.is_empty()? {
                return Ok(None);
            }
            let row = table.range(..=position)?.next_back().transpose()?;
            Ok(row.map(|(first, _)| first.value()))
        };
        guarded(read).map_err(|cause| Error::Corrupt { cause })?.map_err(corrupt)
    }

    fn shut(&self) {
        self.latch.shut();
    }

    fn close(&self) -> Result<(), Cause> {
        let Some(database) = self.database.write().take() else { return Ok(()) };
        guarded(|| database.close())?.map_err(|error| error.to_string().into())
    }
}

#[cfg(all(test, feature = "testing", not(shuttle)))]
mod tests {
    use super::*;
    use crate::testing::{Failure, FaultyStorage, When};

    fn opened(storage: &FaultyStorage) -> RedbStore {
        RedbStore::open(Source::Custom(Box::new(storage.clone())), 1 << 20).unwrap()
    }

    /// redb latches by itself after most failures. After this one it does not: nothing failed.
    #[test]
    fn once_shut_nothing_is_written_not_even_by_close_or_drop() {
        for close in [true, false] {
            let storage = FaultyStorage::new(1);
            let store = opened(&storage);
            store.append(1, b"one").unwrap();
            store.shut();
            let (before, bytes) = (storage.calls().changes(), storage.bytes());
            assert!(store.append(2, b"two").is_err());
            if close {
                let _ = store.close();
            }
            drop(store);
            assert_eq!(storage.calls().changes(), before, "it reached the storage");
            assert_eq!(storage.bytes(), bytes);
            assert_eq!(opened(&storage).row_of(9).unwrap(), Some(1));
        }
    }

    #[test]
    fn an_append_that_failed_is_not_tried_again() {
        for failure in [Failure::Io, Failure::NoSpace, Failure::LostSync] {
            let storage = FaultyStorage::new(2);
            let store = opened(&storage);
            store.append(1, b"one").unwrap();
            storage.fail(When::Sync(1), failure);
            assert!(store.append(2, b"two").is_err(), "{failure:?}");
            let before = storage.calls().changes();
            assert!(store.append(2, b"two").is_err(), "{failure:?}: tried again");
            assert_eq!(storage.calls().changes(), before, "{failure:?}");
        }
    }
}

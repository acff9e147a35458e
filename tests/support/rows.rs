//! The bytes of a log: read out of a file or storage, laid into a new one, and kept beside the tests.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("boxoffice.meta");
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("boxoffice.rows");

/// The batches of a log by their first position.
pub(crate) type Rows = Vec<(u64, Vec<u8>)>;

pub(crate) fn rows(path: &Path) -> Rows {
    rows_of(&Database::open(path).unwrap())
}

pub(crate) fn rows_on(storage: impl StorageBackend) -> Rows {
    rows_of(&Database::builder().create_with_backend(storage).unwrap())
}

fn rows_of(database: &Database) -> Rows {
    let table = database.begin_read().unwrap().open_table(ROWS).unwrap();
    let row = |row: Result<(redb::AccessGuard<u64>, redb::AccessGuard<&[u8]>), _>| {
        row.map(|(first, bytes)| (first.value(), bytes.value().to_vec()))
    };
    table.iter().unwrap().map(row).collect::<Result<_, _>>().unwrap()
}

/// What the log says about itself, by key.
pub(crate) fn meta_on(storage: impl StorageBackend) -> Vec<(String, Vec<u8>)> {
    let database = Database::builder().create_with_backend(storage).unwrap();
    let table = database.begin_read().unwrap().open_table(META).unwrap();
    let row = |row: Result<(redb::AccessGuard<&str>, redb::AccessGuard<&[u8]>), _>| {
        row.map(|(key, value)| (key.value().to_owned(), value.value().to_vec()))
    };
    table.iter().unwrap().map(row).collect::<Result<_, _>>().unwrap()
}

/// Builds the file that an engine would have left with these rows.
pub(crate) fn build(path: &Path, rows: &Rows) {
    lay(&Database::create(path).unwrap(), rows);
}

/// As [`build`], on storage.
pub(crate) fn build_on(storage: impl StorageBackend, rows: &Rows) {
    lay(&Database::builder().create_with_backend(storage).unwrap(), rows);
}

fn lay(database: &Database, rows: &Rows) {
    let transaction = database.begin_write().unwrap();
    {
        transaction.open_table(META).unwrap().insert("format", 1u32.to_le_bytes().as_slice()).unwrap();
        let mut table = transaction.open_table(ROWS).unwrap();
        for (first, bytes) in rows {
            table.insert(first, bytes.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Reads stored rows: first position (u64), length (u32), bytes; little endian. Rows and not a file: an empty
/// redb file has more than a megabyte.
pub(crate) fn golden(name: &str) -> Rows {
    let bytes = std::fs::read(golden_path(name)).unwrap();
    let (mut rest, mut rows) = (&bytes[..], Vec::new());
    while let Some((first, after)) = rest.split_first_chunk() {
        let (len, after) = after.split_first_chunk().unwrap();
        let (row, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        rows.push((u64::from_le_bytes(*first), row.to_vec()));
        rest = after;
    }
    rows
}

/// Stores rows for [`golden`], once: a file that is there is not written again.
pub(crate) fn write_golden(name: &str, rows: &Rows) {
    let mut bytes = Vec::new();
    for (first, row) in rows {
        bytes.extend(first.to_le_bytes());
        bytes.extend((row.len() as u32).to_le_bytes());
        bytes.extend(row);
    }
    let mut file = std::fs::File::create_new(golden_path(name)).expect("a golden file is written once");
    std::io::Write::write_all(&mut file, &bytes).unwrap();
}

//! Goal: no file makes an engine serve wrong data or panic. Whatever lies under the path, an open says what
//! is wrong with it and what to do, or it opens with exactly the data that was written.
//!
//! Method: files that are something else, files of a newer version, and one good file damaged in many
//! ways: cut off at many lengths, with single bits flipped, with rows changed behind redb's own checksums.
//! Where such a file opens all the same, the ledger of `common` compares all of it, and more is sold.
//! Failures name the length or the bit.

mod common;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use boxoffice::error::Advice;
use boxoffice::testing::{FaultyStorage, Prng};
use boxoffice::{Engine, Error};
use common::{Ledger, builder, halls, quiet};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("boxoffice.meta");
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("boxoffice.rows");

/// A path in a folder of its own, with these bytes in it.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The good file, with batches of all sizes.
fn good() -> (Vec<u8>, Ledger) {
    static FILE: OnceLock<(Vec<u8>, Ledger)> = OnceLock::new();
    let (bytes, ledger) = FILE.get_or_init(|| {
        let (_folder, path) = file(b"");
        let (engine, ledger) = (open(&path).unwrap(), Ledger::default());
        assert!(ledger.work(&halls(&engine), &mut Prng::new(0), 20, 0).is_empty());
        assert!(ledger.work(&halls(&engine), &mut Prng::new(1), 250, 80).is_empty());
        engine.close().unwrap();
        (fs::read(&path).unwrap(), ledger)
    });
    (bytes.clone(), ledger.copy())
}

fn open(path: &Path) -> Result<Engine, Error> {
    builder().open(path)
}

/// Every refusal says what to do.
fn assert_helpful(error: &Error, name: &str) {
    let said = error.to_string();
    let (advice, hints) = match error {
        Error::NotALog { .. } => (Advice::Fix, "what is in it was not changed"),
        Error::NewerFormat { .. } => (Advice::Fix, "use a newer boxoffice"),
        Error::CannotOpen { .. } => (Advice::Fix, "name a file that may be written"),
        Error::Corrupt { .. } => (Advice::Stop, "restore a backup"),
        Error::Storage { .. } => (Advice::Stop, "check the disk, and open the file again"),
        other => panic!("{name}: {other:?}"),
    };
    assert!(said.contains(hints) && error.advice() == advice, "{name}: {said}");
}

/// Opens a damaged file: a refusal, or all of the original data. A thorough look also goes on with the
/// file, and opens it again.
fn refused_or_intact(path: &Path, ledger: &Ledger, thorough: bool, name: &str) -> Option<Error> {
    let opened = catch_unwind(|| open(path));
    let opened = opened.unwrap_or_else(|_| panic!("{name}: a panic came out of the open"));
    let engine = match opened {
        Ok(engine) => engine,
        Err(error) => {
            assert_helpful(&error, name);
            return Some(error);
        }
    };
    ledger.check(&engine, name);
    if !thorough {
        return None;
    }
    let ledger = ledger.copy();
    let errors = ledger.work(&halls(&engine), &mut Prng::new(1), 2, 0);
    assert!(errors.is_empty(), "{name}: {errors:?}");
    engine.close().unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let engine = open(path).unwrap_or_else(|error| panic!("{name}: opened once: {error:?}"));
    ledger.check(&engine, name);
    None
}

#[test]
fn an_empty_file_is_a_new_one() {
    let (_folder, path) = file(b"");
    let engine = open(&path).unwrap();
    assert_eq!((engine.position(), engine.recovery().entries), (0, 0));
    let ledger = Ledger::default();
    assert!(ledger.work(&halls(&engine), &mut Prng::new(0), 5, 2).is_empty());
    engine.close().unwrap();
    ledger.check(&open(&path).unwrap(), "an empty file");
}

#[test]
fn something_else_is_refused_and_left_alone() {
    let mut dice = Prng::new(1);
    let mut files = vec![b"x".to_vec(), b"redb".to_vec(), b"Seats sold today:\n".repeat(10_000)];
    // What begins with nothing is not nothing.
    files.push([vec![0; 32_768], b"a disk image".to_vec()].concat());
    for len in [1, 8, 9, 64, 511, 4_096, 100_000, 2 << 20] {
        files.push((0..len).map(|_| dice.next_u64() as u8 | 1).collect());
    }
    for bytes in files {
        let (_folder, path) = file(&bytes);
        let name = format!("a foreign file of {} bytes", bytes.len());
        let error = open(&path).expect_err(&name);
        assert!(matches!(error, Error::NotALog { .. }), "{name}: {error:?}");
        assert_helpful(&error, &name);
        assert!(fs::read(&path).unwrap() == bytes, "{name} was changed");
    }
}

#[test]
fn a_foreign_database_is_refused() {
    const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    let (_folder, path) = file(b"");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(USERS).unwrap().insert(1, "ada").unwrap();
    transaction.commit().unwrap();
    drop(database);

    let error = open(&path).unwrap_err();
    assert!(matches!(&error, Error::NotALog { cause } if cause.contains("users")), "{error:?}");
    assert_helpful(&error, "a foreign database");
    let database = Database::open(&path).unwrap();
    let read = database.begin_read().unwrap();
    assert_eq!(read.list_tables().unwrap().count(), 1);
    assert_eq!(read.open_table(USERS).unwrap().get(1).unwrap().unwrap().value(), "ada");
}

/// A log whose beginning the disk lost is damaged. It is not taken for one that was never begun, and
/// what is left of it is left alone.
#[test]
fn a_log_that_lost_its_beginning_is_not_begun_anew() {
    let (bytes, _) = good();
    for lost in [1, 4, 9, 512, 4096] {
        let name = format!("the first {lost} bytes are zeros");
        let mut damaged = bytes.clone();
        damaged[..lost].fill(0);
        let (_folder, path) = file(&damaged);
        let error = open(&path).expect_err(&name);
        assert!(matches!(error, Error::NotALog { .. } | Error::Corrupt { .. }), "{name}: {error:?}");
        assert!(fs::read(&path).unwrap() == damaged, "{name}: the file was changed");

        let storage = FaultyStorage::with(damaged.clone(), 0);
        let error = builder().backend(storage.clone()).expect_err(&name);
        assert!(matches!(error, Error::NotALog { .. } | Error::Corrupt { .. }), "{name}: {error:?}");
        assert!(storage.bytes() == damaged, "{name}: the storage was changed");
    }
}

/// Changes the format record of a good file.
fn set_format(path: &Path, format: Option<&[u8]>) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        match format {
            Some(bytes) => drop(meta.insert("format", bytes).unwrap()),
            None => drop(meta.remove("format").unwrap()),
        }
    }
    transaction.commit().unwrap();
}

#[test]
fn a_newer_format_is_refused_until_it_is_known() {
    let (bytes, ledger) = good();
    let (_folder, path) = file(&bytes);
    for newer in [2, 3, u32::MAX] {
        set_format(&path, Some(&newer.to_le_bytes()));
        let error = open(&path).unwrap_err();
        assert!(
            matches!(error, Error::NewerFormat { found, supported: 1 } if found == newer),
            "format {newer}: {error:?}"
        );
        assert_helpful(&error, "a newer format");
    }
    for broken in [None, Some(&[1, 0][..]), Some(&[]), Some(&[0; 4])] {
        set_format(&path, broken);
        let error = open(&path).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "format {broken:?}: {error:?}");
        assert_helpful(&error, "a broken format");
    }
    set_format(&path, Some(&1u32.to_le_bytes()));
    ledger.check(&open(&path).unwrap(), "the format is known again");
}

#[test]
fn a_file_is_cut_off_anywhere() {
    let (bytes, ledger) = good();
    let mut dice = Prng::new(2);
    let mut lengths = vec![1, 8, 9, 10, 63, 64, 319, 320, 321, 511, 512, 4095, 4096, 4097, 8192];
    lengths.extend((1..16).map(|nth| bytes.len() * nth / 16));
    lengths.extend((1..=8).map(|less| bytes.len() - less));
    lengths.extend((0..80).map(|_| dice.below(bytes.len() as u64) as usize));
    quiet();
    for len in lengths {
        let (_folder, path) = file(&bytes[..len]);
        refused_or_intact(&path, &ledger, true, &format!("cut off at {len} of {}", bytes.len()));
    }
}

#[test]
fn a_single_bit_is_flipped_anywhere() {
    let (bytes, ledger) = good();
    let used: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
    let mut dice = Prng::new(3);
    quiet();
    let (mut refused, mut intact) = (0, 0);
    for round in 0..400 {
        // Most of the file is empty: half of the flips go where something is, or was.
        let at = match round % 4 {
            0 => dice.below(bytes.len() as u64) as usize,
            1 => dice.below(320) as usize,
            _ => used[dice.below(used.len() as u64) as usize],
        };
        let bit = dice.below(8);
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        let (_folder, path) = file(&damaged);
        match refused_or_intact(&path, &ledger, round % 8 == 0, &format!("bit {bit} of byte {at}")) {
            Some(_) => refused += 1,
            None => intact += 1,
        }
    }
    assert!(refused > 60 && intact > 60, "{refused} refused, {intact} intact: the damage is not spread");
}

/// The batches of a file by their first position.
type Rows = Vec<(u64, Vec<u8>)>;

/// Changes rows through redb, whose own checksums are then right.
fn change_rows(path: &Path, change: impl FnOnce(&mut Rows)) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(ROWS).unwrap();
        let row = |row: Result<(redb::AccessGuard<u64>, redb::AccessGuard<&[u8]>), _>| {
            row.map(|(first, bytes)| (first.value(), bytes.value().to_vec()))
        };
        let mut rows: Rows = table.iter().unwrap().map(row).collect::<Result<_, _>>().unwrap();
        table.retain(|_, _| false).unwrap();
        change(&mut rows);
        for (first, bytes) in rows {
            table.insert(first, bytes.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[test]
fn rows_are_changed_behind_the_checksums_of_redb() {
    let (bytes, ledger) = good();
    let mut dice = Prng::new(4);
    let check = |name: &str, change: &mut dyn FnMut(&mut Rows)| {
        let (_folder, path) = file(&bytes);
        change_rows(&path, change);
        refused_or_intact(&path, &ledger, true, name)
    };
    let corrupt = |name: &str, change: &mut dyn FnMut(&mut Rows)| {
        let error = check(name, change);
        assert!(matches!(error, Some(Error::Corrupt { .. })), "{name}: {error:?}");
    };
    assert!(check("nothing changed", &mut |_| ()).is_none());
    for round in 0..60 {
        corrupt(&format!("bit flip {round}"), &mut |rows| {
            let row = dice.below(rows.len() as u64) as usize;
            // The last four bytes of the header are reserved and unchecked.
            let places: Vec<_> = (0..rows[row].1.len()).filter(|at| !(36..40).contains(at)).collect();
            let at = places[dice.below(places.len() as u64) as usize];
            rows[row].1[at] ^= 1 << dice.below(8);
        });
    }
    for round in 0..20 {
        corrupt(&format!("cut {round}"), &mut |rows| {
            let row = dice.below(rows.len() as u64) as usize;
            let len = dice.below(rows[row].1.len() as u64) as usize;
            rows[row].1.truncate(len);
        });
    }
    corrupt("a byte too many", &mut |rows| rows[0].1.push(0));
    corrupt("the first batch is gone", &mut |rows| drop(rows.remove(0)));
    corrupt("a batch is gone", &mut |rows| drop(rows.remove(rows.len() / 2)));
    corrupt("a batch is there twice", &mut |rows| {
        let (last, bytes) = rows.last().unwrap().clone();
        rows.push((last + 1_000, bytes));
    });
    corrupt("two batches have changed places", &mut |rows| {
        let bytes = rows[1].1.clone();
        rows[1].1 = std::mem::replace(&mut rows[2].1, bytes);
    });
    corrupt("a batch lies under another position", &mut |rows| rows[1].0 += 1);
}

#[test]
fn places_where_no_file_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let under_a_file = folder.path().join("file/sales");
    fs::write(folder.path().join("file"), "text").unwrap();
    for path in [folder.path().to_owned(), folder.path().join("none/sales"), under_a_file] {
        let error = open(&path).expect_err("opened");
        assert!(matches!(error, Error::CannotOpen { .. }), "{path:?}: {error:?}");
        assert_helpful(&error, "a bad place");
        assert!(error.to_string().contains(path.to_str().unwrap()), "does not name the file: {error}");
    }
}

/// What may not be written is refused and left alone; a superuser may write everything, and then it opens.
#[test]
fn what_may_not_be_written_is_refused() {
    let (bytes, ledger) = good();
    let (folder, path) = file(&bytes);
    let protect = |path: &Path, protected: bool| {
        let mut permissions = fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(protected);
        fs::set_permissions(path, permissions).unwrap();
    };
    protect(&path, true);
    protect(folder.path(), true);
    let may_write = fs::OpenOptions::new().append(true).open(&path).is_ok();
    let (old, new) = (open(&path), open(&folder.path().join("new")));
    protect(folder.path(), false);
    match (old, new) {
        (Ok(engine), Ok(_)) if may_write => ledger.check(&engine, "a superuser's file"),
        (Err(old @ Error::CannotOpen { .. }), Err(new @ Error::CannotOpen { .. })) if !may_write => {
            assert_helpful(&old, "a read-only file");
            assert_helpful(&new, "a read-only folder");
            assert!(fs::read(&path).unwrap() == bytes, "changed");
        }
        other => panic!("{other:?}"),
    }
}

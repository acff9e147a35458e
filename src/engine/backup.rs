//! An online copy of the file, that opens.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;

use super::Engine;
use crate::error::{Cause, Error};
use crate::log::{Source, sync_folder_of};

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The last position in it: everything that was durable when the backup began.
    pub position: u64,
    /// Events and recorded rejections.
    pub events: u64,
    /// Bytes of the log; the file is somewhat larger.
    pub bytes: u64,
}

impl Engine {
    /// Copies everything that is on disk now to a new file, which [`Builder::open`](crate::options::Builder::open)
    /// then opens. Commands go on meanwhile; what they decide after the call is not in the copy.
    ///
    /// Every row is verified as it is copied: its checksum, and that no position and no version is missing. The copy
    /// is made under another name in the same folder, `.boxoffice-*.partial`, and gets its own when all of it is on disk: a
    /// backup that was cut off is never mistaken for a whole one, and may be deleted. Blocks until then, on reading
    /// the log and on the disk of the copy.
    ///
    /// ```
    /// use boxoffice::Engine;
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name: &str| folder.path().join(name);
    /// let engine = Engine::builder().aggregate::<FlashSale>().open(path("sales.boxoffice"))?;
    /// let sales = engine.handle::<FlashSale>(())?;
    /// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
    /// assert_eq!(engine.backup(path("monday.boxoffice"))?.position, 1);
    ///
    /// // The copy can be looked at while the original sells.
    /// let copy = Engine::builder().aggregate::<FlashSale>().open_read_only(path("monday.boxoffice"))?;
    /// assert_eq!(copy.handle::<FlashSale>(())?.read("lamp")?.left(), 5);
    /// # Ok::<(), boxoffice::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`] if there is a file with something in it already; [`Error::CannotOpen`] if there is no such
    /// folder, or no permission; [`Error::BackupFailed`] if the copy could not be written: this engine goes on.
    /// [`Error::Storage`] or [`Error::Corrupt`] if the log itself cannot be read; or why the engine has stopped.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<Backup, Error> {
        let path = path.as_ref();
        self.shared.log.check_readable()?;
        let replaces = is_there(path)?;
        let partial = Partial::create(path)?;
        let backup = self.copy_to(Source::File(partial.0.clone()))?;
        let named = sync(&partial.0).and_then(|()| partial.rename(path, replaces));
        named.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::NotEmpty { cause: cause(path, &"it exists") },
            _ => Error::BackupFailed { cause: cause(path, &error) },
        })?;
        sync_folder_of(path).map_err(|cause| Error::BackupFailed { cause })?;
        Ok(backup)
    }

    /// [`backup`](Self::backup) to storage of your own, in which there must be nothing. What is there when it was
    /// cut off does not open.
    ///
    /// # Errors
    ///
    /// As there, but for [`Error::CannotOpen`].
    pub fn backup_to(&self, storage: impl StorageBackend) -> Result<Backup, Error> {
        self.shared.log.check_readable()?;
        let failed = |error: io::Error| Error::BackupFailed { cause: error.to_string().into() };
        if storage.len().map_err(failed)? > 0 {
            return Err(Error::NotEmpty { cause: "the storage".into() });
        }
        self.copy_to(Source::Custom(Box::new(storage)))
    }

    fn copy_to(&self, target: Source) -> Result<Backup, Error> {
        let position = self.shared.log.durable();
        let copied = self.shared.log.copy_to(target, position)?;
        Ok(Backup { position, events: copied.events, bytes: copied.bytes })
    }
}

fn cause(path: &Path, error: &dyn std::fmt::Display) -> Cause {
    format!("{}: {error}", path.display()).into()
}

/// Whether there is an empty file, which the backup may replace.
fn is_there(path: &Path) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => Ok(true),
        Ok(_) => Err(Error::NotEmpty { cause: cause(path, &"it exists") }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::CannotOpen { cause: cause(path, &error) }),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A backup that is not whole yet; removed when it comes to nothing.
struct Partial(PathBuf);

impl Partial {
    fn create(path: &Path) -> Result<Self, Error> {
        if path.file_name().is_none() {
            return Err(Error::CannotOpen { cause: cause(path, &"it names no file") });
        }
        // A hash with a key of its own for every call.
        let unique = RandomState::new().hash_one(path);
        let partial = path.with_file_name(format!(".boxoffice-{unique:016x}.partial"));
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Ok(_) => Ok(Self(partial)),
            Err(error) => Err(Error::CannotOpen { cause: cause(path, &error) }),
        }
    }

    /// Gives the file its name; one that has come there meanwhile is kept.
    fn rename(&self, path: &Path, replaces: bool) -> io::Result<()> {
        if !replaces {
            match fs::hard_link(&self.0, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // What is left of the other name goes with `self`.
                Ok(()) => return Ok(()),
                // Not every file system has links.
                Err(_) if path.try_exists()? => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => {}
            }
        }
        fs::rename(&self.0, path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_the_place_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        for late in [false, true] {
            let partial = Partial::create(&path).unwrap();
            fs::write(&partial.0, "new").unwrap();
            if late {
                fs::write(&path, "old").unwrap();
                let error = partial.rename(&path, false).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            } else {
                partial.rename(&path, false).unwrap();
            }
            drop(partial);
            assert_eq!(fs::read(&path).unwrap(), if late { b"old" } else { b"new" });
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the other name stays");
            fs::remove_file(&path).unwrap();
        }
    }
}

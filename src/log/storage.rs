//! Where the bytes are: a file, memory, or a user's own storage, behind a gate that can be shut.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{BackendError, StorageBackend};

use crate::error::{Cause, Error};

/// What an engine is opened on.
pub(crate) enum Source {
    File(PathBuf),
    Memory,
    Custom(Box<dyn StorageBackend>),
}

/// A storage that can be shut for good: nothing is written after that, whatever redb still wants.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Box<dyn StorageBackend>,
    shut: Arc<AtomicBool>,
}

/// Shuts a [`Gate`] from outside redb.
#[derive(Clone, Debug)]
pub(crate) struct Latch(Arc<AtomicBool>);

impl Latch {
    pub(crate) fn shut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A file that is being created: it gets its name when it is complete, so that a crash on the way leaves
/// nothing behind that could not be opened.
pub(crate) enum NewFile {
    No,
    /// There was an empty file of this name.
    Empty(PathBuf),
    Created {
        temporary: PathBuf,
        wanted: PathBuf,
    },
}

impl NewFile {
    /// Gives the complete file its name, and makes the name durable.
    pub(crate) fn settle(self) -> Result<(), Error> {
        let wanted = match self {
            Self::No => return Ok(()),
            Self::Empty(path) => path,
            Self::Created { temporary, wanted } => {
                name(&temporary, &wanted)?;
                wanted
            }
        };
        let parent = match wanted.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed(parent, &error))
    }
}

fn name(temporary: &Path, wanted: &Path) -> Result<(), Error> {
    match fs::hard_link(temporary, wanted) {
        Ok(()) => fs::remove_file(temporary).map_err(|error| failed(temporary, &error)),
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let _ = fs::remove_file(temporary);
            Err(Error::AlreadyOpen)
        }
        // A file system without hard links.
        Err(_) => fs::rename(temporary, wanted).map_err(|error| failed(wanted, &error)),
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let cause = Cause::from(format!("{}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem => Error::CannotOpen { cause },
        _ => Error::Storage { cause },
    }
}

impl Gate {
    pub(crate) fn open(source: Source) -> Result<(Self, Latch, NewFile), Error> {
        let (inner, new): (Box<dyn StorageBackend>, _) = match source {
            Source::Memory => (Box::new(InMemoryBackend::new()), NewFile::No),
            Source::Custom(backend) => {
                let read = begin_anew_if_cut_off(&*backend);
                read.map_err(|error| Error::Storage { cause: error.to_string().into() })?;
                (backend, NewFile::No)
            }
            Source::File(path) => {
                let (file, new) = open_file(&path)?;
                let backend = FileBackend::new(file).map_err(|error| Error::Storage {
                    cause: Cause::from(format!("{}: {error}", path.display())),
                })?;
                (Box::new(backend), new)
            }
        };
        let shut = Arc::new(AtomicBool::new(false));
        Ok((Self { inner, shut: Arc::clone(&shut) }, Latch(shut), new))
    }

    fn may_write(&self) -> io::Result<()> {
        if self.shut.load(Ordering::Acquire) {
            return Err(io::Error::other("shut after an earlier failure"));
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<(File, NewFile), Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Ok(file) => {
            // After a failed fsync the kernel may keep pages that it wrongly calls clean: what is read
            // from here on must come from the disk. A hint: a file system that does not know it is no
            // error.
            #[cfg(target_os = "linux")]
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            let is_empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
            let new = if is_empty { NewFile::Empty(path.to_owned()) } else { NewFile::No };
            Ok((file, new))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut temporary = path.as_os_str().to_owned();
            temporary.push(".creating");
            let temporary = PathBuf::from(temporary);
            if let Ok(left) = options.open(&temporary) {
                // Left behind by a crash, unless somebody is at it. Only the name goes: under another one
                // the file may be somebody's log.
                left.try_lock().map_err(|_| Error::AlreadyOpen)?;
                fs::remove_file(&temporary).map_err(|error| failed(&temporary, &error))?;
            }
            let file = options.create_new(true).open(&temporary);
            let file = file.map_err(|error| failed(&temporary, &error))?;
            Ok((file, NewFile::Created { temporary, wanted: path.to_owned() }))
        }
        Err(error) => Err(failed(path, &error)),
    }
}

/// redb writes its mark last. Storage of a user's that has a length but no whole mark was being created
/// when the power went: nothing was ever acknowledged from it.
fn begin_anew_if_cut_off(storage: &dyn StorageBackend) -> io::Result<()> {
    const MARK: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
    let mut found = [0; MARK.len()];
    let len = usize::try_from(storage.len()?).unwrap_or(usize::MAX).min(MARK.len());
    let Some(start) = found.get_mut(..len) else { return Ok(()) };
    storage.read(0, start)?;
    let right = MARK.iter().zip(&found).take_while(|(mark, found)| mark == found).count();
    let nothing_else = found.iter().skip(right).all(|byte| *byte == 0);
    if len > 0 && right < MARK.len() && nothing_else {
        storage.set_len(0)?;
    }
    Ok(())
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.may_write()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.may_write()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.may_write()?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

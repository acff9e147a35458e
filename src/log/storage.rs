//! Where the bytes are: a file, memory, or a user's own storage, behind a gate that can be shut.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{BackendError, StorageBackend};

use super::overlay::Overlay;
use crate::error::{Cause, Error};

/// What an engine is opened on.
pub(crate) enum Source {
    File(PathBuf),
    /// A file that is not changed.
    ReadOnly(PathBuf),
    Memory,
    Custom(Box<dyn StorageBackend>),
}

/// A storage that can be shut for good: nothing is written after that, whatever redb still wants.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Box<dyn StorageBackend>,
    shut: Arc<AtomicBool>,
    /// Whether it was asked if the creation had been cut short: redb's first question comes under its lock.
    looked: AtomicBool,
}

/// Shuts a [`Gate`] from outside redb.
#[derive(Clone, Debug)]
pub(crate) struct Latch(Arc<AtomicBool>);

impl Latch {
    pub(crate) fn shut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A file that was new must have its directory entry on disk before anything in it is acknowledged.
pub(crate) struct NewFile(Option<PathBuf>);

impl NewFile {
    pub(crate) fn settle(self) -> Result<(), Error> {
        let Some(path) = self.0 else { return Ok(()) };
        sync_folder_of(&path).map_err(|cause| Error::Storage { cause })
    }
}

/// Makes the directory entry of a file durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Cause> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| format!("{}: {error}", parent.display()).into())
}

impl Gate {
    pub(crate) fn open(source: Source) -> Result<(Self, Latch, NewFile), Error> {
        let (inner, new): (Box<dyn StorageBackend>, _) = match source {
            Source::Memory => (Box::new(InMemoryBackend::new()), NewFile(None)),
            Source::Custom(backend) => (backend, NewFile(None)),
            Source::File(path) => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                let (backend, new) = open_file(&path, &mut options)?;
                (Box::new(backend), NewFile(new.then_some(path)))
            }
            Source::ReadOnly(path) => {
                let (backend, _) = open_file(&path, &mut OpenOptions::new())?;
                (Box::new(Overlay::new(Box::new(backend))), NewFile(None))
            }
        };
        let shut = Arc::new(AtomicBool::new(false));
        Ok((Self { inner, shut: Arc::clone(&shut), looked: AtomicBool::new(false) }, Latch(shut), new))
    }

    fn may_write(&self) -> io::Result<()> {
        if self.shut.load(Ordering::Acquire) {
            return Err(io::Error::other("shut after an earlier failure"));
        }
        Ok(())
    }
}

/// Opens a file, and says whether it is empty.
fn open_file(path: &Path, options: &mut OpenOptions) -> Result<(FileBackend, bool), Error> {
    let cause = |error: &dyn std::fmt::Display| Cause::from(format!("{}: {error}", path.display()));
    let opened = options.read(true).open(path).and_then(|file| {
        // Reading a folder fails later, and with other words.
        if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
    });
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem => Error::CannotOpen { cause: cause(&error) },
        _ => Error::Storage { cause: cause(&error) },
    })?;
    // After a failed fsync the kernel may keep pages that it wrongly calls clean: what is read from
    // here on must come from the disk. A hint, so a file system that does not know it is no error.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let new = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let backend = FileBackend::new(file).map_err(|error| Error::Storage { cause: cause(&error) })?;
    Ok((backend, new))
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        let len = self.inner.len()?;
        if len > 0 && !self.looked.swap(true, Ordering::AcqRel) && is_unfinished(&*self.inner, len)? {
            self.set_len(0)?;
            return Ok(0);
        }
        Ok(len)
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

/// Whether this is a creation that was cut short, from which nothing was ever acknowledged. redb writes
/// its mark last: until then the storage holds a header without the mark, or with a part of it, and zeros.
fn is_unfinished(storage: &dyn StorageBackend, len: u64) -> io::Result<bool> {
    const MARK: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
    const HEADER: usize = 512;
    /// Longer than anything that has no mark yet.
    const MOST: u64 = 4 << 20;
    let mut mark = vec![0; MARK.len().min(len as usize)];
    storage.read(0, &mut mark)?;
    let begun = mark.iter().zip(MARK).take_while(|(found, mark)| *found == mark).count();
    let torn = begun > 0 && mark.len() < MARK.len();
    if len > MOST || torn || begun == MARK.len() || mark.iter().skip(begun).any(|byte| *byte != 0) {
        return Ok(false);
    }
    let mut bytes = vec![0; len as usize];
    storage.read(0, &mut bytes)?;
    Ok(bytes.iter().skip(HEADER).all(|byte| *byte == 0))
}

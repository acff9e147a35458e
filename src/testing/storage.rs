//! The storage that an engine is opened on, and what a test tells it to do.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::disk::Disk;
use super::prng::Prng;

/// Storage in memory that does to an engine what disks and power plugs do.
///
/// A clone is the same storage: hand one to [`Builder::backend`](crate::options::Builder::backend) and keep
/// one. What is written waits in a page cache until it is synced. When the power goes, a random part
/// of what waits survives, in any order, and each write may be torn: only its front or only some of its
/// 512-byte sectors are there. Every call after that fails, and [`reopen`](Self::reopen) gives a fresh
/// storage with what survived. The seed decides all of it; with several threads the order of their
/// calls does, too.
#[derive(Clone)]
pub struct FaultyStorage(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    on_sync: Mutex<Option<Hook>>,
}

type Hook = Arc<dyn Fn(u64) + Send + Sync>;

struct State {
    disk: Disk,
    calls: Calls,
    fault: Option<Fault>,
    /// No call succeeds any more.
    off: bool,
}

#[derive(Clone, Copy)]
struct Fault {
    when: When,
    /// What the counters showed when it was ordered.
    since: Calls,
    failure: Failure,
}

/// How often each call was made, refused ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Questions for the length.
    pub len: u64,
    /// Reads.
    pub read: u64,
    /// Writes.
    pub write: u64,
    /// Changes of the length.
    pub set_len: u64,
    /// Syncs.
    pub sync: u64,
}

impl Calls {
    /// All calls.
    pub fn total(&self) -> u64 {
        self.len + self.read + self.changes()
    }

    /// Calls that change something, or make a change durable.
    pub fn changes(&self) -> u64 {
        self.write + self.set_len + self.sync
    }
}

/// Which call goes wrong, counted from 1 from the moment the failure is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The n-th call of any kind.
    Call(u64),
    /// The n-th write or change of the length or sync.
    Change(u64),
    /// The n-th question for the length.
    Len(u64),
    /// The n-th read.
    Read(u64),
    /// The n-th write.
    Write(u64),
    /// The n-th change of the length.
    SetLen(u64),
    /// The n-th sync.
    Sync(u64),
}

impl When {
    fn is_reached(self, since: &Calls, now: &Calls) -> bool {
        let (n, count): (u64, fn(&Calls) -> u64) = match self {
            Self::Call(n) => (n, Calls::total),
            Self::Change(n) => (n, Calls::changes),
            Self::Len(n) => (n, |calls| calls.len),
            Self::Read(n) => (n, |calls| calls.read),
            Self::Write(n) => (n, |calls| calls.write),
            Self::SetLen(n) => (n, |calls| calls.set_len),
            Self::Sync(n) => (n, |calls| calls.sync),
        };
        count(now) - count(since) >= n
    }
}

/// What happens to the call that goes wrong. All but the power losses happen to one call only: the
/// next one works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It fails with an input/output error and does nothing.
    Io,
    /// It fails for lack of space and does nothing.
    NoSpace,
    /// A write writes some of its front, then fails. Any other call: as [`Io`](Self::Io).
    Partial,
    /// A sync fails, has written a random part of what it should have, and marks all of it as written:
    /// reads still see it and a later sync does not write it again. Linux does that. Any other call: as
    /// [`Io`](Self::Io).
    LostSync,
    /// The power goes before it.
    PowerBefore,
    /// The power goes in the middle of it.
    PowerDuring,
    /// The power goes after it, before the caller learns that it worked.
    PowerAfter,
}

#[derive(Clone, Copy)]
enum Kind {
    Len,
    Read,
    Write,
    SetLen,
    Sync,
}

impl FaultyStorage {
    /// An empty storage. The seed decides what survives a power loss.
    pub fn new(seed: u64) -> Self {
        Self::with(Vec::new(), seed)
    }

    /// A storage with these bytes on disk.
    pub fn with(bytes: Vec<u8>, seed: u64) -> Self {
        Self::on(Disk::new(bytes, Prng::new(seed)))
    }

    fn on(disk: Disk) -> Self {
        let state = State { disk, calls: Calls::default(), fault: None, off: false };
        Self(Arc::new(Shared { state: Mutex::new(state), on_sync: Mutex::new(None) }))
    }

    /// Orders a failure. It takes the place of one that was ordered before and has not happened yet.
    pub fn fail(&self, when: When, failure: Failure) {
        let mut state = self.0.state.lock();
        state.fault = Some(Fault { when, since: state.calls, failure });
    }

    /// Takes back a failure that was ordered and has not happened yet.
    pub fn disarm(&self) {
        self.0.state.lock().fault = None;
    }

    /// Whether a failure is ordered and has not happened yet.
    pub fn is_armed(&self) -> bool {
        self.0.state.lock().fault.is_some()
    }

    /// Calls `hook` before each sync, on the syncing thread, with the number of the sync. The hook may
    /// block, which holds the sync up, or panic.
    pub fn on_sync(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        *self.0.on_sync.lock() = Some(Arc::new(hook));
    }

    /// How often this storage was called, since it was made or reopened.
    pub fn calls(&self) -> Calls {
        self.0.state.lock().calls
    }

    /// The bytes as a reader sees them now.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.state.lock().disk.seen().to_vec()
    }

    /// Takes the power away now: every later call fails.
    pub fn cut_power(&self) {
        self.0.state.lock().cut();
    }

    /// The storage after a power loss, which happens now if it did not happen yet.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut state = self.0.state.lock();
        state.off = true;
        Self::on(state.disk.after_power_loss())
    }

    /// The storage as the next process sees it if this one is killed now: nothing is lost but what a
    /// failed sync forgot, and even that is still seen. Calls of this storage fail from here on.
    #[must_use]
    pub fn reopen_warm(&self) -> Self {
        let mut state = self.0.state.lock();
        state.off = true;
        Self::on(state.disk.after_kill())
    }

    /// As [`reopen_warm`](Self::reopen_warm), with the page cache evicted: what a failed sync forgot is
    /// no longer seen.
    #[must_use]
    pub fn reopen_evicted(&self) -> Self {
        let mut state = self.0.state.lock();
        state.off = true;
        Self::on(state.disk.after_eviction())
    }
}

impl State {
    /// Counts a call, and says what is to go wrong with it.
    fn begin(&mut self, kind: Kind) -> io::Result<Option<Failure>> {
        let calls = &mut self.calls;
        *match kind {
            Kind::Len => &mut calls.len,
            Kind::Read => &mut calls.read,
            Kind::Write => &mut calls.write,
            Kind::SetLen => &mut calls.set_len,
            Kind::Sync => &mut calls.sync,
        } += 1;
        if self.off {
            return Err(power_is_off());
        }
        let due = self.fault.take_if(|fault| fault.when.is_reached(&fault.since, &self.calls));
        Ok(due.map(|fault| fault.failure))
    }

    fn cut(&mut self) {
        if !std::mem::replace(&mut self.off, true) {
            self.disk.settle_some();
        }
    }

    fn fail(&mut self, failure: Failure) -> io::Error {
        match failure {
            Failure::Io | Failure::Partial | Failure::LostSync => io::Error::from_raw_os_error(5),
            Failure::NoSpace => io::Error::from(io::ErrorKind::StorageFull),
            Failure::PowerBefore | Failure::PowerDuring | Failure::PowerAfter => {
                self.cut();
                power_is_off()
            }
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl StorageBackend for FaultyStorage {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.0.state.lock();
        match state.begin(Kind::Len)? {
            None => Ok(state.disk.seen().len() as u64),
            Some(failure) => Err(state.fail(failure)),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.state.lock();
        match state.begin(Kind::Read)? {
            None => state.disk.read(offset, out),
            Some(failure) => Err(state.fail(failure)),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state.lock();
        match state.begin(Kind::SetLen)? {
            None => state.disk.set_len(len),
            Some(failure) => {
                if matches!(failure, Failure::PowerDuring | Failure::PowerAfter) {
                    state.disk.set_len(len)?;
                }
                Err(state.fail(failure))
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let hook = self.0.on_sync.lock().clone();
        if let Some(hook) = hook {
            hook(self.calls().sync + 1);
        }
        let mut state = self.0.state.lock();
        match state.begin(Kind::Sync)? {
            None => state.disk.sync(),
            Some(failure) => {
                match failure {
                    Failure::LostSync | Failure::PowerDuring => state.disk.settle_some(),
                    Failure::PowerAfter => state.disk.sync(),
                    _ => {}
                }
                return Err(state.fail(failure));
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.state.lock();
        match state.begin(Kind::Write)? {
            None => state.disk.write(offset, data),
            Some(failure) => {
                match failure {
                    Failure::Partial | Failure::PowerDuring => state.disk.write_part(offset, data)?,
                    Failure::PowerAfter => state.disk.write(offset, data)?,
                    _ => {}
                }
                Err(state.fail(failure))
            }
        }
    }

    fn close(&self) -> io::Result<()> {
        if self.0.state.lock().off { Err(power_is_off()) } else { Ok(()) }
    }
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("FaultyStorage")
            .field("len", &state.disk.seen().len())
            .field("calls", &state.calls)
            .field("off", &state.off)
            .finish_non_exhaustive()
    }
}

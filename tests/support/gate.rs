//! Storage whose syncs wait before a gate, or fail.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::{WATCHDOG, locked, wait_until};

/// Memory that behaves like a disk whose `fsync` can be held up and broken. Clones share it, so that an
/// engine can be opened on what another one left.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatedStorage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    memory: InMemoryBackend,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    /// Who waits before the gate.
    waiting: usize,
    /// Changes that reached the storage: writes, resizes and syncs.
    changes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Open,
    Closed,
    Broken,
}

impl GatedStorage {
    /// From here on every sync waits.
    pub(crate) fn close_gate(&self) {
        self.set(Mode::Closed);
    }

    pub(crate) fn open_gate(&self) {
        self.set(Mode::Open);
    }

    /// Every sync fails, those before the gate too.
    pub(crate) fn fail(&self) {
        self.set(Mode::Broken);
    }

    /// Waits until a sync is held up.
    pub(crate) fn await_blocked(&self) {
        drop(wait_until(&self.0.state, &self.0.changed, "nobody came to sync", |state| state.waiting > 0));
    }

    /// How many changes the storage was asked for.
    pub(crate) fn changes(&self) -> u64 {
        locked(&self.0.state).changes
    }

    fn set(&self, mode: Mode) {
        locked(&self.0.state).mode = mode;
        self.0.changed.notify_all();
    }

    fn count(&self) {
        locked(&self.0.state).changes += 1;
    }
}

impl StorageBackend for GatedStorage {
    fn len(&self) -> io::Result<u64> {
        self.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.count();
        self.0.memory.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.count();
        self.0.memory.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = locked(&self.0.state);
        state.changes += 1;
        state.waiting += 1;
        self.0.changed.notify_all();
        let (mut state, timeout) = self
            .0
            .changed
            .wait_timeout_while(state, WATCHDOG, |state| state.mode == Mode::Closed)
            .map_err(|_| io::Error::other("poisoned"))?;
        state.waiting -= 1;
        if timeout.timed_out() {
            return Err(io::Error::other("watchdog: nobody opened the gate"));
        }
        match state.mode {
            Mode::Broken => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}

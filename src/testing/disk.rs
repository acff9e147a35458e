//! The bytes of a disk in three places: on the platter, on their way there, and as the running
//! system sees them.

use std::io;

use super::prng::Prng;

/// What a disk writes as one piece.
const SECTOR: usize = 512;

#[derive(Debug)]
pub(super) struct Disk {
    /// What survives a power loss for sure.
    platter: Vec<u8>,
    /// What reads return: the platter with everything that was ever written over it, also what a
    /// failed sync forgot.
    seen: Vec<u8>,
    /// Dirty pages: changes since the last sync, in order.
    dirty: Vec<Change>,
    dice: Prng,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(bytes, *offset, data),
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }

    /// Applies what a power loss leaves of the change: all of it, or a torn write.
    fn tear(&self, bytes: &mut Vec<u8>, dice: &mut Prng) {
        match self {
            Self::Write { offset, data } if dice.chance(1, 4) => {
                put(bytes, *offset, &data[..dice.below(data.len() as u64 + 1) as usize]);
            }
            Self::Write { offset, data } if dice.chance(1, 3) => {
                for (number, sector) in data.chunks(SECTOR).enumerate() {
                    if dice.chance(1, 2) {
                        put(bytes, offset + number * SECTOR, sector);
                    }
                }
            }
            whole => whole.apply(bytes),
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Disk {
    pub(super) fn new(bytes: Vec<u8>, dice: Prng) -> Self {
        Self { seen: bytes.clone(), platter: bytes, dirty: Vec::new(), dice }
    }

    pub(super) fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let found = from.and_then(|from| self.seen.get(from..)?.get(..out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(Change::Write { offset, data: data.to_vec() });
        Ok(())
    }

    /// Writes some of the front of `data`.
    pub(super) fn write_part(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let part = self.dice.below(data.len() as u64) as usize;
        self.write(offset, &data[..part])
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(usize::try_from(len).map_err(io::Error::other)?));
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.dirty.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.dirty.drain(..) {
            change.apply(&mut self.platter);
        }
    }

    /// Writes a random part of what is dirty, in a random order, and forgets the rest: what a failed
    /// sync leaves on the platter, and what a power loss does.
    pub(super) fn settle_some(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        if self.dice.chance(1, 2) {
            self.dice.shuffle(&mut dirty);
        }
        // From nothing at all to everything.
        let survive = self.dice.below(5);
        for change in dirty {
            if self.dice.chance(survive, 4) {
                change.tear(&mut self.platter, &mut self.dice);
            }
        }
    }

    /// The disk at the next start of the machine.
    pub(super) fn after_power_loss(&mut self) -> Self {
        self.settle_some();
        Self::new(self.platter.clone(), self.dice.fork())
    }

    /// The disk at the next start of the process: the machine, and with it its page cache, lives on.
    pub(super) fn after_kill(&mut self) -> Self {
        let (platter, seen) = (self.platter.clone(), self.seen.clone());
        Self { platter, seen, dirty: self.dirty.clone(), dice: self.dice.fork() }
    }

    /// As [`after_kill`](Self::after_kill), with every clean page dropped from the page cache.
    pub(super) fn after_eviction(&mut self) -> Self {
        let mut disk = Self::new(self.platter.clone(), self.dice.fork());
        for change in &self.dirty {
            disk.change(change.clone());
        }
        disk
    }
}

//! Every bound of the engine, in one place.

use crate::error::Error;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Upper bound on [`Limits::entry_bytes`]: what a decoder will ever agree to read as one event.
pub(crate) const MAX_ENTRY_BYTES: usize = 64 * MIB;

const MAX_METADATA_BYTES: usize = 64 * KIB;

/// The bounds an engine works within. All are checked before memory is spent.
///
/// ```
/// use boxoffice::{Engine, Limits};
///
/// let limits = Limits { queue_bytes: 32 << 20, ..Limits::default() };
/// let engine = Engine::builder().limits(limits).in_memory()?;
/// # engine.close()?;
/// # Ok::<(), boxoffice::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest stream id in bytes, 1 to 255. Default 255.
    pub id_bytes: usize,
    /// Most seats that one command may name. Default 1,024.
    pub cart: usize,
    /// Largest entry in bytes, up to 64 MiB. Default 16 MiB. A decision that encodes to more is
    /// refused with [`Error::TooLarge`].
    pub entry_bytes: usize,
    /// Bytes at which a batch is full. Default just below 4 MiB, because redb rounds a large
    /// value up to a power of two. An entry larger than this travels in a batch of its own.
    pub batch_bytes: usize,
    /// Bytes of decisions that may wait for the disk. Default 64 MiB. A caller whose entry would
    /// exceed it waits, or gets [`Error::Busy`]; of several who look at the same moment, each may go beyond
    /// it by one entry, and a call with many commands by one entry and 16 KiB.
    pub queue_bytes: usize,
    /// Longest texts of one command's [`Metadata`](crate::options::Metadata), all together, in bytes, up to 64 KiB.
    /// Default 4 KiB.
    pub metadata_bytes: usize,
    /// How many command ids are remembered, the latest ones, across restarts too. Default 1,000,000. An id
    /// takes about 120 bytes of memory beside its text; one that is older than all these is decided
    /// anew. See [`Call::id`](crate::options::Call::id).
    pub command_ids: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            id_bytes: 255,
            cart: 1024,
            entry_bytes: 16 * MIB,
            batch_bytes: 4 * MIB - KIB,
            queue_bytes: 64 * MIB,
            metadata_bytes: 4 * KIB,
            command_ids: 1_000_000,
        }
    }
}

impl Limits {
    /// Refuses bounds that contradict each other, or that the file format cannot hold.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &'static str| Err(Error::InvalidLimits { what });
        if !(1..=255).contains(&self.id_bytes) {
            return wrong("id_bytes must be 1 to 255");
        }
        if self.cart == 0 {
            return wrong("cart must be at least 1");
        }
        if !(KIB..=MAX_ENTRY_BYTES).contains(&self.entry_bytes) {
            return wrong("entry_bytes must be 1 KiB to 64 MiB");
        }
        if !(KIB..=MAX_ENTRY_BYTES).contains(&self.batch_bytes) {
            return wrong("batch_bytes must be 1 KiB to 64 MiB");
        }
        if self.metadata_bytes > MAX_METADATA_BYTES {
            return wrong("metadata_bytes must be at most 64 KiB");
        }
        if self.command_ids == 0 {
            return wrong("command_ids must be at least 1, or no id is ever known again");
        }
        if self.queue_bytes < self.entry_bytes {
            return wrong("queue_bytes must be at least entry_bytes, or a large entry waits for ever");
        }
        Ok(())
    }
}

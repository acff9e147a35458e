//! Every way a call can fail, and what the caller should do about it.

mod fence;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

pub use fence::Fence;

/// A stream's full name: the aggregate type and the id. No id can alias another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    /// [`Aggregate::TYPE`](crate::Aggregate::TYPE).
    pub aggregate: SmolStr,
    /// The id that the caller chose.
    pub id: SmolStr,
}

impl StreamName {
    /// How many bytes both names have together.
    pub(crate) fn bytes(&self) -> usize {
        self.aggregate.len() + self.id.len()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate, self.id)
    }
}

/// What a caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Nothing was decided. The same call may succeed later.
    Retry,
    /// Nothing was decided, and the same call will fail again: change the call, the limits, the
    /// aggregate's code or the file that was named.
    Fix,
    /// The decision stands and will become durable; only the wait for it ended. Do not send it
    /// again: wait on, or look at the stream.
    Wait,
    /// This engine decides nothing more. Close it, look at the disk, open the file again, and
    /// compare what it holds with what was acknowledged.
    Stop,
}

/// Why a storage operation failed, kept as text so that every caller can be handed the same cause.
pub type Cause = Arc<str>;

/// A command that no state could accept, refused before any work.
///
/// Returned by [`Aggregate::check`](crate::Aggregate::check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub SmolStr);

impl Invalid {
    /// Says what is wrong with the command, and what would be right.
    pub fn new(why: impl AsRef<str>) -> Self {
        Self(SmolStr::new(why))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a call failed. A domain's "no" is not here: that is a rejection, and an
/// [`Outcome`](crate::Outcome).
///
/// [`Error::advice`] sorts the variants into retry, fix, wait and stop.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// **Retry.** Another commit changed a part of this command's scope at every attempt, and the
    /// options say to report that instead of taking a turn.
    Conflict {
        /// Whose parts changed.
        stream: StreamName,
        /// How many attempts were made.
        attempts: u32,
    },
    /// **Retry.** Somebody else held a part of this command's scope until the deadline.
    LockTimeout {
        /// Whose lock was waited for.
        stream: StreamName,
        /// How long this call waited for it.
        waited: Duration,
    },
    /// **Retry.** Somebody else holds a part of this command's scope, and the options say not to
    /// wait.
    WouldBlock {
        /// Whose lock is taken.
        stream: StreamName,
    },
    /// **Retry.** Two or more transactions wait for each other, and this one is the one that gives way: drop it,
    /// which lets the others go on, and begin again. `Engine::transact` does so by itself.
    Deadlock {
        /// The streams on the cycle: the one whose lock this transaction wanted, then the one that the
        /// holder of that lock waits for, and so on.
        cycle: Vec<StreamName>,
    },
    /// **Fix.** The lock that is asked for is held by a transaction of the same thread or task, which would
    /// wait for itself for ever. Use that transaction, or end it first.
    HeldByCaller {
        /// Whose lock it is.
        stream: StreamName,
    },
    /// **Retry, more slowly.** More bytes wait for the disk than
    /// [`Limits::queue_bytes`](crate::Limits::queue_bytes) allows, and no room appeared in time.
    Busy {
        /// How long this call waited for room.
        waited: Duration,
    },
    /// **Wait.** The decision was made and stands, but was not on disk when the deadline passed.
    /// Do not send the command again.
    NotYetDurable {
        /// The decision's place in the log: hand it to
        /// [`Engine::wait_durable`](crate::Engine::wait_durable).
        position: u64,
    },

    /// **Fix.** A stream id must have 1 to [`Limits::id_bytes`](crate::Limits::id_bytes) bytes.
    InvalidId {
        /// How many bytes the id has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// **Fix.** The stream has no events, and this command does not create one.
    UnknownStream {
        /// The stream that was named.
        stream: StreamName,
    },
    /// **Fix.** The command is malformed in itself, whatever the state.
    InvalidCommand {
        /// What is wrong with it.
        why: Invalid,
    },
    /// **Fix.** A command id must have 1 to 255 bytes.
    InvalidCommandId {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// **Fix.** Another command came with this id before, or the same one to another stream. Nothing was
    /// decided; give every command an id of its own.
    IdReused {
        /// The id.
        id: SmolStr,
    },
    /// **Fix.** The metadata has more bytes than [`Limits::metadata_bytes`](crate::Limits::metadata_bytes).
    MetadataTooLarge {
        /// How many bytes all its texts have together.
        bytes: usize,
        /// How many they may have.
        limit: usize,
    },
    /// **Fix.** The decision encodes to more than one entry may hold, or a view to more than 64 MiB.
    TooLarge {
        /// At least how many bytes it needs.
        bytes: usize,
        /// How many it may need.
        limit: usize,
    },
    /// **Fix.** An event, a rejection or a projection's view could not be written by serde.
    Encode {
        /// What serde said.
        cause: Cause,
    },
    /// **Fix the aggregate.** An event touches a part that the command's scope did not name.
    /// Nothing was stored.
    OutOfScope {
        /// The stream whose command it was.
        stream: StreamName,
        /// The part that was touched.
        part: Arc<str>,
    },
    /// **Fix.** An event of this command breaks a policy of its type
    /// ([`Builder::policy`](crate::options::Builder::policy)). Nothing was stored; what would keep the policy
    /// depends on the state.
    PolicyViolated {
        /// The stream whose command it was.
        stream: StreamName,
        /// The policy's name.
        policy: &'static str,
    },
    /// **Fix the aggregate.** `apply` panicked. Nothing of the entry was stored; the stream is fenced
    /// while its state is rebuilt from the log.
    ApplyPanicked {
        /// The stream whose event it was.
        stream: StreamName,
        /// What the panic said.
        message: Cause,
    },
    /// **Retry** when the reason is [`Fence::Rebuilding`], otherwise **fix**: this stream takes no
    /// commands and no reads. Other streams are not affected.
    Fenced {
        /// The stream.
        stream: StreamName,
        /// Why.
        reason: Fence,
    },
    /// **Fix.** The aggregate type was not registered with the builder.
    NotRegistered {
        /// The type that was asked for.
        aggregate: &'static str,
    },
    /// **Fix.** The handle belongs to another engine than the transaction.
    OtherEngine {
        /// The handle's type.
        aggregate: &'static str,
    },
    /// **Fix.** Two different Rust types were registered under one name.
    RegisteredTwice {
        /// The name.
        aggregate: &'static str,
    },
    /// **Fix the aggregate.** Its [`upcasts`](crate::Aggregate::upcasts) do not lead to its
    /// [`EVENT_VERSION`](crate::Aggregate::EVENT_VERSION). Nothing was opened.
    InvalidUpcasts {
        /// The type.
        aggregate: &'static str,
        /// What is missing or too much.
        what: Cause,
    },
    /// **Fix.** The stream has no such version on disk yet.
    UnknownVersion {
        /// The stream that was named.
        stream: StreamName,
        /// The version that was named.
        version: u64,
        /// The last one that is on disk.
        last: u64,
    },
    /// **Fix.** The stream had no events at the moment that was named.
    NotYetCreated {
        /// The stream that was named.
        stream: StreamName,
        /// The position of its first event.
        first: u64,
    },
    /// **Fix.** The log has no such position yet.
    UnknownPosition {
        /// The position that was named.
        position: u64,
        /// The last one that was given out.
        last: u64,
    },
    /// **Fix.** A projection has counted an entry that this log does not hold: it belongs to another log, or
    /// to this one as it was before an older backup was restored.
    /// [Rebuild](crate::history::Projection::rebuild) it.
    ProjectionDiverged {
        /// The last position that it counted.
        position: u64,
        /// The last durable position of the log.
        last: u64,
    },
    /// **Fix.** The file does not hold this projection: name another file. If only the view's type was
    /// changed, give the projection a new version.
    NotThisProjection {
        /// What was found instead.
        cause: Cause,
    },
    /// **Fix.** The limits contradict each other.
    InvalidLimits {
        /// The rule that is broken.
        what: &'static str,
    },

    /// **Stop.** The disk failed while this decision was being written: it may or may not be
    /// there after the next open.
    OutcomeUnknown {
        /// The decision's place in the log, if it is there.
        position: u64,
        /// What the storage said.
        cause: Cause,
    },
    /// **Stop.** The disk failed before this decision was written: it will not be there after the
    /// next open.
    NotStored {
        /// What the storage said.
        cause: Cause,
    },
    /// **Stop.** The storage failed, now or earlier; this engine neither decides nor reads any
    /// more.
    Storage {
        /// What the storage said.
        cause: Cause,
    },
    /// **Stop.** A rule that this crate promises to keep was found broken. Please report it. Nothing
    /// is decided any more, and nothing that was seen after the break was written.
    Broken {
        /// Which rule.
        invariant: Cause,
    },
    /// **Stop.** The engine was closed.
    Closed,

    /// **Fix.** The engine was opened to look only
    /// ([`Builder::open_read_only`](crate::options::Builder::open_read_only)).
    ReadOnly,
    /// **Fix.** Another engine or projection, in this process or another, has the file open.
    AlreadyOpen,
    /// **Fix.** There is something already where a backup should go. It was not changed.
    NotEmpty {
        /// Where, and what.
        cause: Cause,
    },
    /// **Fix.** A backup could not be written or made durable. If something is there under its name, do not rely on it:
    /// remove it and try again. The engine itself goes on.
    BackupFailed {
        /// What the storage of the backup said.
        cause: Cause,
    },
    /// **Fix.** There is no such folder, or no permission, or the path is not a file.
    CannotOpen {
        /// The path, and what the system said.
        cause: Cause,
    },
    /// **Fix.** The file is a redb database that something else wrote, or no database at all. What
    /// is in it was not changed; redb may have tidied its own bookkeeping, as after any open.
    NotALog {
        /// What was found instead.
        cause: Cause,
    },
    /// **Fix.** The file was written by a newer version of this crate: open it with that version. What is
    /// in it was not changed.
    NewerFormat {
        /// The format of the file.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// **Stop.** The file was damaged: a checksum, a length or a number that must have no gap is
    /// wrong. Restore a backup; no data is served from a file in this state.
    Corrupt {
        /// What is wrong, and where.
        cause: Cause,
    },
}

impl Error {
    /// What the caller should do: retry, fix, wait or stop.
    ///
    /// ```
    /// use boxoffice::{Error, error::Advice};
    /// assert_eq!(Error::Closed.advice(), Advice::Stop);
    /// ```
    pub fn advice(&self) -> Advice {
        match self {
            Self::Conflict { .. }
            | Self::LockTimeout { .. }
            | Self::WouldBlock { .. }
            | Self::Deadlock { .. }
            | Self::Busy { .. }
            | Self::Fenced { reason: Fence::Rebuilding, .. } => Advice::Retry,
            Self::NotYetDurable { .. } => Advice::Wait,
            Self::InvalidId { .. }
            | Self::UnknownStream { .. }
            | Self::InvalidCommand { .. }
            | Self::HeldByCaller { .. }
            | Self::OtherEngine { .. }
            | Self::InvalidCommandId { .. }
            | Self::IdReused { .. }
            | Self::MetadataTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::Encode { .. }
            | Self::OutOfScope { .. }
            | Self::PolicyViolated { .. }
            | Self::ApplyPanicked { .. }
            | Self::Fenced { .. }
            | Self::NotRegistered { .. }
            | Self::RegisteredTwice { .. }
            | Self::InvalidUpcasts { .. }
            | Self::UnknownVersion { .. }
            | Self::NotYetCreated { .. }
            | Self::UnknownPosition { .. }
            | Self::ProjectionDiverged { .. }
            | Self::NotThisProjection { .. }
            | Self::InvalidLimits { .. }
            | Self::ReadOnly
            | Self::AlreadyOpen
            | Self::NotEmpty { .. }
            | Self::BackupFailed { .. }
            | Self::CannotOpen { .. }
            | Self::NotALog { .. }
            | Self::NewerFormat { .. } => Advice::Fix,
            Self::OutcomeUnknown { .. }
            | Self::NotStored { .. }
            | Self::Storage { .. }
            | Self::Broken { .. }
            | Self::Closed
            | Self::Corrupt { .. } => Advice::Stop,
        }
    }
}

impl std::error::Error for Error {}

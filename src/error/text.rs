//! What every error says: what happened, and what to do about it.

use std::fmt;

use super::Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { stream, attempts } => {
                write!(f, "{stream}: another commit came first in each of {attempts} attempts; retry")
            }
            Self::LockTimeout { stream, waited } => {
                write!(f, "{stream}: still locked after {} ms; retry", waited.as_millis())
            }
            Self::WouldBlock { stream } => write!(f, "{stream}: locked right now; retry"),
            Self::Deadlock { cycle } => {
                f.write_str("transactions wait for each other at ")?;
                for (index, stream) in cycle.iter().enumerate() {
                    match index.checked_sub(1).and_then(|before| cycle.get(before)) {
                        // Both hold a share of the one and want all of it.
                        Some(before) if before == stream => {}
                        Some(_) => write!(f, ", {stream}")?,
                        None => write!(f, "{stream}")?,
                    }
                }
                f.write_str("; drop this one and begin again")
            }
            Self::HeldByCaller { stream } => {
                write!(f, "{stream}: locked by another transaction of the same caller; end that one first")
            }
            Self::OtherEngine { aggregate } => {
                write!(f, "the handle of {aggregate} belongs to another engine than the transaction")
            }
            Self::Busy { waited } => {
                write!(f, "the write queue was still full after {} ms; retry more slowly", waited.as_millis())
            }
            Self::NotYetDurable { position } => write!(
                f,
                "decided at position {position} but not on disk before the deadline; wait, do not send it again"
            ),
            Self::InvalidId { bytes, limit } => {
                write!(f, "a stream id must have 1 to {limit} bytes, this one has {bytes}")
            }
            Self::UnknownStream { stream } => write!(f, "{stream} does not exist; create it first"),
            Self::InvalidCommand { why } => write!(f, "malformed command: {why}"),
            Self::InvalidCommandId { bytes, limit } => {
                write!(f, "a command id must have 1 to {limit} bytes, this one has {bytes}")
            }
            Self::IdReused { id } => {
                write!(f, "the command id {id:?} belongs to another command; give each an id of its own")
            }
            Self::MetadataTooLarge { bytes, limit } => {
                write!(f, "the metadata has {bytes} bytes, it may have {limit}")
            }
            Self::TooLarge { bytes, limit } => {
                write!(f, "the decision needs at least {bytes} bytes, an entry may have {limit}")
            }
            Self::Encode { cause } => write!(f, "an event could not be encoded: {cause}"),
            Self::OutOfScope { stream, part } => {
                write!(f, "{stream}: an event touches {part}, which the command's scope does not name")
            }
            Self::PolicyViolated { stream, policy } => {
                write!(f, "{stream}: against the policy {policy:?}; nothing was stored")
            }
            Self::ApplyPanicked { stream, message } => {
                write!(f, "{stream}: apply panicked ({message}); nothing was stored")
            }
            Self::Fenced { stream, reason } => write!(f, "{stream} is fenced: {reason}"),
            Self::NotRegistered { aggregate } => {
                write!(f, "the aggregate type {aggregate} was not registered with the builder")
            }
            Self::RegisteredTwice { aggregate } => {
                write!(f, "two different types are registered as {aggregate}")
            }
            Self::InvalidUpcasts { aggregate, what } => write!(f, "the upcasts of {aggregate}: {what}"),
            Self::UnknownVersion { stream, version, last } => {
                write!(f, "{stream} has no version {version} on disk yet, the last one is {last}")
            }
            Self::NotYetCreated { stream, first } => {
                write!(f, "{stream} had no events then; its first is at position {first}")
            }
            Self::UnknownPosition { position, last } => {
                write!(f, "position {position} does not exist yet, the last one is {last}")
            }
            Self::ProjectionDiverged { position, last } => write!(
                f,
                "the projection counted position {position} of another log, this one ends at {last}; rebuild it"
            ),
            Self::NotThisProjection { cause } => {
                write!(f, "not the file of this projection: {cause}; name another, or a new version")
            }
            Self::InvalidLimits { what } => f.write_str(what),
            Self::OutcomeUnknown { position, cause } => write!(
                f,
                "the storage failed while position {position} was written ({cause}); open the file again to learn whether it is there"
            ),
            Self::NotStored { cause } => {
                write!(f, "the storage failed before this decision was written ({cause}); it is lost")
            }
            Self::Storage { cause } => {
                write!(f, "the storage failed ({cause}); close, check the disk, and open the file again")
            }
            Self::Broken { invariant } => {
                write!(f, "broken invariant: {invariant}; the engine has stopped, please report this")
            }
            Self::Closed => f.write_str("the engine is closed"),
            Self::AlreadyOpen => {
                f.write_str("the file is open already, here or in another process; close it there first")
            }
            Self::ReadOnly => {
                f.write_str("opened to look only; open the file for writing to decide anything")
            }
            Self::NotEmpty { cause } => {
                write!(f, "no place for a backup, {cause}; name a file that does not exist")
            }
            Self::BackupFailed { cause } => {
                write!(f, "the backup could not be written ({cause}); make room for it and try again")
            }
            Self::CannotOpen { cause } => {
                write!(f, "cannot open {cause}; name a file that may be written, in a folder that exists")
            }
            Self::NotALog { cause } => {
                write!(f, "not a boxoffice file: {cause}; what is in it was not changed")
            }
            Self::NewerFormat { found, supported } => write!(
                f,
                "the file has format {found}, this version reads up to {supported}; use a newer boxoffice"
            ),
            Self::Corrupt { cause } => write!(f, "the file is damaged: {cause}; restore a backup"),
        }
    }
}

//! Why the log stopped, and what that means for a position.

use std::ops::Range;

use crate::error::{Cause, Error};

/// Why the log stopped, and what became of what was under way.
pub(super) struct Failure {
    /// The positions that were being written: they may or may not be there.
    pub(super) unknown: Range<u64>,
    pub(super) kind: FailureKind,
}

pub(super) enum FailureKind {
    Storage(Cause),
    Broken(Cause),
}

impl Failure {
    pub(super) fn latched(&self) -> Error {
        match &self.kind {
            FailureKind::Storage(cause) => Error::Storage { cause: cause.clone() },
            FailureKind::Broken(invariant) => Error::Broken { invariant: invariant.clone() },
        }
    }

    pub(super) fn verdict(&self, position: u64) -> Error {
        let (FailureKind::Storage(cause) | FailureKind::Broken(cause)) = &self.kind;
        if self.unknown.contains(&position) {
            Error::OutcomeUnknown { position, cause: cause.clone() }
        } else {
            Error::NotStored { cause: cause.clone() }
        }
    }
}

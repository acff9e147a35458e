//! Why a stream takes no commands and no reads.

use std::fmt;

use super::Cause;

/// Why a stream is fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fence {
    /// `apply` panicked on a new event. The state is being rebuilt from the log.
    Rebuilding,
    /// `apply` panicked on an event of the log. Mend `apply`, then open the file again.
    ApplyPanicked(Cause),
    /// An event of the log does not decode as this type's event. Mend the type, then open again.
    Undecodable(Cause),
    /// An event of the log has a newer schema version than this program knows.
    NewerEvent {
        /// The event's version.
        found: u32,
        /// [`Aggregate::EVENT_VERSION`](crate::Aggregate::EVENT_VERSION).
        supported: u32,
    },
    /// An event of the log has an older schema version than this program reads. Add the steps from it to
    /// [`Aggregate::upcasts`](crate::Aggregate::upcasts), or open the file with an older program.
    OlderEvent {
        /// The event's version.
        found: u32,
        /// The oldest that the aggregate names.
        oldest: u32,
    },
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebuilding => f.write_str("its state is being rebuilt; retry shortly"),
            Self::ApplyPanicked(cause) => {
                write!(f, "apply panicked on a stored event ({cause}); mend it and open again")
            }
            Self::Undecodable(cause) => {
                write!(f, "a stored event does not decode ({cause}); mend the event type and open again")
            }
            Self::NewerEvent { found, supported } => write!(
                f,
                "a stored event has schema version {found}, this program knows {supported}; use a newer program"
            ),
            Self::OlderEvent { found, oldest } => write!(
                f,
                "a stored event has schema version {found}, this program reads {oldest} and later; add the steps from it"
            ),
        }
    }
}

//! An embedded reservation engine: sell seats from many threads, never twice, acknowledged only when
//! on disk.

pub mod aggregate;
pub mod clock;
pub mod cow;
mod domain;
mod engine;
pub mod error;
mod limits;
mod log;
mod scope;
mod sync;

pub use aggregate::{Aggregate, Context, Events};
pub use domain::{flash_sale, layout, venue};
pub use engine::{Builder, Concurrency, Decision, Engine, Handle, Options, Outcome, Receipt, View};
pub use error::Error;
pub use limits::Limits;
pub use scope::{Part, Parts, Scope};

/// How commands are run, beyond what [`Options`] shows at first sight.
pub mod options {
    pub use crate::engine::{Concurrency, Effort, Exhausted, Options, Wait};
}

/// A stream's history, and what an open found.
pub mod history {
    pub use crate::engine::{Happened, History, Progress, Recorded, Recovery};
}

//! An embedded reservation engine: sell seats from many threads, never twice, acknowledged only when
//! on disk.
//!
//! An [`Engine`] opens one file. A [`Handle`] sends commands to the streams of one [`Aggregate`] type:
//! a [`venue`], a [`flash_sale`], or your own. Every command ends as an [`Outcome`], accepted or
//! rejected, or as an [`Error`] that says what to do. [`Options`] choose between locks and checks;
//! the guarantee is the same.
//!
//! ```
//! use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
//! use boxoffice::{Engine, Options};
//!
//! let engine = Engine::builder().aggregate_with::<FlashSale>(Options::optimistic()).in_memory()?;
//! let sales = engine.handle::<FlashSale>(())?;
//! assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
//!
//! // Decided at once, durable later: wait on the receipt before you tell anybody.
//! let receipt = sales.submit("lamp", &FlashSaleCommand::purchase("ada", 2))?;
//! assert!(receipt.wait()?.is_accepted());
//! assert_eq!(sales.read("lamp")?.left(), 3);
//! engine.close()?;
//! # Ok::<(), boxoffice::Error>(())
//! ```
//!
//! | to | look at |
//! |---|---|
//! | sell seats, or a number of equal things | [`venue`] and [`layout`], [`flash_sale`] |
//! | decide about something else | [`Aggregate`] |
//! | change several streams at once, or call somebody else in between | [`Engine::transact`], [`Engine::begin`] |
//! | be sure that a command sent twice counts once | [`Handle::call`] |
//! | choose locks or checks, and how long to wait | [`Options`] |
//! | follow what happens, or build a view of it | [`Engine::feed`], [`history::Projection`] |
//! | change an event type that is in a file | [`aggregate::Upcasts`] |
//! | check and copy a file, or only look at it | [`Handle::verify`], [`Engine::backup`], [`Builder::open_read_only`](options::Builder::open_read_only) |
//! | test your rules, and what you do when a disk fails | `testing`, behind the feature of that name |
//!
//! `docs/guide.md` in the repository goes through all of it, with a program for each step.
//!
//! What blocks, and on what: [`Handle::execute`] on locks that others hold, on room in the write queue
//! and on the disk; [`Handle::submit`] on the first two; [`Handle::read`] on nothing. `decide`, services
//! and the clock run on the calling thread or task, with no mutex held.

#![warn(missing_docs, unreachable_pub)]
// What only a library must not do: examples print, tests unwrap.
#![cfg_attr(
    not(test),
    warn(
        clippy::dbg_macro,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::todo,
        clippy::unwrap_used
    )
)]

pub mod aggregate;
pub mod clock;
mod codec;
pub mod cow;
mod domain;
mod engine;
pub mod error;
mod intern;
mod limits;
mod log;
mod metadata;
#[cfg(all(test, shuttle))]
mod model;
mod scope;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

pub use aggregate::{Aggregate, Context, Events};
pub use domain::{flash_sale, layout, venue};
pub use engine::{Decision, Engine, Handle, Options, Outcome, Receipt, Transaction, View};
pub use error::Error;
pub use limits::Limits;
pub use scope::{Part, Scope};

/// What can be chosen: how an engine is opened, and how commands are run.
pub mod options {
    pub use crate::engine::{
        Builder, Call, Committed, Concurrency, Effort, Exhausted, Lock, Options, Staged, Wait,
    };
    pub use crate::metadata::Metadata;
}

/// A stream's history and its state back then, the change feed and projections of it; what an audit, a backup and
/// an open found.
pub mod history {
    pub use crate::aggregate::Moment;
    pub use crate::engine::{
        AsyncFeed, At, Backup, Difference, Feed, FeedEntry, FeedEvent, FeedSpan, Happened, History, Mismatch,
        Progress, Projection, Recorded, Recovery, Verification,
    };
}

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide's programs too.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
struct Guide;

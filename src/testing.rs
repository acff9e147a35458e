//! For tests of this crate, and of programs that embed it: rules as sentences ([`given`]), and storage that
//! fails, tears and loses power on command ([`FaultyStorage`]). Behind the feature `testing`.
//!
//! ```
//! use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
//! use boxoffice::testing::{Failure, FaultyStorage, When};
//! use boxoffice::{Engine, Error};
//!
//! let storage = FaultyStorage::new(1);
//! let engine = Engine::builder().aggregate::<FlashSale>().backend(storage.clone())?;
//! let sales = engine.handle::<FlashSale>(())?;
//! assert!(sales.execute("tour", &FlashSaleCommand::create(2))?.is_accepted());
//!
//! // The lights go out in the middle of the next sync.
//! storage.fail(When::Sync(1), Failure::PowerDuring);
//! let outcome = sales.execute("tour", &FlashSaleCommand::purchase("ada", 1));
//! assert!(matches!(outcome, Err(Error::OutcomeUnknown { .. })));
//! drop(engine);
//!
//! // What was acknowledged is there.
//! let engine = Engine::builder().aggregate::<FlashSale>().backend(storage.reopen())?;
//! assert!(engine.handle::<FlashSale>(())?.read("tour")?.left() >= 1);
//! # Ok::<(), Error>(())
//! ```

mod disk;
mod given;
mod prng;
mod storage;

pub use given::{Asked, Given, Refused, Then, given};
pub use prng::Prng;
pub use storage::{Calls, Failure, FaultyStorage, When};

//! Whatever a caller passes in, however large or strange: a typed error that says what to do, and nothing
//! stored; or it works, and no two names are ever taken for one.
//!
//! Method: ids, labels, carts, layouts, limits and types at and beyond their bounds; then files that one
//! version of a program wrote and another opens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "bad_input/errors.rs"]
mod errors;
#[path = "bad_input/names.rs"]
mod names;
#[path = "bad_input/programs.rs"]
mod programs;

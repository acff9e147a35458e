//! What the examples share: a screen, tables, bars, a command line, and a place for the log.
//!
//! An example takes it in with `#[path = "../support/mod.rs"] mod support;` and has nothing else in common
//! with the others. Nothing here knows what is sold.
#![allow(dead_code, reason = "each example uses a part of this")]

pub(crate) mod args;
pub(crate) mod bar;
pub(crate) mod child;
pub(crate) mod home;
pub(crate) mod ink;
pub(crate) mod patience;
pub(crate) mod program;
pub(crate) mod promises;
pub(crate) mod screen;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod together;

/// What ends a program early: an error of the engine, of the system, or a broken promise.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

//! The rules of the design, each with the schedule that breaks an engine without it: forced, not hoped for.
//!
//! Goal: for each of the twelve rules a test that carries its number, in both modes where the mode
//! matters, and for the rules that are easy to believe in a control that shows the damage when the rule
//! is left out.
//!
//! Method: threads are held where they are by meetings and doors inside decide, inside services and
//! inside the clock; tasks are polled by hand with a waker that only counts; syncs wait before a gate in
//! the storage. No test sleeps, and none asserts how long anything took.
//!
//! Rule 10 (a broken invariant stops the engine) has no test here: nothing that a user can write, also not
//! an aggregate whose `scope`, `touches`, `apply` or `Clone` give other answers each time, reaches an
//! invariant of the engine. What such an aggregate does reach is refused by name, and
//! `rule_10_an_impure_aggregate_breaks_no_invariant` holds that. The stop itself is left to the tests
//! inside the crate, which can break an invariant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "rules/bounds.rs"]
mod bounds;
#[path = "rules/durable.rs"]
mod durable;
#[path = "rules/failure.rs"]
mod failure;
#[path = "rules/locks.rs"]
mod locks;
#[path = "rules/modes.rs"]
mod modes;
#[path = "rules/panics.rs"]
mod panics;
#[path = "rules/policies.rs"]
mod policies;
#[path = "rules/scope.rs"]
mod scope;
#[path = "rules/side_by_side.rs"]
mod side_by_side;
#[path = "rules/tasks.rs"]
mod tasks;

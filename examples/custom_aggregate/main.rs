//! Your own aggregate, from nothing: a parking garage, built in eight steps. Read the files in this order.
//!
//! | step | file | the question it answers |
//! |---|---|---|
//! | 1 | `state.rs` | what must be known to decide? |
//! | 2 | `command.rs` | what can be asked, and what is nonsense whatever the state? |
//! | 3 | `event.rs` | what can have been decided, and why is the answer no? |
//! | 4 | `scope.rs` | what does a decision depend on? |
//! | 5 | `decide.rs` | yes or no? |
//! | 6 | `apply.rs` | what is different afterwards? |
//! | 7 | `tests.rs` | is it right? `cargo test --example custom_aggregate` |
//! | 8 | `day.rs` | does it work? `cargo run --release --example custom_aggregate` |
//!
//! `garage.rs` ties the steps together into the trait. `ledger.rs` checks the history, `map.rs` draws the bays.
//! The first three steps and `apply` are needed by every aggregate; without `scope` it works too, one command
//! at a time.

mod apply;
mod args;
mod command;
mod day;
mod decide;
mod event;
mod garage;
mod ledger;
mod map;
mod scope;
mod state;
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod tests;
mod walk;

use std::process::ExitCode;

use boxoffice::{Engine, Options};

use args::Args;
use garage::{Garage, Till};
use support::Failure;
use support::home::Home;
use support::patience::patient;
use support::promises::Promises;
use support::screen::Screen;

fn main() -> ExitCode {
    support::program::run("custom_aggregate", &args::command_line(), Args::default(), park)
}

fn park(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let home = Home::new("custom_aggregate", args.file.as_deref())?;
    let mut promises = Promises::default();
    walk::one_car(screen, &mut promises)?;

    let engine = Engine::builder()
        .aggregate::<Garage>()
        // A rule that no command can forget, those to come included: asked of every event, at its commit.
        .policy::<Garage>("bays for the disabled are for permits", |_, event, after| {
            event.keeps_bays_free(after)
        })
        .clock(day::QuickClock::default())
        .open(&home.file)?;
    let garages = engine.handle::<Garage>(Till::slow())?;
    let mut days = Vec::new();
    for (name, options) in [("pessimistic", Options::pessimistic()), ("optimistic", Options::optimistic())] {
        days.push(day::day(name, &garages.with(patient(options)), args, screen, &mut promises)?);
    }
    screen.say(&day::table(&days));

    let found = garages.verify()?;
    promises.check(found.is_clean(), || format!("verify: {:?} {:?}", found.differences, found.findings));
    engine.close()?;
    if let Some(kept) = home.kept() {
        screen.say(&format!("The log stays in {}.", kept.display()));
    }
    promises.verdict()?;
    screen.say("Every promise was kept.");
    Ok(())
}

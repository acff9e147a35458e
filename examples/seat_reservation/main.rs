//! Seat reservation: three customers, one seat, and a decision that takes its time.
//!
//! `cargo run --release --example seat_reservation` does what one otherwise does with a database's named
//! locks, on one file. A slow decision holds exactly the seats of its cart; whoever wants one of them waits
//! in line, and nobody else does.
//!
//! | file | what it shows |
//! |---|---|
//! | `hall.rs` | an aggregate that wraps the built-in venue; slow services |
//! | `counter.rs` | scenes at the counter: a race for a seat, and what is refused |
//! | `line.rs` | scenes in the line: a lock timeout, other seats and venues, a decision that panics |
//! | `map.rs` | the seats as they are |
//! | `story.rs` | the history, printed and checked |

mod args;
mod counter;
mod hall;
mod line;
mod map;
mod story;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use boxoffice::Engine;
use boxoffice::clock::{ManualClock, Timestamp};

use args::Args;
use hall::Hall;
use support::Failure;
use support::home::Home;
use support::promises::Promises;
use support::screen::Screen;

/// The two venues of this town.
const CONCERT_HALL: &str = "concert-hall";
const CLUB: &str = "club";

/// Seven in the evening. The clock is injected, so every run has the same times.
const OPENS: Timestamp = Timestamp(19 * 3_600 * 1_000_000);

fn main() -> ExitCode {
    support::program::run("seat_reservation", &args::command_line(), Args::default(), evening)
}

fn evening(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let home = Home::new("seat_reservation", args.file.as_deref())?;
    let clock = Arc::new(ManualClock::new(OPENS));
    let engine = open(&home.file, Arc::clone(&clock))?;
    let mut promises = Promises::default();
    {
        let town = hall::Town { engine: &engine, clock: &clock, args, screen };
        let mut map = map::Map::default();
        town.create(CONCERT_HALL)?;
        town.create(CLUB)?;
        counter::three_customers(&town, &mut map, &mut promises)?;
        counter::what_is_refused(&town, &mut map, &mut promises)?;
        line::nobody_else_waits(&town, &mut map, &mut promises)?;
        line::a_panic_frees_its_seats(&town, &mut map, &mut promises)?;
    }
    engine.close()?;

    // What the callers were told is forgotten. What counts is in the file.
    let engine = open(&home.file, clock)?;
    story::tell(&engine, screen, &mut promises)?;
    engine.close()?;
    if let Some(kept) = home.kept() {
        screen.say(&format!("The log stays in {}.", kept.display()));
    }
    promises.verdict()?;
    screen.say("Every promise was kept.");
    Ok(())
}

fn open(file: &Path, clock: Arc<ManualClock>) -> Result<Engine, boxoffice::Error> {
    Engine::builder().aggregate::<Hall>().clock(clock).open(file)
}

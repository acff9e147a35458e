//! Flash sale: more buyers than items, all at once, and nobody gets an error.
//!
//! `cargo run --release --example flash_sale` sells 5 items to 8 buyers, with locks and with checks, and does so
//! 200 times more; then 500 items to 10,000; then brings the eight into lockstep, where checks alone need seven
//! retries and have five, and shows the two ways out: take a turn, or be told.
//!
//! | file | what it shows |
//! |---|---|
//! | `eight.rs` | eight buyers, one answer each; more than there is |
//! | `rounds.rs` | the eight buyers, 200 times more |
//! | `crowd.rs` | ten thousand buyers, and a bar that drains |
//! | `lockstep.rs` | the worst case of optimistic concurrency, forced by an injected clock |
//! | `ledger.rs` | what the stored history says, against what the buyers heard |

mod args;
mod crowd;
mod eight;
mod ledger;
mod lockstep;
mod rounds;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use boxoffice::flash_sale::FlashSale;
use boxoffice::{Engine, Options};

use args::{Args, Mode};
use lockstep::MeetingClock;
use support::Failure;
use support::home::Home;
use support::patience::patient;
use support::promises::Promises;
use support::screen::Screen;

fn main() -> ExitCode {
    support::program::run("flash_sale", &args::command_line(), Args::default(), sell)
}

fn sell(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let home = Home::new("flash_sale", args.file.as_deref())?;
    let engine = Engine::builder().aggregate::<FlashSale>().clock(MeetingClock).open(&home.file)?;
    let sales = engine.handle::<FlashSale>(())?.with(patient(Options::default()));
    let mut promises = Promises::default();
    for mode in [Mode::Pessimistic, Mode::Optimistic] {
        if args.mode.includes(mode) {
            eight::eight_buyers(&sales, mode, args, screen, &mut promises)?;
            rounds::rounds(mode, args, screen, &mut promises)?;
            crowd::crowd(&sales, mode, args, screen, &mut promises)?;
        }
    }
    if args.mode.includes(Mode::Optimistic) {
        lockstep::lockstep(&sales, screen, &mut promises)?;
    }
    eight::too_many(&sales, screen, &mut promises)?;

    // Every sale once more, from the log, by the engine's own audit.
    let found = sales.verify()?;
    promises.check(found.is_clean(), || format!("verify: {:?} {:?}", found.differences, found.findings));
    engine.close()?;
    if let Some(kept) = home.kept() {
        screen.say(&format!("The log stays in {}.", kept.display()));
    }
    promises.verdict()?;
    screen.say("\nEvery promise was kept.");
    Ok(())
}

//! Match day: 60,000 seats, tens of thousands of fans, and no seat may be sold twice.
//!
//! `cargo run --release --example match_day` sells the same stadium three times and then once more
//! through a crash:
//!
//! 1. **read-then-write**, as one would first write it: look, think, write. It sells seats twice.
//! 2. **pessimistic**: the engine locks the seats of a cart, then decides.
//! 3. **optimistic**: the engine decides, then checks that the seats have not changed since.
//! 4. **crash**: a child process sells until it is killed. What it had acknowledged must be there.
//!
//! Every sale is then audited from the stored history alone. Where to read on:
//!
//! | file | what it shows |
//! |---|---|
//! | `venue_desk.rs` | the few calls that a program makes to sell seats safely |
//! | `paper_desk.rs` | an aggregate of your own, and the mistake |
//! | `fans.rs`, `sale.rs` | who calls: the crowd, on many threads |
//! | `audit.rs` | reading a history |
//! | `crash.rs` | a kill, and opening the file again |
//! | `stadium.rs`, `stadium.layout` | a layout file, and finding seats side by side |

mod args;
mod audit;
mod crash;
mod desk;
mod fans;
mod map;
mod paper_desk;
mod sale;
mod show;
mod stadium;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod venue_desk;

use std::path::Path;
use std::process::ExitCode;

use boxoffice::venue::Venue;
use boxoffice::{Engine, Options};

use args::{Args, Mode};
use audit::Findings;
use desk::Desk;
use paper_desk::{Paper, PaperDesk};
use sale::{Sale, Tally};
use show::Show;
use stadium::Stadium;
use support::Failure;
use support::home::Home;
use support::promises::Promises;
use support::screen::Screen;
use support::text::plural;
use venue_desk::VenueDesk;

/// One sale, over: what the callers saw, and what the audit of the history found.
struct Match {
    mode: Mode,
    tally: Tally,
    findings: Findings,
}

fn main() -> ExitCode {
    support::program::run("match_day", &args::command_line(), Args::default(), match_day)
}

fn match_day(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let stadium = Stadium::new(args.seats)?;
    if args.crash_child {
        return crash::child(args, &stadium);
    }
    let home = Home::new("match_day", args.file.as_deref())?;
    introduce(args, &stadium, &home, screen);

    let engine = open(&home.file)?;
    let mut matches = Vec::new();
    for mode in [Mode::Unsafe, Mode::Pessimistic, Mode::Optimistic] {
        if args.mode.includes(mode) {
            matches.push(play(mode, args, &stadium, &engine, screen)?);
        }
    }
    engine.close()?;
    if !matches.is_empty() {
        screen.say(&table::closing(&matches));
    }

    let mut promises = Promises::default();
    promises.extend(matches.iter().flat_map(Match::faults));
    if args.mode.includes(Mode::Crash) {
        promises.extend(crash::parent(args, &stadium, &home.file, screen)?);
    }
    if let Some(kept) = home.kept() {
        screen.say(&format!("The log stays in {}.", kept.display()));
    }
    promises.verdict()?;
    if args.mode != Mode::Unsafe {
        screen.say("Every promise was kept.");
    }
    Ok(())
}

/// Opens the file of all sales, or creates it. Every aggregate type that it may hold is registered.
fn open(file: &Path) -> Result<Engine, boxoffice::Error> {
    Engine::builder().aggregate::<Venue>().aggregate::<Paper>().open(file)
}

/// Sells the stadium in one mode, shows it as it fills, and audits the history.
fn play(
    mode: Mode,
    args: &Args,
    stadium: &Stadium,
    engine: &Engine,
    screen: &Screen,
) -> Result<Match, Failure> {
    match mode {
        Mode::Unsafe => {
            let desk = PaperDesk::open(engine, mode.name(), stadium)?;
            // It goes wrong soon enough with a part of the crowd.
            sell(mode, args.fans.div_ceil(4), args, stadium, &desk, screen)
        }
        Mode::Optimistic => {
            let desk = VenueDesk::open(engine, mode.name(), stadium, Options::optimistic())?;
            sell(mode, args.fans, args, stadium, &desk, screen)
        }
        _ => {
            let desk = VenueDesk::open(engine, mode.name(), stadium, Options::pessimistic())?;
            sell(mode, args.fans, args, stadium, &desk, screen)
        }
    }
}

fn sell<D: Desk>(
    mode: Mode,
    fans: u64,
    args: &Args,
    stadium: &Stadium,
    desk: &D,
    screen: &Screen,
) -> Result<Match, Failure> {
    screen.say(&format!("\n{}\n{}", screen.bold(mode.title()), mode.story()));
    let sale = Sale { stadium, fans: 0..fans, threads: args.threads, seed: args.seed };
    let mut show = Show::new(screen, stadium, mode.name());
    let tally = sale.run(desk, |moment| {
        show.watch(&moment, &*desk.look()?);
        Ok(())
    })?;
    show.finish(&*desk.look()?);

    let findings = audit::audit(desk, stadium, Some(&tally))?;
    let verdict = findings.verdict(stadium);
    screen.say(&if findings.sold_twice > 0 { screen.alarm(&verdict) } else { verdict });
    Ok(Match { mode, tally, findings })
}

impl Match {
    /// What is wrong with this sale. For the unsafe one, that nothing is.
    fn faults(&self) -> Vec<String> {
        let found = self.findings.faults.iter();
        let mut faults: Vec<String> = found.map(|fault| format!("{}: {fault}", self.mode.name())).collect();
        let twice = self.findings.sold_twice;
        match self.mode {
            // A handful of fans may be lucky; a crowd is not.
            Mode::Unsafe if twice == 0 && self.tally.is_a_crowd() => {
                faults.push("read-then-write sold no seat twice, although it must".into());
            }
            Mode::Unsafe => {}
            _ if twice > 0 => faults.push(format!("{}: {twice} seats sold twice", self.mode.name())),
            _ => {}
        }
        faults
    }
}

fn introduce(args: &Args, stadium: &Stadium, home: &Home, screen: &Screen) {
    screen.say(&format!(
        "Match day: {} in {}, {} on {}, seed {}.\nThe log is in {}{}.",
        plural(stadium.layout.len().into(), "seat"),
        plural(stadium.stands.len() as u64, "stand"),
        plural(args.fans, "fan"),
        plural(args.threads as u64, "thread"),
        args.seed,
        home.file.display(),
        if home.kept().is_some() { "" } else { ", removed at the end (--file keeps one)" },
    ));
}

//! Payment: a call to somebody else's service in the middle of a transaction, and everything that can go wrong with it.
//!
//! `cargo run --release --example payment` plays five scenes. A payment is new, then payed or failed. A job locks
//! it, has the provider charge the card, which is slow, and saves what the provider said.
//!
//! 1. **Three jobs and a reader at once.** One charges, two wait and skip, the reader does not wait.
//! 2. **Payed or failed already.** Everybody skips.
//! 3. **The save fails** after the charge; the next job panics before its own. The one after it asks the provider, and
//!    charges nothing.
//! 4. **The process is killed** after the charge, or during it, and before the save. The next one finishes, with one
//!    charge.
//! 5. **Other ways to lock:** with a limit, not at all, what is free, together; and two who wait for each other.
//!
//! The provider is a web server that is part of this program and keeps books of its own. After every scene with a
//! payment what is in the file is compared with these; 5b sells seats, nobody is charged, and its history is checked
//! by itself. Where to read on:
//!
//! | file | what it shows |
//! |---|---|
//! | `job.rs` | what this is about, in forty lines: lock, look, ask, charge, save |
//! | `payment.rs` | the aggregate |
//! | `provider.rs`, `till.rs` | a service that charges once per key, and who talks to it |
//! | `at_once.rs`, `failed_save.rs`, `crash.rs`, `modes/` | the scenes |
//! | `audit.rs` | reading a history |
//! | `timeline.rs`, `waiting.rs` | who waits for whom, made visible |

mod at_once;
mod audit;
mod crash;
mod failed_save;
mod job;
mod modes;
mod payment;
mod provider;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod till;
mod timeline;
mod waiting;

use std::process::ExitCode;

use stage::Stage;
use support::Failure;
use support::args::{Choice, CommandLine};
use support::promises::Promises;
use support::screen::Screen;

const NAME: &str = "payment";

struct Args {
    scene: Which,
    seed: u64,
    /// Not for people: this process is the one to be killed.
    child: bool,
}

/// Which scenes are played.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Only(u32),
}

impl Choice for Which {
    const ALL: &'static [(&'static str, Self)] = &[
        ("all", Self::All),
        ("1", Self::Only(1)),
        ("2", Self::Only(2)),
        ("3", Self::Only(3)),
        ("4", Self::Only(4)),
        ("5", Self::Only(5)),
    ];
}

/// The scene's number, its name, what is about to happen, and how.
type Scene = (u32, &'static str, &'static str, fn(&Stage<'_>, &mut Promises) -> Result<(), Failure>);

const SCENES: &[Scene] = &[
    (
        1,
        "1. THREE JOBS AND A READER",
        "Whoever comes first locks the payment and calls the provider.\n\
         The others wait, find it payed, and skip. Who only reads does not wait.",
        at_once::new_payment,
    ),
    (
        2,
        "2. SETTLED ALREADY",
        "One payment is payed, one has failed. Nobody calls the provider again.",
        at_once::settled_payments,
    ),
    (
        3,
        "3. THE SAVE FAILS",
        "Job 1's save is refused after the charge. Job 2 learns of the charge, and panics.\n\
         Job 3 does not wait for locks, and finds it free.",
        failed_save::scene,
    ),
    (
        4,
        "4. KILLED",
        "A child process has the card charged, and is killed before it hears so.\n\
         The next one opens the same file, finds the payment new, and finishes.",
        crash::scene,
    ),
    (
        5,
        "5a. NOT FOR EVER",
        "Job 1 holds the lock. One waits for 60 ms, one not at all and takes the next payment instead.",
        modes::not_for_ever,
    ),
    (
        5,
        "5b. WHAT IS FREE",
        "Two seats side by side, the best there are. Ada's transaction has them locked.",
        modes::skip_locked,
    ),
    (
        5,
        "5c. TOGETHER",
        "Readers share a lock, and the writer waits for them. Who comes after the writer waits for it.",
        modes::readers_together,
    ),
    (
        5,
        "5d. EACH FOR THE OTHER",
        "Two share the lock while they look, and both want to write.",
        modes::two_who_share,
    ),
];

fn main() -> ExitCode {
    let line = CommandLine::new(
        NAME,
        "A payment is charged once, whatever happens between the charge and the save.",
    )
    .choice("--scene N", "{}", |args: &mut Args| &mut args.scene)
    .number("--seed N", "amounts, and how slow the provider is", 0..=u64::MAX, |args| &mut args.seed)
    .hidden_switch("--child", |args| &mut args.child);
    support::program::run(NAME, &line, Args { scene: Which::All, seed: 2026, child: false }, play)
}

fn play(args: &Args, screen: &Screen) -> Result<(), Failure> {
    if args.child {
        return crash::child();
    }
    let folder = tempfile::tempdir()?;
    let mut promises = Promises::default();
    screen.say(&format!("Payment, seed {}.\n\n{}", args.seed, timeline::LEGEND));
    for (number, title, story, scene) in SCENES {
        if args.scene != Which::All && args.scene != Which::Only(*number) {
            continue;
        }
        screen.say(&format!("\n{}\n{story}\n", screen.bold(title)));
        let (name, _) = title.split_once('.').unwrap_or((title, ""));
        scene(&Stage::new(screen, folder.path(), name, args.seed), &mut promises)?;
    }
    promises.verdict()?;
    screen.say("\nEvery promise was kept.");
    Ok(())
}

//! The command line: six options, each with a bound and a plain word when it is wrong.

use std::path::PathBuf;

use crate::support::args::{Choice, CommandLine};
use crate::support::home::check_new;

pub(crate) struct Args {
    pub(crate) mode: Mode,
    pub(crate) seats: u32,
    pub(crate) fans: u64,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    pub(crate) file: Option<PathBuf>,
    /// Not for people: this process is the one to be killed.
    pub(crate) crash_child: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            mode: Mode::All,
            seats: 60_000,
            fans: 40_000,
            threads: 64,
            seed: 2026,
            file: None,
            crash_child: false,
        }
    }
}

pub(crate) fn command_line() -> CommandLine<Args> {
    CommandLine::new("match_day", "Sells a stadium: wrongly, with locks, with checks, and through a crash.")
        .choice("--mode MODE", "{}", |args: &mut Args| &mut args.mode)
        .number(
            "--seats N",
            "sell only the first N seats of the stadium,\nlower tier first, {}",
            1..=60_000,
            |args| &mut args.seats,
        )
        .number(
            "--fans N",
            "how many come, {}; a quarter of them\nto the unsafe sale",
            1..=1_000_000,
            |args| &mut args.fans,
        )
        .number("--threads N", "how many are served at once, {}", 1..=512, |args| &mut args.threads)
        .number("--seed N", "who wants what; the threads' timing stays free", 0..=u64::MAX, |args| {
            &mut args.seed
        })
        .path("--file PATH", "keep the log there; it must not exist yet", "a temporary file", |args| {
            &mut args.file
        })
        .hidden_switch("--crash-child", |args| &mut args.crash_child)
        .check(|args| match &args.file {
            Some(file) if !args.crash_child => check_new(file),
            _ => Ok(()),
        })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    All,
    Unsafe,
    Pessimistic,
    Optimistic,
    Crash,
}

impl Choice for Mode {
    const ALL: &'static [(&'static str, Self)] = &[
        ("all", Self::All),
        ("unsafe", Self::Unsafe),
        ("pessimistic", Self::Pessimistic),
        ("optimistic", Self::Optimistic),
        ("crash", Self::Crash),
    ];
}

impl Mode {
    pub(crate) fn includes(self, mode: Self) -> bool {
        self == Self::All || self == mode
    }

    /// Its name in the table, and the id of its sale in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Unsafe => "read-then-write",
            Self::Pessimistic => "pessimistic",
            Self::Optimistic => "optimistic",
            Self::Crash => "crash",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Unsafe => "1. READ, THEN WRITE",
            Self::Pessimistic => "2. PESSIMISTIC",
            Self::Optimistic => "3. OPTIMISTIC",
            Self::Crash => "4. CRASH",
        }
    }

    /// What is about to happen.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Unsafe => {
                "A desk looks whether seats are free, asks for the price, and writes the sale down.\n\
                 While it asks, another desk looks too."
            }
            Self::Pessimistic => {
                "The engine locks the seats of a cart, asks for the price, and decides.\n\
                 Carts on other seats do not wait."
            }
            Self::Optimistic => {
                "The engine asks for the price and decides without a lock. If somebody was quicker\n\
                 on one of the seats, it decides again."
            }
            Self::All | Self::Crash => "",
        }
    }
}

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::sellers::Way;
use crate::support::args::{Choice, CommandLine};
use crate::support::home::check_new;

pub(crate) struct Args {
    pub(crate) mode: Mode,
    window: Option<Duration>,
    price: Option<Duration>,
    pub(crate) seed: u64,
    pub(crate) file: Option<PathBuf>,
}

/// Which ways of selling are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    All,
    Only(Way),
}

impl Choice for Mode {
    const ALL: &'static [(&'static str, Self)] = &[
        ("all", Self::All),
        ("simple", Self::Only(Way::Simple)),
        ("occ", Self::Only(Way::Occ)),
        ("zen", Self::Only(Way::Zen)),
        ("pessimistic", Self::Only(Way::Pessimistic)),
        ("optimistic", Self::Only(Way::Optimistic)),
        ("skip-locked", Self::Only(Way::SkipLocked)),
    ];
}

impl Mode {
    pub(crate) fn includes(self, way: Way) -> bool {
        self == Self::All || self == Self::Only(way)
    }
}

impl Default for Args {
    fn default() -> Self {
        Self { mode: Mode::All, window: None, price: None, seed: 2026, file: None }
    }
}

impl Args {
    pub(crate) fn windows(&self) -> Vec<Duration> {
        self.window.map_or_else(|| vec![Duration::ZERO, Duration::from_secs(1)], |window| vec![window])
    }

    /// How long the price of a seat takes.
    pub(crate) fn price(&self) -> Duration {
        self.price.unwrap_or(Duration::from_millis(1))
    }
}

pub(crate) fn command_line() -> CommandLine<Args> {
    CommandLine::new("ticket_booking", "Sells 1,000 seats to 1,200 customers, rightly and wrongly.")
        .choice("MODE", "one way of selling, or all:\n{}", |args: &mut Args| &mut args.mode)
        .time(
            "--window TIME",
            "within which the customers come, such as 0 or 10s",
            Duration::from_secs(60),
            "0, then 1s",
            |args| &mut args.window,
        )
        .time(
            "--price TIME",
            "how long the price takes: between read and write,\nor inside the engine's decision; at least 1ms",
            Duration::from_millis(100),
            "1ms",
            |args| &mut args.price,
        )
        .number("--seed N", "who comes when; the threads' timing stays free", 0..=u64::MAX, |args| {
            &mut args.seed
        })
        .path("--file PATH", "keep the log there; it must not exist yet", "a temporary file", |args| {
            &mut args.file
        })
        .check(|args| match args.price {
            // With nothing between read and write, the simple way might get away with it.
            Some(Duration::ZERO) => Err("--price takes at least 1ms".into()),
            _ => args.file.as_deref().map_or(Ok(()), check_new),
        })
}

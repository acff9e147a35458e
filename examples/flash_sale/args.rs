//! The command line.

use std::path::PathBuf;

use boxoffice::Options;
use boxoffice::options::Exhausted;

use crate::support::args::{Choice, CommandLine};
use crate::support::home::check_new;
use crate::support::patience::patient;

pub(crate) struct Args {
    pub(crate) mode: Mode,
    pub(crate) buyers: u64,
    pub(crate) items: u64,
    pub(crate) threads: usize,
    pub(crate) rounds: u64,
    retries: u32,
    pub(crate) file: Option<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            mode: Mode::Both,
            buyers: 10_000,
            items: 500,
            threads: 128,
            rounds: 200,
            retries: 5,
            file: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pessimistic,
    Optimistic,
    Both,
}

impl Choice for Mode {
    const ALL: &'static [(&'static str, Self)] =
        &[("pessimistic", Self::Pessimistic), ("optimistic", Self::Optimistic), ("both", Self::Both)];
}

impl Mode {
    pub(crate) fn includes(self, mode: Self) -> bool {
        self == Self::Both || self == mode
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| *name)
    }
}

impl Args {
    pub(crate) fn options(&self, mode: Mode) -> Options {
        let options = if mode == Mode::Optimistic { Options::optimistic() } else { Options::pessimistic() };
        patient(Options { retries: self.retries, exhausted: Exhausted::Turn, ..options })
    }
}

pub(crate) fn command_line() -> CommandLine<Args> {
    CommandLine::new("flash_sale", "Sells a few items to many buyers at once.")
        .choice("MODE", "{}", |args: &mut Args| &mut args.mode)
        .number("--buyers N", "how many come to the large sale, {}", 1..=1_000_000, |args| &mut args.buyers)
        .number("--items N", "how many items it has, {}", 1..=1_000_000, |args| &mut args.items)
        .number("--threads N", "how many are served at once, {}", 1..=512, |args| &mut args.threads)
        .number("--rounds N", "how often the eight buyers come again, {}", 1..=100_000, |args| {
            &mut args.rounds
        })
        .number(
            "--retries N",
            "how often a decision is made again after a\nconflict, before it takes a turn, {}",
            0..=1_000,
            |args| &mut args.retries,
        )
        .path("--file PATH", "keep the log there; it must not exist yet", "a temporary file", |args| {
            &mut args.file
        })
        .check(|args| args.file.as_deref().map_or(Ok(()), check_new))
}

//! The command line.

use std::path::PathBuf;

use crate::support::args::CommandLine;
use crate::support::home::check_new;

pub(crate) struct Args {
    pub(crate) cars: u64,
    pub(crate) threads: usize,
    pub(crate) levels: u32,
    pub(crate) bays: u32,
    pub(crate) seed: u64,
    pub(crate) file: Option<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self { cars: 1_500, threads: 96, levels: 3, bays: 24, seed: 2026, file: None }
    }
}

pub(crate) fn command_line() -> CommandLine<Args> {
    CommandLine::new("custom_aggregate", "Runs a parking garage: an aggregate of your own, step by step.")
        .number("--cars N", "how many come, {}", 1..=1_000_000, |args: &mut Args| &mut args.cars)
        .number("--threads N", "how many are on their way at once, {}", 1..=512, |args| &mut args.threads)
        .number("--levels N", "how many levels the garage has, {}", 1..=20, |args| &mut args.levels)
        .number("--bays N", "how many bays a level has, {}", 2..=60, |args| &mut args.bays)
        .number("--seed N", "who comes where and stays how long", 0..=u64::MAX, |args| &mut args.seed)
        .path("--file PATH", "keep the log there; it must not exist yet", "a temporary file", |args| {
            &mut args.file
        })
        .check(|args| args.file.as_deref().map_or(Ok(()), check_new))
}

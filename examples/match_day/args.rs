//! The command line: six options, parsed by hand, each with a bound and a plain word when it is wrong.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) const HELP: &str = "\
Sells a stadium: wrongly, with locks, with checks, and through a crash.

Usage: cargo run --release --example match_day -- [OPTIONS]

  --mode MODE    all, unsafe, pessimistic, optimistic or crash       [all]
  --seats N      sell only the first N seats of the stadium,
                 lower tier first, 1 to 60000                        [60000]
  --fans N       how many come, 1 to 1000000; a quarter of them
                 to the unsafe sale                                  [40000]
  --threads N    how many are served at once, 1 to 512               [64]
  --seed N       who wants what; the threads' timing stays free      [2026]
  --file PATH    keep the log there; it must not exist yet           [a temporary file]
  --help         this text

Exits with 0 if every promise was kept, 1 if one was broken or the engine failed,
2 if an argument is wrong. NO_COLOR turns colours off.
";

/// What the command line asks for.
pub(crate) enum Task {
    Sell(Args),
    Help,
}

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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    All,
    Unsafe,
    Pessimistic,
    Optimistic,
    Crash,
}

impl Args {
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Task, String> {
        let mut args = Self {
            mode: Mode::All,
            seats: 60_000,
            fans: 40_000,
            threads: 64,
            seed: 2026,
            file: None,
            crash_child: false,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            // Only a path may be other than text, and it is a word of its own.
            let text = word.to_string_lossy();
            let (name, joined) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (&*text, None),
            };
            match name {
                "--help" | "-h" => return Ok(Task::Help),
                "--crash-child" => args.crash_child = true,
                "--mode" | "--seats" | "--fans" | "--threads" | "--seed" | "--file" => {
                    let value = joined.or_else(|| words.next());
                    let value = value.ok_or_else(|| format!("{name} needs a value; see --help"))?;
                    args.set(name, value)?;
                }
                _ => return Err(format!("unknown argument \"{name}\"; see --help")),
            }
        }
        match &args.file {
            Some(file) if !args.crash_child => check_new(file)?,
            _ => {}
        }
        Ok(Task::Sell(args))
    }

    fn set(&mut self, name: &str, value: OsString) -> Result<(), String> {
        let text = value.to_string_lossy();
        match name {
            "--mode" => self.mode = Mode::named(&text)?,
            "--seats" => self.seats = number(name, &text, 1..=60_000)?,
            "--fans" => self.fans = number(name, &text, 1..=1_000_000)?,
            "--threads" => self.threads = number(name, &text, 1..=512)?,
            "--seed" => self.seed = number(name, &text, 0..=u64::MAX)?,
            _ if text.is_empty() => return Err("--file needs a path".into()),
            _ => self.file = Some(PathBuf::from(value)),
        }
        Ok(())
    }
}

/// The log is kept in a new file, in a folder that exists.
fn check_new(file: &Path) -> Result<(), String> {
    if file.symlink_metadata().is_ok() {
        return Err(format!("{} exists, and is left alone; name a file that does not", file.display()));
    }
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(format!("there is no folder {}; create it first", folder.display()))
        }
        _ => Ok(()),
    }
}

fn number<N: FromStr + PartialOrd + std::fmt::Display>(
    name: &str,
    text: &str,
    bounds: RangeInclusive<N>,
) -> Result<N, String> {
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        format!("{name} takes a whole number from {} to {}, not \"{text}\"", bounds.start(), bounds.end())
    })
}

impl Mode {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "all" => Ok(Self::All),
            "unsafe" => Ok(Self::Unsafe),
            "pessimistic" => Ok(Self::Pessimistic),
            "optimistic" => Ok(Self::Optimistic),
            "crash" => Ok(Self::Crash),
            _ => Err(format!("--mode is all, unsafe, pessimistic, optimistic or crash, not \"{name}\"")),
        }
    }

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

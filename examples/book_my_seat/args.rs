//! The command line, parsed by hand: each option with a bound, and a plain word when it is wrong.

use std::ffi::OsString;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub(crate) const HELP: &str = "\
A cinema that sells its seats in the browser, on an embedded engine.

Usage: cargo run --release --example book_my_seat -- [OPTIONS]

  --serve        serve until Ctrl-C                  [if stdout is a terminal]
  --check        check itself over the network, print a table, and end
                                                     [if it is none, as in CI]
  --port N       where to listen; 0 for a free one, which is printed    [3001]
  --host ADDR    whom to listen to; 0.0.0.0 for everybody          [127.0.0.1]
  --file PATH    keep the log there, and go on with it       [a temporary file]
  --hold SECS    how long a seat is held for a cart, 1 to 3600           [300]
  --delay MS     how long an unsafe booking thinks about each seat,
                 between its read and its write, 0 to 10000              [140]
  --seed N       which seats the stress and the crowd of the check want [2026]
  --help         this text

Exits with 0 if all went well, 1 if a promise was broken or the engine failed,
2 if an argument is wrong. NO_COLOR turns colours off.
";

/// What the command line asks for.
pub(crate) enum Task {
    Serve(Args),
    Check(Args),
    Help,
}

#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) port: u16,
    pub(crate) host: IpAddr,
    pub(crate) file: Option<PathBuf>,
    pub(crate) hold: Duration,
    pub(crate) delay: Duration,
    pub(crate) seed: u64,
}

impl Args {
    /// `on_terminal` decides where neither `--serve` nor `--check` does.
    pub(crate) fn parse(
        words: impl IntoIterator<Item = OsString>,
        on_terminal: bool,
    ) -> Result<Task, String> {
        let mut args = Self {
            port: 3001,
            host: IpAddr::from([127, 0, 0, 1]),
            file: None,
            hold: Duration::from_secs(300),
            delay: Duration::from_millis(140),
            seed: 2026,
        };
        let mut serve = None;
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
                "--serve" | "--check" => {
                    let wanted = name == "--serve";
                    if serve.replace(wanted).is_some_and(|before| before != wanted) {
                        return Err("--serve and --check are one or the other".into());
                    }
                }
                "--port" | "--host" | "--file" | "--hold" | "--delay" | "--seed" => {
                    let value = joined.or_else(|| words.next());
                    let value = value.ok_or_else(|| format!("{name} needs a value; see --help"))?;
                    args.set(name, value)?;
                }
                _ => return Err(format!("unknown argument \"{name}\"; see --help")),
            }
        }
        let serve = serve.unwrap_or(on_terminal);
        match &args.file {
            Some(_) if !serve => Err("the check makes files of its own; leave --file out, or --serve".into()),
            Some(file) => check_folder(file).map(|()| Task::Serve(args)),
            None if serve => Ok(Task::Serve(args)),
            None => Ok(Task::Check(args)),
        }
    }

    fn set(&mut self, name: &str, value: OsString) -> Result<(), String> {
        let text = value.to_string_lossy();
        match name {
            "--port" => self.port = number(name, &text, 0..=u16::MAX)?,
            "--host" => {
                let wrong = |_| format!("--host takes an address like 127.0.0.1 or ::1, not \"{text}\"");
                self.host = text.parse().map_err(wrong)?;
            }
            "--hold" => self.hold = Duration::from_secs(number(name, &text, 1..=3600)?),
            "--delay" => self.delay = Duration::from_millis(number(name, &text, 0..=10_000)?),
            "--seed" => self.seed = number(name, &text, 0..=u64::MAX)?,
            _ if text.is_empty() => return Err("--file needs a path".into()),
            _ => self.file = Some(PathBuf::from(value)),
        }
        Ok(())
    }
}

fn check_folder(file: &Path) -> Result<(), String> {
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

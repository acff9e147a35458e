//! The command line: what to do, where to listen, where the log is, and how long things take.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use crate::office::Terms;
use crate::support::args::CommandLine;

/// As long as a film: no cart takes longer.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

pub(crate) struct Args {
    serve: bool,
    check: bool,
    pub(crate) port: u16,
    pub(crate) public: bool,
    pub(crate) file: Option<PathBuf>,
    hold: Option<Duration>,
    delay: Option<Duration>,
    pub(crate) seed: u64,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            serve: false,
            check: false,
            port: 3001,
            public: false,
            file: None,
            hold: None,
            delay: None,
            seed: 2026,
        }
    }
}

impl Args {
    /// A program that nobody looks at must come to an end by itself.
    pub(crate) fn is_check(&self) -> bool {
        self.check || (!self.serve && !stdout().is_terminal())
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            hold: self.hold.unwrap_or(Duration::from_secs(300)),
            delay: self.delay.unwrap_or(Duration::from_millis(140)),
        }
    }
}

pub(crate) fn command_line() -> CommandLine<Args> {
    CommandLine::new("book_my_seat", "A cinema that sells its seats in the browser, on an embedded engine.")
        .switch("--serve", "serve until Ctrl-C", "if stdout is a terminal", |args: &mut Args| &mut args.serve)
        .switch("--check", "check a server of its own, over HTTP, and end", "if it is none", |args| {
            &mut args.check
        })
        .number("--port N", "where to listen; 0 for a free one, which is printed", 0..=u16::MAX, |args| {
            &mut args.port
        })
        .switch("--public", "let other computers in", "this one only", |args| &mut args.public)
        .path("--file PATH", "keep the log there, and go on with it", "a temporary file", |args| {
            &mut args.file
        })
        .time("--hold TIME", "how long a cart keeps its seats", LONGEST_HOLD, "300s", |args| &mut args.hold)
        .time(
            "--delay TIME",
            "how long an unsafe booking thinks about each seat,\nbetween its read and its write",
            LONGEST_DELAY,
            "140ms",
            |args| &mut args.delay,
        )
        .number("--seed N", "which seats the rush and the crowd want", 0..=u64::MAX, |args| &mut args.seed)
        .check(|args| {
            if args.serve && args.check {
                return Err("--serve and --check are one or the other".into());
            }
            if args.hold.is_some_and(|hold| hold.is_zero()) {
                return Err("--hold takes a time that is not nothing".into());
            }
            if args.is_check() && args.file.is_some() {
                return Err("the check makes a log of its own; leave --file out, or say --serve".into());
            }
            match args.file.as_deref().and_then(|file| file.parent()) {
                Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                    Err(format!("there is no folder {}; create it first", folder.display()))
                }
                _ => Ok(()),
            }
        })
}

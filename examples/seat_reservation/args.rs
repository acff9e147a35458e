//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::args::CommandLine;
use crate::support::home::check_new;

#[derive(Default)]
pub(crate) struct Args {
    slow: Option<Duration>,
    timeout: Option<Duration>,
    pub(crate) file: Option<PathBuf>,
}

impl Args {
    /// How long eligibility and pricing take, each.
    pub(crate) fn slow(&self) -> Duration {
        self.slow.unwrap_or(Duration::from_millis(40))
    }

    /// How long the customer who gives up waits.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_millis(250))
    }
}

pub(crate) fn command_line() -> CommandLine<Args> {
    let most = Duration::from_secs(10);
    CommandLine::new("seat_reservation", "Three customers want one seat, and each decision takes its time.")
        .time(
            "--slow TIME",
            "how long eligibility and pricing take, each",
            most,
            "40ms",
            |args: &mut Args| &mut args.slow,
        )
        .time("--timeout TIME", "how long the one who gives up waits for a lock", most, "250ms", |args| {
            &mut args.timeout
        })
        .path("--file PATH", "keep the log there; it must not exist yet", "a temporary file", |args| {
            &mut args.file
        })
        .check(|args| args.file.as_deref().map_or(Ok(()), check_new))
}

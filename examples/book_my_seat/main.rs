//! Book my seat: a cinema that sells its seats in the browser, on an embedded engine.
//!
//! `cargo run --release --example book_my_seat` serves a page at <http://127.0.0.1:3001> until Ctrl-C. Open it
//! in two windows: what one chooses, the other sees at once. The same file holds the whole log; kill the
//! server and start it again with `--file`, and the windows go on by themselves.
//!
//! If stdout is no terminal, as in CI, it checks itself instead: over the network, against a server of its own.
//! `--serve` and `--check` say which.
//!
//! | file | what it shows |
//! |---|---|
//! | `office.rs` | the engine: opened, read, set back, closed |
//! | `booking.rs` | booking at once: unsafe and safe, side by side |
//! | `carts.rs` | holds with a deadline, the best seats, all of a cart or nothing |
//! | `live.rs`, `windows.rs` | one reader of the feed, and a thousand windows |
//! | `paper.rs` | an aggregate of your own, and the mistake |
//! | `cinema.rs`, `standing.rs` | the hall, and how a seat stands |
//! | `wire.rs`, `api.rs`, `reply.rs`, `trouble.rs` | routes, bodies, status codes |
//! | `stress.rs` | the same rush in both modes |
//! | `server.rs`, `page.rs`, `page/` | from the first connection to the last answer; what the browser runs |
//! | `check.rs`, `check/` | the self-check |

mod api;
mod args;
mod booking;
mod carts;
mod cinema;
mod live;
mod office;
mod page;
mod paper;
mod reply;
mod server;
mod standing;
mod stress;
mod trouble;
mod windows;
mod wire;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;

use args::{Args, Task};
use office::Terms;
use tokio::net::TcpListener;

/// What ends the program early: an error of the engine, of the system, or a broken promise.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Args::parse(std::env::args_os().skip(1), stdout().is_terminal()) {
        Ok(Task::Help) => {
            say(args::HELP);
            Ok(())
        }
        Ok(Task::Serve(args)) => run(serve(args)),
        Ok(Task::Check(_args)) => Ok(()),
        Err(mistake) => {
            complain(&mistake);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn serve(args: Args) -> Result<(), Failure> {
    let home = Home::new(&args)?;
    let wanted = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(wanted)
        .await
        .map_err(|why| format!("cannot listen at {wanted}: {why}; --port 0 takes a free one"))?;
    let here = listener.local_addr()?;
    let stays = if args.file.is_some() { "" } else { ", removed at the end (--file keeps one)" };
    say(&format!("http://{here}\nThe log is in {}{stays}. Ctrl-C stops.", home.file.display()));
    server::serve(listener, &home.file, args.terms(), args.seed, stop_signal()).await?;
    say("Stopped: everything that was answered is on disk.");
    Ok(())
}

/// Ctrl-C, or what a service manager sends.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
    say("\nStopping: what is under way comes to its end.");
}

impl Args {
    pub(crate) fn terms(&self) -> Terms {
        Terms { hold: self.hold, delay: self.delay }
    }
}

/// Where the log is: in the file that was asked for, or in a fresh folder that goes away again.
struct Home {
    file: std::path::PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Home {
    fn new(args: &Args) -> Result<Self, Failure> {
        if let Some(file) = &args.file {
            return Ok(Self { file: file.clone(), _folder: None });
        }
        let folder = tempfile::tempdir()?;
        Ok(Self { file: folder.path().join("book_my_seat.boxoffice"), _folder: Some(folder) })
    }
}

/// If nobody reads any more, that is no reason to stop serving.
fn say(text: &str) {
    let _ = writeln!(stdout().lock(), "{text}");
}

fn complain(mistake: &str) {
    let _ = writeln!(stderr().lock(), "book_my_seat: {mistake}");
}

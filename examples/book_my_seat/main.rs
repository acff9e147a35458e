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
//! | `check.rs`, `check/` | the self-check: every sentence of the wire, a crowd, and an audit of the log |

mod api;
mod args;
mod booking;
mod carts;
mod check;
mod cinema;
mod live;
mod office;
mod page;
mod paper;
mod reply;
mod server;
mod standing;
mod stress;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
mod windows;
mod wire;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use args::Args;
use support::Failure;
use support::home::Home;
use support::screen::Screen;
use tokio::net::TcpListener;

const NAME: &str = "book_my_seat";

fn main() -> ExitCode {
    support::program::run(NAME, &args::command_line(), Args::default(), |args, screen| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        if args.is_check() {
            check::run(args, screen, &runtime)
        } else {
            runtime.block_on(serve(args, screen))
        }
    })
}

async fn serve(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let home = Home::new(NAME, args.file.as_deref())?;
    let wanted = if args.public { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let wanted = SocketAddr::from((wanted, args.port));
    let listener = TcpListener::bind(wanted)
        .await
        .map_err(|why| format!("cannot listen at {wanted}: {why}; --port 0 takes a free one"))?;
    let here = listener.local_addr()?;
    let mut listeners = vec![listener];
    // Where `localhost` may lead too. Not every computer has it.
    listeners.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, here.port())).await);
    let stays = if home.kept().is_some() { "" } else { ", removed at the end (--file keeps one)" };
    // The first line is the address alone, for programs that start this one.
    screen.say(&format!("http://{here}\nThe log is in {}{stays}. Ctrl-C stops.", home.file.display()));
    let stop = async {
        stop_signal().await;
        Screen::new(NAME).say("\nStopping: what is under way comes to its end.");
    };
    server::serve(listeners, &home.file, args.terms(), args.seed, stop).await?;
    screen.say("Stopped: everything that was answered is on disk.");
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
}

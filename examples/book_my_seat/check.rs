//! The self-check: a server of its own, asked over the network, stopped while it works, and audited from its log.

mod audit;
mod client;
mod conformance;
mod crowd;
mod holds;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::NAME;
use crate::args::Args;
use crate::server;
use crate::support::Failure;
use crate::support::home::Home;
use crate::support::promises::Promises;
use crate::support::screen::Screen;
use crate::support::table::{Column, Table};
use crate::support::text::grouped;
use client::Client;
use conformance::{SHOW, api, path};
use crowd::Crowd;

pub(crate) fn run(args: &Args, screen: &Screen, runtime: &Runtime) -> Result<(), Failure> {
    let home = Home::new(NAME, None)?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    let client = Client::new(format!("http://{address}"));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = runtime.spawn({
        let (file, terms, seed) = (home.file.clone(), args.terms(), args.seed);
        async move { server::serve(vec![listener], &file, terms, seed, async { drop(stopped.await) }).await }
    });
    screen.say(&format!(
        "Book my seat: the self-check of a server at http://{address}, seed {}.\n\
         To see the page, run it on a terminal, or with --serve.\n",
        args.seed
    ));

    let mut promises = Promises::default();
    sentences(&client, screen, &mut promises)?;
    rush(&client, screen, &mut promises)?;
    // Before the crowd takes it: the seat of whoever is served last.
    let last = stop::hold_one(&client)?;
    let crowd = in_a_crowd(args.seed, &client, screen, &mut promises)?;
    let shown = client.get(&path("anomalies"))?.body;

    screen.say("\nStopped while a request is under way, opened again, and audited from the log alone:\n");
    // It listens as long as it runs.
    let stopping = move || {
        let _ = stop.send(());
    };
    let mut table = verdicts();
    let under_way = stop::under_way(address, &last, stopping);
    judge(
        &mut table,
        screen,
        &mut promises,
        "what is under way is answered, what is new is refused",
        under_way,
    );
    runtime.block_on(serving)??;
    let mut wrong = BTreeSet::new();
    for window in crowd.windows {
        let seen = window.join().map_err(|_| "a window panicked")?;
        wrong.extend(seen.and_then(|seen| crowd::differs(&seen, &crowd.last)).err());
    }
    let agree = wrong.into_iter().next().map_or(Ok(()), Err);
    judge(&mut table, screen, &mut promises, "all windows saw the same as those who asked", agree);
    for (what, found) in audit::audit(&home.file, &crowd.sold, &shown)? {
        judge(&mut table, screen, &mut promises, what, found);
    }
    screen.say(&table.to_string());
    promises.verdict()?;
    screen.say("Every promise was kept.");
    Ok(())
}

fn verdicts() -> Table {
    Table::new([Column::left("promise").at_least(76), Column::left("kept?")])
}

fn judge(table: &mut Table, screen: &Screen, promises: &mut Promises, what: &str, found: Result<(), String>) {
    let kept = if found.is_ok() { screen.paint("kept", "32") } else { screen.alarm("BROKEN") };
    table.row([what.to_owned(), kept]);
    promises.extend(found.err().map(|fault| format!("{what}: {fault}")));
}

/// Says every sentence of the wire, each to a hall that was reset.
fn sentences(client: &Client, screen: &Screen, promises: &mut Promises) -> Result<(), Failure> {
    let mut table = verdicts();
    for (index, part) in [conformance::SENTENCES, holds::SENTENCES].into_iter().enumerate() {
        if index > 0 {
            table.rule();
        }
        for (what, proof) in part {
            client.post(&path("reset-demo"), &json!({}))?;
            judge(&mut table, screen, promises, what, proof(client));
        }
    }
    screen.say(&table.to_string());
    Ok(())
}

/// The same rush in both modes, and what the server says became of it. What the log says, the audit tells.
fn rush(client: &Client, screen: &Screen, promises: &mut Promises) -> Result<(), Failure> {
    client.post(&path("reset-demo"), &json!({}))?;
    let answer = client.post(&api("stress"), &json!({ "requests": 10 }))?;
    let mut table = Table::new([
        Column::left("10 bookings at once for one seat").at_least(42),
        Column::right("told yes"),
        Column::right("told no"),
        Column::right("bookings"),
    ]);
    for (side, name) in [("unsafe", "unsafe: look, think, write"), ("safe", "safe: keep, think, write")] {
        let told = &answer.body[side];
        let (yes, bookings) =
            (told["accepted"].as_u64().unwrap_or(0), told["bookings"].as_u64().unwrap_or(0));
        table.row([name.to_owned(), grouped(yes), grouped(10_u64.saturating_sub(yes)), grouped(bookings)]);
        promises.equal(&format!("{name}, bookings of those who were told yes"), bookings, yes);
        match side {
            "safe" => promises.equal("safe, told yes", yes, 1),
            // All look before any of them writes.
            _ => promises.equal("unsafe, told yes", yes, 10),
        }
    }
    screen.say(&format!("\n{table}"));
    Ok(())
}

/// What a crowd was told, and what all windows must have seen.
struct Crowded {
    sold: BTreeMap<String, String>,
    windows: Vec<thread::JoinHandle<Result<crowd::Picture, String>>>,
    last: crowd::Picture,
}

fn in_a_crowd(
    seed: u64,
    client: &Client,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<Crowded, Failure> {
    let crowd = Crowd { people: 16, wishes: 40, seed };
    let windows = 100;
    let windows: Vec<_> = (0..windows)
        .map(|_| client.window(SHOW, None).map(|window| thread::spawn(move || crowd::watch(window))))
        .collect::<Result<_, _>>()?;
    let tally = crowd.run(client)?;
    let seats = client.get(&path("seats"))?;
    let last = crowd::picture_of(&seats.body);
    // Whoever was told of a booking finds it in a window that is opened then.
    let event = client.window(SHOW, None)?.next()?.ok_or("the window was closed")?;
    promises.extend(crowd::differs(&crowd::picture_of(&event.data), &last).err());
    let mut table = Table::new([
        Column::left(format!("{} people, {} wishes each", crowd.people, crowd.wishes)).at_least(42),
        Column::right("answers"),
    ]);
    for (word, count) in &tally.answers {
        table.row([word.clone(), grouped(*count)]);
    }
    table.rule();
    table.row(["seats sold to them".to_owned(), grouped(tally.sold.len() as u64)]);
    table.row(["windows that watched".to_owned(), grouped(windows.len() as u64)]);
    screen.say(&format!("\n{table}"));
    promises.extend(tally.faults);
    let taken = |picture: &Value| picture["status"] == "booked";
    promises.check(seats.body["seats"].as_array().is_some_and(|seats| seats.iter().any(taken)), || {
        "a crowd came, and nothing was booked".into()
    });
    Ok(Crowded { sold: tally.sold, windows, last })
}

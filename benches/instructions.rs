//! Instructions of one operation, counted by callgrind: the figure that a noisy machine does not change.
//! The log is in memory and the receipts are dropped: what the calling thread does up to a decision's place in the log.

mod support;

use std::process::Command;
use std::sync::Arc;

use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Handle, Options};
use support::{hall, is_smoke, labels};

const SEATS: usize = 20_000;
const MODES: [&str; 2] = ["optimistic", "pessimistic"];
const WHATS: [&str; 4] = ["command", "together", "id", "transaction"];
/// Callgrind counts while this function runs.
const COUNTED: &str = "--toggle-collect=*instructions::counted*";

/// Runs once per seat of a hall: `what` in `mode`.
fn run(what: &str, mode: &str, seats: usize) {
    let options = if mode == "optimistic" { Options::optimistic() } else { Options::pessimistic() };
    let layout = hall(seats);
    let labels = labels(&layout);
    let ids: Vec<String> = (0..seats).map(|order| format!("order-{order}")).collect();
    let engine = Engine::builder().aggregate_with::<Venue>(options).in_memory().expect("an engine");
    let venues = engine.handle::<Venue>(VenueServices::default()).expect("registered");
    for show in ["one", "two"] {
        let created = venues.execute(show, &VenueCommand::create(Arc::clone(&layout))).expect("created");
        assert!(created.is_accepted());
    }
    if what == "together" {
        let commands: Vec<_> =
            labels.iter().map(|label| ("one", VenueCommand::reserve(1, [label]))).collect();
        commands.chunks(1024).for_each(|commands| counted_together(&venues, commands));
    } else {
        for (label, id) in labels.iter().zip(&ids) {
            let command = VenueCommand::reserve(1, [label]);
            counted(&engine, &venues, &command, what, id, options);
        }
    }
    let sold = venues.read("one").expect("a show").sold();
    assert_eq!(sold as usize, seats, "every operation sells a seat");
}

#[inline(never)]
fn counted(
    engine: &Engine,
    venues: &Handle<Venue>,
    command: &VenueCommand,
    what: &str,
    id: &str,
    options: Options,
) {
    match what {
        "command" => drop(venues.submit("one", command).expect("decided")),
        "id" => drop(venues.call().id(id).submit("one", command).expect("decided")),
        _ => {
            let mut unit = engine.begin(options);
            for show in ["one", "two"] {
                assert!(unit.execute(venues, show, command).expect("decided").is_accepted());
            }
            drop(unit.submit().expect("committed"));
        }
    }
}

#[inline(never)]
fn counted_together(venues: &Handle<Venue>, commands: &[(&str, VenueCommand)]) {
    for receipt in venues.submit_all(commands) {
        drop(receipt.expect("decided"));
    }
}

/// What callgrind counted, over all operations.
fn count(what: &str, mode: &str) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED])
        .arg(program)
        .args([what, mode])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&valgrind.stderr).into_owned();
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    assert!(valgrind.status.success() && collected.is_some(), "{said}");
    collected?.1.trim().parse().ok()
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let [what, mode] = &asked[..]
        && WHATS.contains(&what.as_str())
    {
        return run(what, mode, SEATS);
    }
    for what in WHATS {
        let counts = MODES.map(|mode| {
            if is_smoke() {
                run(what, mode, 10);
                return None;
            }
            count(what, mode)
        });
        match counts {
            [Some(one), Some(other)] => {
                let each = |all: u64| all / SEATS as u64;
                println!("{what:<12} optimistic {:>6}   pessimistic {:>6}", each(one), each(other));
            }
            _ if is_smoke() => println!("{what}: runs"),
            _ => println!("{what}: valgrind is not installed, nothing was counted"),
        }
    }
}

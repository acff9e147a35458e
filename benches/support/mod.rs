//! What the benches share: halls, seeded orders of seats, and files on the disk that is measured.
// Each bench uses its own part of this.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boxoffice::layout::Layout;
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Options, Outcome, Receipt};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use smol_str::SmolStr;

pub const SHOWS: usize = 64;
pub const SEATS: usize = 20_000;
/// Decisions that may be under way before the producer waits for the oldest.
pub const IN_FLIGHT: usize = 65_536;

/// A folder on the disk that the project is built on: a bench in memory would measure nothing.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the bench")
}

/// A hall of `seats` seats in rows of 50.
pub fn hall(seats: usize) -> Arc<Layout> {
    let mut hall = Layout::builder().category("standard", 5_000);
    for row in 0..seats.div_ceil(50) {
        let last = (seats - row * 50).min(50) as u32;
        hall = hall.row(format!("R{row}x"), "standard", [(1, last)]);
    }
    Arc::new(hall.build().expect("a valid hall"))
}

pub fn labels(layout: &Layout) -> Vec<SmolStr> {
    layout.seats().filter_map(|seat| layout.label(seat)).collect()
}

/// An engine with `shows` empty shows in one hall, on disk, with everything so far durable.
pub struct Sale {
    pub engine: Engine,
    pub venues: Handle<Venue>,
    pub ids: Vec<String>,
    pub labels: Vec<SmolStr>,
    pub path: PathBuf,
    pub _folder: tempfile::TempDir,
}

impl Sale {
    pub fn new(shows: usize, seats: usize, options: Options) -> Self {
        let folder = folder();
        let path = folder.path().join("bench.boxoffice");
        let engine = Engine::builder().aggregate_with::<Venue>(options).open(&path).expect("a new file");
        let venues = engine.handle::<Venue>(VenueServices::default()).expect("registered");
        let layout = hall(seats);
        let ids: Vec<String> = (0..shows).map(|show| format!("show-{show}")).collect();
        for id in &ids {
            let created = venues.execute(id, &VenueCommand::create(Arc::clone(&layout)));
            assert!(created.expect("created").is_accepted());
        }
        Self { engine, venues, ids, labels: labels(&layout), path, _folder: folder }
    }
}

/// A name, and what runs once and says how long it took.
pub type Contender<'a> = (&'a str, Box<dyn FnMut() -> Duration + 'a>);

/// Times these one after the other, `rounds` times, and prints the medians and their ratio to the first. A
/// machine that slows down for a while slows all of them down: the ratios hold where the times do not.
pub fn in_turns(title: &str, rounds: usize, contenders: &mut [Contender<'_>]) {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            times.push(run());
        }
    }
    println!("\n{title}, in turns, median of {rounds}");
    let mut first = None;
    for ((name, _), times) in contenders.iter().zip(&mut times) {
        times.sort_unstable();
        let median = times[rounds / 2];
        let ratio = median.as_secs_f64() / first.get_or_insert(median).as_secs_f64();
        println!("  {name:<44} {median:>12.1?}   x {ratio:.2}");
    }
    println!();
}

/// Whether this is only the run that shows that a bench works.
pub fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Every seat of every show once, in a seeded random order, cut to `share` of them.
pub fn order(shows: usize, seats: usize, share: f64) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> =
        (0..shows as u32).flat_map(|show| (0..seats as u32).map(move |seat| (show, seat))).collect();
    all.shuffle(&mut SmallRng::seed_from_u64(7));
    all.truncate((all.len() as f64 * share) as usize);
    all
}

/// As [`sell_pipelined`], with so many commands in a call, whose receipts stay together.
pub fn sell_together(sale: &Sale, order: &[(u32, u32)], in_a_call: usize) {
    let (mut calls, mut under_way) = (VecDeque::<Vec<_>>::new(), 0);
    let settle = |receipts: Vec<Result<Receipt<Outcome<Venue>>, Error>>| {
        for receipt in receipts {
            assert!(receipt.expect("decided").wait().expect("durable").is_accepted());
        }
    };
    let mut commands = Vec::with_capacity(in_a_call);
    for call in order.chunks(in_a_call) {
        while under_way + call.len() > IN_FLIGHT
            && let Some(oldest) = calls.pop_front()
        {
            under_way -= oldest.len();
            settle(oldest);
        }
        commands.clear();
        commands.extend(call.iter().map(|&(show, seat)| {
            let command = VenueCommand::reserve(u64::from(seat), [&sale.labels[seat as usize]]);
            (&sale.ids[show as usize], command)
        }));
        under_way += commands.len();
        calls.push_back(sale.venues.submit_all(&commands));
    }
    calls.into_iter().for_each(settle);
}

/// Sells `order` from this thread with up to [`IN_FLIGHT`] decisions under way; returns when the last
/// one is durable.
pub fn sell_pipelined(sale: &Sale, order: &[(u32, u32)]) {
    let mut under_way: VecDeque<Receipt<Outcome<Venue>>> = VecDeque::with_capacity(IN_FLIGHT);
    let settle = |receipt: Receipt<Outcome<Venue>>| {
        assert!(receipt.wait().expect("durable").is_accepted());
    };
    for &(show, seat) in order {
        if under_way.len() == IN_FLIGHT
            && let Some(oldest) = under_way.pop_front()
        {
            settle(oldest);
        }
        let command = VenueCommand::reserve(u64::from(seat), [&sale.labels[seat as usize]]);
        under_way.push_back(sale.venues.submit(&sale.ids[show as usize], &command).expect("decided"));
    }
    under_way.into_iter().for_each(settle);
}

//! What ids, metadata and transactions cost: the same pipelined sale, one producer, each operation durable.
//! An operation is counted when its receipt has been waited for, that is, after its two-phase commit.

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use boxoffice::options::{Committed, Metadata};
use boxoffice::venue::{Venue, VenueCommand};
use boxoffice::{Error, Options, Outcome, Receipt};
use criterion::{Criterion, criterion_group, criterion_main};
use support::{IN_FLIGHT, SEATS, SHOWS, Sale, in_turns, is_smoke, order, sell_pipelined};

/// Keeps up to [`IN_FLIGHT`] receipts under way, and waits for the rest at the end.
fn pipeline<T>(receipts: impl Iterator<Item = Result<Receipt<T>, Error>>, settle: impl Fn(Result<T, Error>)) {
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
    for receipt in receipts {
        if under_way.len() == IN_FLIGHT
            && let Some(oldest) = under_way.pop_front()
        {
            let oldest: Receipt<T> = oldest;
            settle(oldest.wait());
        }
        under_way.push_back(receipt.expect("decided"));
    }
    under_way.into_iter().for_each(|receipt| settle(receipt.wait()));
}

fn accepted(outcome: Result<Outcome<Venue>, Error>) {
    assert!(outcome.expect("durable").is_accepted());
}

fn stored(committed: Result<Committed, Error>) {
    assert!(committed.expect("durable").position().is_some());
}

fn timed(options: Options, sell: impl Fn(&Sale)) -> Duration {
    let sale = Sale::new(SHOWS, SEATS, options);
    let began = Instant::now();
    sell(&sale);
    began.elapsed()
}

fn reserve(sale: &Sale, seat: u32) -> VenueCommand {
    VenueCommand::reserve(u64::from(seat), [&sale.labels[seat as usize]])
}

fn with_ids(sale: &Sale, order: &[(u32, u32)]) {
    let sent = order.iter().map(|&(show, seat)| {
        let id = format!("{show}-{seat}");
        sale.venues.call().id(id).submit(&sale.ids[show as usize], &reserve(sale, seat))
    });
    pipeline(sent, accepted);
}

fn with_metadata(sale: &Sale, order: &[(u32, u32)]) {
    let ada = Metadata::default().with_user("ada");
    let sent = order.iter().map(|&(show, seat)| {
        sale.venues.call().metadata(&ada).submit(&sale.ids[show as usize], &reserve(sale, seat))
    });
    pipeline(sent, accepted);
}

/// The same seat in this show and in the next.
fn over_two_streams(sale: &Sale, order: &[(u32, u32)], options: Options) {
    let sent = order.iter().map(|&(show, seat)| {
        let mut unit = sale.engine.begin(options);
        for show in [show, (show + 1) % SHOWS as u32] {
            let staged = unit.execute(&sale.venues, &sale.ids[show as usize], &reserve(sale, seat))?;
            assert!(staged.is_accepted());
        }
        unit.submit()
    });
    pipeline(sent, stored);
}

fn extras(_: &mut Criterion) {
    let order = order(SHOWS, SEATS, 0.5);
    // Of each pair of shows, only the first is named: the unit takes both.
    let pairs: Vec<_> = order.iter().copied().filter(|(show, _)| show % 2 == 0).collect();
    let rounds = if is_smoke() { 1 } else { 9 };
    for (mode, options) in [("optimistic", Options::optimistic()), ("pessimistic", Options::pessimistic())] {
        in_turns(
            &format!("{} durable operations, {mode}", pairs.len()),
            rounds,
            &mut [
                ("a command", Box::new(|| timed(options, |sale| sell_pipelined(sale, &pairs)))),
                ("a command with an id", Box::new(|| timed(options, |sale| with_ids(sale, &pairs)))),
                ("a command with metadata", Box::new(|| timed(options, |sale| with_metadata(sale, &pairs)))),
                (
                    "a transaction over two streams",
                    Box::new(|| timed(options, |sale| over_two_streams(sale, &pairs, options))),
                ),
            ],
        );
    }
}

criterion_group!(benches, extras);
criterion_main!(benches);

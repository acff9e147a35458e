//! Durable reservations per second when nobody waits for each one: one producer, many under way.
//! An operation is counted when its receipt has been waited for, that is, after its two-phase commit. Sold by a call for
//! each, and with many in a call (`submit_all`).
//!
//! "By hand" is the same sale as a program for nothing else would do it. One thread may decide, nothing is checked or
//! locked, nobody can read, only one kind of event exists, and one commit follows the other.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use boxoffice::Options;
use boxoffice::options::Concurrency;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redb::TableDefinition;
use support::{
    IN_FLIGHT, SEATS, SHOWS, Sale, folder, hall, in_turns, is_smoke, labels, order, sell_pipelined,
    sell_together,
};

/// Commands of one `submit_all`.
const IN_A_CALL: usize = 1024;

fn pipelined(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipelined durable reserve");
    let order = order(SHOWS, SEATS, 0.6);
    group.throughput(Throughput::Elements(order.len() as u64)).sample_size(10);
    for (way, in_a_call) in [("", 1), (", 1,024 in a call", IN_A_CALL)] {
        for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
            let options = Options { concurrency, ..Options::default() };
            group.bench_function(format!("64 x 20,000 seats, {concurrency:?}{way}"), |b| {
                b.iter_custom(|rounds| (0..rounds).map(|_| timed(options, &order, in_a_call)).sum());
            });
        }
    }
    group.finish();
}

fn timed(options: Options, order: &[(u32, u32)], in_a_call: usize) -> Duration {
    let sale = Sale::new(SHOWS, SEATS, options);
    let began = Instant::now();
    match in_a_call {
        1 => sell_pipelined(&sale, order),
        _ => sell_together(&sale, order, in_a_call),
    }
    began.elapsed()
}

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    last: u64,
    done: bool,
}

fn by_hand(order: &[(u32, u32)]) -> Duration {
    let (layout, folder) = (hall(SEATS), folder());
    let labels = labels(&layout);
    let database = redb::Builder::new().create(folder.path().join("by-hand.redb")).expect("a new database");
    let (batch, durable) = (Mutex::new(Batch::default()), AtomicU64::new(0));
    let mut shows = vec![(0u64, vec![None::<u64>; SEATS]); SHOWS];
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for key in 0.. {
                let (bytes, last) = loop {
                    let mut batch = batch.lock().expect("no panic");
                    if !batch.bytes.is_empty() {
                        break (std::mem::take(&mut batch.bytes), batch.last);
                    }
                    if batch.done {
                        return;
                    }
                    drop(batch);
                    std::thread::yield_now();
                };
                let mut transaction = database.begin_write().expect("a transaction");
                transaction.set_two_phase_commit(true);
                transaction.open_table(ROWS).expect("a table").insert(key, &*bytes).expect("inserted");
                transaction.commit().expect("committed");
                durable.store(last, Ordering::Release);
            }
        });
        let mut position = 0;
        for &(show, seat) in order {
            while position - durable.load(Ordering::Acquire) >= IN_FLIGHT as u64 {
                std::thread::yield_now();
            }
            let seat = layout.seat(&labels[seat as usize]).expect("a seat");
            let (version, holders) = &mut shows[show as usize];
            assert!(holders[seat.index()].replace(u64::from(seat.0)).is_none());
            *version += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
            let mut event = [0; 44];
            event[..8].copy_from_slice(&now.to_le_bytes());
            event[8..12].copy_from_slice(&show.to_le_bytes());
            event[12..20].copy_from_slice(&version.to_le_bytes());
            event[20..24].copy_from_slice(&seat.0.to_le_bytes());
            let mut batch = batch.lock().expect("no panic");
            batch.bytes.extend_from_slice(&event);
            batch.last += 1;
            position = batch.last;
        }
        while durable.load(Ordering::Acquire) < position {
            std::thread::yield_now();
        }
        batch.lock().expect("no panic").done = true;
    });
    began.elapsed()
}

fn ceiling(_: &mut Criterion) {
    let order = order(SHOWS, SEATS, 0.6);
    in_turns(
        &format!("{} pipelined durable reservations", order.len()),
        if is_smoke() { 1 } else { 7 },
        &mut [
            ("by hand", Box::new(|| by_hand(&order))),
            ("optimistic", Box::new(|| timed(Options::optimistic(), &order, 1))),
            ("pessimistic", Box::new(|| timed(Options::pessimistic(), &order, 1))),
            ("optimistic, 1,024 in a call", Box::new(|| timed(Options::optimistic(), &order, IN_A_CALL))),
            ("pessimistic, 1,024 in a call", Box::new(|| timed(Options::pessimistic(), &order, IN_A_CALL))),
        ],
    );
}

criterion_group!(benches, ceiling, pipelined);
criterion_main!(benches);

//! Durable reservations per second when nobody waits for each one: one producer, many under way.
//! An operation is counted when its receipt has been waited for, that is, after its two-phase commit.

mod support;

use std::time::{Duration, Instant};

use boxoffice::{Concurrency, Options};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{SEATS, SHOWS, Sale, order, sell_pipelined};

fn pipelined(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipelined durable reserve");
    let order = order(SHOWS, SEATS, 0.6);
    group.throughput(Throughput::Elements(order.len() as u64)).sample_size(10);
    for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
        let options = Options { concurrency, ..Options::default() };
        group.bench_function(format!("64 x 20,000 seats, {concurrency:?}"), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let sale = Sale::new(SHOWS, SEATS, options);
                    let began = Instant::now();
                    sell_pipelined(&sale, &order);
                    spent += began.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipelined);
criterion_main!(benches);

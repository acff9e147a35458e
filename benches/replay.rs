//! How fast an open replays the log: 64 shows of 20,000 seats, all sold, from a file just written.
//! Time is what the engine reports for the replay itself; the check of redb's pages before it is
//! printed beside it.

mod support;

use std::time::Duration;

use boxoffice::venue::Venue;
use boxoffice::{Engine, Options};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{SEATS, SHOWS, Sale, order, sell_pipelined};

fn replay(c: &mut Criterion) {
    let Sale { engine, path, _folder, .. } = {
        let sale = Sale::new(SHOWS, SEATS, Options::optimistic());
        sell_pipelined(&sale, &order(SHOWS, SEATS, 1.0));
        sale
    };
    engine.close().expect("closed");
    let open = || Engine::builder().aggregate::<Venue>().open(&path).expect("opened");
    let found = open().recovery().clone();
    println!(
        "{} events in {} bytes; checking the file {:?}, replay {:?}",
        found.events,
        path.metadata().map_or(0, |file| file.len()),
        found.verify_time,
        found.replay_time
    );
    let mut group = c.benchmark_group("replay on open");
    group.throughput(Throughput::Elements(found.events)).sample_size(10);
    group.bench_function("1.28 M reservations", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| open().recovery().replay_time).sum::<Duration>());
    });
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);

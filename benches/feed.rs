//! How fast a feed reads a log from its start, a file that was just written: entries alone, with the names
//! of their streams, decoded, and counted by a projection.

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use boxoffice::history::{FeedEntry, Projection};
use boxoffice::venue::Venue;
use boxoffice::{Engine, Error, Options};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Contender, SEATS, SHOWS, Sale, in_turns, is_smoke, order, sell_pipelined};

/// Reads the whole log, and looks at each entry.
fn read(engine: &Engine, mut look: impl FnMut(&FeedEntry)) -> Duration {
    let last = engine.durable_position();
    let mut feed = engine.feed(1).expect("a feed from the start");
    let began = Instant::now();
    while feed.next_position() <= last {
        look(&feed.next().expect("open").expect("read"));
    }
    began.elapsed()
}

fn entries(engine: &Engine) -> Duration {
    read(engine, |entry| {
        black_box((entry.position(), entry.decided_at()));
    })
}

fn names(engine: &Engine) -> Duration {
    read(engine, |entry| entry.streams().for_each(|span| drop(black_box(span))))
}

fn decoded(engine: &Engine) -> Duration {
    read(engine, |entry| {
        for event in entry.events::<Venue>() {
            drop(black_box(event.expect("decodes")));
        }
    })
}

fn counted(engine: &Engine) -> Duration {
    let mut events = Projection::<u64>::in_memory();
    let count = |events: &mut u64, entry: &FeedEntry| -> Result<(), Error> {
        *events += entry.streams().map(|span| u64::from(span.events)).sum::<u64>();
        Ok(())
    };
    let began = Instant::now();
    events.catch_up(engine, count).expect("counted");
    began.elapsed()
}

fn feed(c: &mut Criterion) {
    let (shows, seats) = if is_smoke() { (2, 100) } else { (SHOWS, SEATS) };
    let sale = Sale::new(shows, seats, Options::optimistic());
    sell_pipelined(&sale, &order(shows, seats, 1.0));
    let (engine, written) = (&sale.engine, sale.engine.durable_position());
    let mut contenders: Vec<Contender<'_>> = vec![
        ("entries", Box::new(|| entries(engine))),
        ("with the names of their streams", Box::new(|| names(engine))),
        ("decoded", Box::new(|| decoded(engine))),
        ("counted by a projection", Box::new(|| counted(engine))),
    ];
    in_turns(&format!("reading {written} entries from the start"), 5, &mut contenders);
    let mut group = c.benchmark_group("feed");
    group.throughput(Throughput::Elements(written)).sample_size(10);
    group.bench_function("from the start of the log", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| entries(engine)).sum());
    });
    group.bench_function("from the start of the log, decoded", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| decoded(engine)).sum());
    });
    group.finish();
}

criterion_group!(benches, feed);
criterion_main!(benches);

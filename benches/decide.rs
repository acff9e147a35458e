//! The path of a command without a disk: `submit` on an engine in memory, one seat, both modes. Each
//! decision goes through everything but the sync: lookup, snapshot, scope, locks or checks, encoding,
//! append; a writer thread commits to memory beside it.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use boxoffice::options::Concurrency;
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Options};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{hall, labels};

const SEATS: usize = 20_000;

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide in memory");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    let layout = hall(SEATS);
    let labels = labels(&layout);
    for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
        let options = Options { concurrency, ..Options::default() };
        let engine = Engine::builder().aggregate_with::<Venue>(options).in_memory().expect("opened");
        let venues = engine.handle::<Venue>(VenueServices::default()).expect("registered");
        let mut show = 0;
        group.bench_function(BenchmarkId::new("reserve one seat", format!("{concurrency:?}")), |b| {
            b.iter_custom(|decisions| {
                let mut spent = Duration::ZERO;
                let mut left = decisions as usize;
                while left > 0 {
                    show += 1;
                    let id = format!("show-{show}");
                    let created = venues.execute(&id, &VenueCommand::create(Arc::clone(&layout)));
                    assert!(created.expect("created").is_accepted());
                    let began = Instant::now();
                    for label in labels.iter().take(left) {
                        let decided = venues.submit(&id, &VenueCommand::reserve(1, [label]));
                        drop(decided.expect("decided"));
                    }
                    spent += began.elapsed();
                    left = left.saturating_sub(SEATS);
                }
                spent
            });
        });
        let view = venues.read("show-1").expect("exists");
        group.bench_function(BenchmarkId::new("read", format!("{concurrency:?}")), |b| {
            b.iter_batched(|| (), |()| venues.read("show-1").expect("exists"), BatchSize::SmallInput);
        });
        drop(view);
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);

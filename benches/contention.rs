//! What contention costs: everybody on one seat, and slow decisions on different seats of one venue.

mod support;

use std::time::{Duration, Instant};

use boxoffice::Options;
use boxoffice::options::Concurrency;
use boxoffice::venue::{Request, Venue, VenueCommand, VenueServices};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{Sale, in_turns, is_smoke};

const MODES: [Concurrency; 2] = [Concurrency::Pessimistic, Concurrency::Optimistic];

/// Every thread wants the same seat; who gets it gives it back. A grant is a durable reservation.
fn hot_seat(c: &mut Criterion) {
    let mut group = c.benchmark_group("hot seat");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(4));
    for concurrency in MODES {
        for threads in [8, 32] {
            let sale = Sale::new(1, 100, Options { concurrency, ..Options::default() });
            let id = BenchmarkId::new(format!("{concurrency:?}"), format!("{threads} threads"));
            group.bench_function(id, |b| {
                b.iter_custom(|grants| {
                    let left = std::sync::atomic::AtomicI64::new(grants as i64);
                    let began = Instant::now();
                    std::thread::scope(|scope| {
                        for customer in 0..threads {
                            let (sale, left) = (&sale, &left);
                            scope.spawn(move || fight(sale, left, customer));
                        }
                    });
                    began.elapsed()
                });
            });
        }
    }
    group.finish();
}

fn fight(sale: &Sale, left: &std::sync::atomic::AtomicI64, customer: u64) {
    use std::sync::atomic::Ordering::Relaxed;
    let seat = &sale.labels[0];
    while left.load(Relaxed) > 0 {
        let wanted = sale.venues.execute(&sale.ids[0], &VenueCommand::reserve(customer, [seat]));
        if wanted.expect("decided").is_accepted() {
            left.fetch_sub(1, Relaxed);
            let given_back = sale.venues.execute(&sale.ids[0], &VenueCommand::release(customer, [seat]));
            assert!(given_back.expect("decided").is_accepted());
        }
    }
}

const THREADS: usize = 16;
const EACH: usize = 100;
const WAIT: Duration = Duration::from_millis(1);

/// Sixteen threads, one venue, a price that takes 1 ms, different seats, receipts collected at the end.
/// "Only waiting" is the ceiling: the same threads, which wait as often and decide nothing.
fn slow_decide(_: &mut Criterion) {
    in_turns(
        "slow decide, 16 threads of 100 decisions of 1 ms, one venue",
        if is_smoke() { 1 } else { 15 },
        &mut [
            ("only waiting", Box::new(only_waiting)),
            ("pessimistic", Box::new(|| slow_sale(Concurrency::Pessimistic))),
            ("optimistic", Box::new(|| slow_sale(Concurrency::Optimistic))),
        ],
    );
}

fn only_waiting() -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..EACH).for_each(|_| std::thread::sleep(WAIT)));
        }
    });
    began.elapsed()
}

fn slow_sale(concurrency: Concurrency) -> Duration {
    let sale = Sale::new(1, THREADS * EACH, Options { concurrency, ..Options::default() });
    let slow = VenueServices::default().with_pricing(|_: &Request<'_, u64>| {
        std::thread::sleep(WAIT);
        5_000
    });
    let venues = sale.engine.handle::<Venue>(slow).expect("registered");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for seats in sale.labels.chunks(EACH) {
            let (venues, id) = (&venues, &sale.ids[0]);
            scope.spawn(move || {
                let submit = |seat| venues.submit(id, &VenueCommand::reserve(1, [seat]));
                let receipts: Vec<_> = seats.iter().map(submit).collect();
                for receipt in receipts {
                    assert!(receipt.expect("decided").wait().expect("durable").is_accepted());
                }
            });
        }
    });
    began.elapsed()
}

criterion_group!(benches, hot_seat, slow_decide);
criterion_main!(benches);

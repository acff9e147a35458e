//! Durable reservations when every caller waits for each of its own, at 1, 8 and 64 threads; beside
//! them what the disk itself costs: a raw redb commit of the same bytes, and an append with
//! `fdatasync` to a growing and to a preallocated file.

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use boxoffice::Options;
use boxoffice::options::Concurrency;
use boxoffice::venue::VenueCommand;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redb::TableDefinition;
use support::{SEATS, Sale, folder, in_turns, is_smoke, order};

/// What one single-seat reservation takes in the log: a row header and an entry.
const ROW_BYTES: usize = 72;
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const SHOWS: usize = 64;

fn blocking(c: &mut Criterion) {
    let mut group = c.benchmark_group("blocking durable reserve");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(4));
    for concurrency in [Concurrency::Pessimistic, Concurrency::Optimistic] {
        for threads in [1, 8, 64] {
            let sale = Sale::new(SHOWS, SEATS, Options { concurrency, ..Options::default() });
            let order = order(SHOWS, SEATS, 1.0);
            let next = AtomicUsize::new(0);
            let id = BenchmarkId::new(format!("{concurrency:?}"), format!("{threads} threads"));
            group.bench_function(id, |b| {
                b.iter_custom(|decisions| {
                    let left = AtomicUsize::new(decisions as usize);
                    let began = Instant::now();
                    std::thread::scope(|scope| {
                        for _ in 0..threads {
                            scope.spawn(|| {
                                while left
                                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                                    .is_ok()
                                {
                                    let (show, seat) = order[next.fetch_add(1, Ordering::Relaxed)];
                                    let label = &sale.labels[seat as usize];
                                    let command = VenueCommand::reserve(1, [label]);
                                    let outcome = sale.venues.execute(&sale.ids[show as usize], &command);
                                    assert!(outcome.expect("durable").is_accepted());
                                }
                            });
                        }
                    });
                    began.elapsed()
                });
            });
        }
    }
    raw_redb(&mut group);
    append(&mut group, "append and fdatasync, growing file", 0);
    append(&mut group, "append and fdatasync, preallocated file", 64 << 20);
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// What the engine adds to a commit: the same bytes, the same thread, the same disk, at the same time.
fn in_turns_with_redb(_: &mut Criterion) {
    let rounds = if is_smoke() { 3 } else { 2000 };
    let folder = folder();
    let path = folder.path().join("append");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a new file");
    let sales = [Concurrency::Pessimistic, Concurrency::Optimistic]
        .map(|concurrency| Sale::new(1, SEATS, Options { concurrency, ..Options::default() }));
    let reserve = |sale: &Sale, seat: usize| {
        let command = VenueCommand::reserve(1, [&sale.labels[seat]]);
        let began = Instant::now();
        assert!(sale.venues.execute("show-0", &command).expect("durable").is_accepted());
        began.elapsed()
    };
    let (mut raw, mut offset, mut seats) = (RawRedb::new(), 0, [0, 0]);
    let [mut pessimistic, mut optimistic] = seats.each_mut().map(|seat| {
        move || {
            *seat += 1;
            *seat - 1
        }
    });
    in_turns(
        "blocking durable reserve, 1 thread",
        rounds,
        &mut [
            ("raw redb, two-phase commit of the same bytes", Box::new(|| raw.commit())),
            ("pessimistic", Box::new(|| reserve(&sales[0], pessimistic()))),
            ("optimistic", Box::new(|| reserve(&sales[1], optimistic()))),
            (
                "append and fdatasync, growing file",
                Box::new(|| {
                    let began = Instant::now();
                    file.write_all_at(&[7u8; ROW_BYTES], offset).expect("written");
                    file.sync_data().expect("synced");
                    offset += ROW_BYTES as u64;
                    began.elapsed()
                }),
            ),
        ],
    );
}

struct RawRedb {
    database: redb::Database,
    next: u64,
    _folder: tempfile::TempDir,
}

impl RawRedb {
    fn new() -> Self {
        let folder = folder();
        let path = folder.path().join("raw.redb");
        let database = redb::Builder::new().set_cache_size(64 << 20).create(path).expect("a new database");
        Self { database, next: 0, _folder: folder }
    }

    fn commit(&mut self) -> Duration {
        let began = Instant::now();
        let mut transaction = self.database.begin_write().expect("a transaction");
        transaction.set_two_phase_commit(true);
        let row = [7u8; ROW_BYTES];
        transaction.open_table(ROWS).expect("a table").insert(self.next, row.as_slice()).expect("inserted");
        transaction.commit().expect("committed");
        self.next += 1;
        began.elapsed()
    }
}

fn raw_redb(group: &mut Group<'_>) {
    let mut raw = RawRedb::new();
    group.bench_function("raw redb, two-phase commit of the same bytes", |b| b.iter(|| raw.commit()));
}

fn append(group: &mut Group<'_>, name: &str, preallocated: usize) {
    let folder = folder();
    let path = folder.path().join("append");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a new file");
    // Zeros that were really written: blocks that are only reserved cost as much as a growing file.
    file.write_all_at(&vec![0; preallocated], 0).expect("written");
    file.sync_all().expect("synced");
    let mut offset = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            file.write_all_at(&[7u8; ROW_BYTES], offset).expect("written");
            file.sync_data().expect("synced");
            offset += ROW_BYTES as u64;
            if preallocated > 0 && offset as usize + ROW_BYTES > preallocated {
                offset = 0;
            }
        });
    });
}

criterion_group!(benches, in_turns_with_redb, blocking);
criterion_main!(benches);

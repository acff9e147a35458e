//! Goal: a feed shows every durable entry, whole, in order and once, whoever else reads or writes; it shows
//! nothing that is not on disk; and whoever waits in it is woken.
//!
//! Method: readers beside writers on a real file, one from every position, compared with the histories of all
//! streams; storage with a gate before its syncs, to look between the append and the disk; futures that are
//! polled by hand. How a wake-up and a wait can meet is enumerated by the model test of the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use boxoffice::clock::Timestamp;
use boxoffice::error::Fence;
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::history::{AsyncFeed, Feed, FeedEntry, Happened};
use boxoffice::options::Builder;
use boxoffice::testing::{FaultyStorage, Prng};
use boxoffice::{Engine, Error, Handle};
use futures_core::Stream;
use support::board::{Ask, Board, Kind, Put};
use support::gate::GatedStorage;
use support::{Polled, WATCHDOG, block_on, error_of, eventually};

fn builder() -> Builder {
    Engine::builder().aggregate::<Board>().aggregate::<FlashSale>()
}

/// One event: type, id, version and what happened; and the entry's position and times.
type Line = (u64, Timestamp, Timestamp, String, String, u64, String);

/// All that a feed shows of an entry.
fn lines_of(entry: &FeedEntry) -> Vec<Line> {
    let (position, decided, committed) = (entry.position(), entry.decided_at(), entry.committed_at());
    let mut lines = Vec::new();
    let line = |aggregate: &str, id: &str, version, text| {
        (position, decided, committed, aggregate.to_owned(), id.to_owned(), version, text)
    };
    for event in entry.events::<Board>().map(Result::unwrap) {
        lines.push(line("board", &event.id, event.version, text_of_board(&event.what)));
    }
    for event in entry.events::<FlashSale>().map(Result::unwrap) {
        lines.push(line("flash_sale", &event.id, event.version, text_of_sale(&event.what)));
    }
    // What the spans promise is what is there.
    let promised: Vec<_> = entry
        .streams()
        .flat_map(|span| {
            let versions = span.first_version..span.first_version + u64::from(span.events);
            versions.map(move |version| (span.stream.clone(), version))
        })
        .map(|(stream, version)| (stream.id.to_string(), version))
        .collect();
    let found: Vec<_> = lines.iter().map(|line| (line.4.clone(), line.5)).collect();
    assert_eq!(promised, found, "position {position}");
    lines
}

fn text_of_board(what: &Happened<Board>) -> String {
    match what {
        Happened::Event(put) => format!("{put:?}"),
        Happened::Rejection(no) => no.clone(),
    }
}

fn text_of_sale(what: &Happened<FlashSale>) -> String {
    match what {
        Happened::Event(event) => format!("{event:?}"),
        Happened::Rejection(no) => format!("{no:?}"),
    }
}

/// The same from the histories of all streams.
fn lines_of_histories(engine: &Engine) -> Vec<Line> {
    let (boards, sales) = handles(engine);
    let mut lines = Vec::new();
    for id in boards.ids() {
        for it in boards.history(&id).unwrap().map(Result::unwrap) {
            let text = text_of_board(&it.what);
            lines.push((
                it.position,
                it.decided_at,
                it.committed_at,
                "board".into(),
                id.to_string(),
                it.version,
                text,
            ));
        }
    }
    for id in sales.ids() {
        for it in sales.history(&id).unwrap().map(Result::unwrap) {
            let (text, sale) = (text_of_sale(&it.what), "flash_sale".to_owned());
            lines.push((it.position, it.decided_at, it.committed_at, sale, id.to_string(), it.version, text));
        }
    }
    lines.sort();
    lines
}

fn handles(engine: &Engine) -> (Handle<Board>, Handle<FlashSale>) {
    (engine.handle(()).unwrap(), engine.handle(()).unwrap())
}

/// Every call decides one entry: events, several at once, or a recorded rejection; on old and new streams of
/// two types.
fn work(engine: &Engine, seed: u64, calls: u64) {
    let (boards, sales) = handles(engine);
    let mut dice = Prng::new(seed);
    for call in 0..calls {
        let board = format!("board-{}-with-a-rather-long-name", dice.below(7));
        let cell = dice.below(3);
        match dice.below(6) {
            0 => {
                let sale = format!("sale-{seed}-{call}");
                assert!(sales.execute(&sale, &FlashSaleCommand::create(2)).unwrap().is_accepted());
            }
            1 => {
                let three = (0..3).map(|cell| Put::cell(cell, call as i64));
                assert!(boards.execute(&board, &Ask::puts(three)).unwrap().is_accepted());
            }
            // A rejection creates nothing, so that the board has to be there.
            2 if boards.read(&board).is_ok() => {
                assert!(!boards.execute(&board, &Ask::reject(cell)).unwrap().is_accepted());
            }
            3 => drop(boards.submit(&board, &Ask::add(cell)).unwrap()),
            _ => assert!(boards.execute(&board, &Ask::set(cell, call as i64)).unwrap().is_accepted()),
        }
    }
}

/// Reads as many entries in one of the ways to read; each follows the one before.
fn read(mut feed: Feed, entries: u64, way: u64) -> (Feed, Vec<FeedEntry>) {
    let (mut read, mut expected) = (Vec::new(), feed.next_position());
    while (read.len() as u64) < entries {
        let next = match way % 4 {
            // As the iterator, with a watchdog.
            0 => feed.next_timeout(WATCHDOG),
            1 => block_on(feed.next_async()),
            2 => loop {
                match feed.next_timeout(Duration::from_millis(1)) {
                    None => assert!(!feed.is_ended()),
                    next => break next,
                }
            },
            _ => {
                let mut stream = feed.into_async();
                let next = block_on(next_of(&mut stream));
                feed = stream.into_feed();
                next
            }
        };
        let entry = next.expect("it goes on").unwrap();
        assert_eq!(entry.position(), expected);
        expected += 1;
        assert_eq!(feed.next_position(), expected);
        read.push(entry);
    }
    (feed, read)
}

async fn next_of(stream: &mut AsyncFeed) -> Option<Result<FeedEntry, Error>> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

#[test]
fn a_reader_from_every_position_sees_what_four_threads_write() {
    const WRITERS: u64 = 4;
    const CALLS: u64 = 80;
    const LAST: u64 = WRITERS * CALLS;
    let folder = tempfile::tempdir().unwrap();
    let engine = builder().open(folder.path().join("feed.boxoffice")).unwrap();
    let mut seen: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
    thread::scope(|scope| {
        let engine = &engine;
        for seed in 0..WRITERS {
            scope.spawn(move || work(engine, seed, CALLS));
        }
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                scope.spawn(move || {
                    let starts = (1..=LAST + 1).filter(|from| from % 3 == reader);
                    starts
                        .map(|from| {
                            let feed = eventually("the log did not get there", || engine.feed(from).ok());
                            let (feed, entries) = read(feed, LAST + 1 - from, from);
                            assert_eq!(feed.next_position(), LAST + 1);
                            (from, entries.iter().flat_map(lines_of).collect::<Vec<_>>())
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for reader in readers {
            seen.extend(reader.join().unwrap());
        }
    });
    let all = lines_of_histories(&engine);
    assert_eq!(all.last().unwrap().0, LAST);
    assert_eq!(seen.len() as u64, LAST + 1);
    for (from, mut lines) in seen {
        lines.sort();
        assert!(lines.iter().eq(all.iter().filter(|line| line.0 >= from)), "from {from}");
    }
    engine.close().unwrap();
}

/// Engines on storage whose syncs can be held up, with one decision on disk.
fn gated() -> (GatedStorage, Engine, Handle<Board>) {
    let storage = GatedStorage::default();
    let engine = builder().backend(storage.clone()).unwrap();
    let (boards, _) = handles(&engine);
    assert!(boards.execute("b", &Ask::set(1, 1)).unwrap().is_accepted());
    (storage, engine, boards)
}

#[test]
fn what_is_not_on_disk_is_not_shown() {
    let (storage, engine, boards) = gated();
    storage.close_gate();
    let receipts: Vec<_> = (2..20).map(|cell| boards.submit("b", &Ask::set(cell, 1)).unwrap()).collect();
    storage.await_blocked();
    assert_eq!((engine.position(), engine.durable_position()), (19, 1));
    let mut looking = engine.feed(1).unwrap();
    assert_eq!(looking.next().unwrap().unwrap().position(), 1);
    // From a position that has an entry, which is not on disk, too.
    let mut timed = engine.feed(7).unwrap();
    let mut feeds: Vec<_> = (2..=20).map(|from| engine.feed(from).unwrap()).collect();
    let mut waiting: Vec<_> = feeds.iter_mut().take(18).map(|feed| Polled::new(feed.next_async())).collect();
    let mut streams: Vec<_> = (2..=19).map(|from| engine.feed(from).unwrap().into_async()).collect();
    let mut streaming: Vec<_> = streams.iter_mut().map(|stream| Polled::new(next_of(stream))).collect();
    for _ in 0..20 {
        assert!(looking.try_next().is_none() && !looking.is_ended());
        assert!(timed.next_timeout(Duration::from_millis(1)).is_none() && !timed.is_ended());
        assert!(waiting.iter_mut().all(|it| it.poll().is_none()));
        assert!(streaming.iter_mut().all(|it| it.poll().is_none()));
        assert_eq!(engine.durable_position(), 1);
    }
    storage.open_gate();
    for (from, it) in (2..).zip(waiting.into_iter().chain(streaming)) {
        let entry = it.finish().unwrap().unwrap();
        assert_eq!(entry.position(), if from < 20 { from } else { from - 18 });
        assert!(engine.durable_position() >= entry.position());
    }
    assert_eq!(looking.next_timeout(WATCHDOG).unwrap().unwrap().position(), 2);
    assert_eq!(timed.next_timeout(WATCHDOG).unwrap().unwrap().position(), 7);
    drop((receipts, feeds));
    engine.close().unwrap();
}

#[test]
fn many_consumers_read_the_same() {
    const LAST: u64 = 300;
    let engine = builder().in_memory().unwrap();
    let mut read_by: Vec<Vec<Line>> = Vec::new();
    thread::scope(|scope| {
        let engine = &engine;
        let readers: Vec<_> = (0..16)
            .map(|way| {
                let feed = engine.feed(1).unwrap();
                scope.spawn(move || read(feed, LAST, way).1.iter().flat_map(lines_of).collect())
            })
            .collect();
        scope.spawn(move || work(engine, 9, LAST));
        read_by.extend(readers.into_iter().map(|reader| reader.join().unwrap()));
    });
    let mut all = read_by.pop().unwrap();
    assert!(read_by.iter().all(|lines| *lines == all));
    all.sort();
    assert_eq!(all, lines_of_histories(&engine));
    engine.close().unwrap();
}

#[test]
fn a_slow_consumer_goes_on_where_it_was() {
    const WRITES: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let engine = builder().open(folder.path().join("slow.boxoffice")).unwrap();
    let (boards, _) = handles(&engine);
    assert!(boards.execute("b", &Ask::set(0, 0)).unwrap().is_accepted());
    let mut feed = engine.feed(1).unwrap();
    let first = feed.next().unwrap().unwrap();
    let mut last = None;
    for number in 0..WRITES {
        last =
            Some(boards.submit(format!("b{}", number % 10), &Ask::set(number % 5, number as i64)).unwrap());
    }
    assert!(last.unwrap().wait().unwrap().is_accepted());
    let (mut feed, entries) = read(feed, WRITES, 0);
    for (number, entry) in (0..).zip(&entries) {
        let event = entry.events::<Board>().next().unwrap().unwrap();
        assert_eq!(event.id, format!("b{}", number % 10));
        assert!(matches!(event.what, Happened::Event(put) if put == Put::cell(number % 5, number as i64)));
    }
    assert!(feed.try_next().is_none());
    // An entry stays what it is, for as long as somebody keeps it.
    assert_eq!((first.position(), first.streams().next().unwrap().stream.id.as_str()), (1, "b"));
    engine.close().unwrap();
    assert!(feed.next().is_none());
    assert_eq!(lines_of(&first).len(), 1);
}

/// A read transaction that stayed open would keep every page that was changed since.
#[test]
fn a_feed_that_nobody_reads_costs_the_file_nothing() {
    let size = |slow: bool| {
        let storage = FaultyStorage::new(1);
        let engine = builder().backend(storage.clone()).unwrap();
        let (boards, _) = handles(&engine);
        let mut feeds = Vec::new();
        for number in 0..400 {
            assert!(boards.execute("b", &Ask::set(1, number)).unwrap().is_accepted());
            if slow && number % 50 == 0 {
                let mut feed = engine.feed(1).unwrap();
                assert_eq!(feed.next().unwrap().unwrap().position(), 1);
                feeds.push(feed);
            }
        }
        storage.bytes().len()
    };
    assert_eq!(size(true), size(false));
}

fn open(path: &Path) -> Engine {
    builder().open(path).unwrap()
}

#[test]
fn a_stored_position_goes_on_after_a_reopen_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resume.boxoffice");
    let (mut position, mut all) = (1, Vec::new());
    for round in 0..8 {
        let engine = open(&path);
        work(&engine, round, 30);
        let feed = engine.feed(position).unwrap();
        // Sometimes not to the end, in the last round to the end.
        let behind = if round == 7 { 0 } else { [0, 7, 29][round as usize % 3] };
        engine.wait_durable(engine.position()).unwrap();
        let (feed, entries) = read(feed, engine.durable_position() + 1 - position - behind, round);
        position = feed.next_position();
        all.extend(entries.iter().flat_map(lines_of));
        if round == 7 {
            all.sort();
            assert_eq!(all, lines_of_histories(&engine));
        }
        engine.close().unwrap();
    }
}

#[test]
fn a_close_wakes_whoever_waits() {
    for _ in 0..20 {
        let (_, engine, _) = gated();
        let mut feed = engine.feed(2).unwrap();
        let blocked = thread::spawn(move || (feed.next().is_none(), feed.is_ended(), feed.next().is_none()));
        let mut feed = engine.feed(2).unwrap();
        let mut task = Polled::new(feed.next_async());
        let mut stream = engine.feed(2).unwrap().into_async();
        let mut streaming = Polled::new(next_of(&mut stream));
        assert!(task.poll().is_none() && streaming.poll().is_none());
        engine.close().unwrap();
        assert_eq!((task.woken(), streaming.woken()), (1, 1));
        assert!(task.finish().is_none() && streaming.finish().is_none());
        assert!(feed.is_ended() && feed.try_next().is_none());
        assert_eq!((feed.next_position(), stream.next_position()), (2, 2));
        assert!(block_on(next_of(&mut stream)).is_none());
        eventually("nobody woke the thread", || blocked.is_finished().then_some(()));
        assert_eq!(blocked.join().unwrap(), (true, true, true));
    }
}

/// Closed is not the same as read to the end: nobody is told that it has seen everything when it has not.
#[test]
fn a_feed_that_is_behind_at_the_close_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("behind.boxoffice");
    let engine = open(&path);
    work(&engine, 3, 40);
    engine.wait_durable(engine.position()).unwrap();
    let mut feed = engine.feed(5).unwrap();
    engine.close().unwrap();
    assert!(matches!(feed.next(), Some(Err(Error::Closed))));
    assert!(feed.next().is_none() && feed.is_ended());
    let engine = open(&path);
    let (_, rest) = read(engine.feed(feed.next_position()).unwrap(), 36, 0);
    assert_eq!(rest[35].position(), 40);
    engine.close().unwrap();
}

#[test]
fn a_failing_disk_ends_every_feed_with_the_error_once() {
    let (storage, engine, boards) = gated();
    let mut blocked = engine.feed(2).unwrap();
    let mut slow = engine.feed(1).unwrap();
    let mut feed = engine.feed(2).unwrap();
    let mut task = Polled::new(feed.next_async());
    let mut stream = engine.feed(2).unwrap().into_async();
    let mut streaming = Polled::new(next_of(&mut stream));
    assert!(task.poll().is_none() && streaming.poll().is_none());
    let blocked = thread::spawn(move || (blocked.next(), blocked.next().is_none()));
    storage.close_gate();
    let receipt = boards.submit("b", &Ask::set(2, 2)).unwrap();
    storage.await_blocked();
    storage.fail();
    assert!(matches!(receipt.wait(), Err(Error::OutcomeUnknown { .. })));
    eventually("nobody woke the thread", || blocked.is_finished().then_some(()));
    let (error, then_none) = blocked.join().unwrap();
    assert!(matches!(error, Some(Err(Error::Storage { .. }))) && then_none);
    assert!(matches!(task.finish(), Some(Err(Error::Storage { .. }))));
    assert!(matches!(streaming.finish(), Some(Err(Error::Storage { .. }))));
    assert!(block_on(next_of(&mut stream)).is_none() && feed.next().is_none() && feed.is_ended());
    // Nothing is read from a storage that failed.
    assert!(matches!(slow.try_next(), Some(Err(Error::Storage { .. }))));
    assert!(matches!(error_of(engine.feed(1)), Error::Storage { .. }));
    assert!(engine.close().is_err());
}

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_wait_that_is_dropped_leaves_nothing_behind_and_takes_no_entry_along() {
    let (_, engine, boards) = gated();
    let task = Arc::new(Task::default());
    let waker = Waker::from(Arc::clone(&task));
    let mut cx = Context::from_waker(&waker);
    let mut feed = engine.feed(2).unwrap();
    for _ in 0..100 {
        let mut waiting = Box::pin(feed.next_async());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&task), 3);
        drop(waiting);
        let mut stream = feed.into_async();
        assert!(Pin::new(&mut stream).poll_next(&mut cx).is_pending());
        feed = stream.into_feed();
        assert_eq!(Arc::strong_count(&task), 2, "the line still has the task");
    }
    // Woken, and dropped before it looks.
    let mut waiting = Box::pin(feed.next_async());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(boards.execute("b", &Ask::set(2, 2)).unwrap().is_accepted());
    assert_eq!(task.0.load(Ordering::SeqCst), 1);
    drop(waiting);
    assert_eq!(feed.next().unwrap().unwrap().position(), 2);
    assert_eq!((Arc::strong_count(&task), task.0.load(Ordering::SeqCst)), (2, 1));
    engine.close().unwrap();
}

#[test]
fn positions_that_the_log_does_not_have_are_refused() {
    let (storage, engine, boards) = gated();
    for position in [0, 3, u64::MAX] {
        match error_of(engine.feed(position)) {
            Error::UnknownPosition { position: named, last } => assert_eq!((named, last), (position, 1)),
            other => panic!("{other}"),
        }
    }
    let mut new_only = engine.feed(2).unwrap();
    assert!(new_only.try_next().is_none());
    storage.close_gate();
    let receipt = boards.submit("b", &Ask::set(2, 2)).unwrap();
    assert!(engine.feed(3).is_ok() && engine.feed(4).is_err());
    storage.open_gate();
    assert!(receipt.wait().unwrap().is_accepted());
    assert_eq!(new_only.next().unwrap().unwrap().position(), 2);
    engine.close().unwrap();
}

/// A board of the next version of the program.
struct Newer;
impl Kind for Newer {
    const EVENT_VERSION: u16 = 2;
}

#[test]
fn streams_that_this_program_does_not_know_are_named_and_said_to_be_newer() {
    let storage = FaultyStorage::new(3);
    let engine = Engine::builder().aggregate::<Board<Newer>>().backend(storage.clone()).unwrap();
    let newer = engine.handle::<Board<Newer>>(()).unwrap();
    assert!(newer.execute("b", &Ask::puts([Put::cell(1, 1), Put::cell(2, 2)])).unwrap().is_accepted());
    engine.close().unwrap();

    // Nobody registers the type.
    let engine = Engine::builder().backend(storage.reopen_warm()).unwrap();
    let entry = engine.feed(1).unwrap().next().unwrap().unwrap();
    let spans: Vec<_> =
        entry.streams().map(|span| (span.stream.to_string(), span.first_version, span.events)).collect();
    assert_eq!(spans, [("board/b".to_owned(), 1, 2)]);
    assert_eq!(entry.events::<FlashSale>().count(), 0);
    let known: Vec<_> = entry.events::<Board<Newer>>().map(|event| event.unwrap().version).collect();
    assert_eq!(known, [1, 2]);
    let errors: Vec<_> = entry.events::<Board>().map(error_of).collect();
    assert_eq!(errors.len(), 2);
    for error in errors {
        let Error::Fenced { stream, reason } = error else { panic!("{error}") };
        assert_eq!(stream.to_string(), "board/b");
        assert_eq!(reason, Fence::NewerEvent { found: 2, supported: 1 });
    }
    engine.close().unwrap();
}

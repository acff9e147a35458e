//! What a framework gives its users beside the five systems: what other tests of this crate do not show already.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::error::Advice;
use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::options::{Concurrency, Exhausted, Metadata};
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Limits, Options};

use crate::halls::{HALL, audited, file, holder, reason, three_seats};
use crate::support::board::{Ask, Board, Cells, Put, boards, parts};
use crate::support::gate::GatedStorage;
use crate::support::rows::rows_on;
use crate::support::{Door, Meeting, Polled, at_once, briefly, error_of, eventually, modes};

/// A command that counts its decisions.
fn counted(ask: Ask) -> (Ask, Arc<AtomicUsize>) {
    let decided = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&decided);
    let ask = ask.first(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (ask, decided)
}

/// Whatever else goes wrong reaches the caller after one decision, however many retries there are.
#[test]
fn only_conflicts_are_tried_again() {
    type Ends = fn(&Result<boxoffice::Outcome<Board>, Error>) -> bool;
    let cases: [(&str, Ask, Ends); 6] = [
        ("a rejection", Ask::reject(1), |end| end.as_ref().is_ok_and(|outcome| !outcome.is_accepted())),
        ("nothing to do", Ask::puts([]), |end| end.as_ref().is_ok_and(|outcome| outcome.events().is_empty())),
        ("out of scope", Ask::on([1], |_| Ok(vec![Put::cell(2, 1)])), |end| {
            matches!(end, Err(Error::OutOfScope { .. }))
        }),
        ("too large", Ask::puts([Put::cell(1, 1).padded(5_000)]), |end| {
            matches!(end, Err(Error::TooLarge { .. }))
        }),
        ("a policy", Ask::set(1, 100), |end| matches!(end, Err(Error::PolicyViolated { .. }))),
        ("a panic of apply", Ask::puts([Put::cell(1, 1).trapped()]), |end| {
            matches!(end, Err(Error::ApplyPanicked { .. }))
        }),
    ];
    for (mode, options) in modes() {
        let options = Options { retries: 5, ..options };
        for (name, ask, ends) in &cases {
            let limits = Limits { entry_bytes: 4_096, ..Limits::default() };
            let builder = Engine::builder().aggregate::<Board>().limits(limits);
            let builder = builder.policy::<Board>("below 100", |_, _, after| after.get(1) < 100);
            let engine = builder.in_memory().unwrap();
            let handle = boards(&engine, options);
            assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
            let (ask, decided) = counted(ask.clone());
            let end = handle.execute("b", &ask);
            assert!(ends(&end), "{mode}: {name}: {end:?}");
            assert_eq!(decided.load(Ordering::SeqCst), 1, "{mode}: {name}");

            let mut runs = 0;
            let (ask, decided) = counted(ask);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                engine.transact(options, |unit| {
                    runs += 1;
                    unit.execute(&handle, "c", &ask)?.is_accepted();
                    Ok::<_, Error>(())
                })
            }));
            assert_eq!((runs, decided.load(Ordering::SeqCst)), (1, 1), "{mode}: {name}, in a unit");
        }

        // A lock that does not come is no conflict either.
        let engine = crate::support::board::engine();
        let handle = boards(&engine, options);
        assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
        let door = Door::new();
        let inside = Arc::clone(&door);
        let holding = Ask::add(1).first(move |_, _| inside.pass());
        thread::scope(|scope| {
            let holder =
                scope.spawn(|| boards(&engine, Options::pessimistic()).execute("b", &holding).unwrap());
            door.await_arrivals(1);
            let once = usize::from(options.concurrency == Concurrency::Optimistic);
            for patience in [at_once(options), briefly(options)] {
                let plans = Arc::new(AtomicUsize::new(0));
                let count = Arc::clone(&plans);
                let plan = move |_: &Cells| {
                    count.fetch_add(1, Ordering::SeqCst);
                    parts([1])
                };
                let (ask, decided) = counted(Ask::new(plan, |_, _| Ok(vec![Put::cell(1, 1)])));
                let error = error_of(handle.with(patience).execute("b", &ask));
                let lock = matches!(error, Error::WouldBlock { .. } | Error::LockTimeout { .. });
                assert!(lock && error.advice() == Advice::Retry, "{mode}: {error}");
                assert_eq!(decided.load(Ordering::SeqCst), once, "{mode}: {error}");
                // With checks it met the lock when it would have committed, and asked for it once.
                assert_eq!(plans.load(Ordering::SeqCst), 1 + once, "{mode}: {error}");
            }
            door.open();
            assert!(holder.join().unwrap().is_accepted());
        });

        // And a conflict is, as often as was said.
        let (ask, decided) = counted(Ask::add(1));
        let (rival, count) = (handle.with(Options::optimistic()), Arc::clone(&decided));
        let ask = ask.first(move |_, _| {
            if count.load(Ordering::SeqCst) < 3 {
                let rival = rival.with(at_once(rival.options()));
                let _ = thread::spawn(move || rival.execute("b", &Ask::add(1)).map(drop)).join().unwrap();
            }
        });
        let chosen = handle.with(Options { exhausted: Exhausted::Conflict, ..options });
        let outcome = chosen.execute("b", &ask).unwrap();
        let (conflicts, times) = if mode == "optimistic" { (3, 4) } else { (0, 1) };
        assert_eq!(
            (outcome.effort().conflicts, decided.load(Ordering::SeqCst)),
            (conflicts, times),
            "{mode}"
        );
        engine.close().unwrap();
    }
}

/// A seat and its programme, or neither: on a file, in one entry, with a rival in the middle.
#[test]
fn a_unit_of_work_is_retried_as_a_whole() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let open = || {
            let builder =
                Engine::builder().aggregate_with::<Venue>(options).aggregate_with::<FlashSale>(options);
            let engine = builder.open(&path).unwrap();
            let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
            let sales = engine.handle::<FlashSale>(()).unwrap();
            (engine, venues, sales)
        };
        let (engine, venues, sales) = open();
        assert_eq!(reason(&venues, HALL, &three_seats()), None);
        assert!(sales.execute("programme", &FlashSaleCommand::create(2)).unwrap().is_accepted());
        let (mut runs, mut refused) = (0, 0);
        let (seen, committed) = engine
            .transact(options, |unit| {
                runs += 1;
                let seat = VenueCommand::reserve(7, ["A1"]);
                assert!(unit.execute(&venues, HALL, &seat)?.is_accepted(), "{mode}: nobody else has it");
                // A later step sees what an earlier one did, and nobody else does.
                let again = unit.execute(&venues, HALL, &VenueCommand::reserve(8, ["A1"]))?;
                assert_eq!(again.rejection().map(|no| no.reason()), Some("seat_reserved"), "{mode}");
                assert_eq!(venues.read(HALL).unwrap().sold(), 0, "{mode}");
                let one = FlashSaleCommand::purchase("ada", 1);
                assert!(unit.execute(&sales, "programme", &one)?.is_accepted(), "{mode}");
                if runs == 1 {
                    let rival = sales.with(at_once(options));
                    let bob = FlashSaleCommand::purchase("bob", 1);
                    let bought =
                        thread::spawn(move || rival.execute("programme", &bob).map(drop)).join().unwrap();
                    refused += usize::from(matches!(bought, Err(Error::WouldBlock { .. })));
                }
                Ok::<_, Error>(unit.peek(&sales, "programme")?.left())
            })
            .unwrap();
        // With checks the rival was faster, and everything was done again; with locks he was kept out.
        let expected = if mode == "optimistic" { (2, 0, 0) } else { (1, 1, 1) };
        assert_eq!((runs, refused, seen), expected, "{mode}");
        assert_eq!(committed.position(), Some(engine.position()), "{mode}: one entry, the last");

        // Nothing of one step without the other: there is no third programme.
        let _ = sales.execute("programme", &FlashSaleCommand::purchase("cid", 1)).unwrap();
        let before = engine.position();
        let given_up = engine.transact(options, |unit| {
            assert!(unit.execute(&venues, HALL, &VenueCommand::reserve(9, ["A2"]))?.is_accepted());
            match unit.execute(&sales, "programme", &FlashSaleCommand::purchase("dan", 1))?.rejection() {
                None => Ok(()),
                Some(_) => Err(Error::Closed),
            }
        });
        assert!(given_up.is_err() && engine.position() == before, "{mode}");
        let free = venues.with(at_once(Options::pessimistic()));
        assert_eq!(reason(&free, HALL, &VenueCommand::reserve(9, ["A3"])), None, "{mode}: a lock was left");
        engine.close().unwrap();

        let (engine, venues, sales) = open();
        let view = venues.read(HALL).unwrap();
        let holders = ["A1", "A2", "A3"].map(|seat| holder(&view, seat));
        assert_eq!(holders, [Some(7), None, Some(9)], "{mode}");
        assert_eq!((sales.read("programme").unwrap().left(), view.sold()), (0, 2), "{mode}");
        engine.close().unwrap();
    }
}

/// Identity, time, correlation, causation and user of every event, of commands and of units, in both readings.
#[test]
fn every_event_tells_what_it_is_and_who_asked() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let clock = Arc::new(ManualClock::new(Timestamp(100)));
        let builder = Engine::builder().aggregate_with::<Venue>(options).aggregate_with::<FlashSale>(options);
        let engine = builder.clock(Arc::clone(&clock)).open(&path).unwrap();
        let asked =
            Metadata::default().with_user("ada").with_correlation("visit-7").with_causation("click-9");
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap().with_metadata(&asked);
        let sales = engine.handle::<FlashSale>(()).unwrap().with_metadata(&asked);
        assert!(venues.call().id("open-1").execute(HALL, &three_seats()).unwrap().is_accepted());
        clock.set(Timestamp(200));
        assert_eq!(reason(&venues, HALL, &VenueCommand::reserve(7, ["Z9"])), Some("seat_not_found"));
        clock.set(Timestamp(300));
        let mut unit = engine.begin(options);
        let create = FlashSaleCommand::create(5);
        assert!(unit.execute(&sales, "programme", &create).unwrap().is_accepted());
        for seat in ["A1", "A2"] {
            assert!(unit.execute(&venues, HALL, &VenueCommand::reserve(7, [seat])).unwrap().is_accepted());
        }
        unit.commit().unwrap();
        engine.close().unwrap();

        let builder = Engine::builder().aggregate_with::<Venue>(options).aggregate_with::<FlashSale>(options);
        let engine = builder.open(&path).unwrap();
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
        let told: Vec<_> = venues.history(HALL).unwrap().map(Result::unwrap).collect();
        let numbers: Vec<_> = told.iter().map(|it| (it.version, it.position, it.decided_at.0)).collect();
        assert_eq!(numbers, [(1, 1, 100), (2, 2, 200), (3, 3, 300), (4, 3, 300)], "{mode}");
        assert!(told.iter().all(|it| it.metadata.as_deref() == Some(&asked)), "{mode}");
        assert!(told.iter().all(|it| it.committed_at >= it.decided_at), "{mode}");
        let ids: Vec<_> = told.iter().map(|it| it.command_id.as_deref()).collect();
        assert_eq!(ids, [Some("open-1"), None, None, None], "{mode}");

        // By the feed too; stream and version are an event's own, also where a unit has several.
        let mut feed = engine.feed(1).unwrap();
        let mut names = BTreeSet::new();
        for position in 1..=3 {
            let entry = feed.try_next().unwrap().unwrap();
            assert_eq!((entry.position(), entry.metadata().as_ref()), (position, Some(&asked)), "{mode}");
            let metadata = entry.metadata().unwrap();
            let (who, why) = (metadata.user(), (metadata.correlation(), metadata.causation()));
            assert_eq!((who, why), (Some("ada"), (Some("visit-7"), Some("click-9"))), "{mode}");
            for span in entry.streams() {
                for version in (span.first_version..).take(span.events as usize) {
                    assert!(names.insert((span.stream.clone(), version)), "{mode}: two events of one name");
                }
            }
        }
        assert_eq!(names.len(), 5, "{mode}");
        engine.close().unwrap();
    }
}

/// Graceful shutdown: what was decided completes, for whoever waits for it in whatever way, and new calls are refused.
#[test]
fn a_close_completes_what_was_decided_and_refuses_what_is_new() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let open = || {
            let engine = Engine::builder().aggregate_with::<Venue>(options).backend(storage.clone()).unwrap();
            let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
            (engine, venues)
        };
        let (engine, venues) = open();
        assert_eq!(reason(&venues, HALL, &three_seats()), None);
        storage.close_gate();
        let asks = [1, 2, 3].map(|seat| VenueCommand::reserve(7, [format!("A{seat}")]));
        let mut tasks = [&asks[0], &asks[1]].map(|ask| Polled::new(venues.execute_async(HALL, ask)));
        assert!(tasks.iter_mut().all(|task| task.poll().is_none()), "{mode}: it is not on disk");
        let receipt = venues.submit(HALL, &asks[2]).unwrap();
        storage.await_blocked();
        thread::scope(|scope| {
            let closing = scope.spawn(|| engine.close());
            eventually("the engine is closing", || venues.read(HALL).err());
            let release = VenueCommand::release(7, ["A1"]);
            let refused = [
                error_of(venues.execute(HALL, &release)),
                error_of(venues.submit(HALL, &release)),
                error_of(Polled::new(venues.execute_async(HALL, &release)).poll().unwrap()),
                error_of(venues.execute("opera", &three_seats())),
            ];
            for error in refused {
                assert!(matches!(error, Error::Closed), "{mode}: {error}");
            }
            storage.open_gate();
            closing.join().unwrap().unwrap();
        });
        for task in tasks {
            assert!(task.finish().unwrap().is_accepted(), "{mode}");
        }
        assert!(receipt.wait().unwrap().is_accepted(), "{mode}");
        let (engine, venues) = open();
        assert_eq!((venues.read(HALL).unwrap().sold(), engine.position()), (3, 4), "{mode}");
        engine.close().unwrap();
    }
}

/// What was not decided yet, in a handler, in line, or in a unit, is told so and is nowhere. It is not waited for.
#[test]
fn a_close_leaves_nothing_in_doubt() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let open = || Engine::builder().aggregate_with::<Board>(options).open(&path).unwrap();
        let engine = open();
        let handle = boards(&engine, options);
        assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
        let door = Door::new();
        let inside = Arc::clone(&door);
        let (deciding, waiting) = (Ask::add(1).first(move |_, _| inside.pass()), Ask::add(1));
        let mut unit = engine.begin(options);
        assert!(unit.execute(&handle, "b", &Ask::add(2)).unwrap().is_accepted());
        thread::scope(|scope| {
            let inside = scope.spawn(|| error_of(handle.execute("b", &deciding)));
            door.await_arrivals(1);
            let turns = handle.with(Options::pessimistic());
            let mut in_line = Polled::new(turns.execute_async("b", &waiting));
            assert!(mode == "optimistic" || in_line.poll().is_none());
            engine.close().unwrap();
            door.open();
            let ends = [inside.join().unwrap(), error_of(in_line.finish()), unit.commit().unwrap_err()];
            for error in ends {
                assert!(matches!(error, Error::Closed), "{mode}: {error}");
            }
        });
        let engine = open();
        let view = boards(&engine, options).read("b").unwrap();
        assert_eq!((view.get(1), view.get(2), view.version(), engine.position()), (0, 0, 1, 1), "{mode}");
        engine.close().unwrap();
    }
}

/// Graceful shutdown: what has begun, in a handler, in line or in a unit, completes; what is new is refused meanwhile.
#[test]
fn a_close_with_a_limit_lets_what_has_begun_complete() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let open = || Engine::builder().aggregate_with::<Board>(options).open(&path).unwrap();
        let engine = open();
        let handle = boards(&engine, options);
        assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
        let door = Door::new();
        let inside = Arc::clone(&door);
        let (deciding, waiting) = (Ask::add(1).first(move |_, _| inside.pass()), Ask::add(1));
        let mut unit = engine.begin(options);
        assert!(unit.execute(&handle, "b", &Ask::add(2)).unwrap().is_accepted());
        let mut late = engine.begin(options);
        thread::scope(|scope| {
            let inside = scope.spawn(|| handle.execute("b", &deciding));
            door.await_arrivals(1);
            let turns = handle.with(Options::pessimistic());
            let mut in_line = Polled::new(turns.execute_async("b", &waiting));
            let is_in_line = in_line.poll().is_none();
            assert!(mode == "optimistic" || is_in_line);
            let closing = scope.spawn(|| engine.close_within(Duration::MAX));
            let new = Ask::add(3);
            let refused = eventually("nothing new is taken", || {
                let mut new = Polled::new(handle.execute_async("b", &new));
                match new.poll() {
                    Some(Err(error)) => Some(error),
                    Some(Ok(_)) => None,
                    // It was quicker than the close.
                    None => new.finish().err(),
                }
            });
            let unit_refused = error_of(late.execute(&handle, "b", &Ask::add(3)));
            assert!(matches!((&refused, &unit_refused), (Error::Closed, Error::Closed)), "{mode}: {refused}");
            assert!(!closing.is_finished(), "{mode}: it did not wait");
            assert!(unit.execute(&handle, "b", &Ask::add(2)).unwrap().is_accepted(), "{mode}");
            unit.commit().unwrap();
            door.open();
            assert!(inside.join().unwrap().unwrap().is_accepted(), "{mode}");
            assert!(in_line.finish().unwrap().is_accepted(), "{mode}");
            closing.join().unwrap().unwrap();
        });
        let engine = open();
        let view = boards(&engine, options).read("b").unwrap();
        assert_eq!((view.get(1), view.get(2)), (2, 2), "{mode}");
        engine.close().unwrap();
    }
}

/// Who does not come to an end within the limit is cut off, and is nowhere.
#[test]
fn a_close_with_a_limit_ends_at_the_limit() {
    let engine = Engine::builder().aggregate::<Board>().in_memory().unwrap();
    let handle = boards(&engine, Options::pessimistic());
    assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted());
    let mut unit = engine.begin(Options::pessimistic());
    assert!(unit.execute(&handle, "b", &Ask::add(1)).unwrap().is_accepted());
    engine.close_within(Duration::from_millis(20)).unwrap();
    assert!(matches!(unit.commit(), Err(Error::Closed)));
}

/// Group commit: what is decided during a sync is made durable by the next one, all of it.
#[test]
fn what_is_decided_during_a_sync_is_one_batch() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let engine = Engine::builder().aggregate_with::<FlashSale>(options).backend(storage.clone()).unwrap();
        let sales = engine.handle::<FlashSale>(()).unwrap();
        assert!(sales.execute("sale", &FlashSaleCommand::create(100)).unwrap().is_accepted());
        storage.close_gate();
        let buy =
            |buyer: usize| sales.submit("sale", &FlashSaleCommand::purchase(format!("b{buyer}"), 1)).unwrap();
        let first = buy(0);
        storage.await_blocked();
        let others: Vec<_> = (1..=50).map(buy).collect();
        assert!(others.iter().all(|receipt| !receipt.is_durable()), "{mode}");
        storage.open_gate();
        assert!(first.wait().unwrap().is_accepted());
        for receipt in others {
            assert!(receipt.wait().unwrap().is_accepted(), "{mode}");
        }
        engine.close().unwrap();
        let firsts: Vec<u64> = rows_on(storage).into_iter().map(|(first, _)| first).collect();
        assert_eq!(firsts, [1, 2, 3], "{mode}: creation, the first, and all fifty in one");
    }
}

/// The best seats side by side, for eight at once, until there are no such seats: nobody's are divided, nobody's are
/// anybody else's, and nobody is refused too early.
#[test]
fn the_best_seats_are_side_by_side_for_everybody() {
    let hall = || {
        let hall = Layout::builder().category("any", 1);
        hall.row("A", "any", [(1, 10), (11, 15)]).row("B", "any", [(1, 20)]).build().unwrap()
    };
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let engine = Engine::builder().aggregate_with::<Venue>(options).open(&path).unwrap();
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
        assert_eq!(reason(&venues, HALL, &VenueCommand::create(hall())), None);
        let start = Meeting::new(8);
        let blocks: Vec<Vec<SeatIndex>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|customer| {
                    let (venues, start) = (&venues, Arc::clone(&start));
                    scope.spawn(move || {
                        start.wait();
                        let mut mine = Vec::new();
                        loop {
                            let best = VenueCommand::reserve_best(customer, 3);
                            let outcome = venues.execute(HALL, &best).unwrap();
                            match outcome.rejection() {
                                None => mine.push(outcome.events()[0].seats().to_vec()),
                                Some(no) => {
                                    assert_eq!(no.reason(), "no_such_block", "{mode}");
                                    return mine;
                                }
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let (layout, mut taken) = (hall(), BTreeSet::new());
        for block in &blocks {
            assert_eq!(block.len(), 3, "{mode}");
            let beside = |pair: &[SeatIndex]| layout.neighbours(pair[0])[1] == Some(pair[1]);
            assert!(block.windows(2).all(beside), "{mode}: {block:?}");
            assert!(block.iter().all(|seat| taken.insert(*seat)), "{mode}: {block:?} is sold already");
        }
        for row in layout.rows() {
            let seats: Vec<_> = row.seats().collect();
            let free = |three: &[SeatIndex]| three.iter().all(|seat| !taken.contains(seat));
            assert!(!seats.windows(3).any(free), "{mode}: three were left in {row:?}");
        }
        audited(&venues, HALL);
        engine.close().unwrap();
    }
}

/// A duplicate that comes at the same moment waits for the first one, and gets its seat and not a second one.
#[test]
fn a_purchase_that_is_sent_twice_is_one_purchase() {
    for (mode, options) in modes() {
        let (_folder, path) = file();
        let open = || {
            let engine = Engine::builder().aggregate_with::<Venue>(options).open(&path).unwrap();
            let venues: Handle<Venue> = engine.handle(VenueServices::default()).unwrap();
            (engine, venues)
        };
        let (engine, venues) = open();
        let hall = Layout::builder().category("any", 1).row("A", "any", [(1, 9)]).build().unwrap();
        assert_eq!(reason(&venues, HALL, &VenueCommand::create(hall)), None);
        let (start, best) = (Meeting::new(4), VenueCommand::reserve_best(7, 2));
        let mut outcomes: Vec<_> = thread::scope(|scope| {
            let threads = [(); 4].map(|()| {
                let (venues, start, best) = (&venues, Arc::clone(&start), &best);
                scope.spawn(move || {
                    start.wait();
                    venues.call().id("order-17").execute(HALL, best).unwrap()
                })
            });
            threads.map(|thread| thread.join().unwrap()).into()
        });
        engine.close().unwrap();
        let (engine, venues) = open();
        outcomes.push(venues.call().id("order-17").execute(HALL, &best).unwrap());
        let first = outcomes.iter().filter(|outcome| !outcome.is_repeated());
        assert_eq!(first.count(), 1, "{mode}");
        for outcome in &outcomes {
            assert_eq!(outcome.events(), outcomes[0].events(), "{mode}");
            assert_eq!((outcome.version(), outcome.position()), (2, Some(2)), "{mode}");
        }
        assert_eq!(venues.read(HALL).unwrap().sold(), 2, "{mode}");
        engine.close().unwrap();
    }
}

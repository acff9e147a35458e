//! Goal: a transaction is all or nothing, later steps see earlier ones, its locks are free the moment it ends, and nobody
//! waits for himself or in a circle. Locks are shared or exclusive; what is locked can be skipped.
//!
//! Method: every interleaving is forced: by holding a transaction open, by doors, and by futures that are polled by
//! hand. Each behaviour is shown under both modes where both have it, and for threads and tasks.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
use boxoffice::layout::Layout;
use boxoffice::options::{Builder, Exhausted, Metadata, Wait};
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Options, Scope, Transaction};
use support::board::{Ask, Board, Put, boards, engine, parts};
use support::{Polled, at_once, block_on, briefly, error_of, modes};

fn put(cell: u64, value: i64) -> Put {
    Put::cell(cell, value)
}

fn set(handle: &Handle<Board>, stream: &str, cell: u64, value: i64) {
    assert!(handle.execute(stream, &Ask::set(cell, value)).unwrap().is_accepted());
}

fn cell(handle: &Handle<Board>, stream: &str, cell: u64) -> i64 {
    handle.read(stream).unwrap().get(cell)
}

fn patient() -> Options {
    Options { wait: Wait::AtMost(Duration::from_secs(30)), ..Options::pessimistic() }
}

#[test]
fn later_steps_see_earlier_ones_and_nobody_else_does() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        set(&handle, "a", 1, 5);
        let mut unit = engine.begin(options);
        for n in 6..=8 {
            let staged = unit.execute(&handle, "a", &Ask::add(1)).unwrap();
            assert_eq!(staged.events(), [put(1, n)], "{mode}");
            assert_eq!(unit.peek(&handle, "a").unwrap().get(1), n, "{mode}");
        }
        assert!(matches!(unit.peek(&handle, "b"), Err(Error::UnknownStream { .. })));
        unit.stage(&handle, "b", put(2, 1)).unwrap();
        assert_eq!(unit.read(&handle, "b", parts([2])).unwrap().get(2), 1);
        assert!(unit.execute(&handle, "b", &Ask::add(2).on_existing()).unwrap().is_accepted());
        assert_eq!(cell(&handle, "a", 1), 5, "{mode}: seen before the commit");
        assert!(matches!(handle.read("b"), Err(Error::UnknownStream { .. })), "{mode}");
        let committed = unit.commit().unwrap();
        assert_eq!((committed.position(), engine.durable_position()), (Some(2), 2), "{mode}");
        assert_eq!((cell(&handle, "a", 1), cell(&handle, "b", 2)), (8, 2));
        assert_eq!((handle.read("a").unwrap().version(), handle.read("b").unwrap().version()), (4, 2));
        assert_eq!(handle.history("b").unwrap().count(), 2);
    }
}

#[test]
fn dropping_is_rolling_back_and_the_locks_are_free_at_once() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, at_once(options));
        set(&handle, "a", 1, 5);
        let mut unit = engine.begin(options);
        unit.stage(&handle, "a", put(1, 9)).unwrap();
        unit.stage(&handle, "new", put(1, 9)).unwrap();
        drop(unit);
        set(&handle, "a", 1, 6);
        assert_eq!((cell(&handle, "a", 1), engine.position()), (6, 2), "{mode}");
        assert!(matches!(handle.read("new"), Err(Error::UnknownStream { .. })), "{mode}");
        assert_eq!(handle.ids(), ["a"]);
    }
}

/// A rejection stages nothing; whether to go on is the caller's business.
#[test]
fn a_rejection_ends_nothing_and_is_depended_on() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        set(&handle, "a", 1, 5);
        let mut unit = engine.begin(options);
        assert_eq!(unit.execute(&handle, "a", &Ask::reject(1)).unwrap().rejection().unwrap(), "no");
        unit.stage(&handle, "a", put(2, 7)).unwrap();
        // What was rejected is part of the check, or of the locks.
        let other = handle.with(at_once(Options::optimistic())).execute("a", &Ask::set(1, 6));
        match unit.commit() {
            Ok(committed) => {
                assert!(matches!(error_of(other), Error::WouldBlock { .. }), "{mode}");
                assert_eq!(committed.position(), Some(2));
            }
            Err(Error::Conflict { .. }) => assert!(other.is_ok() && mode == "optimistic"),
            Err(error) => panic!("{mode}: {error}"),
        }
    }
}

#[test]
fn an_optimistic_unit_that_saw_what_has_changed_is_a_conflict() {
    for touch in [1, 2, 3] {
        let engine = engine();
        let handle = boards(&engine, Options::optimistic());
        set(&handle, "a", 1, 5);
        set(&handle, "b", 1, 5);
        let mut unit = engine.begin(Options::optimistic());
        assert_eq!(unit.read(&handle, "b", parts([1])).unwrap().get(1), 5);
        assert_eq!(unit.peek(&handle, "b").unwrap().get(2), 0);
        unit.stage(&handle, "a", put(1, 6)).unwrap();
        match touch {
            1 => set(&handle, "b", 1, 6),
            2 => set(&handle, "b", 2, 6),
            _ => set(&handle, "a", 1, 9),
        }
        let committed = unit.commit();
        // A peek is no dependency.
        assert_eq!(committed.is_ok(), touch == 2, "{touch}: {committed:?}");
        if let Err(error) = committed {
            assert!(matches!(error, Error::Conflict { attempts: 1, .. }), "{error}");
        }
    }
}

/// A stale read is noticed at the next step on that stream, not only at the end: a unit never sees two versions mixed.
#[test]
fn what_a_unit_sees_of_a_stream_is_of_one_moment() {
    let engine = engine();
    let handle = boards(&engine, Options::optimistic());
    set(&handle, "a", 1, 5);
    let mut unit = engine.begin(Options::optimistic());
    assert_eq!(unit.read(&handle, "a", parts([1])).unwrap().get(1), 5);
    assert!(handle.execute("a", &Ask::puts([put(1, 6), put(2, 6)])).unwrap().is_accepted());
    let error = error_of(unit.read(&handle, "a", parts([2])));
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert!(matches!(unit.commit(), Err(Error::Conflict { .. })), "it cannot be committed any more");
}

#[test]
fn readers_share_and_writers_wait() {
    let engine = engine();
    let handle = boards(&engine, at_once(Options::pessimistic()));
    set(&handle, "a", 1, 5);
    let fast = at_once(Options::pessimistic());
    for scope in [parts([1]), Scope::Whole] {
        let mut first = engine.begin(fast);
        let mut second = engine.begin(fast);
        assert_eq!(first.read(&handle, "a", scope.clone()).unwrap().get(1), 5);
        assert_eq!(second.read(&handle, "a", scope.clone()).unwrap().get(1), 5);
        let writes = error_of(handle.execute("a", &Ask::add(1)));
        assert!(matches!(writes, Error::WouldBlock { .. }), "{writes}");
        let elsewhere = handle.execute("a", &Ask::add(2));
        assert_eq!(elsewhere.is_ok(), scope != Scope::Whole, "{scope:?}");
        let alone = error_of(second.read_for_update(&handle, "a", parts([1])).map(drop));
        assert!(matches!(alone, Error::WouldBlock { .. }), "{alone}");
        drop(first);
        assert!(second.read_for_update(&handle, "a", parts([1])).is_ok(), "the last who shares may write");
        drop(second);
        assert!(handle.execute("a", &Ask::add(1)).is_ok());
        set(&handle, "a", 1, 5);
    }
}

/// A reader of the state is never stopped by a lock.
#[test]
fn a_read_outside_never_waits() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    set(&handle, "a", 1, 5);
    let mut unit = engine.begin(Options::pessimistic());
    unit.read_for_update(&handle, "a", Scope::Whole).unwrap();
    assert_eq!(handle.read("a").unwrap().get(1), 5);
}

#[test]
fn two_that_wait_for_each_other_are_told_at_once() {
    let engine = engine();
    let handle = boards(&engine, patient());
    set(&handle, "a", 1, 0);
    set(&handle, "b", 1, 0);
    let (ready, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let mut one = engine.begin(patient());
        one.read_for_update(&handle, "a", parts([1])).unwrap();
        let other = {
            let (engine, handle, ready, go) = (&engine, &handle, &ready, &go);
            scope.spawn(move || {
                let mut other = engine.begin(patient());
                other.read_for_update(handle, "b", parts([1])).unwrap();
                ready.wait();
                let got = other.stage(handle, "a", put(1, 2)).map(drop);
                // Whoever gives way does so at once; the other goes on.
                let done = got.and_then(|()| other.commit().map(drop));
                go.wait();
                done.err()
            })
        };
        ready.wait();
        let got = one.stage(&handle, "b", put(1, 1));
        let gave_way = got.is_err();
        if let Err(Error::Deadlock { cycle }) = &got {
            let cycle: Vec<_> = cycle.iter().map(ToString::to_string).collect();
            assert_eq!(cycle, ["board/b", "board/a"]);
            drop(one);
            go.wait();
        } else {
            got.unwrap();
            one.commit().unwrap();
            go.wait();
        }
        let other = other.join().unwrap();
        match other {
            None => assert!(gave_way),
            Some(Error::Deadlock { cycle }) => {
                assert!(!gave_way, "both gave way");
                assert_eq!(cycle.len(), 2);
            }
            Some(error) => panic!("{error}"),
        }
    });
}

/// Two payment jobs look at the same payment together, then both want to save.
#[test]
fn of_two_who_share_and_both_want_to_write_one_is_told() {
    let engine = engine();
    let handle = boards(&engine, patient());
    set(&handle, "a", 1, 0);
    let mut one = engine.begin(patient());
    one.read(&handle, "a", parts([1])).unwrap();
    let mut two = engine.begin(patient());
    let mut saving = {
        block_on(two.read_async(&handle, "a", parts([1]))).unwrap();
        Polled::new(two.execute_async(&handle, "a", &SET_TWO))
    };
    assert!(saving.poll().is_none(), "it waits for the other, who shares");
    let told = error_of(one.execute(&handle, "a", &Ask::set(1, 1)).map(drop));
    assert!(matches!(&told, Error::Deadlock { cycle } if cycle.len() == 2), "{told}");
    drop(one);
    assert!(saving.finish().unwrap().is_accepted());
    two.commit().unwrap();
    assert_eq!(cell(&handle, "a", 1), 2);
}

static SET_TWO: std::sync::LazyLock<Ask> = std::sync::LazyLock::new(|| Ask::set(1, 2));

#[test]
fn a_caller_does_not_wait_for_himself() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        set(&handle, "a", 1, 0);
        let mut unit = engine.begin(Options::pessimistic());
        unit.read_for_update(&handle, "a", parts([1])).unwrap();
        let held = |error: Error| assert!(matches!(error, Error::HeldByCaller { .. }), "{mode}: {error}");
        held(error_of(handle.execute("a", &Ask::add(1))));
        let mut second = engine.begin(Options::pessimistic());
        held(error_of(second.read(&handle, "a", parts([1])).map(drop)));
        held(error_of(second.lock([handle.lock("a")])));
        assert!(second.read(&handle, "a", parts([2])).is_ok(), "{mode}: another part is another matter");
        drop(second);
        unit.stage(&handle, "a", put(1, 1)).unwrap();
        unit.commit().unwrap();

        // The same in a task.
        let of_task = async {
            let mut unit = engine.begin(Options::pessimistic());
            unit.read_for_update_async(&handle, "a", parts([1])).await.unwrap();
            held(error_of(handle.execute_async("a", &Ask::add(1)).await));
            let mut second = engine.begin(Options::pessimistic());
            held(error_of(second.read_async(&handle, "a", Scope::Whole).await.map(drop)));
        };
        // One waker for all of it, as a runtime gives.
        let waker = std::task::Waker::noop();
        let mut of_task = std::pin::pin!(of_task);
        assert!(
            of_task.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready(),
            "{mode}: it waits"
        );
    }
}

/// Locks that are asked for together are taken in one order, whatever the order of the call.
#[test]
fn locks_known_up_front_cannot_deadlock() {
    let engine = engine();
    let handle = boards(&engine, patient());
    for stream in ["a", "b", "c"] {
        set(&handle, stream, 1, 0);
    }
    std::thread::scope(|scope| {
        for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
            let (engine, handle) = (&engine, &handle);
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut unit = engine.begin(patient());
                    unit.lock(order.map(|stream| handle.lock(stream).on(parts([1])))).unwrap();
                    for stream in order {
                        assert!(unit.execute(handle, stream, &Ask::add(1)).unwrap().is_accepted());
                    }
                    drop(unit.submit().unwrap());
                }
            });
        }
    });
    assert_eq!(["a", "b", "c"].map(|stream| cell(&handle, stream, 1)), [600; 3]);
    let mut unit = engine.begin(Options::default());
    assert!(matches!(unit.lock([handle.lock("none")]), Err(Error::UnknownStream { .. })));
}

/// The closure is run again until it gets through, with locks when checks do not do.
#[test]
fn a_closure_gets_through_and_loses_nothing() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        set(&handle, "a", 1, 0);
        set(&handle, "b", 1, 0);
        let runs = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (engine, handle, runs) = (&engine, &handle, &runs);
                let order = if thread % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
                scope.spawn(move || {
                    for _ in 0..100 {
                        let both = |unit: &mut Transaction| {
                            runs.fetch_add(1, Ordering::Relaxed);
                            for stream in order {
                                assert!(unit.execute(handle, stream, &Ask::add(1))?.is_accepted());
                            }
                            Ok::<_, Error>(())
                        };
                        let options = Options { retries: 1, wait: patient().wait, ..options };
                        engine.transact(options, both).unwrap();
                    }
                });
            }
        });
        assert_eq!((cell(&handle, "a", 1), cell(&handle, "b", 1)), (400, 400), "{mode}");
        assert!(runs.load(Ordering::Relaxed) >= 400);
    }
}

#[test]
fn a_closure_that_may_not_take_a_turn_says_how_often_it_lost() {
    let engine = engine();
    let handle = boards(&engine, Options::optimistic());
    set(&handle, "a", 1, 0);
    let options = Options { retries: 2, exhausted: Exhausted::Conflict, ..Options::optimistic() };
    let mut runs = 0;
    let lost = engine.transact(options, |unit| {
        runs += 1;
        unit.execute(&handle, "a", &Ask::add(1))?.is_accepted();
        set(&handle, "a", 1, 0);
        Ok::<_, Error>(())
    });
    assert!(matches!(lost, Err(Error::Conflict { attempts: 3, .. })), "{lost:?}");
    assert_eq!(runs, 3);
    // An error of its own rolls back and is not tried again.
    let own = engine.transact(Options::default(), |unit| {
        runs += 1;
        unit.stage(&handle, "a", put(1, 9)).map_err(|error| error.to_string())?;
        Err::<(), _>(OwnError("enough".into()))
    });
    assert_eq!((own.unwrap_err().0.as_str(), runs, cell(&handle, "a", 1)), ("enough", 4, 0));
}

#[derive(Debug)]
struct OwnError(String);

impl From<Error> for OwnError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for OwnError {
    fn from(error: String) -> Self {
        Self(error)
    }
}

/// A future over the closure form can be spawned: it is `Send`, and nothing is left when it is dropped.
#[test]
fn an_async_closure_is_send_and_can_be_dropped_at_any_await() {
    fn spawnable<F: Future + Send>(future: F) -> F {
        future
    }
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        set(&handle, "a", 1, 0);
        set(&handle, "b", 1, 0);
        for polls in 0..6 {
            let mut blocker = engine.begin(Options::pessimistic());
            if polls % 2 == 0 {
                blocker.read(&handle, "b", parts([1])).unwrap();
            }
            let (engine_ref, handle_ref) = (&engine, &handle);
            let moved = async move {
                let mut unit = engine_ref.begin(options);
                unit.execute_async(handle_ref, "a", &Ask::add(1)).await?.is_accepted();
                Yield::default().await;
                unit.execute_async(handle_ref, "b", &Ask::add(1)).await?.is_accepted();
                unit.commit_async().await
            };
            let mut moved = Polled::new(spawnable(moved));
            for _ in 0..polls {
                if moved.poll().is_some() {
                    break;
                }
            }
            drop((moved, blocker));
            let free = handle.with(at_once(Options::pessimistic()));
            assert!(free.execute("a", &Ask::set(1, 0)).is_ok(), "{mode} {polls}: a lock was left");
            assert!(free.execute("b", &Ask::set(1, 0)).is_ok(), "{mode} {polls}: a lock was left");
        }
        let handle_ref = &handle;
        let body = |mut unit: Transaction| async move {
            unit.execute_async(handle_ref, "a", &Ask::add(1)).await?.is_accepted();
            Ok::<_, Error>((unit, 7))
        };
        let whole = spawnable(engine.transact_async(options, body));
        assert_eq!(block_on(whole).unwrap().0, 7);
        assert_eq!(cell(&handle, "a", 1), 1);
    }
}

/// Pending once.
#[derive(Default)]
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    }
}

#[test]
fn units_cross_types_carry_metadata_and_are_refused_whole() {
    for (mode, options) in modes() {
        let builder = || -> Builder {
            Engine::builder()
                .aggregate::<Board>()
                .aggregate::<FlashSale>()
                .policy::<FlashSale>("one is kept", |_, _, after| after.left() >= 1)
        };
        let engine = builder().in_memory().unwrap();
        let (handle, sales) = (boards(&engine, options), engine.handle::<FlashSale>(()).unwrap());
        let mut unit = engine.begin(options);
        unit.metadata(&Metadata::default().with_user("ada"));
        unit.metadata(&Metadata::default().with_correlation("c"));
        unit.stage(&handle, "a", put(1, 1)).unwrap();
        assert!(unit.execute(&sales, "lamp", &FlashSaleCommand::create(2)).unwrap().is_accepted());
        let position = unit.commit().unwrap().position();
        let told = sales.history("lamp").unwrap().next().unwrap().unwrap();
        let expected = Metadata::default().with_user("ada").with_correlation("c");
        assert_eq!((Some(told.position), told.metadata.as_deref()), (position, Some(&expected)));

        let mut unit = engine.begin(options);
        unit.stage(&handle, "a", put(1, 2)).unwrap();
        assert!(unit.execute(&sales, "lamp", &FlashSaleCommand::purchase("bob", 2)).unwrap().is_accepted());
        let refused = unit.commit().unwrap_err();
        assert!(matches!(refused, Error::PolicyViolated { policy: "one is kept", .. }), "{mode}: {refused}");
        assert_eq!((cell(&handle, "a", 1), sales.read("lamp").unwrap().left()), (1, 2), "{mode}");
        set(&handle, "a", 1, 3);
    }
}

#[test]
fn bad_input_stages_nothing() {
    let (engine, other) = (engine(), engine());
    let handle = boards(&engine, Options::default());
    let mut unit = engine.begin(Options::default());
    let foreign = unit.peek(&boards(&other, Options::default()), "a").map(drop);
    assert!(matches!(foreign, Err(Error::OtherEngine { aggregate: "board" })));
    assert!(unit.lock([boards(&other, Options::default()).lock("a")]).is_err());
    assert!(matches!(unit.stage(&handle, "", put(1, 1)), Err(Error::InvalidId { .. })));
    let stray = Ask::on([1], |_| Ok(vec![put(1, 1), put(2, 1)]));
    assert!(matches!(unit.execute(&handle, "a", &stray).map(drop), Err(Error::OutOfScope { .. })));
    let large = Ask::puts([put(1, 1), put(1, 2).padded(17 << 20)]);
    assert!(matches!(unit.execute(&handle, "a", &large).map(drop), Err(Error::TooLarge { .. })));
    for stream in ["a", "b"] {
        let nearly = unit.stage(&handle, stream, put(1, 1).padded(9 << 20));
        assert_eq!(nearly.is_ok(), stream == "a", "what one entry may hold is for all streams together");
    }
    unit.stage(&handle, "a", put(1, 7)).unwrap();
    assert!(unit.commit().is_ok());
    assert_eq!((cell(&handle, "a", 1), handle.read("a").unwrap().version()), (7, 2));
    assert!(engine.begin(Options::default()).commit().unwrap().position().is_none());
}

#[test]
fn a_commit_that_meets_a_lock_does_not_overtake_it() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    set(&handle, "a", 1, 0);
    let mut optimistic = engine.begin(Options::optimistic());
    optimistic.stage(&handle, "a", put(1, 1)).unwrap();
    let mut holder = engine.begin(briefly(Options::pessimistic()));
    holder.read(&handle, "a", parts([1])).unwrap();
    let met = optimistic.commit().unwrap_err();
    assert!(matches!(met, Error::WouldBlock { .. }), "{met}");
}

/// Best seats that nobody has locked, at once; named seats cannot be skipped.
#[test]
fn what_is_locked_is_skipped() {
    for (mode, options) in modes() {
        let engine = Engine::builder().aggregate::<Venue>().in_memory().unwrap();
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap().with(options);
        let hall = Arc::new(Layout::parse("category C 100\nrow A C 1-4\nrow B C 1-4\n").unwrap());
        assert!(venues.execute("hall", &VenueCommand::create(Arc::clone(&hall))).unwrap().is_accepted());
        let skipping = venues.with(Options { wait: Wait::SkipLocked, ..options });
        let mut unit = engine.begin(Options::pessimistic());
        assert!(unit.execute(&venues, "hall", &VenueCommand::reserve_best(7, 3)).unwrap().is_accepted());
        let taken = unit.peek(&venues, "hall").unwrap();
        let row_of = |seat| hall.label(seat).unwrap().chars().next().unwrap();
        let mine: Vec<_> =
            taken.seats().filter(|(_, holder)| holder.is_some()).map(|(seat, _)| seat).collect();
        drop(taken);
        let found = skipping.execute("hall", &VenueCommand::reserve_best(8, 3)).unwrap();
        let theirs = found.events()[0].seats();
        assert_eq!((theirs.len(), row_of(mine[0]), row_of(theirs[0])), (3, 'A', 'B'), "{mode}");
        // Three side by side are left nowhere: that is an outcome, and at once.
        let none = skipping.execute("hall", &VenueCommand::reserve_best(9, 3)).unwrap();
        assert_eq!(none.rejection().unwrap().reason(), "no_such_block", "{mode}");
        let named = error_of(skipping.execute("hall", &VenueCommand::reserve(9, ["B1"])));
        assert!(matches!(named, Error::InvalidCommand { .. }), "{mode}: {named}");
        // A unit skips what others have locked, and not what it has locked itself.
        let mut other = engine.begin(Options { wait: Wait::SkipLocked, ..Options::pessimistic() });
        assert!(other.execute(&skipping, "hall", &VenueCommand::reserve_best(10, 1)).unwrap().is_accepted());
        other.commit().unwrap();
        unit.commit().unwrap();
        assert_eq!(venues.read("hall").unwrap().sold(), 7, "{mode}");
    }
}

/// "Only one of the two may exist": each looks whether the other is there, and creates its own.
#[test]
fn that_a_stream_is_not_there_is_depended_on() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let absent = |unit: &mut Transaction, stream: &str, way: usize| match way {
            0 => error_of(unit.read(&handle, stream, parts([9])).map(drop)),
            _ => error_of(unit.execute(&handle, stream, &Ask::add(9).on_existing()).map(drop)),
        };
        for way in 0..2 {
            let (a, b) = (format!("a{way}"), format!("b{way}"));
            let mut one = engine.begin(at_once(options));
            let mut two = engine.begin(at_once(options));
            assert!(matches!(absent(&mut one, &b, way), Error::UnknownStream { .. }), "{mode}");
            assert!(matches!(absent(&mut two, &a, way), Error::UnknownStream { .. }), "{mode}");
            let first = one.stage(&handle, &a, put(1, 1)).and_then(|()| one.commit().map(drop));
            let second = two.stage(&handle, &b, put(1, 1)).and_then(|()| two.commit().map(drop));
            assert!(first.is_err() || second.is_err(), "{mode}: both exist");
            let there = [&a, &b].map(|stream| handle.read(stream).is_ok());
            assert_eq!(there, [first.is_ok(), second.is_ok()], "{mode}");
        }
    }
}

/// A panic in the middle of staging leaves nothing in the entry.
#[test]
fn a_panic_while_staging_stages_nothing() {
    let engine = Engine::builder().aggregate::<Fragile>().in_memory().unwrap();
    let handle = engine.handle::<Fragile>(()).unwrap();
    let mut unit = engine.begin(Options::default());
    unit.stage(&handle, "a", Brittle(1)).unwrap();
    for bad in [FRAGILE_TOUCHES, FRAGILE_ENCODES] {
        let staged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            unit.stage(&handle, "a", [10, bad, 20].map(Brittle).into_iter().collect::<boxoffice::Events<_>>())
        }));
        assert!(staged.is_err(), "{bad} does not panic");
    }
    unit.stage(&handle, "a", Brittle(2)).unwrap();
    unit.commit().unwrap();
    let stored: Vec<u64> = handle
        .history("a")
        .unwrap()
        .map(|it| match it.unwrap().what {
            boxoffice::history::Happened::Event(Brittle(n)) => n,
            boxoffice::history::Happened::Rejection(()) => panic!("nothing was rejected"),
        })
        .collect();
    assert_eq!((stored, *handle.read("a").unwrap()), (vec![1, 2], 3));
    assert!(handle.verify().unwrap().is_clean());
}

const FRAGILE_TOUCHES: u64 = 66;
const FRAGILE_ENCODES: u64 = 67;

/// Adds up numbers, some of which it cannot bear.
struct Fragile;

#[derive(serde::Deserialize)]
struct Brittle(u64);

impl serde::Serialize for Brittle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, FRAGILE_ENCODES, "not this one");
        serializer.serialize_newtype_struct("Brittle", &self.0)
    }
}

impl boxoffice::Aggregate for Fragile {
    const TYPE: &'static str = "fragile";
    type State = u64;
    type Command = u64;
    type Event = Brittle;
    type Rejection = ();
    type Services = ();

    fn decide(_: &u64, n: &u64, _: &boxoffice::Context<'_, ()>) -> Result<boxoffice::Events<Brittle>, ()> {
        Ok(Brittle(*n).into())
    }

    fn touches(event: &Brittle) -> Scope {
        assert_ne!(event.0, FRAGILE_TOUCHES, "nor this");
        Scope::Whole
    }

    fn apply(sum: &mut u64, event: &Brittle) {
        *sum += event.0;
    }
}

/// Said by a handle, said by a transaction that uses it.
#[test]
fn what_a_handle_says_holds_in_a_transaction() {
    let engine = engine();
    let handle = boards(&engine, Options::default()).with_metadata(&Metadata::default().with_user("ada"));
    let mut unit = engine.begin(Options::default());
    unit.stage(&handle, "a", put(1, 1)).unwrap();
    assert!(!unit.peek(&handle, "a").unwrap().is_durable(), "what is staged is nowhere yet");
    unit.commit().unwrap();
    let told = handle.history("a").unwrap().next().unwrap().unwrap();
    assert_eq!(told.metadata.unwrap().user(), Some("ada"));
}

/// Two parts of one stream are one request, whatever the order in which they are named.
#[test]
fn parts_of_one_stream_are_locked_together() {
    let engine = engine();
    let handle = boards(&engine, patient());
    set(&handle, "a", 1, 0);
    std::thread::scope(|scope| {
        for order in [[1, 2], [2, 1]] {
            let (engine, handle) = (&engine, &handle);
            scope.spawn(move || {
                for _ in 0..500 {
                    let mut unit = engine.begin(patient());
                    unit.lock(order.map(|cell| handle.lock("a").on(parts([cell])))).unwrap();
                }
            });
        }
    });
    let mut unit = engine.begin(at_once(Options::pessimistic()));
    unit.lock([handle.lock("a").on(parts([1])).shared(), handle.lock("a").on(parts([1]))]).unwrap();
}

/// The caller's first transaction is in the way only of somebody else, who is in the way of the caller.
#[test]
fn a_caller_does_not_wait_for_himself_round_a_corner() {
    let engine = engine();
    let handle = boards(&engine, patient());
    set(&handle, "a", 1, 0);
    set(&handle, "b", 1, 0);
    let mut mine = engine.begin(patient());
    mine.read_for_update(&handle, "a", parts([1])).unwrap();
    let mut theirs = engine.begin(patient());
    block_on(theirs.read_for_update_async(&handle, "b", parts([1]))).map(drop).unwrap();
    let mut waiting = Polled::new(theirs.read_for_update_async(&handle, "a", parts([1])));
    assert!(waiting.poll().is_none());
    let mut second = engine.begin(patient());
    let told = error_of(second.read_for_update(&handle, "b", parts([1])).map(drop));
    assert!(matches!(told, Error::Deadlock { .. }), "{told}");
    drop((second, mine));
    assert!(waiting.finish().is_ok());
}

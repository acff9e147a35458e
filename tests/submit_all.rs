//! Many commands in one call: what comes out is what one call after the other would have given, whatever is in the way.
//!
//! Method: generated lists of commands go to one engine in one call and to another one by one, and every answer is
//! compared. What stands in the way of a group (a conflict, a lock, a full queue, a panic, a policy) is put there by
//! force: from inside a decision, by a transaction, or by storage with a gate. That there are groups at all is told by
//! the time, which its members share. Threads that fight for seats are audited afterwards. Seeds as in `properties.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::layout::Layout;
use boxoffice::options::Metadata;
use boxoffice::venue::{Best, Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Handle, Limits, Options, Outcome, Receipt};
use proptest::prelude::*;
use support::board::{Ask, Board, Cells, Put, boards, parts};
use support::gate::GatedStorage;
use support::{HookClock, Polled, at_once, block_on, eventually, modes, said};

type Receipts<A> = Vec<Result<Receipt<Outcome<A>>, Error>>;

fn engine() -> Engine {
    Engine::builder().aggregate::<Board>().clock(HookClock::default()).in_memory().unwrap()
}

fn outcomes(receipts: Receipts<Board>) -> Vec<Result<Outcome<Board>, Error>> {
    receipts.into_iter().map(|receipt| receipt.and_then(Receipt::wait)).collect()
}

fn to_b(asks: impl IntoIterator<Item = Ask>) -> Vec<(&'static str, Ask)> {
    asks.into_iter().map(|ask| ("b", ask)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Create,
    Reserve(u64, Vec<u8>),
    Release(u64, Vec<u8>),
    Hold(u64, Vec<u8>),
    Force(Vec<u8>),
    Best(u64, u32),
}

fn step() -> impl Strategy<Value = Step> {
    // Seats 0 to 9 are there; twice the same is a command that nobody can accept.
    let cart = || prop::collection::vec(0..11_u8, 1..4);
    prop_oneof![
        1 => Just(Step::Create),
        8 => (0..4_u64, cart()).prop_map(|(who, cart)| Step::Reserve(who, cart)),
        3 => (0..4_u64, cart()).prop_map(|(who, cart)| Step::Release(who, cart)),
        2 => (0..4_u64, cart()).prop_map(|(who, cart)| Step::Hold(who, cart)),
        1 => cart().prop_map(Step::Force),
        2 => (0..4_u64, 1..4_u32).prop_map(|(who, seats)| Step::Best(who, seats)),
    ]
}

fn command(step: &Step, layout: &Arc<Layout>, limit: Option<u32>) -> VenueCommand {
    let labels = |cart: &[u8]| cart.iter().map(|seat| format!("R{seat}")).collect::<Vec<_>>();
    let minute = std::time::Duration::from_secs(60);
    match step {
        Step::Create => match limit {
            Some(limit) => VenueCommand::create_with_limit(Arc::clone(layout), limit),
            None => VenueCommand::create(Arc::clone(layout)),
        },
        Step::Reserve(who, cart) => VenueCommand::reserve(*who, labels(cart)),
        Step::Release(who, cart) => VenueCommand::release(*who, labels(cart)),
        Step::Hold(who, cart) => VenueCommand::hold(*who, labels(cart), minute),
        Step::Force(cart) => VenueCommand::force_release(labels(cart), "swept"),
        Step::Best(who, seats) => VenueCommand::reserve_best(*who, Best::of(*seats)),
    }
}

const STREAMS: [&str; 4] = ["one", "two", "three", ""];

/// An answer, without what depends on what else is in the log.
fn answer(outcome: Result<Outcome<Venue>, Error>) -> String {
    match outcome {
        Ok(outcome) => {
            let decided = match outcome.rejection() {
                None => format!("{:?}", outcome.events()),
                Some(no) => format!("{no:?}"),
            };
            // What is not stored was decided on the version that its group saw.
            format!("{decided} {:?}", outcome.position().map(|_| outcome.version()))
        }
        Err(error) => error.to_string(),
    }
}

fn venues(options: Options) -> (Engine, Handle<Venue>) {
    let builder = Engine::builder().aggregate::<Venue>().clock(ManualClock::new(Timestamp(1)));
    let engine = builder.in_memory().unwrap();
    let handle = engine.handle::<Venue>(VenueServices::default()).unwrap().with(options);
    (engine, handle)
}

proptest! {
    #![proptest_config(support::cases(0x5EA7, 80))]

    #[test]
    fn one_call_gives_what_many_calls_give(
        steps in prop::collection::vec((0..16_usize, step()), 1..80),
        limit in prop_oneof![Just(None), (1..5_u32).prop_map(Some)],
        create in any::<bool>(),
        choosing in any::<bool>(),
        recorded in any::<bool>(),
        task in any::<bool>(),
    ) {
        let layout = Arc::new(Layout::from_labels((0..10).map(|seat| format!("R{seat}"))).unwrap());
        // Most for the first stream; the last one has no name.
        let stream = |number: usize| STREAMS[number.saturating_sub(12)];
        // What a command chooses, it chooses on what its group saw: a seat given back just before is not among it.
        let gives_back = |step: &Step| matches!(step, Step::Release(..) | Step::Force(_));
        let steps = steps.iter().filter(|(_, step)| {
            if choosing { !gives_back(step) } else { !matches!(step, Step::Best(..)) }
        });
        let mut commands: Vec<(&str, VenueCommand)> =
            steps.map(|(to, step)| (stream(*to), command(step, &layout, limit))).collect();
        if create {
            commands.insert(0, ("one", command(&Step::Create, &layout, limit)));
        }
        for (mode, options) in modes() {
            let options = Options { record_rejections: recorded, ..options };
            let ((one_engine, one), (other_engine, other)) = (venues(options), venues(options));
            let together =
                if task { block_on(one.submit_all_async(&commands)) } else { one.submit_all(&commands) };
            let together: Vec<_> = together.into_iter().map(|it| answer(it.and_then(Receipt::wait))).collect();
            let alone: Vec<_> = commands.iter().map(|(to, command)| answer(other.execute(to, command))).collect();
            prop_assert_eq!(together, alone, "{}", mode);
            prop_assert_eq!(one_engine.position(), other_engine.position());
            for id in STREAMS {
                let history = |venues: &Handle<Venue>| {
                    venues.history(id).map(|it| it.map(|it| it.unwrap().version).collect::<Vec<_>>()).ok()
                };
                prop_assert_eq!(history(&one), history(&other));
            }
            prop_assert!(one.verify().unwrap().is_clean());
            one_engine.close().unwrap();
            other_engine.close().unwrap();
        }
    }
}

/// The members of a group share a snapshot, and with it the time.
#[test]
fn what_has_nothing_in_common_is_decided_together() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let asks = (1..=20).map(Ask::add).chain([Ask::add(20), Ask::add(1), Ask::reject(2)]);
        let outcomes: Vec<_> =
            outcomes(handle.submit_all(&to_b(asks))).into_iter().map(Result::unwrap).collect();
        let mut times = outcomes.iter().map(Outcome::decided_at).collect::<Vec<_>>();
        times.dedup();
        // 16; 4; and 3 that have something in common with those before, not with each other.
        assert_eq!(times.len(), 3, "{mode}: {times:?}");
        for group in [0..16, 16..20, 20..23] {
            let times: BTreeSet<_> = outcomes[group].iter().map(Outcome::decided_at).collect();
            assert_eq!(times.len(), 1, "{mode}");
        }
        let places: Vec<_> = outcomes.iter().map(|outcome| outcome.position().unwrap()).collect();
        assert_eq!(places, (2..=24).collect::<Vec<_>>(), "{mode}: in their order, without a gap");
        assert!(outcomes.iter().all(|outcome| outcome.effort().conflicts == 0), "{mode}");
        assert_eq!(handle.read("b").unwrap().get(20), 2, "{mode}");
        engine.close().unwrap();
    }
}

/// Another commit takes what the second command chose. It chooses again, and the third one comes after it.
#[test]
fn a_conflict_changes_nothing_of_the_order() {
    let engine = engine();
    let handle = boards(&engine, Options::optimistic());
    let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
    let free = |cells: &Cells| [2, 3].into_iter().find(|cell| cells.get(*cell) == 0);
    let others = Arc::new((handle.clone(), AtomicBool::new(false)));
    let choose = Ask::new(
        move |cells| parts(free(cells)),
        move |cells, _| {
            if !others.1.swap(true, Ordering::SeqCst) {
                let handle = others.0.clone();
                let faster =
                    thread::spawn(move || handle.execute("b", &Ask::set(2, 7)).unwrap().is_accepted());
                assert!(faster.join().unwrap());
            }
            Ok(vec![Put::cell(free(cells).unwrap(), 5)])
        },
    );
    let third = Ask::on([3], |cells| match cells.get(3) {
        0 => Ok(vec![Put::cell(3, 6)]),
        _ => Err("taken".into()),
    });
    let outcomes = outcomes(handle.submit_all(&to_b([Ask::set(1, 1), choose, third, Ask::set(4, 4)])));
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let conflicts: Vec<_> = outcomes.iter().map(|outcome| outcome.effort().conflicts).collect();
    assert_eq!(conflicts, [0, 1, 0, 0]);
    assert_eq!(outcomes[2].rejection().map(String::as_str), Some("taken"));
    let places: Vec<_> = outcomes.iter().filter_map(Outcome::position).collect();
    assert!(places.is_sorted() && places.len() == 4, "{places:?}");
    let cells = handle.read("b").unwrap();
    assert_eq!((1..=4).map(|cell| cells.get(cell)).collect::<Vec<_>>(), [1, 7, 5, 4]);
    engine.close().unwrap();
}

/// Without retries a conflict is the end of its command, and of no other.
#[test]
fn used_up_retries_are_the_command_s_own() {
    let engine = engine();
    let exhausted = boxoffice::options::Exhausted::Conflict;
    let handle = boards(&engine, Options { retries: 0, exhausted, ..Options::optimistic() });
    let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
    let (other, decides) = (handle.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&decides);
    let slow = Ask::add(2).first(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        let handle = other.clone();
        assert!(thread::spawn(move || handle.execute("b", &Ask::set(2, 7)).is_ok()).join().unwrap());
    });
    let outcomes = outcomes(handle.submit_all(&to_b([Ask::set(1, 1), slow, Ask::set(3, 3)])));
    assert!(matches!(outcomes[1], Err(Error::Conflict { attempts: 1, .. })));
    assert_eq!(outcomes[0].as_ref().unwrap().position(), Some(3));
    assert_eq!(outcomes[2].as_ref().unwrap().position(), Some(4));
    assert_eq!(handle.read("b").unwrap().get(3), 3);
    assert_eq!(decides.load(Ordering::SeqCst), 1);
    engine.close().unwrap();
}

/// Somebody has a lock on what one of them wants: it alone is refused, or waits.
#[test]
fn a_lock_stops_only_who_wants_it() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let eager = handle.with(at_once(options));
        let mut holder = engine.begin(Options::pessimistic());
        holder.lock([handle.lock("b").on(parts([2]))]).unwrap();
        let asks = to_b([Ask::set(1, 1), Ask::set(2, 2), Ask::set(3, 3)]);
        let results = outcomes(eager.submit_all(&asks));
        assert!(matches!(results[1], Err(Error::WouldBlock { .. })), "{mode}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{mode}");
        let mut waiting = Polled::new(handle.submit_all_async(&asks));
        assert!(waiting.poll().is_none(), "{mode}: it waits for the lock");
        drop(holder);
        assert!(outcomes(waiting.finish()).iter().all(Result::is_ok), "{mode}");
        assert_eq!(handle.read("b").unwrap().get(2), 2, "{mode}");
        let free = handle.with(at_once(Options::pessimistic())).execute("b", &Ask::whole(|_| Ok(Vec::new())));
        assert!(free.is_ok(), "{mode}: nothing is left behind");
        engine.close().unwrap();
    }
}

#[test]
fn a_panic_in_decide_passes_through_and_leaves_nothing_behind() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let asks = to_b([Ask::set(1, 1), Ask::on([2], |_| panic!("in decide")), Ask::set(3, 3)]);
        let panic = catch_unwind(AssertUnwindSafe(|| handle.submit_all(&asks))).unwrap_err();
        assert_eq!(said(&*panic), "in decide", "{mode}");
        assert_eq!(engine.position(), 1, "{mode}: its group decided nothing");
        let free = handle.with(at_once(Options::pessimistic()));
        assert!(free.execute("b", &Ask::whole(|_| Ok(vec![]))).unwrap().is_accepted(), "{mode}");
        engine.close().unwrap();
    }
}

/// Who came before is stored; the stream goes on once it is rebuilt.
#[test]
fn a_panic_in_apply_fences_those_behind_it() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let asks = [Ask::set(1, 1), Ask::puts([Put::cell(2, 2).trapped()]), Ask::set(3, 3)];
        let results = outcomes(handle.submit_all(&to_b(asks)));
        assert!(results[0].is_ok(), "{mode}");
        assert!(matches!(results[1], Err(Error::ApplyPanicked { .. })), "{mode}");
        assert!(matches!(results[2], Err(Error::Fenced { .. })), "{mode}");
        let rebuilt = eventually("the stream is rebuilt", || handle.read("b").ok());
        assert_eq!(
            (rebuilt.get(1), rebuilt.get(2), rebuilt.get(3), rebuilt.version()),
            (1, 0, 0, 2),
            "{mode}"
        );
        let next = outcomes(handle.submit_all(&to_b([Ask::set(4, 4), Ask::set(5, 5)])));
        let versions: Vec<_> = next.into_iter().map(|outcome| outcome.unwrap().version()).collect();
        assert_eq!(versions, [3, 4], "{mode}");
        assert!(handle.verify().unwrap().is_clean(), "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn a_policy_refuses_one_and_lets_the_others_through() {
    for (mode, options) in modes() {
        let sum = |cells: &Cells| (0..10).map(|cell| cells.get(cell)).sum::<i64>();
        let builder = Engine::builder().aggregate::<Board>();
        let builder = builder.policy::<Board>("at most two", move |_, _, after| {
            assert!(after.get(9) == 0, "in the policy");
            sum(after) <= 2
        });
        let engine = builder.in_memory().unwrap();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let asks = [Ask::set(1, 1), Ask::set(2, 1), Ask::set(3, 0)];
        let results = outcomes(handle.submit_all(&to_b(asks)));
        assert!(matches!(results[1], Err(Error::PolicyViolated { policy: "at most two", .. })), "{mode}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{mode}");
        let asks = to_b([Ask::set(4, 0), Ask::set(9, 1), Ask::set(5, 0)]);
        let panic = catch_unwind(AssertUnwindSafe(|| handle.submit_all(&asks))).unwrap_err();
        assert_eq!(said(&*panic), "in the policy", "{mode}");
        let view = handle.read("b").unwrap();
        assert_eq!((sum(&view), view.get(9)), (2, 0), "{mode}");
        assert!(handle.verify().unwrap().is_clean(), "{mode}");
        engine.close().unwrap();
    }
}

/// What does not fit is refused and not stored; what was taken is stored, once the disk goes on.
#[test]
fn a_full_queue_refuses_the_rest() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let limits = Limits { entry_bytes: 1024, queue_bytes: 2000, ..Limits::default() };
        let builder = Engine::builder().aggregate::<Board>().limits(limits);
        let engine = builder.backend(storage.clone()).unwrap();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        storage.close_gate();
        let decides = Arc::new(AtomicUsize::new(0));
        let asks = (1..=40).map(|cell| {
            let decides = Arc::clone(&decides);
            Ask::puts([Put::cell(cell, 1).padded(200)]).first(move |_, _| {
                decides.fetch_add(1, Ordering::SeqCst);
            })
        });
        let receipts = handle.with(at_once(options)).submit_all(&to_b(asks));
        let taken = receipts.iter().filter(|receipt| receipt.is_ok()).count();
        // An entry takes about 250 bytes; a call with many goes beyond the bound by at most one.
        assert!((7..=9).contains(&taken), "{mode}: {taken}");
        let busy = receipts.iter().filter(|receipt| matches!(receipt, Err(Error::Busy { .. }))).count();
        assert_eq!(taken + busy, 40, "{mode}");
        assert_eq!(decides.load(Ordering::SeqCst), 40, "{mode}: each was decided once");
        storage.open_gate();
        assert_eq!(outcomes(receipts).into_iter().filter(Result::is_ok).count(), taken, "{mode}");
        assert_eq!(handle.history("b").unwrap().count(), taken + 1, "{mode}");
        engine.close().unwrap();
    }
}

/// With patience all of them get through a queue that holds a few.
#[test]
fn a_small_queue_is_waited_for() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let limits = Limits { entry_bytes: 1024, queue_bytes: 2000, ..Limits::default() };
        let builder = || Engine::builder().aggregate::<Board>().limits(limits);
        let engine = builder().backend(storage.clone()).unwrap();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 0)).unwrap();
        storage.close_gate();
        let asks = to_b((1..=100).map(|cell| Ask::puts([Put::cell(cell, 1).padded(200)])));
        let mut waiting = Polled::new(handle.submit_all_async(&asks));
        assert!(waiting.poll().is_none(), "{mode}: it waits for room");
        storage.open_gate();
        assert!(outcomes(waiting.finish()).iter().all(Result::is_ok), "{mode}");
        engine.close().unwrap();
        let engine = builder().backend(storage).unwrap();
        let view = boards(&engine, options).read("b").unwrap();
        assert!((1..=100).all(|cell| view.get(cell) == 1) && view.version() == 101, "{mode}");
        engine.close().unwrap();
    }
}

/// What is not stored is durable when that is on disk on which it was decided, also what stands before it in the call.
#[test]
fn what_is_not_stored_waits_for_what_it_rests_on() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let engine = Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
        let handle = boards(&engine, Options { record_rejections: false, ..options });
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        storage.close_gate();
        let receipts =
            handle.submit_all(&to_b([Ask::reject(1), Ask::set(2, 2), Ask::on([3], |_| Ok(vec![]))]));
        storage.await_blocked();
        let durable: Vec<_> = receipts.iter().map(|it| it.as_ref().unwrap().is_durable()).collect();
        assert_eq!(durable, [false; 3], "{mode}");
        storage.open_gate();
        let places: Vec<_> = outcomes(receipts).into_iter().map(|it| it.unwrap().position()).collect();
        assert_eq!(places, [None, Some(2), None], "{mode}");
        engine.close().unwrap();
    }
}

/// An answer that is not stored is not older than what was decided before it: a seat that somebody gave back meanwhile
/// is free for it.
#[test]
fn no_answer_is_older_than_the_one_before_it() {
    let engine = engine();
    let handle = boards(&engine, Options { record_rejections: false, ..Options::optimistic() });
    for cell in [0, 2] {
        let _ = handle.execute("b", &Ask::set(cell, 1)).unwrap();
    }
    let (other, once) = (handle.clone(), AtomicBool::new(false));
    let first = Ask::set(1, 1).first(move |_, _| {
        let handle = other.clone();
        if !once.swap(true, Ordering::SeqCst) {
            assert!(thread::spawn(move || handle.execute("b", &Ask::set(2, 0)).is_ok()).join().unwrap());
        }
    });
    let second = Ask::on([2], |cells| match cells.get(2) {
        0 => Ok(vec![Put::cell(2, 5)]),
        _ => Err("taken".into()),
    });
    let outcomes: Vec<_> =
        outcomes(handle.submit_all(&to_b([first, second]))).into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().map(Outcome::position).collect::<Vec<_>>(), [Some(4), Some(5)]);
    engine.close().unwrap();
}

/// What is wrong with one of a group is no concern of the others.
#[test]
fn an_error_of_one_leaves_the_others() {
    for (mode, options) in modes() {
        let limits = Limits { entry_bytes: 1024, ..Limits::default() };
        let engine = Engine::builder().aggregate::<Board>().limits(limits).in_memory().unwrap();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let astray = Ask::on([4], |_| Ok(vec![Put::cell(5, 5)]));
        let large = Ask::puts([Put::cell(2, 2).padded(2000)]);
        let asks = [Ask::set(1, 1), large, Ask::set(3, 3), astray, Ask::set(6, 6)];
        let mut asks = to_b(asks);
        asks.push(("", Ask::set(1, 1)));
        asks.push(("new", Ask::set(1, 1).on_existing()));
        let results = outcomes(handle.submit_all(&asks));
        let stored: Vec<_> = results.iter().map(|it| it.as_ref().ok().and_then(Outcome::position)).collect();
        assert_eq!(stored, [Some(2), None, Some(3), None, Some(4), None, None], "{mode}");
        assert!(matches!(results[1], Err(Error::TooLarge { .. })), "{mode}");
        assert!(matches!(results[3], Err(Error::OutOfScope { .. })), "{mode}");
        assert!(matches!(results[5], Err(Error::InvalidId { .. })), "{mode}");
        assert!(matches!(results[6], Err(Error::UnknownStream { .. })), "{mode}");
        assert_eq!(handle.ids(), ["b"], "{mode}");
        // Nothing is stored, so nothing is too large.
        let chatty = handle.with_metadata(&Metadata::default().with_user("x".repeat(2000)));
        let nothing = || Ask::on([1], |_| Ok(vec![]));
        assert!(
            outcomes(chatty.submit_all(&to_b([nothing(), nothing()]))).iter().all(Result::is_ok),
            "{mode}"
        );
        engine.close().unwrap();
    }
}

/// Between the look and the locks somebody takes what was chosen: chosen again, one by one.
#[test]
fn a_scope_that_moves_is_locked_where_it_went() {
    let engine = engine();
    let handle = boards(&engine, Options::pessimistic());
    let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
    let free = |cells: &Cells| [2, 3].into_iter().find(|cell| cells.get(*cell) == 0);
    let (other, once) = (handle.clone(), AtomicBool::new(false));
    let decides = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&decides);
    let choose = Ask::new(
        move |cells| {
            let chosen = parts(free(cells));
            if !once.swap(true, Ordering::SeqCst) {
                let handle = other.clone();
                assert!(thread::spawn(move || handle.execute("b", &Ask::set(2, 7)).is_ok()).join().unwrap());
            }
            chosen
        },
        move |cells, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(vec![Put::cell(free(cells).unwrap(), 5)])
        },
    );
    let outcomes = outcomes(handle.submit_all(&to_b([Ask::set(1, 1), choose, Ask::set(4, 4)])));
    assert!(outcomes.iter().all(Result::is_ok));
    let view = handle.read("b").unwrap();
    assert_eq!((1..=4).map(|cell| view.get(cell)).collect::<Vec<_>>(), [1, 7, 5, 4]);
    assert_eq!(decides.load(Ordering::SeqCst), 1, "decided once");
    engine.close().unwrap();
}

/// A transaction of the caller's own stands in the way: it would wait for itself.
#[test]
fn who_holds_the_lock_is_told() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let mut mine = engine.begin(Options::pessimistic());
        mine.lock([handle.lock("b").on(parts([2]))]).unwrap();
        let results = outcomes(handle.submit_all(&to_b([Ask::set(1, 1), Ask::set(2, 2), Ask::set(3, 3)])));
        assert!(matches!(results[1], Err(Error::HeldByCaller { .. })), "{mode}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{mode}");
        drop(mine);
        engine.close().unwrap();
    }
}

/// Who leaves while a command waits leaves what was decided, and nothing else.
#[test]
fn a_future_that_is_dropped_leaves_no_lock() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let mut holder = engine.begin(Options::pessimistic());
        holder.lock([handle.lock("b").on(parts([2]))]).unwrap();
        let asks = to_b([Ask::set(1, 1), Ask::set(2, 2), Ask::set(3, 3)]);
        let mut waiting = Polled::new(handle.submit_all_async(&asks));
        assert!(waiting.poll().is_none(), "{mode}");
        drop(waiting);
        drop(holder);
        let view = handle.read("b").unwrap();
        assert_eq!((1..=3).map(|cell| view.get(cell)).collect::<Vec<_>>(), [1, 0, 0], "{mode}");
        let free = handle.with(at_once(Options::pessimistic())).execute("b", &Ask::whole(|_| Ok(Vec::new())));
        assert!(free.is_ok(), "{mode}");
        engine.close().unwrap();
    }
}

/// The disk fails while groups are on their way: nothing of them is acknowledged.
#[test]
fn a_storage_failure_is_told_to_each() {
    for (mode, options) in modes() {
        let storage = GatedStorage::default();
        let engine = Engine::builder().aggregate::<Board>().backend(storage.clone()).unwrap();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        storage.close_gate();
        let failing = storage.clone();
        // The first group is on its way to the disk when the second one decides.
        let fail = Ask::set(1, 9).first(move |_, _| {
            failing.await_blocked();
            failing.fail();
        });
        let asks = (1..=16)
            .map(|cell| Ask::set(cell, 1))
            .chain([fail])
            .chain((2..=40).map(|cell| Ask::set(cell, 9)));
        let receipts = handle.submit_all(&to_b(asks));
        assert_eq!(receipts.len(), 56, "{mode}");
        let results = outcomes(receipts);
        assert!(results[..16].iter().all(|it| matches!(it, Err(Error::OutcomeUnknown { .. }))), "{mode}");
        let stops = |error: &Error| error.advice() == boxoffice::error::Advice::Stop;
        assert!(results.iter().all(|it| it.as_ref().is_err_and(stops)), "{mode}");
        let _ = engine.close();
    }
}

/// Every member of a group is looked at before the first is decided.
#[test]
fn all_are_looked_at_before_the_first_is_decided() {
    use boxoffice::{Aggregate, Context, Events, Part, Scope};

    struct Watched;
    type Seen = std::sync::Mutex<Vec<String>>;
    static SEEN: Seen = Seen::new(Vec::new());

    impl Aggregate for Watched {
        const TYPE: &'static str = "watched";
        type State = u64;
        type Command = u64;
        type Event = u64;
        type Rejection = ();
        type Services = ();

        fn scope(_: &u64, cell: &u64) -> Scope {
            Scope::parts([Part::number(0, *cell)])
        }

        fn prefetch<'s>(_: &u64, scopes: impl Iterator<Item = &'s Scope>) {
            SEEN.lock().unwrap().extend(scopes.map(|scope| format!("{scope:?}")));
        }

        fn decide(_: &u64, cell: &u64, _: &Context<'_, ()>) -> Result<Events<u64>, ()> {
            SEEN.lock().unwrap().push(cell.to_string());
            Ok((*cell).into())
        }

        fn touches(cell: &u64) -> Scope {
            Scope::parts([Part::number(0, *cell)])
        }

        fn apply(state: &mut u64, cell: &u64) {
            *state += cell;
        }
    }

    let engine = Engine::builder().aggregate::<Watched>().in_memory().unwrap();
    let watched = engine.handle::<Watched>(()).unwrap();
    let _ = watched.execute("b", &0).unwrap();
    SEEN.lock().unwrap().clear();
    assert!(watched.submit_all(&[("b", 1), ("b", 2)]).iter().all(Result::is_ok));
    assert_eq!(*SEEN.lock().unwrap(), ["Parts([Part(0:1)])", "Parts([Part(0:2)])", "1", "2"]);
    engine.close().unwrap();
}

/// A group ends where its entries are long: what it is committed in is held briefly.
#[test]
fn long_entries_make_short_groups() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let asks = to_b((1..=20).map(|cell| Ask::puts([Put::cell(cell, 1).padded(2100)])));
        let times = outcomes(handle.submit_all(&asks)).into_iter().map(|it| it.unwrap().decided_at());
        let mut groups: Vec<usize> = Vec::new();
        let mut last = None;
        for time in times {
            match groups.last_mut() {
                Some(members) if last == Some(time) => *members += 1,
                _ => groups.push(1),
            }
            last = Some(time);
        }
        assert_eq!(groups, [8, 8, 4], "{mode}");
        engine.close().unwrap();
    }
}

/// Where there is no lock for a group, its commands go alone, and are not gathered again for each of them.
#[test]
fn who_goes_alone_is_not_gathered_again() {
    let engine = engine();
    let handle = boards(&engine, at_once(Options::pessimistic()));
    let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
    let mut holder = engine.begin(Options::pessimistic());
    holder.lock([handle.lock("b").on(parts([16]))]).unwrap();
    let scopes = Arc::new(AtomicUsize::new(0));
    let asks = (1..=16).map(|cell| {
        let scopes = Arc::clone(&scopes);
        let scope = move |_: &Cells| {
            scopes.fetch_add(1, Ordering::SeqCst);
            parts([cell])
        };
        Ask::new(scope, move |_, _| Ok(vec![Put::cell(cell, 1)]))
    });
    let results = outcomes(handle.submit_all(&to_b(asks)));
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 15);
    assert!(matches!(results[15], Err(Error::WouldBlock { .. })));
    assert!(scopes.load(Ordering::SeqCst) <= 16 * 3, "{scopes:?}");
    drop(holder);
    engine.close().unwrap();
}

/// What is being decided when the engine is about to close is stored; what comes after it in the call is not decided.
#[test]
fn a_close_lets_a_group_end_and_no_other_begin() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let _ = handle.execute("b", &Ask::set(0, 1)).unwrap();
        let door = support::Door::new();
        let inside = Arc::clone(&door);
        let slow = Ask::set(1, 1).first(move |_, _| inside.pass());
        let asks = to_b([slow, Ask::set(2, 2), Ask::add(1), Ask::whole(|_| Ok(vec![]))]);
        thread::scope(|scope| {
            let deciding = scope.spawn(|| outcomes(handle.submit_all(&asks)));
            door.await_arrivals(1);
            let closing = scope.spawn(|| engine.close_within(support::WATCHDOG));
            eventually("it is about to close", || {
                matches!(handle.submit("b", &Ask::on([9], |_| Ok(vec![]))), Err(Error::Closed)).then_some(())
            });
            door.open();
            let results = deciding.join().unwrap();
            let decided: Vec<_> = results.iter().map(Result::is_ok).collect();
            assert_eq!(decided, [true, true, false, false], "{mode}");
            assert!(matches!(results[2], Err(Error::Closed)), "{mode}");
            closing.join().unwrap().unwrap();
        });
    }
}

/// The stream is rebuilt although what its events do when they are dropped panics.
#[test]
fn a_panic_in_drop_does_not_keep_a_stream_fenced() {
    use boxoffice::{Aggregate, Context, Events, Part, Scope};
    use serde::{Deserialize, Serialize};

    static ARMED: AtomicBool = AtomicBool::new(false);

    struct Mined;

    #[derive(Serialize, Deserialize)]
    struct Mine(u64);

    impl Drop for Mine {
        fn drop(&mut self) {
            assert!(self.0 != 2 || !ARMED.swap(false, Ordering::SeqCst), "in drop");
        }
    }

    impl Aggregate for Mined {
        const TYPE: &'static str = "mined";
        type State = u64;
        type Command = u64;
        type Event = Mine;
        type Rejection = ();
        type Services = ();

        fn scope(_: &u64, cell: &u64) -> Scope {
            Scope::parts([Part::number(0, *cell)])
        }

        fn decide(_: &u64, cell: &u64, _: &Context<'_, ()>) -> Result<Events<Mine>, ()> {
            Ok(Mine(*cell).into())
        }

        fn touches(Mine(cell): &Mine) -> Scope {
            Scope::parts([Part::number(0, *cell)])
        }

        fn apply(state: &mut u64, Mine(cell): &Mine) {
            *state += cell;
            assert!(*cell != 2, "in apply");
        }
    }

    let engine = Engine::builder().aggregate::<Mined>().in_memory().unwrap();
    let mined = engine.handle::<Mined>(()).unwrap();
    let _ = mined.execute("b", &1).unwrap();
    ARMED.store(true, Ordering::SeqCst);
    let panic =
        catch_unwind(AssertUnwindSafe(|| mined.submit_all(&[("b", 4), ("b", 2), ("b", 8)]))).unwrap_err();
    assert_eq!(said(&*panic), "in drop");
    let rebuilt = eventually("the stream is rebuilt", || mined.read("b").ok());
    assert_eq!((*rebuilt, rebuilt.version()), (5, 2));
    engine.close().unwrap();
}

/// Of two streams, one of whose commands panics: the other is as far as it came, and nothing is held.
#[test]
fn a_panic_leaves_other_streams_whole() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        for id in ["a", "b"] {
            let _ = handle.execute(id, &Ask::set(0, 1)).unwrap();
        }
        let asks =
            [("a", Ask::set(1, 1)), ("b", Ask::on([2], |_| panic!("in decide"))), ("a", Ask::set(3, 3))];
        assert!(catch_unwind(AssertUnwindSafe(|| handle.submit_all(&asks))).is_err());
        let versions = ["a", "b"].map(|id| handle.read(id).unwrap().version());
        assert_eq!(versions, [3, 1], "{mode}: also the one that came after the panic in the call");
        engine.close().unwrap();
    }
}

#[test]
fn what_a_handle_says_is_in_every_entry() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let of_ada = handle.with_metadata(&Metadata::default().with_user("ada"));
    let asks = to_b([Ask::set(1, 1), Ask::set(2, 2), Ask::set(2, 3), Ask::set(3, 3)]);
    assert!(outcomes(of_ada.submit_all(&asks)).iter().all(Result::is_ok));
    let users: Vec<_> = handle
        .history("b")
        .unwrap()
        .map(|it| it.unwrap().metadata.unwrap().user().map(str::to_owned))
        .collect();
    assert_eq!(users, vec![Some("ada".to_owned()); 4]);
    let chatty = handle.with_metadata(&Metadata::default().with_user("x".repeat(5000)));
    let refused = chatty.submit_all(&asks);
    assert!(refused.iter().all(|it| matches!(it, Err(Error::MetadataTooLarge { bytes: 5000.., .. }))));
    assert_eq!((refused.len(), engine.position()), (4, 4));
    engine.close().unwrap();
}

#[test]
fn a_stopped_engine_says_so_for_each() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let _ = handle.execute("b", &Ask::set(1, 1)).unwrap();
    assert!(handle.submit_all::<&str>(&[]).is_empty());
    engine.close().unwrap();
    let results = handle.submit_all(&to_b([Ask::set(1, 2), Ask::set(2, 2)]));
    assert!(results.iter().all(|it| matches!(it, Err(Error::Closed))) && results.len() == 2);
}

/// Threads that want the same seats, in both modes at once, with one call each.
#[test]
fn nobody_gets_a_seat_twice() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder().aggregate::<Venue>().open(folder.path().join("file")).unwrap();
    let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
    let labels: Vec<String> = (0..200).map(|seat| format!("S{seat}")).collect();
    for id in ["one", "two"] {
        let create = VenueCommand::create(Layout::from_labels(&labels).unwrap());
        assert!(venues.execute(id, &create).unwrap().is_accepted());
    }
    let sold: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|who| {
                let (venues, labels) = (venues.with(modes()[who as usize % 2].1), &labels);
                scope.spawn(move || {
                    // Everybody goes through the seats by another stride.
                    let stride = [1, 3, 7, 9][who as usize];
                    let cart =
                        |at: usize| [at * stride % 200, (at * stride + stride) % 200].map(|it| &labels[it]);
                    let commands: Vec<_> = (0..200)
                        .map(|at| (["one", "two"][at % 2], VenueCommand::reserve(who, cart(at))))
                        .collect();
                    let receipts = commands.chunks(50).flat_map(|chunk| venues.submit_all(chunk));
                    let outcomes = receipts.map(|receipt| receipt.unwrap().wait().unwrap());
                    outcomes.filter(Outcome::is_accepted).count() * 2
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let stored: u32 = ["one", "two"].iter().map(|id| venues.read(id).unwrap().sold()).sum();
    assert_eq!(stored as usize, sold);
    assert!(venues.verify().unwrap().is_clean());
    engine.close().unwrap();
}

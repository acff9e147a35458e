//! Rules 11 and 12: everything has a bound, and only an event creates a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use boxoffice::history::Happened;
use boxoffice::layout::Layout;
use boxoffice::venue::{Venue, VenueCommand, VenueServices};
use boxoffice::{Engine, Error, Limits};

use crate::support::board::{Ask, Board, Put, boards, engine};
use crate::support::gate::GatedStorage;
use crate::support::{HookClock, Meeting, error_of, modes};

#[test]
fn rule_11_the_defaults() {
    let limits = Limits::default();
    assert_eq!((limits.id_bytes, limits.cart), (255, 1024));
    assert_eq!((limits.entry_bytes, limits.queue_bytes), (16 << 20, 64 << 20));
    // Just below a power of two.
    assert!(limits.batch_bytes < 4 << 20 && limits.batch_bytes >= (4 << 20) - 4096);
}

#[test]
fn rule_11_ids_and_carts_end_at_their_bounds() {
    let engine = Engine::builder().aggregate::<Venue>().in_memory().unwrap();
    let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
    let labels: Vec<String> = (0..1100).map(|seat| format!("S{seat}")).collect();
    let create = VenueCommand::create(Layout::from_labels(&labels).unwrap());
    let longest = "x".repeat(255);
    assert!(venues.execute(&longest, &create).unwrap().is_accepted());
    for bytes in [0, 256] {
        let error = error_of(venues.execute("x".repeat(bytes), &create));
        assert!(matches!(error, Error::InvalidId { bytes: found, limit: 255 } if found == bytes), "{error}");
    }
    let cart = |seats: usize| VenueCommand::reserve(1, &labels[..seats]);
    for seats in [0, 1025, 1100] {
        let error = error_of(venues.execute(&longest, &cart(seats)));
        assert!(matches!(&error, Error::InvalidCommand { .. }), "{seats}: {error}");
    }
    assert_eq!(engine.position(), 1);
    let largest = venues.execute(&longest, &cart(1024)).unwrap();
    assert!(largest.is_accepted());
    assert_eq!(venues.read(&longest).unwrap().sold(), 1024);
    engine.close().unwrap();
}

/// A batch is full at its bound; an entry beyond it travels alone. Entries of one batch share the time of
/// their commit, and the clock never shows the same time twice.
#[test]
fn rule_11_a_larger_entry_travels_alone() {
    let storage = GatedStorage::default();
    let limits = Limits { batch_bytes: 1024, ..Limits::default() };
    let builder = Engine::builder().aggregate::<Board>().limits(limits).clock(HookClock::default());
    let engine = builder.backend(storage.clone()).unwrap();
    let handle = boards(&engine, Default::default());
    storage.close_gate();
    let sizes = [1, 2, 3, 5000, 4, 5, 700, 700, 6];
    for (cell, bytes) in (0..).zip(sizes) {
        drop(handle.submit("b", &Ask::puts([Put::cell(cell, 1).padded(bytes)])).unwrap());
        if cell == 0 {
            storage.await_blocked();
        }
    }
    storage.open_gate();
    engine.wait_durable(engine.position()).unwrap();
    let mut batches: Vec<(u64, Vec<usize>)> = Vec::new();
    for recorded in handle.history("b").unwrap() {
        let recorded = recorded.unwrap();
        let Happened::Event(put) = recorded.what else { panic!("no rejection was sent") };
        let (at, bytes) = (recorded.committed_at.0, put.blob.len());
        match batches.last_mut() {
            Some((last, batch)) if *last == at => batch.push(bytes),
            _ => batches.push((at, vec![bytes])),
        }
    }
    let batches: Vec<_> = batches.into_iter().map(|(_, batch)| batch).collect();
    assert_eq!(batches, [vec![1], vec![2, 3], vec![5000], vec![4, 5, 700], vec![700, 6]]);
    engine.close().unwrap();
}

#[test]
fn rule_11_an_entry_beyond_its_bound_is_refused() {
    for (mode, options) in modes() {
        let limits = Limits { entry_bytes: 2048, ..Limits::default() };
        let engine = Engine::builder().aggregate::<Board>().limits(limits).in_memory().unwrap();
        let handle = boards(&engine, options);
        // On a stream that exists: only there is a rejection stored.
        assert!(handle.execute("b", &Ask::set(1, 0)).unwrap().is_accepted(), "{mode}");
        let sized = |bytes| Ask::puts([Put::cell(1, 1).padded(bytes)]);
        let refused = Ask::on([1], |_| Err("no".repeat(2000)));
        let many = Ask::puts((0..40).map(|cell| Put::cell(cell, 1).padded(100)));
        for ask in [sized(2048), sized(1 << 20), refused, many] {
            match error_of(handle.execute("b", &ask)) {
                Error::TooLarge { bytes, limit } => assert!(bytes > limit && limit == 2048, "{mode}"),
                other => panic!("{mode}: {other}"),
            }
        }
        assert_eq!(engine.position(), 1, "{mode}");
        assert!(matches!(error_of(handle.execute("new", &sized(2048))), Error::TooLarge { .. }), "{mode}");
        assert_eq!((handle.ids().len(), handle.read("b").unwrap().version()), (1, 1), "{mode}");
        assert!(handle.execute("b", &sized(1800)).unwrap().is_accepted(), "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn rule_12_neither_a_rejection_nor_a_read_creates_a_stream() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let unknown = |error: Error| match error {
            Error::UnknownStream { stream } => assert_eq!(stream.to_string(), "board/b", "{mode}"),
            other => panic!("{mode}: {other}"),
        };
        unknown(error_of(handle.read("b")));
        unknown(error_of(handle.history("b")));
        unknown(error_of(handle.execute("b", &Ask::set(1, 1).on_existing())));
        // A command that might have created it, and said no, or did nothing.
        let outcome = handle.execute("b", &Ask::reject(1)).unwrap();
        assert_eq!((outcome.rejection().map(String::as_str), outcome.version()), (Some("no"), 0), "{mode}");
        assert_eq!(outcome.position(), None, "{mode}");
        let nothing = handle.execute("b", &Ask::on([1], |_| Ok(Vec::new()))).unwrap();
        assert_eq!((nothing.is_accepted(), nothing.position()), (true, None), "{mode}");
        unknown(error_of(handle.read("b")));
        assert!(handle.ids().is_empty() && engine.position() == 0, "{mode}");
        assert!(format!("{handle:?}").contains("streams: 0,"), "{mode}: kept for nobody: {handle:?}");
        // The first event is version 1 at position 1, after all that.
        let first = handle.execute("b", &Ask::set(1, 1)).unwrap();
        assert_eq!((first.version(), first.position()), (1, Some(1)), "{mode}");
        engine.close().unwrap();
    }
}

/// Sixteen decide on a stream that does not exist, all at once: half say no, and half add one. None is
/// lost because the other half went away again.
#[test]
fn rule_12_a_stream_born_among_rejections_is_one_stream() {
    for (mode, options) in modes() {
        let engine = engine();
        let handle = boards(&engine, options);
        let (meeting, met) = (Meeting::new(16), Arc::new(AtomicUsize::new(0)));
        thread::scope(|scope| {
            for caller in 0..16_u64 {
                let (meeting, met, handle) = (Arc::clone(&meeting), Arc::clone(&met), &handle);
                let ask = if caller % 2 == 0 { Ask::add(caller) } else { Ask::reject(caller) };
                let ask = ask.first(move |_, _| {
                    if met.fetch_add(1, Ordering::SeqCst) < 16 {
                        meeting.wait();
                    }
                });
                scope.spawn(move || handle.execute("b", &ask).unwrap().version());
            }
        });
        let view = handle.read("b").unwrap();
        assert!((0..16).all(|cell| view.get(cell) == i64::from(cell % 2 == 0)), "{mode}: {view:?}");
        assert_eq!(view.version(), engine.position(), "{mode}");
        assert_eq!(handle.ids(), ["b"], "{mode}");
        engine.close().unwrap();
    }
}

#[test]
fn rule_12_an_unknown_seat_of_a_known_venue_is_a_recorded_rejection() {
    for (mode, options) in modes() {
        let engine = Engine::builder().aggregate_with::<Venue>(options).in_memory().unwrap();
        let venues = engine.handle::<Venue>(VenueServices::default()).unwrap();
        let reserve = VenueCommand::reserve(1, ["Z9"]);
        let error = error_of(venues.execute("hall", &reserve));
        assert!(matches!(error, Error::UnknownStream { .. }), "{mode}: {error}");
        let layout = Layout::from_labels(["A1"]).unwrap();
        let _ = venues.execute("hall", &VenueCommand::create(layout)).unwrap();
        let outcome = venues.execute("hall", &reserve).unwrap();
        assert_eq!(outcome.rejection().map(|no| no.reason()), Some("seat_not_found"), "{mode}");
        assert_eq!((outcome.version(), outcome.position()), (2, Some(2)), "{mode}");
        let error = error_of(venues.execute("hall", &VenueCommand::reserve(1, ["A1", "A1"])));
        assert!(matches!(&error, Error::InvalidCommand { .. }), "{mode}: {error}");
        assert_eq!(engine.position(), 2, "{mode}");
        engine.close().unwrap();
    }
}

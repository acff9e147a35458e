//! Goal: a panic in `decide` leaves no trace; one in `apply` fences the stream until its state is rebuilt.
//! Method: one order of several panics, at any moment. The panics are resumed, not started: the checker reports those.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::thread::{spawn, yield_now};

use super::{Ask, FUSE, ID, Trial, Way, any_ask, any_options, crowd};
use crate::engine::Options;
use crate::error::{Error, Fence};
use crate::log::MemoryStore;
use crate::model::{explore, pick};

#[test]
fn a_panic_in_decide_frees_its_locks() {
    explore(|| {
        let (trial, engine, handle) = Trial::opened(MemoryStore::default());
        let mut threads = crowd::start(&trial, &handle, 2, any_options, |_, trial, handle| {
            crowd::patiently(trial, handle, Way::any(), any_ask());
        });
        let (panicking, theirs) = (trial.clone(), handle.with(any_options()));
        threads.push(spawn(move || {
            let ask = Ask::Panic { seat: pick(3) as u8 };
            let caught =
                catch_unwind(AssertUnwindSafe(|| panicking.give(&theirs, Way::any(), &panicking.order(ask))));
            match caught {
                Err(panic) => assert_eq!(panic.downcast_ref(), Some(&"decide")),
                // The call ended before it was decided.
                Ok(None | Some(Err(Error::LockTimeout { .. }))) => {}
                Ok(Some(other)) => panic!("{other:?}"),
            }
        }));
        crowd::join(threads);
        trial.check(engine, &handle);
    });
}

#[test]
fn a_panic_in_apply_fences_until_the_state_is_rebuilt() {
    explore(|| {
        let (trial, engine, handle) = Trial::opened(MemoryStore::default());
        FUSE.set(true);
        crowd::join(crowd::start(&trial, &handle, 3, any_options, |_, trial, handle| {
            for _ in 0..=pick(2) {
                match trial.call(handle, Way::any(), any_ask()) {
                    Some(Err(Error::ApplyPanicked { .. })) => assert!(!FUSE.get()),
                    Some(Err(Error::Fenced { reason, .. })) => assert_eq!(reason, Fence::Rebuilding),
                    Some(Err(error)) => crowd::only_impatience(handle, &error),
                    _ => {}
                }
            }
        }));
        FUSE.set(false);
        while let Err(error) = handle.read(ID) {
            assert!(matches!(error, Error::Fenced { reason: Fence::Rebuilding, .. }), "{error}");
            yield_now();
        }
        let patient = handle.with(Options::pessimistic());
        match trial.call(&patient, Way::Execute, Ask::Clear) {
            Some(Err(error)) => crowd::only_impatience(&patient, &error),
            answer => assert!(answer.is_some()),
        }
        trial.check(engine, &handle);
    });
}

/// The first event ever panics: nothing is stored, and nothing of the stream is left.
#[test]
fn a_panic_in_the_first_apply_leaves_no_stream() {
    explore(|| {
        let (trial, engine, handle) = Trial::new(MemoryStore::default());
        FUSE.set(true);
        crowd::join(crowd::start(&trial, &handle, 2, any_options, |_, trial, handle| {
            match trial.call(handle, Way::any(), Ask::Open) {
                Some(Err(Error::ApplyPanicked { .. })) => {}
                Some(Err(Error::Fenced { reason, .. })) => assert_eq!(reason, Fence::Rebuilding),
                Some(Err(error)) => crowd::only_impatience(handle, &error),
                _ => {}
            }
        }));
        FUSE.set(false);
        // The thread that rebuilds is the last to leave. Not asked by a read, which would tidy up itself.
        let exists = || handle.registry.find(ID).is_some_and(|stream| stream.exists());
        while handle.registry.len() != usize::from(exists()) {
            yield_now();
        }
        trial.check(engine, &handle);
    });
}

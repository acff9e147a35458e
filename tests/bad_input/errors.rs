//! Limits, sizes, and what the errors say.

use boxoffice::error::{Advice, Fence, Invalid, StreamName};
use boxoffice::history::Happened;
use boxoffice::{Engine, Error, Limits, Options};

use crate::support::board::{Ask, Board, Put, boards, engine};
use crate::support::error_of;

/// An error says enough to find the id by; it does not carry a megabyte of it into somebody's log.
#[test]
fn errors_stay_small() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let id = "x".repeat(1_000_000);
    for error in [
        error_of(handle.execute(&id, &Ask::set(1, 1))),
        error_of(handle.read(&id)),
        error_of(handle.history(&id)),
    ] {
        assert!(error.to_string().len() < 1000, "an error of {} bytes", error.to_string().len());
    }
    engine.close().unwrap();
}

#[test]
fn limits_that_contradict_each_other_open_nothing() {
    let base = Limits::default();
    let nonsense = [
        Limits { id_bytes: 0, ..base },
        Limits { id_bytes: 256, ..base },
        Limits { id_bytes: usize::MAX, ..base },
        Limits { cart: 0, ..base },
        Limits { entry_bytes: 0, ..base },
        Limits { entry_bytes: 1023, ..base },
        Limits { entry_bytes: usize::MAX, queue_bytes: usize::MAX, ..base },
        Limits { batch_bytes: 0, ..base },
        Limits { batch_bytes: usize::MAX, ..base },
        Limits { queue_bytes: base.entry_bytes - 1, ..base },
        Limits { queue_bytes: 0, ..base },
        Limits { metadata_bytes: (64 << 10) + 1, ..base },
        Limits { command_ids: 0, ..base },
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.boxoffice");
    for limits in nonsense {
        let error = error_of(Engine::builder().aggregate::<Board>().limits(limits).open(&path));
        assert!(matches!(&error, Error::InvalidLimits { what } if !what.is_empty()), "{limits:?}: {error}");
        assert!(!path.exists(), "{limits:?} left a file");
    }
    // Without bound is a choice.
    let most = Limits {
        cart: usize::MAX,
        queue_bytes: usize::MAX,
        entry_bytes: 1024,
        batch_bytes: 1024,
        id_bytes: 1,
        metadata_bytes: 0,
        command_ids: usize::MAX,
    };
    let engine = Engine::builder().aggregate::<Board>().limits(most).open(&path).unwrap();
    let handle = boards(&engine, Options::default());
    assert!(handle.execute("b", &Ask::set(1, 1)).unwrap().is_accepted());
    assert!(matches!(
        error_of(handle.execute("bb", &Ask::set(1, 1))),
        Error::InvalidId { bytes: 2, limit: 1 }
    ));
    engine.close().unwrap();
}

#[test]
fn an_event_beyond_the_entry_limit_is_refused_by_default_too() {
    let engine = engine();
    let handle = boards(&engine, Options::default());
    let blob = |bytes| Ask::puts([Put::cell(1, 1).padded(bytes)]);
    let limit = Limits::default().entry_bytes;
    let error = error_of(handle.execute("b", &blob(limit + 1)));
    assert!(
        matches!(error, Error::TooLarge { bytes, limit: found } if bytes > limit && found == limit),
        "{error}"
    );
    assert!(handle.ids().is_empty() && engine.position() == 0);
    // The largest that fits comes back whole.
    assert!(handle.execute("b", &blob(limit - 1024)).unwrap().is_accepted());
    let recorded = handle.history("b").unwrap().next().unwrap().unwrap();
    assert!(matches!(recorded.what, Happened::Event(put) if put.blob.len() == limit - 1024));
    engine.close().unwrap();
}

#[test]
fn every_error_says_what_to_do() {
    let stream = StreamName { aggregate: "venue.u64".into(), id: "hall".into() };
    let waited = std::time::Duration::from_millis(1500);
    let cause: std::sync::Arc<str> = "no space left".into();
    let fenced = |reason| Error::Fenced { stream: stream.clone(), reason };
    let table = [
        (Error::Conflict { stream: stream.clone(), attempts: 6 }, Advice::Retry, "retry"),
        (Error::LockTimeout { stream: stream.clone(), waited }, Advice::Retry, "1500 ms"),
        (Error::WouldBlock { stream: stream.clone() }, Advice::Retry, "retry"),
        (Error::Busy { waited }, Advice::Retry, "more slowly"),
        (Error::NotYetDurable { position: 7 }, Advice::Wait, "do not send it again"),
        (Error::InvalidId { bytes: 300, limit: 255 }, Advice::Fix, "1 to 255"),
        (Error::UnknownStream { stream: stream.clone() }, Advice::Fix, "create it first"),
        (
            Error::Deadlock { cycle: vec![stream.clone()] },
            Advice::Retry,
            "wait for each other at venue.u64/hall",
        ),
        (Error::HeldByCaller { stream: stream.clone() }, Advice::Fix, "same caller"),
        (Error::OtherEngine { aggregate: "venue" }, Advice::Fix, "another engine"),
        (Error::InvalidCommandId { bytes: 0, limit: 255 }, Advice::Fix, "1 to 255"),
        (Error::IdReused { id: "order-17".into() }, Advice::Fix, "order-17"),
        (Error::MetadataTooLarge { bytes: 5000, limit: 4096 }, Advice::Fix, "5000"),
        (Error::InvalidCommand { why: Invalid::new("name a seat") }, Advice::Fix, "name a seat"),
        (Error::TooLarge { bytes: 9, limit: 8 }, Advice::Fix, "8"),
        (Error::Encode { cause: cause.clone() }, Advice::Fix, "no space"),
        (Error::OutOfScope { stream: stream.clone(), part: "part 0:2".into() }, Advice::Fix, "0:2"),
        (Error::PolicyViolated { stream: stream.clone(), policy: "zen" }, Advice::Fix, "\"zen\""),
        (
            Error::ApplyPanicked { stream: stream.clone(), message: "oh".into() },
            Advice::Fix,
            "nothing was stored",
        ),
        (fenced(Fence::Rebuilding), Advice::Retry, "retry"),
        (fenced(Fence::ApplyPanicked("oh".into())), Advice::Fix, "open again"),
        (fenced(Fence::Undecodable("oh".into())), Advice::Fix, "open again"),
        (fenced(Fence::NewerEvent { found: 2, supported: 1 }), Advice::Fix, "newer program"),
        (Error::NotRegistered { aggregate: "x" }, Advice::Fix, "builder"),
        (fenced(Fence::OlderEvent { found: 1, oldest: 2 }), Advice::Fix, "add the steps"),
        (Error::InvalidUpcasts { aggregate: "x", what: "no step to 2".into() }, Advice::Fix, "no step to 2"),
        (Error::RegisteredTwice { aggregate: "x" }, Advice::Fix, "two different types"),
        (Error::UnknownVersion { stream: stream.clone(), version: 9, last: 8 }, Advice::Fix, "8"),
        (Error::NotYetCreated { stream: stream.clone(), first: 8 }, Advice::Fix, "position 8"),
        (Error::UnknownPosition { position: 9, last: 8 }, Advice::Fix, "8"),
        (Error::ProjectionDiverged { position: 9, last: 8 }, Advice::Fix, "rebuild"),
        (Error::NotThisProjection { cause: cause.clone() }, Advice::Fix, "name another"),
        (Error::InvalidLimits { what: "cart must be at least 1" }, Advice::Fix, "at least"),
        (Error::OutcomeUnknown { position: 7, cause: cause.clone() }, Advice::Stop, "open the file again"),
        (Error::NotStored { cause: cause.clone() }, Advice::Stop, "lost"),
        (Error::Storage { cause: cause.clone() }, Advice::Stop, "open the file again"),
        (Error::Broken { invariant: cause.clone() }, Advice::Stop, "report"),
        (Error::Closed, Advice::Stop, "closed"),
        (Error::ReadOnly, Advice::Fix, "open the file for writing"),
        (Error::NotEmpty { cause: cause.clone() }, Advice::Fix, "does not exist"),
        (Error::BackupFailed { cause: cause.clone() }, Advice::Fix, "no space"),
        (Error::AlreadyOpen, Advice::Fix, "close"),
        (Error::NotALog { cause: cause.clone() }, Advice::Fix, "not changed"),
        (Error::NewerFormat { found: 2, supported: 1 }, Advice::Fix, "newer"),
        (Error::Corrupt { cause }, Advice::Stop, "restore"),
    ];
    for (error, advice, says) in table {
        assert_eq!(error.advice(), advice, "{error:?}");
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains('\n'), "{error:?}: {text}");
    }
}

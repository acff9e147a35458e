//! After `apply` panicked: the state from the log again, while the stream is fenced.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Shared;
use super::registry::{Registry, Visit};
use super::replay::{Fold, panic_message};
use super::scan::{self, Until};
use super::stream::{Stream, Whereabouts};
use crate::aggregate::Aggregate;
use crate::error::{Cause, Fence};
use crate::log::Log;
use crate::sync::{Patience, run_blocking, spawn};

/// Starts the rebuild on a thread of its own: it waits for the disk and reads the log. If the engine
/// stops meanwhile the stream stays fenced.
pub(crate) fn start<A: Aggregate>(
    shared: &Shared,
    registry: &Arc<Registry<A>>,
    stream: &Arc<Stream<A>>,
    said: &Cause,
) {
    let log = Arc::clone(&shared.log);
    // A stream that has no version goes with the last who worked on it.
    let visit = Visit::join(Arc::clone(registry), stream);
    let body = move || {
        let (registry, fenced) = (visit.registry(), visit.stream());
        let rebuilt = catch_unwind(AssertUnwindSafe(|| rebuild(&log, registry, fenced)));
        match rebuilt {
            Ok(Ok(state)) => fenced.unfence(Ok(state)),
            Ok(Err(Some(fence))) => fenced.unfence(Err(fence)),
            Ok(Err(None)) => {}
            Err(panic) => fenced.unfence(Err(Fence::ApplyPanicked(panic_message(&*panic)))),
        }
    };
    if spawn("boxoffice-rebuild", body).is_err() {
        stream.unfence(Err(Fence::ApplyPanicked(said.clone())));
    }
}

fn rebuild<A: Aggregate>(
    log: &Log,
    registry: &Arc<Registry<A>>,
    stream: &Stream<A>,
) -> Result<A::State, Option<Fence>> {
    let Some(Whereabouts { number, first, last, version }) = stream.whereabouts() else {
        return Ok(A::State::default());
    };
    run_blocking(log.wait_durable(last, &mut Patience::of_thread(None))).map_err(|_| None)?;
    let mut fold = Fold::new(Arc::clone(registry), &stream.name.id, number);
    scan::fold(log, &mut fold, number, first..=last, &Until::END).map_err(|_| None)?;
    match fold.fence() {
        Some(fence) => Err(Some(fence.clone())),
        None if fold.version() == version => Ok(fold.state),
        None => {
            log.broken(format!(
                "{}: rebuilt to version {}, numbered to {version}",
                stream.name,
                fold.version()
            ));
            Err(None)
        }
    }
}

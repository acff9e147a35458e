//! Threads that begin together, once all of them are there.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Starts a thread for each of these. None begins its work before all are there; if one cannot be started, the
/// others do nothing and are gone again, so that nobody waits for somebody who never comes.
pub(crate) fn together<'scope, W, T>(
    scope: &'scope Scope<'scope, '_>,
    works: impl IntoIterator<Item = W>,
) -> io::Result<Vec<ScopedJoinHandle<'scope, T>>>
where
    W: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    // Locked until everybody is there, and then it says so. Whatever else unlocks it, it says no.
    let gate = Arc::new(RwLock::new(false));
    let mut closed = gate.write().unwrap_or_else(PoisonError::into_inner);
    let mut threads = Vec::new();
    for work in works {
        let gate = Arc::clone(&gate);
        let thread = Builder::new().spawn_scoped(scope, move || {
            let is_open = *gate.read().unwrap_or_else(PoisonError::into_inner);
            // There is no result, and whoever would ask for one is told below.
            if is_open { work() } else { resume_unwind(Box::new("not everybody was there")) }
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                drop(closed);
                threads.into_iter().for_each(|thread| drop(thread.join()));
                return Err(error);
            }
        }
    }
    *closed = true;
    drop(closed);
    Ok(threads)
}

//! Waiting, so that others know of it: a future that is run on the calling thread says when it has to wait.
//!
//! A job could as well call the blocking twin. It does not, so that a scene knows who stands in line and need not guess.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ScopedJoinHandle, Thread};

use boxoffice::Options;
use boxoffice::options::Wait;

use crate::support::Failure;
use crate::support::patience::PATIENCE;

/// Locks, if they are free right now.
pub(crate) fn at_once() -> Options {
    Options { wait: Wait::Never, ..Options::pessimistic() }
}

/// Calls `waits` once, if the future is not ready at once.
pub(crate) fn run<F: Future>(future: F, waits: impl FnOnce()) -> F::Output {
    let mut future = pin!(future);
    let mut waits = Some(waits);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                if let Some(waits) = waits.take() {
                    waits();
                }
                thread::park();
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Who stands in line: told by those who do, known to whoever has to know.
pub(crate) struct Line {
    tell: mpsc::Sender<()>,
    told: mpsc::Receiver<()>,
}

impl Line {
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::channel();
        Self { tell, told }
    }

    /// What somebody calls who has to wait.
    pub(crate) fn teller(&self) -> impl FnOnce() + Send + use<> {
        let tell = self.tell.clone();
        move || {
            // Nobody to tell: the scene has failed elsewhere.
            let _ = tell.send(());
        }
    }

    /// Blocks until so many more stand in line.
    pub(crate) fn has(&self, more: usize) -> Result<(), Failure> {
        for _ in 0..more {
            self.told.recv_timeout(PATIENCE).map_err(|_| "nobody stands in line who should")?;
        }
        Ok(())
    }
}

/// What a thread came to; a panic is a failure that says what it said.
pub(crate) fn outcome<T>(thread: ScopedJoinHandle<'_, Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().copied().unwrap_or("something else than text");
        Err(format!("panicked: {said}").into())
    })
}

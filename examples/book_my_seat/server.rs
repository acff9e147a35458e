//! The server: every route together, from the first connection to the last answer.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use rand::SeedableRng;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::live::Live;
use crate::office::{Office, PATIENCE, Terms};
use crate::reply::{MAX_BODY, No, any_origin};
use crate::stress::Dice;
use crate::support::Failure;
use crate::trouble::Trouble;
use crate::wire::LONGEST_THOUGHT;
use crate::{api, page, wire};

/// No request takes longer, which has to arrive, and to be thought about, and to be decided. Windows that listen are no
/// requests.
const LONGEST: Duration = Duration::from_secs(5).saturating_add(LONGEST_THOUGHT).saturating_add(PATIENCE);
/// How long those that are under way have when the server stops.
const GRACE: Duration = Duration::from_secs(35);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) office: Office,
    pub(crate) live: Arc<Live>,
    /// Held by the stress that runs.
    pub(crate) stress: tokio::sync::Mutex<()>,
    dice: Mutex<Dice>,
}

impl Shared {
    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until `stop`; then lets what is under way come to its end, and closes the engine.
pub(crate) async fn serve(
    listener: TcpListener,
    file: &Path,
    terms: Terms,
    seed: u64,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let file = file.to_owned();
    let office = tokio::task::spawn_blocking(move || Office::open(&file, terms)).await??;
    let (live, feed) = Live::new(&office)?;
    let dice = Mutex::new(Dice::seed_from_u64(seed));
    let shared = Arc::new(Shared { office, live, stress: tokio::sync::Mutex::new(()), dice });

    // One reader for all windows. It ends with the engine, which fails or is closed.
    let live = Arc::clone(&shared.live);
    let (feed_ended, feed_end) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn(async move {
        let end = live.follow(feed).await;
        let _ = feed_ended.send(());
        end
    });

    let live = Arc::clone(&shared.live);
    let (stopping, mut has_stopped) = tokio::sync::watch::channel(());
    let stop = async move {
        tokio::select! { () = stop => {}, _ = feed_end => {} }
        // Windows never end by themselves, and a server that stops waits for every answer.
        live.stop();
        drop(stopping);
    };
    let router = router(Arc::clone(&shared));
    let serving =
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await });
    let _ = has_stopped.changed().await;
    match timeout(GRACE, serving).await {
        Ok(served) => served??,
        Err(_) => return Err("somebody's request did not end, so the engine was not closed in order".into()),
    }
    close(shared, reader).await
}

async fn close(
    mut shared: Arc<Shared>,
    reader: tokio::task::JoinHandle<Result<(), boxoffice::Error>>,
) -> Result<(), Failure> {
    // A connection is said to have ended a moment before it lets go of what it had.
    let alone = async {
        loop {
            match Arc::try_unwrap(shared) {
                Ok(last) => return last,
                Err(back) => shared = back,
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    let Ok(Shared { office, live, .. }) = timeout(GRACE, alone).await else {
        return Err("a request outlived its connection, so the engine was not closed in order".into());
    };
    tokio::task::spawn_blocking(move || office.close()).await??;
    drop(live);
    match reader.await? {
        Ok(()) | Err(boxoffice::Error::Closed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(wire::routes())
        .merge(api::routes())
        .merge(page::routes())
        .layer(from_fn(in_time))
        .merge(api::live_routes())
        .fallback(async || No(Trouble::NoSuchRoute))
        .method_not_allowed_fallback(async || No(Trouble::WrongMethod))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(any_origin))
        .with_state(shared)
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(LONGEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => No(Trouble::TooSlow).into_response(),
    }
}

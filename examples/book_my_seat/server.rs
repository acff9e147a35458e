//! The server: every route together, from the first connection to the last answer.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rand::SeedableRng;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
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
/// How long requests that are under way have when the server stops.
const GRACE: Duration = LONGEST.saturating_add(Duration::from_secs(5));
/// How long connections have then on which nothing is under way: half a request, or an answer that nobody fetches.
const IDLE_LOOKS: u32 = 150;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) office: Office,
    pub(crate) live: Arc<Live>,
    /// Held by the stress that runs.
    pub(crate) stress: tokio::sync::Mutex<()>,
    dice: Mutex<Dice>,
    /// How many requests are being decided.
    asking: Arc<AtomicUsize>,
}

impl Shared {
    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until `stop`; then lets what is under way come to its end, and closes the engine.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    file: &Path,
    terms: Terms,
    seed: u64,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let file = file.to_owned();
    let office = tokio::task::spawn_blocking(move || Office::open(&file, terms)).await??;
    let (live, feed) = Live::new(&office)?;
    let dice = Mutex::new(Dice::seed_from_u64(seed));
    let asking = Arc::new(AtomicUsize::new(0));
    let stress = tokio::sync::Mutex::new(());
    let shared = Arc::new(Shared { office, live, stress, dice, asking: Arc::clone(&asking) });

    // One reader for all windows. It ends with the engine, which fails or is closed.
    let live = Arc::clone(&shared.live);
    let (feed_ended, feed_end) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn(async move {
        let end = live.follow(feed).await;
        let _ = feed_ended.send(());
        end
    });

    // The connections have a runtime of their own, so that all of them can be ended.
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (handle, mut connections) = (runtime.handle().clone(), Connections(Some(runtime)));
    let (stopping, has_stopped) = tokio::sync::watch::channel(());
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        let (router, mut has_stopped) = (router(Arc::clone(&shared)), has_stopped.clone());
        let until = async move { drop(has_stopped.changed().await) };
        let served = async { axum::serve(listener, router).with_graceful_shutdown(until).await };
        serving.spawn_on(served, &handle);
    }
    drop(has_stopped);
    tokio::select! { () = stop => {}, _ = feed_end => {} }
    // Windows never end by themselves, and a server that stops waits for every answer.
    shared.live.stop();
    drop(stopping);
    tokio::select! {
        () = async { while serving.join_next().await.is_some() {} } => {}
        () = nobody_asks(&asking) => {}
        () = sleep(GRACE) => {}
    }
    // Whoever has sent half a request, or does not fetch an answer, does not keep the engine open.
    if let Some(connections) = connections.0.take() {
        tokio::task::spawn_blocking(move || connections.shutdown_timeout(PATIENCE)).await?;
    }
    close(shared, reader).await
}

/// Their runtime, which may not wait for them when it is dropped by a task.
struct Connections(Option<Runtime>);

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until no request has been under way for a while. By looks, and not by the clock, which runs on while a
/// machine stalls.
async fn nobody_asks(asking: &AtomicUsize) {
    let mut idle = 0;
    while idle < IDLE_LOOKS {
        sleep(BETWEEN_LOOKS).await;
        idle = if asking.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
    }
}

async fn close(
    shared: Arc<Shared>,
    reader: tokio::task::JoinHandle<Result<(), boxoffice::Error>>,
) -> Result<(), Failure> {
    let Ok(Shared { office, live, .. }) = Arc::try_unwrap(shared) else {
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
        .layer(from_fn_with_state(Arc::clone(&shared.asking), in_time))
        .merge(api::live_routes())
        .fallback(async || No(Trouble::NoSuchRoute))
        .method_not_allowed_fallback(async || No(Trouble::WrongMethod))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(any_origin))
        .with_state(shared)
}

/// Counts a request for as long as it is under way.
struct Asking(Arc<AtomicUsize>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn in_time(State(asking): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    asking.fetch_add(1, Ordering::SeqCst);
    let _asking = Asking(asking);
    match timeout(LONGEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => No(Trouble::TooSlow).into_response(),
    }
}

//! One open window: server-sent events, from where it left off.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::live::{Live, Message};
use crate::trouble::Trouble;

/// How often something is sent if nothing happens, so that whoever is gone is noticed.
const PULSE: Duration = Duration::from_secs(15);
/// How long a window waits for the reader of the feed, which is a moment behind the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a browser waits before it comes again.
const RETRY: &[u8] = b"retry: 1000\n\n";

struct Window {
    live: Arc<Live>,
    show: &'static str,
    /// What is to be sent before anything else, the last one first.
    first: Vec<Bytes>,
    rest: Receiver<Message>,
}

/// Answers with a stream that ends when the server stops. It shows everything that is on disk now, `durable`: whoever was
/// told of a booking and opens a window then, finds it there.
pub(crate) async fn open(
    live: &Arc<Live>,
    durable: u64,
    show: &'static str,
    headers: &HeaderMap,
) -> Result<Response, Trouble> {
    // If the reader has stopped, so does the server, and the window is refused or ended.
    let _ = timeout(PATIENCE, live.reach(durable)).await;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let Some((mut first, rest)) = live.join(show, last) else {
        return Err(Trouble::Engine(boxoffice::Error::Closed));
    };
    first.splice(0..0, [Bytes::from_static(RETRY), Live::pulse()]);
    first.reverse();
    let window = Window { live: Arc::clone(live), show, first, rest };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect before they send would hold back what is live.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(Frames(Some(Box::pin(window.next()))))).into_response())
}

impl Window {
    /// The next thing to send; none when the server stops.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(frame) = self.first.pop() {
                return Some((frame, self));
            }
            match timeout(PULSE, self.rest.recv()).await {
                Ok(Ok(message)) if message.show == self.show => return Some((message.frame, self)),
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(_))) => (self.first, self.rest) = self.live.again(self.show),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => return Some((Live::pulse(), self)),
            }
        }
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Window)>> + Send>>;

/// A window as a stream of what is to be sent.
struct Frames(Option<Next>);

impl Stream for Frames {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        match next.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some((frame, window))) => {
                self.0 = Some(Box::pin(window.next()));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

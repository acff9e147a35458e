//! The page: files of this folder, built into the program.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::server::Shared;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/style.css", CSS, include_str!("page/style.css")),
    ("/hall.css", CSS, include_str!("page/hall.css")),
    ("/main.js", JS, include_str!("page/main.js")),
    ("/wire.js", JS, include_str!("page/wire.js")),
    ("/live.js", JS, include_str!("page/live.js")),
    ("/hall.js", JS, include_str!("page/hall.js")),
    ("/cart.js", JS, include_str!("page/cart.js")),
    ("/stress.js", JS, include_str!("page/stress.js")),
    ("/look.js", JS, include_str!("page/look.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// Nothing is loaded from elsewhere, and the browser is told to see to it.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, text)))
    })
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)], text)
}

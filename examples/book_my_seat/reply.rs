//! Requests in, answers out: JSON both ways, bodies of a bounded size, and any origin.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::cinema::Show;
use crate::trouble::Trouble;
use crate::wire::show_named;

/// More than a cart of the whole hall needs.
pub(crate) const MAX_BODY: usize = 16 * 1024;

/// A no to a `POST`, and to what is no address at all.
pub(crate) struct No(pub(crate) Trouble);

/// A no to a `GET` of the original wire, which has no `ok`.
pub(crate) struct BareNo(pub(crate) Trouble);

impl<T: Into<Trouble>> From<T> for No {
    fn from(trouble: T) -> Self {
        Self(trouble.into())
    }
}

impl From<Trouble> for BareNo {
    fn from(trouble: Trouble) -> Self {
        Self(trouble)
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let mut body = json!({ "ok": false, "error": self.0.word() });
        if let Some(sentence) = self.0.sentence() {
            body["message"] = Value::String(sentence);
        }
        (self.0.status(), Json(body)).into_response()
    }
}

impl IntoResponse for BareNo {
    fn into_response(self) -> Response {
        match self.0 {
            known @ Trouble::NoSuchShow => {
                (known.status(), Json(json!({ "error": known.word() }))).into_response()
            }
            other => No(other).into_response(),
        }
    }
}

/// The show that a path names, and what it names of it: a token, a customer, or nothing. It is asked for before the body, so
/// that a bad body does not hide that there is no such show.
pub(crate) struct Place {
    pub(crate) show: Show,
    pub(crate) of_it: SmolStr,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, No> {
        let params = match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => params,
            Err(why) => {
                // Not text. If that is not the show, it is what comes behind it.
                let show = parts.uri.path().split('/').skip_while(|part| *part != "shows").nth(1);
                show_named(show.unwrap_or_default())?;
                return Err(No(Trouble::Malformed(why.body_text())));
            }
        };
        let named = |is_show: bool| {
            let found = params.iter().find(|(name, _)| (*name == "show") == is_show);
            found.map_or("", |(_, value)| value)
        };
        Ok(Self { show: show_named(named(true))?, of_it: named(false).into() })
    }
}

/// As [`Place`], for a `GET` of the original wire.
pub(crate) struct BarePlace(pub(crate) Show);

impl<S: Send + Sync> FromRequestParts<S> for BarePlace {
    type Rejection = BareNo;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, BareNo> {
        let place = Place::from_request_parts(parts, state).await;
        place.map(|place| Self(place.show)).map_err(|No(trouble)| BareNo(trouble))
    }
}

/// A body of JSON, whatever the client calls it.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = No;

    async fn from_request(request: Request, state: &S) -> Result<Self, No> {
        let bytes = Bytes::from_request(request, state).await.map_err(|why| {
            let is_size = why.status() == StatusCode::PAYLOAD_TOO_LARGE;
            No(if is_size { Trouble::TooLarge } else { Trouble::Malformed(why.body_text()) })
        })?;
        let read = serde_json::from_slice(&bytes);
        read.map(Self)
            .map_err(|why| No(Trouble::Malformed(format!("the body is not what it should be: {why}"))))
    }
}

/// Lets pages of any origin call, and answers when they ask first.
pub(crate) async fn any_origin(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        preflight(request.headers())
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, OPTIONS");
    let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
    headers.insert(ALLOW, methods);
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        wanted.unwrap_or(HeaderValue::from_static("content-type, last-event-id")),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

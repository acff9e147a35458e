//! Our own routes, under `/api`: holds, carts, the best seats, the stress, and what happens live.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use boxoffice::venue::{Best, Hold};
use serde::Deserialize;
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::carts::{Wish, tokens};
use crate::cinema::Show;
use crate::office::Office;
use crate::reply::{Asked, No, Place};
use crate::server::Shared;
use crate::standing::{millis, now};
use crate::stress;
use crate::trouble::Trouble;
use crate::windows;
use crate::wire::check_client;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/shows/{show}/holds", post(hold))
        .route("/api/shows/{show}/holds/best", post(hold_best))
        .route("/api/shows/{show}/holds/{token}/extend", post(extend))
        .route("/api/shows/{show}/holds/{token}/release", post(release))
        .route("/api/shows/{show}/holds/{token}/confirm", post(confirm))
        .route("/api/shows/{show}/carts/{client}", get(cart))
        .route("/api/shows/{show}/carts/{client}/extend", post(extend_cart))
        .route("/api/shows/{show}/carts/{client}/release", post(release_cart))
        .route("/api/shows/{show}/carts/{client}/confirm", post(confirm_cart))
        .route("/api/shows/{show}/stress", post(run_stress))
}

/// Apart from the others, because its answers have no end.
pub(crate) fn live_routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/shows/{show}/events", get(events))
}

async fn events(
    State(shared): State<Arc<Shared>>,
    Place { show, .. }: Place,
    headers: HeaderMap,
) -> Result<Response, No> {
    let durable = shared.office.engine.durable_position();
    Ok(windows::open(&shared.live, durable, show.id, &headers).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeatsWanted {
    client_id: SmolStr,
    #[serde(default)]
    seat_ids: Vec<SmolStr>,
    ttl_seconds: Option<u32>,
}

async fn hold(
    State(shared): State<Arc<Shared>>,
    Place { show, .. }: Place,
    Asked(asked): Asked<SeatsWanted>,
) -> Result<(StatusCode, Json<Value>), No> {
    held(&shared, show, &asked.client_id, &Wish::These(asked.seat_ids), asked.ttl_seconds).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BestWanted {
    client_id: SmolStr,
    seats: u32,
    category: Option<SmolStr>,
    ttl_seconds: Option<u32>,
}

async fn hold_best(
    State(shared): State<Arc<Shared>>,
    Place { show, .. }: Place,
    Asked(asked): Asked<BestWanted>,
) -> Result<(StatusCode, Json<Value>), No> {
    let wish = Wish::Best(Best { seats: asked.seats, category: asked.category });
    held(&shared, show, &asked.client_id, &wish, asked.ttl_seconds).await
}

async fn held(
    shared: &Shared,
    show: Show,
    client: &SmolStr,
    wish: &Wish,
    ttl: Option<u32>,
) -> Result<(StatusCode, Json<Value>), No> {
    check_client(client)?;
    let (hold, position) = shared.office.hold(show.id, client, wish, seconds(ttl)?).await?;
    let answer = json!({
        "ok": true,
        "now": millis(now()),
        "position": position,
        "me": shared.live.tag(client),
        "hold": hold_json(&shared.office, &hold),
    });
    Ok((StatusCode::CREATED, Json(answer)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfHold {
    client_id: SmolStr,
    ttl_seconds: Option<u32>,
}

async fn extend(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: token }: Place,
    Asked(asked): Asked<OfHold>,
) -> Result<Json<Value>, No> {
    check_client(&asked.client_id)?;
    let ttl = seconds(asked.ttl_seconds)?;
    shared.office.extend(show.id, &asked.client_id, &tokens(&[token])?, ttl).await?;
    cart_json(&shared, show.id, &asked.client_id)
}

async fn release(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: token }: Place,
    Asked(asked): Asked<OfHold>,
) -> Result<Json<Value>, No> {
    check_client(&asked.client_id)?;
    shared.office.release(show.id, &asked.client_id, &tokens(&[token])?).await?;
    cart_json(&shared, show.id, &asked.client_id)
}

async fn confirm(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: token }: Place,
    Asked(asked): Asked<OfHold>,
) -> Result<Json<Value>, No> {
    check_client(&asked.client_id)?;
    shared.office.confirm(show.id, &asked.client_id, &tokens(&[token])?).await?;
    cart_json(&shared, show.id, &asked.client_id)
}

async fn cart(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: client }: Place,
) -> Result<Json<Value>, No> {
    check_client(&client)?;
    cart_json(&shared, show.id, &client)
}

/// The holds that the customer has seen, so that nobody buys what was added elsewhere meanwhile.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfCart {
    tokens: Vec<SmolStr>,
    ttl_seconds: Option<u32>,
}

async fn extend_cart(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: client }: Place,
    Asked(asked): Asked<OfCart>,
) -> Result<Json<Value>, No> {
    check_client(&client)?;
    let ttl = seconds(asked.ttl_seconds)?;
    shared.office.extend(show.id, &client, &tokens(&asked.tokens)?, ttl).await?;
    cart_json(&shared, show.id, &client)
}

async fn release_cart(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: client }: Place,
    Asked(asked): Asked<OfCart>,
) -> Result<Json<Value>, No> {
    check_client(&client)?;
    shared.office.release(show.id, &client, &tokens(&asked.tokens)?).await?;
    cart_json(&shared, show.id, &client)
}

async fn confirm_cart(
    State(shared): State<Arc<Shared>>,
    Place { show, of_it: client }: Place,
    Asked(asked): Asked<OfCart>,
) -> Result<Json<Value>, No> {
    check_client(&client)?;
    if asked.tokens.is_empty() {
        return Err(Trouble::NoSeats.into());
    }
    shared.office.confirm(show.id, &client, &tokens(&asked.tokens)?).await?;
    cart_json(&shared, show.id, &client)
}

#[derive(Deserialize)]
struct StressWanted {
    requests: Option<u32>,
}

async fn run_stress(
    State(shared): State<Arc<Shared>>,
    Place { show, .. }: Place,
    Asked(asked): Asked<StressWanted>,
) -> Result<Json<Value>, No> {
    Ok(Json(stress::run(&shared, show.id, asked.requests.unwrap_or(10)).await?))
}

fn cart_json(shared: &Shared, show: &str, client: &SmolStr) -> Result<Json<Value>, No> {
    let office = &shared.office;
    // Before the look, which shows this much, or more.
    let position = office.engine.durable_position();
    let cart = office.cart_of(&office.look(show)?, client);
    let holds: Vec<_> = cart.holds.iter().map(|hold| hold_json(office, hold)).collect();
    Ok(Json(json!({
        "ok": true,
        "now": millis(now()),
        "position": position,
        "me": shared.live.tag(client),
        "holds": holds,
        "heldCents": cart.holds.iter().map(|hold| hold.price_total).sum::<u64>(),
        "booked": {
            "seatIds": office.cinema.labels(&cart.booked),
            "priceCents": office.price_of(&cart.booked),
        },
    })))
}

fn hold_json(office: &Office, hold: &Hold<SmolStr>) -> Value {
    json!({
        "token": hold.token.to_string(),
        "seatIds": office.cinema.labels(&hold.seats),
        "priceCents": hold.price_total,
        "deadline": millis(hold.deadline),
        "latest": millis(hold.latest),
    })
}

fn seconds(ttl: Option<u32>) -> Result<Option<Duration>, Trouble> {
    match ttl {
        Some(0) | Some(3601..) => Err(Trouble::Malformed("ttlSeconds must be 1 to 3600".into())),
        ttl => Ok(ttl.map(|ttl| Duration::from_secs(ttl.into()))),
    }
}

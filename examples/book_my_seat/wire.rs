//! The routes of the original: clients that were written for it work unchanged.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::booking::{Mode, Thought};
use crate::cinema::{SHOWS, Show};
use crate::reply::{Asked, BareNo, BarePlace, No, Place};
use crate::server::Shared;
use crate::trouble::Trouble;

/// A longer thought, for a whole cart, is somebody who wants to keep the server busy. Enough for the whole hall in one
/// cart, at the usual speed.
pub(crate) const LONGEST_THOUGHT: Duration = Duration::from_secs(40);

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/health", get(async || Json(json!({ "ok": true }))))
        .route("/shows", get(async || Json(json!({ "shows": SHOWS }))))
        .route("/shows/{show}/seats", get(seats))
        .route("/shows/{show}/anomalies", get(anomalies))
        .route("/shows/{show}/book", post(book))
        .route("/shows/{show}/reset-demo", post(reset))
}

pub(crate) fn show_named(id: &str) -> Result<Show, Trouble> {
    SHOWS.into_iter().find(|show| show.id == id).ok_or(Trouble::NoSuchShow)
}

async fn seats(State(shared): State<Arc<Shared>>, BarePlace(show): BarePlace) -> Result<Json<Value>, BareNo> {
    let sight = shared.office.look(show.id)?;
    let seats = shared.office.cinema.in_order().map(|(index, seat)| {
        let mut row = json!(seat);
        // What is held cannot be booked either, and there are two words only.
        let is_free = sight.standing(index).is_free();
        row["status"] = json!(if is_free { "available" } else { "booked" });
        row["isRecliner"] = json!(seat.is_recliner());
        row
    });
    let seats: Vec<Value> = seats.collect();
    let anomalies = sight.anomalies(&shared.office.cinema).into_iter();
    let anomalies: Vec<_> = anomalies.map(|(id, count)| json!({ "seatId": id, "count": count })).collect();
    Ok(Json(json!({
        "show": show,
        "seats": seats,
        "anomalies": { "seatsWithMultipleBookings": anomalies },
    })))
}

async fn anomalies(
    State(shared): State<Arc<Shared>>,
    BarePlace(show): BarePlace,
) -> Result<Json<Value>, BareNo> {
    let sight = shared.office.look(show.id)?;
    let found = sight.anomalies(&shared.office.cinema).into_iter();
    let found: Vec<_> = found.map(|(id, count)| json!({ "seatId": id, "bookingCount": count })).collect();
    Ok(Json(json!({ "duplicateBookingSeats": found })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Booking {
    #[serde(default)]
    seat_ids: Option<Vec<SmolStr>>,
    client_id: Option<SmolStr>,
    mode: Option<Mode>,
    artificial_delay_ms: Option<u64>,
}

async fn book(
    State(shared): State<Arc<Shared>>,
    Place { show, .. }: Place,
    Asked(asked): Asked<Booking>,
) -> Result<Json<Value>, No> {
    let Booking { seat_ids, client_id, mode, artificial_delay_ms } = asked;
    // Nothing else is looked at before the seats.
    let seat_ids = seat_ids.filter(|seats| !seats.is_empty()).ok_or(Trouble::NoSeats)?;
    let missing = |what: &str| Trouble::Malformed(format!("the body has no {what}"));
    let client_id = client_id.ok_or_else(|| missing("clientId"))?;
    check_client(&client_id)?;
    let mode = mode.ok_or_else(|| missing("mode"))?;
    let each = artificial_delay_ms.map(Duration::from_millis);
    if shared.office.thinking(mode, seat_ids.len(), each) > LONGEST_THOUGHT {
        let most = LONGEST_THOUGHT.as_secs();
        let why = format!("all seats of a cart together may be thought about for {most} seconds");
        return Err(Trouble::Malformed(why).into());
    }
    shared.office.book(show.id, mode, &client_id, &seat_ids, Thought::of(each)).await?;
    Ok(Json(json!({ "ok": true, "mode": mode })))
}

async fn reset(State(shared): State<Arc<Shared>>, Place { show, .. }: Place) -> Result<Json<Value>, No> {
    shared.office.reset(show.id).await?;
    Ok(Json(json!({ "ok": true })))
}

pub(crate) fn check_client(client: &SmolStr) -> Result<(), Trouble> {
    match client.len() {
        1..=255 => Ok(()),
        bytes => Err(Trouble::Malformed(format!("clientId must have 1 to 255 bytes, this one has {bytes}"))),
    }
}

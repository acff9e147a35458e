//! The same rush twice, for one seat each: read, think, write; and lock, think, write.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::booking::{Mode, Thought};
use crate::server::Shared;
use crate::standing::bookings;
use crate::trouble::Trouble;

const MOST: u32 = 40;

/// Sends so many bookings at once for a free seat in each mode, and tells where each of them ended.
pub(crate) async fn run(shared: &Arc<Shared>, show: &'static str, requests: u32) -> Result<Value, Trouble> {
    if !(2..=MOST).contains(&requests) {
        return Err(Trouble::Malformed(format!("requests must be 2 to {MOST}")));
    }
    let Ok(_alone) = shared.stress.try_lock() else {
        return Err(Trouble::Busy("another stress is running; it takes a moment"));
    };
    let office = &shared.office;
    let round: u32 = shared.dice().random();
    let sight = office.look(show)?;
    let free = office.cinema.in_order().map(|(seat, _)| seat).filter(|seat| sight.standing(*seat).is_free());
    let picked = free.choose_multiple(&mut *shared.dice(), 2);
    drop(sight);
    let [first, second] = picked[..] else {
        return Err(Trouble::Busy("fewer than two seats are free; reset the demo first"));
    };
    let (on_paper, in_hall) = tokio::join!(
        rush(shared, show, Mode::Unsafe, office.cinema.label(first), requests, round),
        rush(shared, show, Mode::Safe, office.cinema.label(second), requests, round),
    );
    let after = office.look(show)?;
    let side = |seat, runs: Vec<Value>| {
        let accepted = runs.iter().filter(|run| run["ok"] == true).count();
        json!({
            "seatId": office.cinema.label(seat),
            "bookings": bookings(&after.hall, &after.paper, seat),
            "accepted": accepted,
            // Whom the hall knows; all others who were told yes were told what is not true.
            "owner": runs.iter().find(|run| after.hall.holder(seat) == Some(&buyer(round, &run["number"])))
                .map(|run| run["number"].clone()),
            "runs": runs,
        })
    };
    Ok(json!({
        "ok": true,
        "requests": requests,
        "delayMs": office.terms.delay.as_millis() as u64,
        "unsafe": side(first, on_paper),
        "safe": side(second, in_hall),
    }))
}

async fn rush(
    shared: &Arc<Shared>,
    show: &'static str,
    mode: Mode,
    seat: SmolStr,
    requests: u32,
    round: u32,
) -> Vec<Value> {
    let began = Instant::now();
    let since = move || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut tasks = JoinSet::new();
    let meeting = Arc::new(Barrier::new(requests as usize));
    for number in 1..=requests {
        let (shared, seat, meeting) = (Arc::clone(shared), seat.clone(), Arc::clone(&meeting));
        tasks.spawn(async move {
            let started = since();
            let client = buyer(round, number);
            // Both think for the same time; it is what they hold meanwhile that differs.
            let thought = Thought::together(shared.office.terms.delay, &meeting);
            let ended = shared.office.book(show, mode, &client, &[seat], thought).await;
            let error = ended.as_ref().err().map(Trouble::word);
            json!({
                "number": number,
                "ok": ended.is_ok(),
                "error": error,
                "startedMs": started,
                "endedMs": since(),
            })
        });
    }
    let mut runs = tasks.join_all().await;
    runs.sort_by_key(|run| run["number"].as_u64());
    runs
}

fn buyer(round: u32, number: impl Display) -> SmolStr {
    format_smolstr!("stress-{round:08x}-{number}")
}

/// Whom the stress takes seats for is left to this.
pub(crate) type Dice = StdRng;

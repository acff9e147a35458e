//! Every sentence of the wire, each with what proves it. Also run by the tests, against a server in a process.
//!
//! The sentences are said in this order, to one server; each begins with a hall that was reset.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::client::{Answer, Client};

pub(crate) const SHOW: &str = "tonight";

/// Nothing, or what is wrong.
pub(crate) type Proof = fn(&Client) -> Result<(), String>;

pub(crate) const SENTENCES: &[(&str, Proof)] = &[
    ("GET /health says ok", health),
    ("GET /shows lists id and title", shows),
    ("the hall: 252 seats, their rows, blocks, categories and prices", hall),
    ("18 seats are booked beforehand, and no seat twice", beforehand),
    ("no such show: 404 show_not_found, on every route", no_show),
    ("safe and unsafe bookings are answered with their mode", books),
    ("no such seat: 404 not_found; no seats: 400 no_seats", no_seat),
    ("a taken seat: 409 conflict, in both modes", conflict),
    ("reset-demo brings everything back", reset),
    ("unsafe: 10 at once for a seat all succeed, and the anomaly is shown", ten_unsafe),
    ("safe: 10 at once for a seat, one succeeds and nine conflict", ten_safe),
    ("safe, and slow inside: one succeeds and nine wait, then conflict", ten_slow),
    ("carts are all or nothing", all_or_nothing),
    ("carts that overlap, in any order of their seats, do not block each other", any_order),
    ("the same seat twice in a cart: 400, which says so", twice),
    ("what is held reads as booked, and cannot be booked", held_is_booked),
    ("any origin may call, with GET, POST and OPTIONS", any_origin),
    ("bad requests get an error in JSON, and change nothing", bad_requests),
];

fn health(client: &Client) -> Result<(), String> {
    is(&client.get("/health")?, 200, &json!({ "ok": true }))
}

fn shows(client: &Client) -> Result<(), String> {
    let answer = client.get("/shows")?;
    let show = &answer.body["shows"][0];
    let has_title = show["title"].as_str().is_some_and(|title| !title.is_empty());
    ensure(show["id"] == SHOW && has_title, || format!("{answer:?}"))?;
    only(show, &["id", "title"])
}

fn hall(client: &Client) -> Result<(), String> {
    let answer = client.get(&path("seats"))?;
    ensure(answer.status == 200 && answer.body["show"]["id"] == SHOW, || format!("{}", answer.status))?;
    let mut expected = Vec::new();
    let two: &[(u64, u64)] = &[(9, 1), (18, 10)];
    let three: &[(u64, u64)] = &[(7, 1), (14, 8), (21, 15)];
    for row in "ABCDEFGHIJKLM".chars() {
        let (blocks, category, price) = match row {
            'A'..='C' => (two, "classic", 17_796),
            'D' => (two, "extra_legroom", 23_656),
            'E'..='L' => (three, "prime", 29_546),
            _ => (&[(12, 1)][..], "recliner", 47_296),
        };
        for (block, (first, last)) in blocks.iter().enumerate() {
            for number in (*last..=*first).rev() {
                expected.push(json!([
                    row.to_string(),
                    number,
                    block,
                    category,
                    price,
                    category == "recliner"
                ]));
            }
        }
    }
    ensure(expected.len() == 252, || format!("{} seats are expected", expected.len()))?;
    let seats = list(&answer.body["seats"]);
    let mut ids = BTreeMap::new();
    for seat in seats {
        only(seat, &["id", "row", "number", "blockIndex", "category", "priceCents", "status", "isRecliner"])?;
        ids.insert(seat["id"].to_string(), ());
        let known = matches!(seat["status"].as_str(), Some("available" | "booked"));
        ensure(known, || format!("{seat}"))?;
    }
    let found: Vec<Value> = seats
        .iter()
        .map(|seat| {
            let fields = ["row", "number", "blockIndex", "category", "priceCents", "isRecliner"];
            fields.iter().map(|field| seat[*field].clone()).collect()
        })
        .collect();
    ensure(ids.len() == 252, || format!("{} different ids", ids.len()))?;
    ensure(found == expected, || "rows, numbers, blocks, categories or prices differ".into())
}

fn beforehand(client: &Client) -> Result<(), String> {
    let answer = client.get(&path("seats"))?;
    let mut expected: Vec<String> =
        "GHIJKL".chars().flat_map(|row| (1..=3).map(move |number| format!("{row}{number}"))).collect();
    expected.sort();
    ensure(booked(&answer) == expected, || format!("booked: {:?}", booked(&answer)))?;
    let none = json!({ "seatsWithMultipleBookings": [] });
    ensure(answer.body["anomalies"] == none, || answer.body["anomalies"].to_string())?;
    is(&client.get(&path("anomalies"))?, 200, &json!({ "duplicateBookingSeats": [] }))
}

fn no_show(client: &Client) -> Result<(), String> {
    for route in ["nowhere/seats", "nowhere/anomalies", "%ff/seats", "%ff/anomalies"] {
        let answer = client.get(&format!("/shows/{route}"))?;
        is(&answer, 404, &json!({ "error": "show_not_found" }))?;
    }
    let no = json!({ "ok": false, "error": "show_not_found" });
    for route in ["/api/shows/%ff/carts/ada", "/api/shows/nowhere/carts/%ff", "/api/shows/nowhere/events"] {
        is(&client.get(route)?, 404, &no)?;
    }
    says(&client.get(&api("carts/%ff"))?, 400, "bad_request")?;
    // A bad body does not hide it.
    for route in ["/shows/nowhere/book", "/shows/%ff/book", "/api/shows/nowhere/holds"] {
        is(&client.send("POST", route, "{", &[])?, 404, &no)?;
    }
    for mode in ["unsafe", "safe"] {
        let body = json!({ "seatIds": ["A1"], "clientId": "ada", "mode": mode });
        is(&client.post("/shows/nowhere/book", &body)?, 404, &no)?;
    }
    is(&client.post("/shows/nowhere/reset-demo", &json!({}))?, 404, &no)
}

fn books(client: &Client) -> Result<(), String> {
    for (mode, seat) in [("safe", "A1"), ("unsafe", "A2")] {
        is(&book(client, mode, &[seat], "ada")?, 200, &json!({ "ok": true, "mode": mode }))?;
        ensure(status(client, seat)? == "booked", || format!("{seat} is not booked"))?;
    }
    let none = json!({ "duplicateBookingSeats": [] });
    is(&client.get(&path("anomalies"))?, 200, &none)
}

fn no_seat(client: &Client) -> Result<(), String> {
    for mode in ["safe", "unsafe"] {
        let gone = json!({ "ok": false, "error": "not_found" });
        is(&book(client, mode, &["A1", "Z99"], "ada")?, 404, &gone)?;
        let none = json!({ "ok": false, "error": "no_seats" });
        is(&book(client, mode, &[], "ada")?, 400, &none)?;
        for left_out in [
            json!({ "clientId": "ada", "mode": mode }),
            json!({ "seatIds": null, "clientId": "ada", "mode": mode }),
            json!({ "seatIds": null, "mode": mode }),
            json!({ "seatIds": [], "mode": mode }),
        ] {
            is(&client.post(&path("book"), &left_out)?, 400, &none)?;
        }
    }
    ensure(status(client, "A1")? == "available", || "a refused cart booked A1".into())
}

fn conflict(client: &Client) -> Result<(), String> {
    let no = json!({ "ok": false, "error": "conflict" });
    for (first, seat) in [("safe", "B1"), ("unsafe", "B2")] {
        ensure(book(client, first, &[seat], "ada")?.status == 200, || format!("{seat} was not free"))?;
        for second in ["safe", "unsafe"] {
            is(&book(client, second, &[seat], "bob")?, 409, &no)?;
        }
    }
    is(&book(client, "safe", &["G1"], "ada")?, 409, &no)
}

fn reset(client: &Client) -> Result<(), String> {
    book(client, "safe", &["C1", "C2"], "ada")?;
    book(client, "unsafe", &["C3"], "ada")?;
    client.post(&api("holds"), &json!({ "clientId": "ada", "seatIds": ["C4"] }))?;
    ensure(booked(&client.get(&path("seats"))?).len() == 22, || "not everything was taken".into())?;
    is(&client.post(&path("reset-demo"), &json!({}))?, 200, &json!({ "ok": true }))?;
    // Without a body too.
    is(&client.send("POST", &path("reset-demo"), "", &[])?, 200, &json!({ "ok": true }))?;
    beforehand(client)
}

/// Long enough that all ten have looked before the first of them writes, on a machine that stalls too.
const THINKING: u64 = 8_000;

fn ten_unsafe(client: &Client) -> Result<(), String> {
    let ended = ten(client, "unsafe", Some(THINKING))?;
    ensure(ended == BTreeMap::from([(200, 10)]), || format!("{ended:?}"))?;
    let seats = client.get(&path("seats"))?;
    let found = json!({ "seatsWithMultipleBookings": [{ "seatId": "E11", "count": 10 }] });
    ensure(seats.body["anomalies"] == found, || seats.body["anomalies"].to_string())?;
    let found = json!({ "duplicateBookingSeats": [{ "seatId": "E11", "bookingCount": 10 }] });
    is(&client.get(&path("anomalies"))?, 200, &found)
}

fn ten_safe(client: &Client) -> Result<(), String> {
    one_of_ten(client, None)
}

fn ten_slow(client: &Client) -> Result<(), String> {
    one_of_ten(client, Some(200))
}

fn one_of_ten(client: &Client, delay: Option<u64>) -> Result<(), String> {
    let ended = ten(client, "safe", delay)?;
    ensure(ended == BTreeMap::from([(200, 1), (409, 9)]), || format!("{ended:?}"))?;
    is(&client.get(&path("anomalies"))?, 200, &json!({ "duplicateBookingSeats": [] }))
}

/// Ten at once for one seat: how many ended with which status.
fn ten(client: &Client, mode: &str, delay: Option<u64>) -> Result<BTreeMap<u16, u32>, String> {
    let ask = |number: u32| {
        let mut body = json!({ "seatIds": ["E11"], "clientId": format!("client-{number}"), "mode": mode });
        if let Some(delay) = delay {
            body["artificialDelayMs"] = json!(delay);
        }
        client.post(&path("book"), &body)
    };
    let mut ended = BTreeMap::new();
    for answer in at_once(10, ask) {
        *ended.entry(answer?.status).or_default() += 1;
    }
    Ok(ended)
}

fn all_or_nothing(client: &Client) -> Result<(), String> {
    for mode in ["safe", "unsafe"] {
        let answer = book(client, mode, &["F8", "F9", "G1"], "ada")?;
        is(&answer, 409, &json!({ "ok": false, "error": "conflict" }))?;
        for seat in ["F8", "F9"] {
            ensure(status(client, seat)? == "available", || format!("{mode}: {seat} was booked"))?;
        }
    }
    let answer = book(client, "safe", &["F9", "F8"], "ada")?;
    is(&answer, 200, &json!({ "ok": true, "mode": "safe" }))
}

fn any_order(client: &Client) -> Result<(), String> {
    let carts = [["D1", "D2", "D3"], ["D3", "D2", "D1"], ["D2", "D3", "D1"], ["D3", "D4", "D2"]];
    let ask = |number: u32| {
        let cart = carts[number as usize % carts.len()];
        book(client, "safe", &cart, &format!("client-{number}"))
    };
    let mut sold = 0;
    for answer in at_once(16, ask) {
        let answer = answer?;
        ensure(matches!(answer.status, 200 | 409), || format!("{answer:?}"))?;
        sold += u32::from(answer.status == 200);
    }
    // Any two of the carts have a seat in common.
    ensure(sold == 1, || format!("{sold} carts were sold"))
}

fn twice(client: &Client) -> Result<(), String> {
    for mode in ["safe", "unsafe"] {
        let answer = book(client, mode, &["A5", "A6", "A5"], "ada")?;
        let says_so =
            answer.body["message"].as_str().is_some_and(|text| text.contains("A5 is in the cart twice"));
        let word = answer.body["error"] == "seat_twice" && answer.body["ok"] == false;
        ensure(answer.status == 400 && word && says_so, || format!("{answer:?}"))?;
        ensure(status(client, "A6")? == "available", || "a refused cart booked A6".into())?;
    }
    let answer = client.post(&api("holds"), &json!({ "clientId": "ada", "seatIds": ["A5", "A5"] }))?;
    ensure(answer.status == 400 && answer.body["error"] == "seat_twice", || format!("{answer:?}"))
}

fn held_is_booked(client: &Client) -> Result<(), String> {
    let answer = client.post(&api("holds"), &json!({ "clientId": "ada", "seatIds": ["K11", "K12"] }))?;
    ensure(answer.status == 201, || format!("{answer:?}"))?;
    ensure(status(client, "K11")? == "booked", || "a held seat does not read as booked".into())?;
    let no = json!({ "ok": false, "error": "conflict" });
    for mode in ["safe", "unsafe"] {
        is(&book(client, mode, &["K11"], "bob")?, 409, &no)?;
    }
    Ok(())
}

fn any_origin(client: &Client) -> Result<(), String> {
    let origin = [("origin", "https://elsewhere.example")];
    let header = |answer: &Answer, name: &str| {
        answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    for route in ["/health", &path("seats"), "/shows/nowhere/seats", "/nothing/here"] {
        let answer = client.send("GET", route, "", &origin)?;
        let allowed = header(&answer, "access-control-allow-origin");
        ensure(allowed == "*", || format!("{route} allows \"{allowed}\""))?;
    }
    let asks = [
        origin[0],
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = client.send("OPTIONS", &path("book"), "", &asks)?;
    let methods = header(&answer, "access-control-allow-methods");
    ensure(answer.status == 204 && methods == "GET, POST, OPTIONS", || format!("{answer:?}"))?;
    ensure(header(&answer, "access-control-allow-headers") == "content-type", || format!("{answer:?}"))
}

fn bad_requests(client: &Client) -> Result<(), String> {
    let long = "x".repeat(256);
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        r#"{"seatIds":"A1","clientId":"ada","mode":"safe"}"#,
        r#"{"seatIds":[1],"clientId":"ada","mode":"safe"}"#,
        r#"{"seatIds":["A1"],"mode":"safe"}"#,
        r#"{"seatIds":["A1"],"clientId":"","mode":"safe"}"#,
        &format!(r#"{{"seatIds":["A1"],"clientId":"{long}","mode":"safe"}}"#),
        r#"{"seatIds":["A1"],"clientId":"ada"}"#,
        r#"{"seatIds":["A1"],"clientId":"ada","mode":"careful"}"#,
        r#"{"seatIds":["A1"],"clientId":"ada","mode":"unsafe","artificialDelayMs":-1}"#,
        r#"{"seatIds":["A1"],"clientId":"ada","mode":"unsafe","artificialDelayMs":40001}"#,
    ];
    for body in bodies {
        let answer = client.send("POST", &path("book"), body, &[("content-type", "application/json")])?;
        says(&answer, 400, "bad_request").map_err(|why| format!("{body}: {why}"))?;
    }
    let large = json!({ "seatIds": vec!["A1"; 5_000], "clientId": "ada", "mode": "safe" });
    says(&client.post(&path("book"), &large)?, 413, "body_too_large")?;
    says(&client.get("/nothing/here")?, 404, "no_such_route")?;
    says(&client.get(&path("book"))?, 405, "method_not_allowed")?;
    says(&client.send("DELETE", &path("seats"), "", &[])?, 405, "method_not_allowed")?;
    ensure(status(client, "A1")? == "available", || "a bad request booked A1".into())
}

/// An error with a word and a sentence.
pub(crate) fn says(answer: &Answer, status: u16, word: &str) -> Result<(), String> {
    let body = &answer.body;
    let has_sentence = body["message"].as_str().is_some_and(|text| text.len() > 10);
    let fits = answer.status == status && body["ok"] == false && body["error"] == word && has_sentence;
    ensure(fits, || format!("{status} {word} was expected, not {} {body}", answer.status))
}

/// Exactly this status and this body.
pub(crate) fn is(answer: &Answer, status: u16, body: &Value) -> Result<(), String> {
    let fits = answer.status == status && answer.body == *body;
    ensure(fits, || format!("{status} {body} was expected, not {} {}", answer.status, answer.body))
}

pub(crate) fn ensure(kept: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(fault()) }
}

pub(crate) fn path(route: &str) -> String {
    format!("/shows/{SHOW}/{route}")
}

pub(crate) fn api(route: &str) -> String {
    format!("/api/shows/{SHOW}/{route}")
}

pub(crate) fn book(client: &Client, mode: &str, seats: &[&str], who: &str) -> Result<Answer, String> {
    client.post(&path("book"), &json!({ "seatIds": seats, "clientId": who, "mode": mode }))
}

/// The same question from so many threads, which all begin when the last of them is there.
pub(crate) fn at_once<T: Send>(count: u32, ask: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let (ask, start) = (&ask, &Barrier::new(count as usize));
    thread::scope(|scope| {
        let begin = |number| {
            scope.spawn(move || {
                start.wait();
                ask(number)
            })
        };
        let threads: Vec<_> = (0..count).map(begin).collect();
        // A panic over there is one here.
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn only(object: &Value, fields: &[&str]) -> Result<(), String> {
    let found: Vec<&String> = object.as_object().into_iter().flat_map(|object| object.keys()).collect();
    let known = found.len() == fields.len() && found.iter().all(|name| fields.contains(&name.as_str()));
    ensure(known, || format!("{fields:?} were expected, not {object}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The ids of the seats that read as booked, sorted.
pub(crate) fn booked(answer: &Answer) -> Vec<String> {
    let seats = list(&answer.body["seats"]).iter().filter(|seat| seat["status"] == "booked");
    let mut ids: Vec<String> = seats.filter_map(|seat| seat["id"].as_str().map(str::to_owned)).collect();
    ids.sort();
    ids
}

/// How the original client sees a seat.
pub(crate) fn status(client: &Client, seat: &str) -> Result<String, String> {
    let answer = client.get(&path("seats"))?;
    let found = list(&answer.body["seats"]).iter().find(|one| one["id"] == seat);
    found
        .and_then(|seat| seat["status"].as_str())
        .map(str::to_owned)
        .ok_or_else(|| format!("there is no seat {seat}"))
}

//! What our own routes promise: holds, carts, the best seats, and windows that go on where they left off.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::conformance::{Proof, SHOW, api, book, ensure, is, path, says, status};

pub(crate) const SENTENCES: &[(&str, Proof)] = &[
    ("a hold has a token, a deadline and a price, and ends when it is given back", hold_and_release),
    ("a hold is confirmed once, however often it is asked for", confirm_twice),
    ("an extended hold lasts longer; a lapsed one is gone, and its seat is free", extend_and_lapse),
    ("a hold is only its customer's", strangers),
    ("a cart is confirmed as a whole, or not at all", cart_is_whole),
    ("the best seats are side by side, and say so when they cannot be", best),
    ("what was promised on paper while it was held is not sold once more by a safe way", on_paper),
    ("a window hears what changed, and goes on where it left off", windows),
];

fn hold(client: &Client, who: &str, seats: &[&str], ttl: Option<u32>) -> Result<Answer, String> {
    let mut body = json!({ "clientId": who, "seatIds": seats });
    if let Some(ttl) = ttl {
        body["ttlSeconds"] = json!(ttl);
    }
    client.post(&api("holds"), &body)
}

fn held(client: &Client, who: &str, seats: &[&str], ttl: Option<u32>) -> Result<Value, String> {
    let answer = hold(client, who, seats, ttl)?;
    ensure(answer.status == 201, || format!("{answer:?}"))?;
    Ok(answer.body["hold"].clone())
}

fn about(client: &Client, hold: &Value, what: &str, who: &str) -> Result<Answer, String> {
    let token = hold["token"].as_str().unwrap_or_default();
    client.post(&api(&format!("holds/{token}/{what}")), &json!({ "clientId": who }))
}

fn hold_and_release(client: &Client) -> Result<(), String> {
    let answer = hold(client, "ada", &["H10", "H11"], Some(60))?;
    let told = &answer.body["hold"];
    let left = told["deadline"].as_i64().unwrap_or(0) - answer.body["now"].as_i64().unwrap_or(0);
    ensure(told["priceCents"] == 2 * 29_546 && (1..=60_000).contains(&left), || format!("{answer:?}"))?;
    let cart = client.get(&api("carts/ada"))?;
    ensure(cart.body["holds"][0]["token"] == told["token"], || format!("{cart:?}"))?;
    ensure(cart.body["heldCents"] == 2 * 29_546, || format!("{cart:?}"))?;
    is(&hold(client, "bob", &["H11"], None)?, 409, &json!({ "ok": false, "error": "conflict" }))?;
    let after = about(client, told, "release", "ada")?;
    ensure(after.status == 200 && after.body["holds"] == json!([]), || format!("{after:?}"))?;
    ensure(status(client, "H11")? == "available", || "a seat that was given back is not free".into())?;
    says(&about(client, told, "confirm", "ada")?, 410, "hold_expired").or_else(|_| {
        // Whether that is known of a hold that was given back depends on the seat's next customer.
        says(&about(client, told, "confirm", "ada")?, 404, "hold_not_found")
    })
}

fn confirm_twice(client: &Client) -> Result<(), String> {
    let told = held(client, "ada", &["H10", "H11"], None)?;
    for _ in 0..2 {
        let after = about(client, &told, "confirm", "ada")?;
        ensure(after.status == 200 && after.body["booked"]["seatIds"] == json!(["H11", "H10"]), || {
            format!("{after:?}")
        })?;
        ensure(after.body["booked"]["priceCents"] == 2 * 29_546, || format!("{after:?}"))?;
    }
    is(&book(client, "safe", &["H10"], "bob")?, 409, &json!({ "ok": false, "error": "conflict" }))
}

fn extend_and_lapse(client: &Client) -> Result<(), String> {
    let short = held(client, "ada", &["I10"], Some(1))?;
    let long = held(client, "bob", &["I11"], Some(1))?;
    let token = long["token"].as_str().unwrap_or_default();
    let more = json!({ "clientId": "bob", "ttlSeconds": 4 });
    let after = client.post(&api(&format!("holds/{token}/extend")), &more)?;
    let later = after.body["holds"][0]["deadline"].as_u64() > long["deadline"].as_u64();
    // It may have lapsed on a machine that was busy for a second; then it must say so.
    ensure(later || after.status == 410, || format!("{after:?}"))?;
    eventually("I10 comes back", || Ok(status(client, "I10")? == "available"))?;
    says(&about(client, &short, "confirm", "ada")?, 410, "hold_expired")?;
    ensure(book(client, "safe", &["I10"], "cat")?.status == 200, || "a lapsed seat was not sold".into())?;
    says(&hold(client, "ada", &["I12"], Some(0))?, 400, "bad_request")
}

fn strangers(client: &Client) -> Result<(), String> {
    let told = held(client, "ada", &["J10"], None)?;
    for what in ["confirm", "release", "extend"] {
        says(&about(client, &told, what, "bob")?, 403, "not_holder")?;
    }
    let made_up = json!({ "token": "nonsense" });
    says(&about(client, &made_up, "confirm", "ada")?, 400, "bad_request")?;
    ensure(status(client, "J10")? == "booked", || "a stranger freed a seat".into())
}

fn cart_is_whole(client: &Client) -> Result<(), String> {
    let first = held(client, "ada", &["E10"], None)?;
    let second = held(client, "ada", &["E11"], None)?;
    about(client, &first, "release", "ada")?;
    let tokens = json!({ "tokens": [first["token"], second["token"]] });
    let answer = client.post(&api("carts/ada/confirm"), &tokens)?;
    ensure(matches!(answer.status, 404 | 410), || format!("{answer:?}"))?;
    let cart = client.get(&api("carts/ada"))?;
    let untouched =
        cart.body["booked"]["seatIds"] == json!([]) && cart.body["holds"][0]["token"] == second["token"];
    ensure(untouched, || format!("{cart:?}"))?;
    let third = held(client, "ada", &["F10"], None)?;
    let tokens = json!({ "tokens": [second["token"], third["token"]] });
    let answer = client.post(&api("carts/ada/confirm"), &tokens)?;
    ensure(answer.body["booked"]["seatIds"] == json!(["E11", "F10"]), || format!("{answer:?}"))?;
    ensure(answer.body["holds"] == json!([]), || format!("{answer:?}"))
}

fn best(client: &Client) -> Result<(), String> {
    let ask = |seats: u32, category: Option<&str>| {
        let body = json!({ "clientId": "ada", "seats": seats, "category": category });
        client.post(&api("holds/best"), &body)
    };
    for (category, row) in [(None, 'I'), (Some("recliner"), 'M')] {
        let answer = ask(4, category)?;
        let seats = answer.body["hold"]["seatIds"].as_array().cloned().unwrap_or_default();
        let labels: Vec<&str> = seats.iter().filter_map(Value::as_str).collect();
        let numbers: Vec<i32> = labels.iter().filter_map(|label| label[1..].parse().ok()).collect();
        let together = numbers.len() == 4 && numbers.windows(2).all(|pair| pair[0] - pair[1] == 1);
        let in_row = labels.iter().all(|label| label.starts_with(row));
        ensure(answer.status == 201 && together && in_row, || format!("{answer:?}"))?;
    }
    says(&ask(13, None)?, 409, "no_such_block")?;
    says(&ask(2, Some("balcony"))?, 404, "category_not_found")?;
    says(&ask(0, None)?, 400, "bad_request")
}

fn on_paper(client: &Client) -> Result<(), String> {
    let best = || {
        let answer = client.post(&api("holds/best"), &json!({ "clientId": "ada", "seats": 1 }))?;
        ensure(answer.status == 201, || format!("{answer:?}"))?;
        Ok::<_, String>(answer.body["hold"].clone())
    };
    let found = best()?;
    about(client, &found, "release", "ada")?;
    let seat = found["seatIds"][0].as_str().unwrap_or_default();
    // The unsafe way looks, and thinks; somebody holds the seat; the unsafe way writes. It may take several tries to
    // be between the look and the write.
    let mut told = None;
    eventually("a hold between a look and a write", || {
        thread::scope(|scope| {
            let body =
                json!({ "seatIds": [seat], "clientId": "bob", "mode": "unsafe", "artificialDelayMs": 2_000 });
            let writer = scope.spawn(move || client.post(&path("book"), &body));
            thread::sleep(Duration::from_millis(500));
            let hold = hold(client, "ada", &[seat], None)?;
            let written = writer.join().map_err(|_| "a booking panicked")??;
            match (hold.status, written.status) {
                (201, 200) => told = Some(hold.body["hold"].clone()),
                (201, _) => drop(about(client, &hold.body["hold"], "release", "ada")?),
                _ => drop(client.post(&path("reset-demo"), &json!({}))?),
            }
            Ok::<_, String>(())
        })?;
        Ok(told.is_some())
    })?;
    let told = told.unwrap_or_default();
    let no = json!({ "ok": false, "error": "conflict" });
    is(&about(client, &told, "confirm", "ada")?, 409, &no)?;
    is(&client.post(&api("carts/ada/confirm"), &json!({ "tokens": [told["token"]] }))?, 409, &no)?;
    about(client, &told, "release", "ada")?;
    // Free in the hall, and yet not.
    is(&hold(client, "cat", &[seat], None)?, 409, &no)?;
    is(&book(client, "safe", &[seat], "cat")?, 409, &no)?;
    let slow = json!({ "seatIds": [seat], "clientId": "cat", "mode": "safe", "artificialDelayMs": 10 });
    is(&client.post(&path("book"), &slow)?, 409, &no)?;
    let other = best()?;
    ensure(other["seatIds"][0] != seat, || format!("{seat} was held once more: {other}"))?;
    is(&client.get(&path("anomalies"))?, 200, &json!({ "duplicateBookingSeats": [] }))
}

fn windows(client: &Client) -> Result<(), String> {
    let mut first = client.window(SHOW, None)?;
    let whole = first.next()?.ok_or("the window was closed")?;
    let seats = whole.data["seats"].as_array().map_or(0, Vec::len);
    ensure(whole.kind == "hall" && seats == 252, || format!("{} with {seats} seats", whole.kind))?;
    let expect = |window: &mut super::client::Window, seat: &str, status: &str| {
        let event = window.next()?.ok_or("the window was closed")?;
        let told = &event.data["seats"][0];
        let fits = event.kind == "seats" && told["id"] == seat && told["status"] == status;
        ensure(fits, || format!("{seat} {status} was expected, not {} {}", event.kind, event.data))?;
        Ok::<_, String>(event.id)
    };
    book(client, "safe", &["A9"], "ada")?;
    let seen = expect(&mut first, "A9", "booked")?;
    drop(first);
    // What happens while nobody looks.
    held(client, "ada", &["B9"], None)?;
    book(client, "safe", &["C9"], "ada")?;
    let mut second = client.window(SHOW, Some(&seen))?;
    expect(&mut second, "B9", "held")?;
    let seen = expect(&mut second, "C9", "booked")?;
    // Nothing was missed: the next message is about what comes next.
    let mut third = client.window(SHOW, Some(&seen))?;
    book(client, "safe", &["D9"], "ada")?;
    expect(&mut third, "D9", "booked")?;
    for strange in ["1.1", "nonsense"] {
        let event = client.window(SHOW, Some(strange))?.next()?.ok_or("the window was closed")?;
        ensure(event.kind == "hall", || format!("an id of another log was answered with {}", event.kind))?;
    }
    Ok(())
}

/// Asks again until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let begun = Instant::now();
    while !is_so()? {
        ensure(begun.elapsed() < Duration::from_secs(60), || format!("this did not happen: {what}"))?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

//! Goal: the server of `examples/book_my_seat` says on the wire what the original says, word for word, and loses nothing
//! that it has answered.
//!
//! Method: the built program is started as a process on a free port and asked over HTTP. The sentences are those of
//! the example's own check, so that there is one copy of them; here they are said to a server in another process,
//! which is also stopped while it works, killed, and started again on the same file. What cannot be forced from
//! outside is tried until it has come about, and no assertion is about how long something took.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../examples/book_my_seat/check/client.rs"]
mod client;
#[path = "../examples/book_my_seat/check/conformance.rs"]
mod conformance;
#[path = "../examples/book_my_seat/check/holds.rs"]
mod holds;
mod served;
#[path = "../examples/book_my_seat/check/stop.rs"]
mod stop;

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;

use client::Client;
use conformance::{Proof, SHOW, api, book, booked, path, status};
use serde_json::json;
use served::{Server, command};

fn say_all(sentences: &[(&str, Proof)]) {
    let server = Server::start(&[]);
    let client = Client::new(server.url());
    let mut faults = Vec::new();
    for (what, proof) in sentences {
        client.post(&path("reset-demo"), &json!({})).unwrap();
        faults.extend(proof(&client).err().map(|fault| format!("{what}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_sentence_of_the_original_wire() {
    say_all(conformance::SENTENCES);
}

#[test]
fn every_sentence_about_holds_carts_and_windows() {
    say_all(holds::SENTENCES);
}

#[test]
fn the_delay_of_an_unsafe_booking_is_for_each_seat_and_can_be_none() {
    let server = Server::start(&["--delay", "0"]);
    let client = Client::new(server.url());
    // With no time between read and write, one after the other conflicts as it should.
    assert_eq!(book(&client, "unsafe", &["A1", "A2"], "ada").unwrap().status, 200);
    assert_eq!(book(&client, "unsafe", &["A2", "A3"], "bob").unwrap().status, 409);
    assert_eq!(status(&client, "A3").unwrap(), "available");
    // What all seats think together has a bound, and what is beyond it is not begun.
    let long =
        json!({ "seatIds": ["B1", "B2"], "clientId": "ada", "mode": "unsafe", "artificialDelayMs": 20_001 });
    assert_eq!(client.post(&path("book"), &long).unwrap().status, 400);
}

#[test]
fn a_reset_that_cannot_be_says_so_and_holds_up_nobody() {
    let server = Server::start(&[]);
    let client = Client::new(server.url());
    let slow = json!({ "seatIds": ["A1"], "clientId": "ada", "mode": "safe", "artificialDelayMs": 9_000 });
    // Refused if it meets the slow booking for long enough; done, if it was before it or after it.
    let refused = || {
        thread::scope(|scope| {
            let slow = scope.spawn(|| client.post(&path("book"), &slow).unwrap().status);
            let mut refused = None;
            while refused.is_none() && !slow.is_finished() {
                let reset = scope.spawn(|| client.post(&path("reset-demo"), &json!({})).unwrap());
                let other = book(&client, "safe", &["B1"], "bob").unwrap();
                assert!(matches!(other.status, 200 | 409), "{other:?}");
                refused = Some(reset.join().unwrap()).filter(|reset| reset.status != 200);
            }
            assert_eq!(slow.join().unwrap(), 200);
            refused
        })
    };
    let refused = (0..10).find_map(|_| {
        assert_eq!(client.post(&path("reset-demo"), &json!({})).unwrap().status, 200);
        refused()
    });
    conformance::says(&refused.expect("a reset met a slow booking"), 503, "try_again").unwrap();
    // What was refused has changed nothing.
    assert_eq!(status(&client, "A1").unwrap(), "booked");
    assert_eq!(client.post(&path("reset-demo"), &json!({})).unwrap().status, 200);
    assert_eq!(status(&client, "A1").unwrap(), "available");
}

#[test]
fn a_stop_lets_what_is_under_way_come_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cinema.boxoffice");
    let words = ["--file", file.to_str().unwrap()];
    let server = Server::start(&words);
    let client = Client::new(server.url());
    let windows: Vec<_> = (0..100).map(|_| client.window(SHOW, None).unwrap()).collect();
    let token = stop::hold_one(&client).unwrap();
    stop::under_way(server.address, &token, || server.terminate()).unwrap();
    // Windows that nobody has closed do not hold up the stop: they are ended.
    for mut window in windows {
        while window.next().unwrap().is_some() {}
    }
    let (ended, said) = server.end();
    assert!(ended.success() && said.contains("Stopped"), "{ended}: {said}");

    let again = Server::start(&words);
    let client = Client::new(again.url());
    let cart = client.get(&api(&format!("carts/{}", stop::LAST.0))).unwrap();
    assert_eq!(cart.body["booked"]["seatIds"], json!([stop::LAST.1]));
}

#[test]
fn a_stop_does_not_wait_for_half_a_request_nor_for_who_does_not_listen() {
    let server = Server::start(&[]);
    let client = Client::new(server.url());
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"GET /health HTTP/1.1\r\nhost: te").unwrap();
    // Opened, and not read from.
    let window = client.window(SHOW, None).unwrap();
    assert_eq!(book(&client, "safe", &["A1"], "ada").unwrap().status, 200);
    server.terminate();
    let (ended, said) = server.end();
    assert!(ended.success() && said.contains("Stopped"), "{ended}: {said}");
    drop((half, window));
}

#[test]
fn a_killed_server_goes_on_with_its_file_and_so_do_windows_and_carts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cinema.boxoffice");
    let words = ["--file", file.to_str().unwrap()];
    let server = Server::start(&words);
    let client = Client::new(server.url());
    assert_eq!(book(&client, "safe", &["A1", "A2"], "ada").unwrap().status, 200);
    assert_eq!(book(&client, "unsafe", &["B1"], "ada").unwrap().status, 200);
    let held = client.post(&api("holds"), &json!({ "clientId": "bob", "seatIds": ["C1"] })).unwrap();
    assert_eq!(held.status, 201);
    let mut window = client.window(SHOW, None).unwrap();
    let seen = window.next().unwrap().unwrap().id;
    let before = booked(&client.get(&path("seats")).unwrap());
    let me = client.get(&api("carts/bob")).unwrap().body["me"].clone();
    server.kill();

    let server = Server::start(&words);
    let client = Client::new(server.url());
    assert_eq!(booked(&client.get(&path("seats")).unwrap()), before);
    // What others know the customer by is the same, and the hold can still be bought.
    let cart = client.get(&api("carts/bob")).unwrap();
    assert_eq!((&cart.body["me"], &cart.body["holds"][0]), (&me, &held.body["hold"]));
    let mut window = client.window(SHOW, Some(&seen)).unwrap();
    let tokens = json!({ "tokens": [held.body["hold"]["token"]] });
    assert_eq!(client.post(&api("carts/bob/confirm"), &tokens).unwrap().status, 200);
    let event = window.next().unwrap().unwrap();
    assert_eq!((event.kind.as_str(), &event.data["seats"][0]["id"]), ("seats", &json!("C1")));
}

#[test]
fn a_file_is_opened_by_one_server_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cinema.boxoffice");
    let words = ["--file", file.to_str().unwrap()];
    let _first = Server::start(&words);
    let second = command(&["--serve", "--port", "0"]).args(words).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).starts_with("book_my_seat: "));
}

#[test]
fn the_command_line_says_what_it_takes() {
    let help = command(&["--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    for said in ["--serve", "--check", "--port N", "[3001]", "--file PATH", "--seed N", "[140ms]"] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let wrong: [&[&str]; 7] = [
        &["--serve", "--check"],
        &["--check", "--file", "x"],
        &["--serve", "--port", "70000"],
        &["--serve", "--hold", "0"],
        &["--serve", "--delay", "1h"],
        &["--serve", "--file", "no/such/folder/file"],
        &["--sell"],
    ];
    for words in wrong {
        let output = command(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    }
}

//! Goal: the page of `examples/book_my_seat` does what it shows, in a real browser.
//!
//! Method: the built server is started as a process, and real Chromiums without a screen are driven over WebDriver. Every
//! browser has a profile of its own, so two of them are two customers. What is expected is waited for, generously; what
//! came and went is taken from a record that the page keeps of a seat. Without a browser these tests pass and say that
//! they were left out; `BOXOFFICE_BROWSER=required` makes that a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod served;

use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;

use browser::{Browser, Driver, driver};
use serde_json::{Value, json};
use served::Server;

const DESK: (u32, u32) = (1280, 1000);
const PHONE: (u32, u32) = (390, 844);
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const RIGHT: char = '\u{e014}';
const DOWN: char = '\u{e015}';

/// One test at a time: a browser takes more than one core as it is.
fn alone() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A window on the page, drawn and live.
fn window<'d>(driver: &'d Driver, url: &str, (width, height): (u32, u32)) -> Browser<'d> {
    let browser = driver.browser(width, height);
    browser.open(url);
    is_live(&browser);
    browser
}

fn is_live(browser: &Browser) {
    browser.until(
        "the page is live",
        "document.getElementById('link').dataset.state === 'live' && document.querySelectorAll('#hall .seat').length === 252",
    );
    // The whole hall has come: what is booked beforehand shows.
    browser.until("the hall is there", "document.querySelector('[data-seat=G1]').dataset.state === 'booked'");
}

fn seat(id: &str) -> String {
    format!("#hall [data-seat=\"{id}\"]")
}

fn looks(browser: &Browser, id: &str, state: &str) {
    let element = seat(id).replace('"', "\\\"");
    browser.until(
        &format!("{id} is {state}"),
        &format!("document.querySelector(\"{element}\").dataset.state === '{state}'"),
    );
}

fn look(browser: &Browser, id: &str) -> Value {
    browser.run(&format!("return document.querySelector('{}').dataset.state", seat(id)))
}

/// Lets the page write down every look of a seat from now on.
fn record(browser: &Browser, id: &str) {
    browser.run(&format!(
        "const cell = document.querySelector('{}');
         window.looks = [cell.dataset.state];
         new MutationObserver(() => {{
             if (window.looks.at(-1) !== cell.dataset.state) window.looks.push(cell.dataset.state);
         }}).observe(cell, {{ attributes: true, attributeFilter: ['data-state'] }});",
        seat(id)
    ));
}

#[test]
fn two_windows_fight_for_a_seat_and_both_show_who_has_it() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    let server = Server::start(&[]);
    let windows = [window(&driver, &server.url(), DESK), window(&driver, &server.url(), DESK)];
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for window in &windows {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                window.click(&seat("H11"));
            });
        }
    });
    let decided = "['mine', 'held'].includes(document.querySelector('[data-seat=H11]').dataset.state)";
    windows.iter().for_each(|window| window.until("the fight is over", decided));
    let seen = [look(&windows[0], "H11"), look(&windows[1], "H11")];
    let winner = seen.iter().position(|state| state == "mine").expect("somebody has it");
    let (winner, loser) = (&windows[winner], &windows[1 - winner]);
    assert_eq!(look(loser, "H11"), "held", "both were told that it is theirs");
    let in_cart = "document.getElementById('lines').innerText.includes('H11')";
    winner.until("the seat is in the cart", in_cart);
    assert_eq!(loser.run(&format!("return {in_cart}")), false);

    winner.click("#confirm");
    looks(winner, "H11", "ticket");
    looks(loser, "H11", "booked");
    winner.until("the ticket is shown", "document.getElementById('ticket-seats').innerText.includes('H11')");
    assert_eq!(winner.complaints(), [""; 0]);
}

#[test]
fn a_hold_lapses_and_the_seat_comes_back_in_both_windows() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    // Long enough that what it shows meanwhile is shown on a machine that stalls too.
    let server = Server::start(&["--hold", "12s"]);
    let [ada, bob] = [window(&driver, &server.url(), DESK), window(&driver, &server.url(), DESK)];
    record(&ada, "I11");
    record(&bob, "I11");
    ada.click(&seat("I11"));
    let came_back = "window.looks.length > 1 && window.looks.at(-1) === 'available'";
    ada.until("the time is up for the customer", &format!("{came_back} && window.looks.includes('mine')"));
    bob.until("the time is up for the other", &format!("{came_back} && window.looks.includes('held')"));
    assert_eq!(ada.run("return window.looks"), json!(["available", "asking", "mine", "available"]));
    assert_eq!(bob.run("return window.looks"), json!(["available", "held", "available"]));
    ada.until("the cart is empty", "document.getElementById('cart').dataset.empty === 'true'");
    // It is free, and not only painted so.
    bob.click(&seat("I11"));
    bob.until("it is the other's now", "window.looks.includes('mine')");
    ada.until("the customer sees that", "window.looks.includes('held')");
    assert_eq!([ada.complaints(), bob.complaints()].concat(), [""; 0]);
}

#[test]
fn a_reload_keeps_the_cart_and_its_time() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    let server = Server::start(&[]);
    let window = window(&driver, &server.url(), DESK);
    window.click(&seat("J11"));
    looks(&window, "J11", "mine");
    window.click("#find");
    window.until("four more are held", "document.querySelectorAll('#hall [data-state=mine]').length === 5");
    let cart = "return [document.querySelectorAll('#lines li').length, document.getElementById('total').textContent]";
    // The seats are painted by the answer, the lines come with the cart that is asked for then.
    window.until("both holds are in the cart", "document.querySelectorAll('#lines li').length === 2");
    let before = window.run(cart);
    window.reload();
    is_live(&window);
    window.until(
        "the seats are ours again",
        "document.querySelectorAll('#hall [data-state=mine]').length === 5",
    );
    assert_eq!(window.run(cart), before);
    window.until("the clock runs", "/^[0-4]:[0-5][0-9]$/.test(document.getElementById('left').textContent)");
    // One of the two holds goes back, the other is bought.
    window.click("#lines li:first-child .back");
    window.until("one hold is left", "document.querySelectorAll('#lines li').length === 1");
    let in_cart = "return Boolean(document.activeElement.closest('#lines'))";
    assert_eq!(window.run(in_cart), true, "the focus was lost with the button that had it");
    window.click("#confirm");
    window.until("the cart is empty", "document.getElementById('cart').dataset.empty === 'true'");
    window.until("the tickets are there", "!document.getElementById('tickets').hidden");
    assert_eq!(window.complaints(), [""; 0]);
}

#[test]
fn a_server_that_is_killed_and_started_again_is_found_by_the_page() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cinema.boxoffice");
    let words = ["--file", file.to_str().unwrap()];
    let server = Server::start(&words);
    let (url, port) = (server.url(), server.address.port());
    let [ada, bob] = [window(&driver, &url, DESK), window(&driver, &url, DESK)];
    ada.click(&seat("K11"));
    looks(&ada, "K11", "mine");
    looks(&bob, "K11", "held");

    server.kill();
    for window in [&ada, &bob] {
        window.until(
            "the page says that it is cut off",
            "document.getElementById('link').dataset.state === 'lost'",
        );
    }
    ada.click("#confirm");
    ada.until("the page says that it was not booked", "document.querySelector('.toast.bad')");
    assert_eq!(look(&ada, "K11"), "mine");

    let _server = Server::start_at(port, &words);
    is_live(&ada);
    is_live(&bob);
    // Both go on: nobody has touched them.
    ada.click("#confirm");
    looks(&ada, "K11", "ticket");
    looks(&bob, "K11", "booked");
    bob.click(&seat("K12"));
    looks(&bob, "K12", "mine");
    looks(&ada, "K12", "held");
}

#[test]
fn a_seat_is_booked_with_the_keyboard_alone() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    let server = Server::start(&[]);
    let window = window(&driver, &server.url(), DESK);
    let focused = "document.activeElement";
    let tab_to = |what: &str, is_there: &str| {
        let steps = (0..20).find(|_| {
            window.press(TAB);
            window.run(&format!("return Boolean({is_there})")) == true
        });
        assert!(steps.is_some(), "{what} is not reached with the Tab key");
    };
    tab_to("the hall", &format!("{focused}.closest('#hall')"));
    let start = window.run(&format!("return {focused}.dataset.seat"));
    // The hall is one stop on the way: the next Tab leaves it.
    window.press(TAB);
    assert_eq!(window.run(&format!("return Boolean({focused}.closest('#hall'))")), false);
    window.run(&format!("document.querySelector('{}').focus()", seat(start.as_str().unwrap())));
    let here = || {
        let seat = window.run(&format!("return {focused}.dataset.seat"));
        let seat = seat.as_str().expect("the arrows stay in the hall").to_owned();
        (seat[..1].to_owned(), seat[1..].parse::<u32>().unwrap())
    };
    let (row, number) = here();
    window.press(DOWN);
    let (below, same) = here();
    assert_eq!((below.as_bytes()[0], same), (row.as_bytes()[0] + 1, number));
    window.press(RIGHT);
    // Numbers fall from left to right.
    assert_eq!(here(), (below.clone(), number - 1));
    let there = format!("{below}{}", number - 1);
    assert_eq!(window.run("return document.querySelectorAll('#hall [tabindex=\"0\"]').length"), 1);
    let label = window.run(&format!("return {focused}.getAttribute('aria-label')"));
    assert!(label.as_str().unwrap().contains("free"), "a reader hears {label}");

    window.press(ENTER);
    looks(&window, &there, "mine");
    let label = window.run(&format!("return {focused}.getAttribute('aria-label')"));
    assert!(label.as_str().unwrap().contains("held for you"), "a reader hears {label}");
    window.until("it is said too", "document.getElementById('speak').textContent.includes('held for you')");
    window.until("it can be booked", "!document.getElementById('confirm').disabled");
    tab_to("the button that books", &format!("{focused}.id === 'confirm'"));
    window.press(ENTER);
    looks(&window, &there, "ticket");
    // The button is gone, and the focus has gone on.
    window.until("the cart is empty", "document.getElementById('cart').dataset.empty === 'true'");
    assert_eq!(window.run(&format!("return Boolean({focused}.closest('#cart'))")), true);
    assert_eq!(window.complaints(), [""; 0]);
}

#[test]
fn the_rush_shows_an_anomaly_for_unsafe_and_none_for_safe() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    let server = Server::start(&[]);
    let [ada, bob] = [window(&driver, &server.url(), DESK), window(&driver, &server.url(), DESK)];
    ada.click("#stress");
    ada.until("the rush is over", "document.querySelectorAll('.verdict').length === 2");
    let bookings =
        |side: &str| ada.run(&format!("return document.querySelector('.{side} .verdict').dataset.bookings"));
    let named = |side: &str| {
        let text = ada.run(&format!("return document.querySelector('.{side} .chip').textContent"));
        text.as_str().unwrap().trim_start_matches("Seat ").to_owned()
    };
    assert_eq!([bookings("unsafe"), bookings("safe")], ["10", "1"]);
    // One of the ten has the seat, and nine were told what is not true.
    let false_bars = "return document.querySelectorAll('.unsafe [data-false]').length";
    assert_eq!(ada.run(false_bars), 9);
    let ended =
        |side: &str| ada.run(&format!("return document.querySelectorAll('.{side} [data-ok=true]').length"));
    assert_eq!([ended("unsafe"), ended("safe")], [10, 1]);
    for window in [&ada, &bob] {
        window.until("the anomaly is on the map", "document.querySelector('#hall [data-oops=\"10×\"]')");
        let marked = window
            .run("return [...document.querySelectorAll('#hall [data-oops]')].map(cell => cell.dataset.seat)");
        assert_eq!(marked, json!([named("unsafe")]));
        looks(window, &named("safe"), "booked");
        window.until("it is said in words", "document.getElementById('oops').innerText.includes('× 10')");
    }
    // The button asks twice, and then everything is as it was.
    bob.click("#reset");
    bob.click("#reset");
    ada.until("the anomaly is gone", "!document.querySelector('#hall [data-oops]')");
    assert_eq!([ada.complaints(), bob.complaints()].concat(), [""; 0]);
}

#[test]
fn a_phone_shows_all_of_it_and_the_theme_stays_as_chosen() {
    let _alone = alone();
    let Some(driver) = driver() else { return };
    let server = Server::start(&[]);
    let window = window(&driver, &server.url(), PHONE);
    let fits = "return document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(window.run(fits), true, "the page is wider than a phone");
    window.click("#zoom");
    let hall = "const box = document.querySelector('#scroll'); return box.scrollWidth <= box.clientWidth";
    assert_eq!(window.run(hall), true, "the whole hall does not fit");
    window.click("#zoom");
    window.click(&seat("G11"));
    looks(&window, "G11", "mine");
    // The cart is in reach of the thumb, wherever the page is scrolled to.
    let box_of = "const box = document.getElementById('confirm').getBoundingClientRect();";
    window.run("scrollTo(0, 0)");
    window.until(
        "the button is in sight",
        &format!("(() => {{ {box_of} return box.top > 0 && box.bottom <= innerHeight; }})()"),
    );
    assert_eq!(window.run(fits), true);

    let theme = "return document.documentElement.dataset.theme";
    let before = window.run(theme);
    window.click("#theme");
    let after = window.run(theme);
    assert_ne!(before, after);
    window.reload();
    is_live(&window);
    assert_eq!(window.run(theme), after);
    assert_eq!(window.complaints(), [""; 0]);
}

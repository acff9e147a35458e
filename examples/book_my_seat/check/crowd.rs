//! A crowd that wants the same seats, and windows that watch it.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::client::{Client, Window};
use super::conformance::{api, at_once, path};

pub(crate) struct Crowd {
    pub(crate) people: u32,
    pub(crate) wishes: u32,
    pub(crate) seed: u64,
}

/// What the crowd was told.
#[derive(Default)]
pub(crate) struct Tally {
    /// How often each answer was heard.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Who was told to have which seat.
    pub(crate) sold: BTreeMap<String, String>,
    pub(crate) faults: Vec<String>,
}

/// Whether each seat can be had, as a window sees it.
pub(crate) type Picture = BTreeMap<String, bool>;

impl Crowd {
    pub(crate) fn run(&self, client: &Client) -> Result<Tally, String> {
        let mut all = Tally::default();
        for tally in at_once(self.people, |number| self.person(client, number)) {
            let tally = tally?;
            all.faults.extend(tally.faults);
            for (word, count) in tally.answers {
                *all.answers.entry(word).or_default() += count;
            }
            for (seat, who) in tally.sold {
                if let Some(other) = all.sold.insert(seat.clone(), who.clone()) {
                    all.faults.push(format!("{seat} was sold to {other} and to {who}"));
                }
            }
        }
        Ok(all)
    }

    fn person(&self, client: &Client, number: u32) -> Result<Tally, String> {
        let mut dice = StdRng::seed_from_u64(self.seed ^ u64::from(number) << 32);
        let (who, mut tally) = (format!("crowd-{number}"), Tally::default());
        for _ in 0..self.wishes {
            match dice.random_range(0..10) {
                0..4 => {
                    let seats = some_seats(&mut dice);
                    let body = json!({ "seatIds": seats, "clientId": who, "mode": "safe" });
                    let answer = client.post(&path("book"), &body)?;
                    if tally.heard("booked", &answer.body) {
                        tally.have(&who, seats);
                    }
                }
                4..8 => {
                    let body = json!({ "seatIds": some_seats(&mut dice), "clientId": who });
                    tally.decide(client, &who, &api("holds"), &body, &mut dice)?;
                }
                _ => {
                    let body = json!({ "seats": dice.random_range(2..=4), "clientId": who });
                    tally.decide(client, &who, &api("holds/best"), &body, &mut dice)?;
                }
            }
        }
        Ok(tally)
    }
}

/// One to three in a row of the middle, where everybody wants to sit.
fn some_seats(dice: &mut StdRng) -> Vec<String> {
    let (row, first) = (dice.random_range(b'A'..=b'L') as char, dice.random_range(1..=16));
    (first..=first + dice.random_range(0..3)).map(|number| format!("{row}{number}")).collect()
}

impl Tally {
    /// Holds, and then buys or gives back.
    fn decide(
        &mut self,
        client: &Client,
        who: &str,
        path: &str,
        body: &Value,
        dice: &mut StdRng,
    ) -> Result<(), String> {
        let hold = client.post(path, body)?.body;
        if !self.heard("held", &hold) {
            return Ok(());
        }
        let token = hold["hold"]["token"].as_str().unwrap_or_default().to_owned();
        let (what, word) =
            if dice.random_bool(0.6) { ("confirm", "confirmed") } else { ("release", "given back") };
        let answer = client.post(&api(&format!("holds/{token}/{what}")), &json!({ "clientId": who }))?;
        if self.heard(word, &answer.body) && what == "confirm" {
            let seats = hold["hold"]["seatIds"].as_array().into_iter().flatten();
            self.have(who, seats.filter_map(|seat| seat.as_str().map(str::to_owned)).collect());
        }
        Ok(())
    }

    /// Whether it was a yes.
    fn heard(&mut self, yes: &str, body: &Value) -> bool {
        let ok = body["ok"] == true;
        let word =
            if ok { yes.to_owned() } else { format!("no: {}", body["error"].as_str().unwrap_or("nothing")) };
        let known = ok || ["conflict", "no_such_block", "sold_out"].iter().any(|no| body["error"] == *no);
        if !known {
            self.faults.push(format!("nobody expects {body}"));
        }
        *self.answers.entry(word).or_default() += 1;
        ok
    }

    fn have(&mut self, who: &str, seats: Vec<String>) {
        for seat in seats {
            if let Some(before) = self.sold.insert(seat.clone(), who.to_owned()) {
                self.faults.push(format!("{seat} was sold to {before} twice"));
            }
        }
    }
}

/// Watches until the server stops, and says what the hall looked like then.
pub(crate) fn watch(mut window: Window) -> Result<Picture, String> {
    let mut picture = Picture::new();
    while let Some(event) = window.next()? {
        learn(&mut picture, &event.data);
    }
    Ok(picture)
}

/// Takes in a message of a window.
pub(crate) fn learn(picture: &mut Picture, data: &Value) {
    picture.extend(picture_of(data));
}

/// Which seats can be had, from any list of seats.
pub(crate) fn picture_of(data: &Value) -> Picture {
    let seats = data["seats"].as_array().into_iter().flatten();
    let each = |seat: &Value| Some((seat["id"].as_str()?.to_owned(), seat["status"] == "available"));
    seats.filter_map(each).collect()
}

pub(crate) fn differs(seen: &Picture, last: &Picture) -> Result<(), String> {
    let wrong: Vec<&String> =
        last.iter().filter(|(seat, free)| seen.get(*seat) != Some(free)).map(|it| it.0).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("a window that watched all the time is wrong about {wrong:?}"))
    }
}

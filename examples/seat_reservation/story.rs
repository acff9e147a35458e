//! The history of a hall: put in words line by line, and checked by a bookkeeping that trusts nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use boxoffice::clock::Timestamp;
use boxoffice::history::{Happened, Recorded};
use boxoffice::layout::SeatIndex;
use boxoffice::venue::{Refusal, Rejection, VenueEvent, VenueServices};
use boxoffice::{Engine, Handle};

use crate::counter::CUSTOMERS;
use crate::hall::{Customer, Hall, HallServices};
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::screen::Screen;
use crate::support::table::{Column, Table};
use crate::support::text::money;
use crate::{CLUB, CONCERT_HALL};

/// What the history adds up to.
#[derive(Default)]
struct Book {
    holders: BTreeMap<SeatIndex, Customer>,
    version: u64,
    at: Timestamp,
    /// Seats that were sold while somebody had them.
    sold_again: u32,
    /// Of the scene in which three wanted A1, in order: who asked, for what, and the reason of a refusal.
    race: Vec<(String, String, String)>,
}

/// Prints and checks both streams, as an open finds them.
pub(crate) fn tell(engine: &Engine, screen: &Screen, promises: &mut Promises) -> Result<(), Failure> {
    let services = HallServices { venue: VenueServices::default(), decided: Default::default() };
    let halls = engine.handle::<Hall>(services)?;
    let mut sold_again = 0;
    for id in [CONCERT_HALL, CLUB] {
        screen.say(&format!("\n{}", screen.bold(&format!("THE HISTORY OF {}", id.to_uppercase()))));
        let mut book = Book::default();
        let mut table = Table::new([
            Column::right("version"),
            Column::left("at"),
            Column::left("what"),
            Column::left("who"),
            Column::left("seat"),
            Column::left(""),
        ]);
        for record in halls.history(id)? {
            let record = record?;
            let line = Line::of(&halls, id, &record)?;
            let what = if line.is_no { screen.paint(line.what, "33") } else { line.what.to_owned() };
            let version = record.version.to_string();
            if record.decided_at == crate::OPENS.saturating_add(Duration::from_secs(60)) {
                let reason = if line.is_no { line.note.clone() } else { String::new() };
                book.race.push((line.who.clone(), line.seat.clone(), reason));
            }
            table.row([version, time(record.decided_at), what, line.who, line.seat, line.note]);
            book.enter(&record, promises);
        }
        screen.say(table.to_string().trim_end());
        book.compare(id, &halls, promises)?;
        sold_again += book.sold_again;
    }
    let found = halls.verify()?;
    promises.check(found.is_clean(), || format!("verify: {:?} {:?}", found.differences, found.findings));
    let verdict = match (sold_again, found.is_clean()) {
        (0, true) => "no seat has two holders",
        (0, false) => "the engine's own audit found faults",
        _ => "A SEAT WAS SOLD TWICE",
    };
    screen.say(&format!(
        "\nRead again from the file: {} streams, {} events and refusals; {verdict}.",
        found.streams, found.events
    ));
    Ok(())
}

impl Book {
    fn enter(&mut self, record: &Recorded<Hall>, promises: &mut Promises) {
        promises.equal("the next version", record.version, self.version + 1);
        promises.check(record.decided_at >= self.at, || format!("time went back at {}", record.version));
        (self.version, self.at) = (record.version, record.decided_at);
        match &record.what {
            Happened::Event(VenueEvent::Reserved { customer, seats, .. }) => {
                for seat in seats {
                    let before = self.holders.insert(*seat, customer.clone());
                    self.sold_again += u32::from(before.is_some());
                    promises.check(before.is_none(), || format!("seat {seat} of {before:?} was sold again"));
                }
            }
            Happened::Event(VenueEvent::Released { holder, seats, .. }) => {
                for seat in seats {
                    let before = self.holders.remove(seat);
                    promises.equal("who gave a seat back", before.as_ref(), Some(holder));
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, id: &str, halls: &Handle<Hall>, promises: &mut Promises) -> Result<(), Failure> {
        let view = halls.read(id)?;
        for (seat, holder) in view.seats() {
            promises.equal("the holder in the history", self.holders.get(&seat), holder);
        }
        promises.equal("the version in the history", self.version, view.version());
        if id == CONCERT_HALL {
            self.compare_race(promises);
        }
        Ok(())
    }
}

impl Book {
    /// Three different customers asked for A1. The first got it, and the others were told that it is taken.
    fn compare_race(&self, promises: &mut Promises) {
        let asked = self.race.iter().map(|(_, seat, reason)| (seat.as_str(), reason.as_str()));
        let promised = vec![("A1", ""), ("A1", "seat_reserved"), ("A1", "seat_reserved")];
        promises.equal("the race for A1: the seats, and the reasons", asked.collect(), promised);
        let mut customers: Vec<&str> = self.race.iter().map(|(who, ..)| who.as_str()).collect();
        customers.sort_unstable();
        promises.equal("the race for A1: the customers", customers, CUSTOMERS.to_vec());
    }
}

/// A record in words. The history knows a refusal and its reason; what was asked for follows from that.
struct Line {
    what: &'static str,
    who: String,
    seat: String,
    note: String,
    is_no: bool,
}

impl Line {
    fn of(halls: &Handle<Hall>, id: &str, record: &Recorded<Hall>) -> Result<Self, Failure> {
        let view = halls.read(id)?;
        let layout = view.layout().ok_or("the hall has no layout")?;
        let labels = |seats: &[SeatIndex]| {
            seats.iter().filter_map(|seat| layout.label(*seat)).collect::<Vec<_>>().join(", ")
        };
        let yes = |what, who: &str, seat, note| Self { what, who: who.into(), seat, note, is_no: false };
        Ok(match &record.what {
            Happened::Event(event @ VenueEvent::Reserved { customer, price_total, .. }) => {
                yes("SeatReserved", customer, labels(event.seats()), money(*price_total))
            }
            Happened::Event(event @ VenueEvent::Released { holder, .. }) => {
                yes("SeatReleased", holder, labels(event.seats()), String::new())
            }
            Happened::Event(_) => yes("Created", "", String::new(), format!("{} seats", layout.len())),
            Happened::Rejection(no) => Self::no(no),
        })
    }

    fn no(no: &Rejection<Customer>) -> Self {
        let seats = match &no.refusal {
            Refusal::Seats(seats) => seats.iter().map(|seat| seat.label.as_str()).collect(),
            _ => Vec::new(),
        };
        let who = no.customer.as_deref().unwrap_or_default().to_owned();
        let what = match no.reason() {
            // Only who gives a seat back is told so.
            "not_holder" | "seat_not_reserved" => "ReleaseRejected",
            _ => "ReservationRejected",
        };
        Self { what, who, seat: seats.join(", "), note: no.reason().to_owned(), is_no: true }
    }
}

fn time(at: Timestamp) -> String {
    let seconds = at.0 / 1_000_000;
    format!("{:02}:{:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

//! The audit: an independent pass over the stored history, which trusts nothing that the engine keeps.
//!
//! It writes each sale into a book of its own and compares the book with what the callers were told and
//! with the state that the engine shows.

use std::collections::BTreeMap;

use boxoffice::history::Recorded;
use boxoffice::layout::SeatIndex;

use crate::desk::{Deed, Desk, Seats};
use crate::sale::Tally;
use crate::stadium::Stadium;
use crate::support::Failure;
use crate::support::text::grouped;

pub(crate) struct Findings {
    /// Sales, returns and refusals in the history.
    pub(crate) decisions: u64,
    /// Seats that have a holder now.
    pub(crate) taken: u64,
    /// Seats that were sold while somebody had them, and one of them with all its holders.
    pub(crate) sold_twice: u64,
    example: Option<(SeatIndex, Vec<u64>)>,
    /// Broken promises, but for seats sold twice.
    pub(crate) faults: Vec<String>,
}

/// Who has what, as the history tells it.
struct Book {
    holders: Vec<Vec<u64>>,
    sold_twice: Vec<bool>,
    decisions: u64,
    sold: u64,
    given_back: u64,
    refused: BTreeMap<&'static str, u64>,
    version: u64,
    position: u64,
    faults: Vec<String>,
}

/// Reads the whole history of a desk. `tally` is what its callers were told, if anybody counted.
pub(crate) fn audit<D: Desk>(
    desk: &D,
    stadium: &Stadium,
    tally: Option<&Tally>,
) -> Result<Findings, Failure> {
    let seats = stadium.layout.len() as usize;
    let mut book = Book {
        holders: vec![Vec::new(); seats],
        sold_twice: vec![false; seats],
        decisions: 0,
        sold: 0,
        given_back: 0,
        refused: BTreeMap::new(),
        version: 0,
        position: 0,
        faults: Vec::new(),
    };
    for record in desk.history()? {
        let record = record?;
        book.number(&record);
        book.enter(D::deed(&record.what));
    }
    book.compare_with_view(&*desk.look()?, stadium);
    if let Some(limit) = D::LIMIT {
        book.check_limit(limit);
    }
    if let Some(tally) = tally {
        book.compare_with_callers(tally);
    }
    let taken = book.holders.iter().filter(|holders| !holders.is_empty()).count() as u64;
    let sold_twice = book.sold_twice.iter().filter(|twice| **twice).count() as u64;
    if sold_twice == 0 && taken + book.given_back != book.sold {
        let (sold, back) = (book.sold, book.given_back);
        book.faults.push(format!("{taken} seats are taken, of {sold} sold and {back} given back"));
    }
    let example = book.sold_twice.iter().position(|twice| *twice);
    let example = example
        .and_then(|seat| Some((SeatIndex(u32::try_from(seat).ok()?), book.holders.get(seat)?.clone())));
    Ok(Findings { decisions: book.decisions, taken, sold_twice, example, faults: book.faults })
}

impl Book {
    /// Versions have no gap, positions only rise.
    fn number<A: boxoffice::Aggregate>(&mut self, record: &Recorded<A>) {
        if record.version != self.version + 1 {
            self.faults.push(format!("version {} follows version {}", record.version, self.version));
        }
        if record.position <= self.position {
            self.faults.push(format!("position {} follows position {}", record.position, self.position));
        }
        (self.version, self.position) = (record.version, record.position);
    }

    fn enter(&mut self, deed: Deed<'_>) {
        self.decisions += u64::from(!matches!(deed, Deed::Opened));
        match deed {
            Deed::Opened => {}
            Deed::Refused(cause) => *self.refused.entry(cause).or_default() += 1,
            Deed::Sold { fan, seats } => {
                self.sold += seats.len() as u64;
                for seat in seats {
                    let Some(holders) = self.holders.get_mut(seat.index()) else {
                        self.faults.push(format!("seat {seat} was sold, which is not for sale"));
                        continue;
                    };
                    if !holders.is_empty()
                        && let Some(twice) = self.sold_twice.get_mut(seat.index())
                    {
                        *twice = true;
                    }
                    holders.push(fan);
                }
            }
            Deed::GivenBack { fan, seats } => {
                self.given_back += seats.len() as u64;
                for seat in seats {
                    let holders = self.holders.get_mut(seat.index());
                    let place = holders.as_ref().and_then(|all| all.iter().position(|one| *one == fan));
                    match (holders, place) {
                        (Some(holders), Some(place)) => {
                            holders.remove(place);
                        }
                        _ => self.faults.push(format!("fan {fan} gave back seat {seat} of somebody else")),
                    }
                }
            }
        }
    }

    fn compare_with_view(&mut self, shown: &impl Seats, stadium: &Stadium) {
        let mut seats = stadium.layout.seats().zip(&self.holders);
        let differs = seats.find(|(seat, holders)| {
            shown.holders(*seat) != holders.len() || shown.holder(*seat) != holders.last().copied()
        });
        self.faults.extend(differs.map(|(seat, holders)| {
            format!("seat {seat}: the history says {holders:?}, the engine shows somebody else")
        }));
    }

    /// Nobody has more seats than one may have.
    fn check_limit(&mut self, limit: u32) {
        let mut seats_of: BTreeMap<u64, u32> = BTreeMap::new();
        for fan in self.holders.iter().flatten() {
            *seats_of.entry(*fan).or_default() += 1;
        }
        let over = seats_of.iter().find(|(_, seats)| **seats > limit);
        self.faults.extend(over.map(|(fan, seats)| format!("fan {fan} has {seats} seats")));
    }

    fn compare_with_callers(&mut self, tally: &Tally) {
        let stored = [self.decisions, self.sold, self.given_back];
        let told = [tally.decisions(), tally.sold, tally.given_back];
        if stored != told {
            self.faults.push(format!(
                "decisions, seats sold and given back: the history has {stored:?}, the callers heard {told:?}"
            ));
        }
        if self.refused != tally.refused {
            self.faults.push(format!(
                "the history has the refusals {:?}, the callers were told {:?}",
                self.refused, tally.refused
            ));
        }
    }
}

impl Findings {
    /// The findings in a sentence or two.
    pub(crate) fn verdict(&self, stadium: &Stadium) -> String {
        let decisions = grouped(self.decisions);
        let Some((seat, holders)) = &self.example else {
            return match self.faults.first() {
                None => format!("Audit: {decisions} stored decisions replayed; no seat was sold twice."),
                Some(fault) => format!("Audit: {fault}."),
            };
        };
        let label = stadium.layout.label(*seat).unwrap_or_default();
        let fans: Vec<String> = holders.iter().map(u64::to_string).collect();
        let twice = grouped(self.sold_twice);
        let count = format!("Audit: {decisions} stored decisions replayed; {twice} seats were sold twice.");
        match fans.as_slice() {
            [first @ .., last] if !first.is_empty() => {
                format!(
                    "{count}\nFor seat {label}, fans {} and {last} meet at the turnstile.",
                    first.join(", ")
                )
            }
            // They met, but some gave the seat back.
            _ => count,
        }
    }
}

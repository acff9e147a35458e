//! What the log itself says: read from the file, after the server has closed it.

use std::collections::BTreeMap;
use std::path::Path;

use boxoffice::Engine;
use boxoffice::history::Happened;
use boxoffice::venue::{SeatLedger, VenueServices};
use serde_json::Value;
use smol_str::SmolStr;

use super::conformance::{SHOW, ensure};
use super::stop::LAST;
use crate::cinema::{Cinema, SEED};
use crate::office::Hall;
use crate::paper::{Paper, PaperEvent};
use crate::support::Failure;

type Findings = Vec<(&'static str, Result<(), String>)>;

/// `sold` is what the crowd was told, by seat; `shown` are the anomalies that the server showed at the end.
pub(crate) fn audit(
    file: &Path,
    sold: &BTreeMap<String, String>,
    shown: &Value,
) -> Result<Findings, Failure> {
    let engine = Engine::builder().aggregate::<Hall>().aggregate::<Paper>().open_read_only(file)?;
    let halls = engine.handle::<Hall>(VenueServices::default())?;
    let papers = engine.handle::<Paper>(())?;
    let cinema = Cinema::new()?;

    let mut ledger = SeatLedger::<SmolStr>::new();
    for recorded in halls.history(SHOW)? {
        let recorded = recorded?;
        if let Happened::Event(event) = &recorded.what {
            ledger.record(recorded.moment(), event);
        }
    }
    // The last sheet of paper: for each seat, how many bookings are on it, and whether the hall has one of them.
    let mut paper: BTreeMap<SmolStr, (u64, bool)> = BTreeMap::new();
    for recorded in papers.history(SHOW)? {
        match recorded?.what {
            Happened::Event(PaperEvent::Blanked { .. }) => paper.clear(),
            Happened::Event(PaperEvent::Written { lines, .. }) => {
                for line in lines {
                    let (count, in_hall) = paper.entry(cinema.label(line.seat)).or_default();
                    *count += 1;
                    *in_hall |= line.was_first;
                }
            }
            Happened::Rejection(never) => match never {},
        }
    }

    let holders: BTreeMap<String, String> = ledger
        .tenures()
        .filter(|tenure| tenure.until.is_none())
        .map(|tenure| (cinema.label(tenure.seat).to_string(), tenure.holder.to_string()))
        .collect();
    let of_crowd: BTreeMap<String, String> = holders
        .iter()
        .filter(|(_, who)| who.starts_with("crowd-"))
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    let mut expected = BTreeMap::new();
    for (seat, (written, in_hall)) in &paper {
        let count = written + u64::from(holders.contains_key(seat.as_str()) && !in_hall);
        if count > 1 {
            expected.insert(seat.to_string(), count);
        }
    }
    let each = |found: &Value| Some((found["seatId"].as_str()?.to_owned(), found["bookingCount"].as_u64()?));
    let shown: BTreeMap<String, u64> =
        shown["duplicateBookingSeats"].as_array().into_iter().flatten().filter_map(each).collect();
    let verified = halls.verify()?;
    let beforehand = cinema.booked_beforehand();

    let findings = vec![
        (
            "no seat of the hall ever had two holders",
            ensure(ledger.two_holders().is_empty() && ledger.not_held().is_empty(), || {
                format!("{:?} {:?}", ledger.two_holders(), ledger.not_held())
            }),
        ),
        (
            "what the crowd was told is in the log, and nothing else is",
            ensure(of_crowd == *sold, || format!("the log has {of_crowd:?}, they were told {sold:?}")),
        ),
        (
            "the anomalies that were shown are those of the stored bookings",
            ensure(shown == expected && !shown.is_empty(), || {
                format!("shown {shown:?}, stored {expected:?}")
            }),
        ),
        (
            "the seats that were booked beforehand still are",
            ensure(
                beforehand.iter().all(|seat| holders.get(seat.as_str()).is_some_and(|who| who == SEED)),
                || format!("{holders:?}"),
            ),
        ),
        (
            "the request that was under way when the server stopped is in the log",
            ensure(holders.get(LAST.1).is_some_and(|who| who == LAST.0), || {
                format!("{} is {:?}'s", LAST.1, holders.get(LAST.1))
            }),
        ),
        (
            "every state is the fold of its events, by a second bookkeeping too",
            ensure(verified.is_clean(), || format!("{verified:?}")),
        ),
    ];
    engine.close()?;
    Ok(findings)
}

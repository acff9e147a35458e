//! Scene 5b: a command that leaves a choice takes what is free, and waits for nobody.

use std::thread;

use boxoffice::history::Happened;
use boxoffice::layout::{Layout, SeatIndex};
use boxoffice::options::Wait;
use boxoffice::venue::{Venue, VenueCommand, VenueEvent, VenueServices};
use boxoffice::{Error, Handle, Options, Outcome};

use crate::stage::Stage;
use crate::support::Failure;
use crate::support::patience::patient;
use crate::support::promises::Promises;
use crate::timeline::{Kind, Mark, Timeline};
use crate::waiting::{at_once, outcome};

const SEATS: u32 = 8;
const ADA: u64 = 1;
const BOB: u64 = 2;
const CAT: u64 = 3;

pub(crate) fn skip_locked(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let venues = engine.handle::<Venue>(VenueServices::default())?.with(patient(Options::pessimistic()));
    let hall = Layout::builder().category("stalls", 4_500).row("A", "stalls", [(1, SEATS)]).build()?;
    // The middle of the row.
    let best = [hall.seat("A4"), hall.seat("A5")].map(Option::unwrap_or_default).to_vec();
    if !venues.execute("hall", &VenueCommand::create(hall))?.is_accepted() {
        return Err("the hall cannot be opened".into());
    }
    let skipping = Options { wait: Wait::SkipLocked, ..Options::pessimistic() };

    let time = Timeline::new();
    let rows = ["ada", "bob", "cat", "bob again"].map(|name| time.row(name));
    let [ada_row, bob_row, cat_row, again_row] = &rows;
    // Ada's transaction has the two best seats, and she thinks.
    let mut ada = engine.begin(patient(Options::pessimistic()));
    let hers = seats(ada.execute(&venues, "hall", &VenueCommand::reserve_best(ADA, 2))?.events());
    ada_row.now(Kind::Holds);
    let (bob, cat) = thread::scope(|scope| {
        let others = scope.spawn(|| -> Result<_, Failure> {
            let bob = reserve(&venues.with(at_once()), BOB);
            bob_row.fail(if bob.is_err() { "WouldBlock, at once" } else { "has seats" });
            let cat = reserve(&venues.with(skipping), CAT)?;
            cat_row.mark(Mark::Saves);
            cat_row.end("SkipLocked: the next best");
            Ok((bob, cat))
        });
        outcome(others)
    })?;
    let during = map(&hers, &seats(cat.events()), &[]);
    drop(ada);
    ada_row.end("changed her mind");
    let again = reserve(&venues.with(at_once()), BOB)?;
    again_row.mark(Mark::Saves);
    again_row.end("the best: free again");
    stage.show(&time);

    let his = seats(again.events());
    let numbers: String = (1..=SEATS).map(|seat| format!(" {seat}")).collect();
    stage.say(&format!("  seat           {numbers}"));
    stage.say(&format!("  ada has locked {during}"));
    stage.say(&format!("  ada has left   {}\n", map(&[], &seats(cat.events()), &his)));
    promises.equal("scene 5b: the best seats", (&hers, &his), (&best, &best));
    match bob {
        Err(Error::WouldBlock { stream }) => {
            promises.equal("scene 5b: whose lock it is", stream.to_string(), "venue.u64/hall".into());
        }
        other => promises.check(false, || format!("scene 5b: no WouldBlock, but {other:?}")),
    }
    audit(stage, &venues, promises)?;
    Ok(engine.close()?)
}

fn reserve(venues: &Handle<Venue>, customer: u64) -> Result<Outcome<Venue>, Error> {
    venues.execute("hall", &VenueCommand::reserve_best(customer, 2))
}

fn seats(events: &[VenueEvent]) -> Vec<SeatIndex> {
    let seats = events.iter().filter_map(|event| match event {
        VenueEvent::Reserved { seats, .. } => Some(seats.to_vec()),
        _ => None,
    });
    seats.flatten().collect()
}

fn map(ada: &[SeatIndex], cat: &[SeatIndex], bob: &[SeatIndex]) -> String {
    let letter = |seat| match seat {
        seat if ada.contains(&seat) => " a",
        seat if cat.contains(&seat) => " c",
        seat if bob.contains(&seat) => " b",
        _ => " .",
    };
    (0..SEATS).map(|seat| letter(SeatIndex(seat))).collect()
}

/// From the history alone: two sales of two seats each, none of them Ada's, and no seat twice.
fn audit(stage: &Stage<'_>, venues: &Handle<Venue>, promises: &mut Promises) -> Result<(), Failure> {
    let (mut buyers, mut sold) = (Vec::new(), Vec::new());
    for recorded in venues.history("hall")? {
        if let Happened::Event(VenueEvent::Reserved { customer, seats, .. }) = recorded?.what {
            buyers.push(customer);
            sold.extend(seats);
        }
    }
    promises.equal("scene 5b: who bought, in the file", buyers, vec![CAT, BOB]);
    let count = sold.len();
    sold.sort_unstable();
    sold.dedup();
    promises.equal("scene 5b: seats sold, and different ones", (count, sold.len()), (4, 4));
    let verified = venues.verify()?;
    promises.check(verified.is_clean(), || format!("the audit of the file found {verified:?}"));
    stage.say(
        "  checked: the file has a sale to cat and one to bob, four different seats, and nothing of ada's",
    );
    Ok(())
}

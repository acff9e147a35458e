//! At the counter: three customers race for one seat; then all the ways to be told no.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use boxoffice::venue::VenueEvent;
use boxoffice::{Error, Outcome};

use crate::CONCERT_HALL;
use crate::hall::{Hall, Town, release, reserve};
use crate::map::Map;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::text::{duration, money};
use crate::support::together::together;

/// Who wants the same seat.
pub(crate) const CUSTOMERS: [&str; 3] = ["ada", "bob", "cat"];

/// One answer, and how long it took.
struct Answer {
    customer: &'static str,
    outcome: Outcome<Hall>,
    took: Duration,
}

/// All three at the same moment: one decides, two wait in line and then decide too, quickly.
pub(crate) fn three_customers(
    town: &Town<'_>,
    map: &mut Map,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let slow = duration(town.args.slow());
    town.begin(
        "1. THREE CUSTOMERS, ONE SEAT",
        &format!("All want A1 at the same moment. To ask who may buy takes {slow}, the price {slow} more."),
    );
    let (halls, decided) = town.slow()?;
    map.draw(town, &halls, CONCERT_HALL)?;

    let answers: Vec<Result<Answer, Error>> = thread::scope(|scope| {
        let ask = |customer| {
            let asked = Instant::now();
            let outcome = halls.execute(CONCERT_HALL, &reserve(customer, "A1"))?;
            Ok(Answer { customer, outcome, took: asked.elapsed() })
        };
        let threads = together(scope, CUSTOMERS.map(|customer| move || ask(customer)))?;
        let answers = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Closed)));
        Ok::<_, Failure>(answers.collect())
    })?;
    town.screen.say("");
    let mut conflicts = 0;
    for answer in answers {
        let Answer { customer, outcome, took } = answer?;
        let effort = outcome.effort();
        conflicts += effort.conflicts;
        let how = match (outcome.is_accepted(), effort.lock_waits) {
            (true, _) => "was first",
            (false, 0) => "came when it was sold",
            (false, _) => "waited in line",
        };
        town.screen.say(&format!("  {customer}  {:<24} after {:>6}, {how}", said(&outcome), duration(took)));
    }
    town.screen.say(&format!("\n  decisions: {}, conflicts: {conflicts}", decided.load(Relaxed)));
    map.draw(town, &halls, CONCERT_HALL)?;

    promises.equal("decisions for three customers", decided.load(Relaxed), 3);
    promises.equal("decisions made again", conflicts, 0);
    Ok(())
}

/// What was asked for in each of these, and the answer that it must get.
pub(crate) fn what_is_refused(
    town: &Town<'_>,
    map: &mut Map,
    promises: &mut Promises,
) -> Result<(), Failure> {
    town.begin(
        "2. EVERY NO HAS A REASON",
        "A refusal is an outcome, stored like a sale. It says which seat, and what is the matter.",
    );
    let (halls, _) = town.slow()?;
    let holder = |seat| {
        let view = halls.read(CONCERT_HALL)?;
        let index = view.layout().and_then(|layout| layout.seat(seat));
        let holder = index.and_then(|index| view.holder(index)).map(ToString::to_string);
        holder.ok_or_else(|| Failure::from(format!("nobody has {seat}")))
    };
    let winner = holder("A1")?;
    let other = CUSTOMERS.into_iter().find(|name| *name != winner).unwrap_or_default();
    let asks = [
        ("a seat that there is not", reserve(other, "Z9"), "seat_not_found"),
        ("a seat that is taken", reserve(other, "A1"), "seat_reserved"),
        ("somebody else's seat back", release(other, "A1"), "not_holder"),
        ("a seat back that nobody has", release(other, "A2"), "seat_not_reserved"),
        ("a seat for somebody who sells on", reserve("tout", "A2"), "not_eligible"),
        ("the seat given back", release(&winner, "A1"), ""),
        ("and reserved again", reserve(other, "A1"), ""),
    ];
    town.screen.say("");
    for (what, command, promised) in asks {
        let outcome = halls.execute(CONCERT_HALL, &command)?;
        town.screen.say(&format!("  {what:<34} {}", said(&outcome)));
        promises.equal(what, outcome.rejection().map_or("", |no| no.reason()), promised);
        promises.check(outcome.position().is_some(), || format!("{what}: it was not stored"));
    }
    promises.equal("the next holder of A1", holder("A1")?, other.to_owned());
    map.draw(town, &halls, CONCERT_HALL)
}

/// An outcome in a few words.
pub(crate) fn said(outcome: &Outcome<Hall>) -> String {
    match (outcome.events(), outcome.rejection()) {
        (_, Some(no)) => no.refusal.to_string(),
        ([VenueEvent::Reserved { price_total, .. }], _) => {
            format!("reserved for {}", money(*price_total))
        }
        ([VenueEvent::Released { .. }], _) => "it is free".into(),
        _ => "done".into(),
    }
}

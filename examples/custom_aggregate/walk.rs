//! One car, one garage, in memory, with a clock that is moved by hand: what a caller writes and gets.

use std::sync::Arc;
use std::time::Duration;

use boxoffice::clock::{ManualClock, Timestamp};
use boxoffice::{Decision, Engine};

use crate::command::Command;
use crate::event::Event;
use crate::garage::{Garage, Till, tariff};
use crate::state::Plan;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::screen::Screen;
use crate::support::text::money;

pub(crate) fn one_car(screen: &Screen, promises: &mut Promises) -> Result<(), Failure> {
    screen.say(&screen.bold("A GARAGE WITH ONE BAY"));
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let engine = Engine::builder().aggregate::<Garage>().clock(Arc::clone(&clock)).in_memory()?;
    let garages = engine.handle::<Garage>(Till::new(tariff))?;

    let enter = |plate: &str| Command::Enter { plate: plate.into(), level: 0, permit: false };
    let leave = |plate: &str| Command::Leave { plate: plate.into() };
    let mut said = Vec::new();
    for (minutes, what, command) in [
        (0, "it opens", Command::Open(Plan { levels: 1, bays: 1, disabled: 0 })),
        (0, "AB 12 comes", enter("AB 12")),
        (5, "CD 34 comes", enter("CD 34")),
        (80, "AB 12 leaves", leave("AB 12")),
        (0, "CD 34 comes back", enter("CD 34")),
        (0, "AB 12 leaves again", leave("AB 12")),
    ] {
        clock.advance(Duration::from_secs(60 * minutes));
        let outcome = garages.execute("corner", &command)?;
        let answer = match outcome.decision() {
            Decision::Rejected(no) => no.reason().to_owned(),
            Decision::Accepted(events) => match events.first() {
                Some(Event::Entered { bay, .. }) => format!("bay {}", bay.0),
                Some(Event::Left { fee, .. }) => format!("pays {}", money(*fee)),
                Some(Event::Opened(_)) | None => "done".into(),
            },
        };
        screen.say(&format!("  {what:<20} {answer}"));
        said.push(answer);
    }
    promises.equal("the walk", said.join(", "), "done, bay 0, full, pays 5.00, bay 0, not_inside".into());
    Ok(engine.close()?)
}

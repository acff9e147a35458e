//! Scene 5d: two share a lock, and both want to write. Neither can, and one is told at once.

use std::sync::Barrier;
use std::thread;

use boxoffice::{Error, Options, Scope};

use crate::audit::audit;
use crate::job::{How, Office};
use crate::payment::{Command, Status};
use crate::provider::Provider;
use crate::stage::Stage;
use crate::support::Failure;
use crate::support::patience::patient;
use crate::support::promises::Promises;
use crate::support::together::together;
use crate::till::Till;
use crate::timeline::{Kind, Row, Timeline};
use crate::waiting::{outcome, run};

/// A job that was written wrongly: it shares the lock while it looks, and needs it alone when it saves.
fn settle_wrongly(office: &Office<'_>, row: &Row, both: &Barrier) -> Result<(), Failure> {
    let mut unit = office.engine.begin(patient(Options::pessimistic()));
    let bill = unit.read(&office.payments, "order-1", Scope::Whole);
    row.now(Kind::Shares);
    both.wait();
    // Both charge, with one key.
    let answer = office.till.charge("order-1", bill?.cents)?;
    let record = Command::Record(answer);
    let saved = run(unit.execute_async(&office.payments, "order-1", &record), || row.now(Kind::Waits))
        .map(|staged| staged.is_accepted());
    match saved {
        Ok(true) => {
            row.now(Kind::Holds);
            unit.commit()?;
            row.end("went on: payed");
            Ok(())
        }
        Ok(false) => Err("a lock that was shared let somebody else write".into()),
        Err(error) => {
            // Begin again: that lets the other go on.
            drop(unit);
            row.fail("Deadlock, at once");
            Err(error.into())
        }
    }
}

pub(crate) fn two_who_share(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let provider = Provider::start(stage.provider_takes())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    office.open("order-1", stage.amount())?;

    let time = Timeline::new();
    let rows = ["one", "other"].map(|name| time.row(name));
    let both = Barrier::new(2);
    let results = thread::scope(|scope| {
        let works = rows.each_ref().map(|row| || settle_wrongly(&office, row, &both));
        let threads = together(scope, works)?;
        Ok::<Vec<_>, Failure>(threads.into_iter().map(outcome).collect())
    })?;
    // As it should be done: with FOR UPDATE from the start.
    let again = office.job("order-1", time.row("again")).run(|| {})?;
    stage.show(&time);

    let mut cycles = Vec::new();
    for failure in results.into_iter().filter_map(Result::err) {
        match failure.downcast_ref::<Error>() {
            Some(error @ Error::Deadlock { cycle }) => {
                stage.say(&format!("  {error}"));
                cycles.push(cycle.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
            _ => return Err(failure),
        }
    }
    stage.say(
        "  Each waits until the other no longer shares, and shares on meanwhile. That takes no timeout to see:\n  \
         whoever closes the circle is told at once and gives way, and the other goes on. Better not to begin\n  \
         it: who is going to write asks for the lock alone from the start, with read_for_update.\n",
    );
    let circle = ["payment/order-1"; 2].map(String::from).to_vec();
    promises.equal("scene 5d: deadlocks", cycles, vec![circle]);
    promises.equal("scene 5d: who began again", again.how, How::Skipped);
    stage.say(&audit(&office, &provider, "order-1", Status::Payed, promises)?);
    Ok(engine.close()?)
}

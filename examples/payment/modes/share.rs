//! Scene 5c: readers share a lock. A writer waits for them, and whoever comes after the writer waits for the writer.

use std::sync::mpsc;
use std::thread;

use boxoffice::{Options, Scope};

use crate::audit::audit;
use crate::job::Office;
use crate::payment::Status;
use crate::provider::Provider;
use crate::stage::Stage;
use crate::support::Failure;
use crate::support::patience::{PATIENCE, patient};
use crate::support::promises::Promises;
use crate::till::Till;
use crate::timeline::{Kind, Row, Timeline};
use crate::waiting::{Line, outcome, run};

/// What a reader saw when it had the lock, and at its end.
type Seen = (Status, Status);

/// Shares the lock, and keeps it until it is told to go.
fn read(
    office: &Office<'_>,
    row: &Row,
    waits: impl FnOnce(),
    has: impl FnOnce(),
    go: &mpsc::Receiver<()>,
) -> Result<Seen, Failure> {
    let mut unit = office.engine.begin(patient(Options::pessimistic()));
    // SELECT ... FOR SHARE
    let shared = unit.read_async(&office.payments, "order-1", Scope::Whole);
    let first = run(shared, || {
        row.now(Kind::Waits);
        waits();
    })?;
    row.now(Kind::Shares);
    has();
    let _ = go.recv_timeout(PATIENCE);
    let last = unit.read(&office.payments, "order-1", Scope::Whole)?;
    unit.commit()?;
    row.end(format!("saw {}", last.status.name()));
    Ok((first.status, last.status))
}

pub(crate) fn readers_together(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let provider = Provider::start(stage.provider_takes())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    office.open("order-1", stage.amount())?;

    let time = Timeline::new();
    let rows = ["reader 1", "reader 2"].map(|name| time.row(name));
    let writer = office.job("order-1", time.row("writer"));
    let late_row = time.row("reader 3");
    let (here, line) = (Line::new(), Line::new());
    let (seen, late, done, came) = thread::scope(|scope| {
        let (mut go, mut readers) = (Vec::new(), Vec::new());
        for row in &rows {
            let (tell, told) = mpsc::channel();
            go.push(tell);
            let (office, has) = (&office, here.teller());
            readers.push(scope.spawn(move || read(office, row, || {}, has, &told)));
        }
        let came = here.has(2);
        let waits = line.teller();
        let writer = scope.spawn(|| writer.run(waits));
        let came = came.and_then(|()| line.has(1));
        // Comes when the lock is shared, but not before the writer: nobody is overtaken.
        let (waits, office, late_row) = (line.teller(), &office, &late_row);
        // Nobody has to tell it to go.
        let (_, goes_at_once) = mpsc::channel();
        let late = scope.spawn(move || read(office, late_row, waits, || {}, &goes_at_once));
        let came = came.and_then(|()| line.has(1));
        drop(go);
        let readers: Vec<_> = readers.into_iter().map(outcome).collect();
        (readers, outcome(late), outcome(writer), came)
    });
    came?;
    stage.show(&time);

    for seen in seen {
        promises.equal("scene 5c: a reader, first and last", seen?, (Status::New, Status::New));
    }
    let done = done?;
    promises.equal("scene 5c: the writer", (done.status, done.waited), (Status::Payed, true));
    promises.equal("scene 5c: who came after the writer", late?, (Status::Payed, Status::Payed));
    stage.say(&audit(&office, &provider, "order-1", Status::Payed, promises)?);
    Ok(engine.close()?)
}

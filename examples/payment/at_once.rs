//! Scenes 1 and 2: three jobs for one payment at once. One pays, and nobody who looks has to wait.

use std::thread;

use crate::audit::audit;
use crate::job::{Done, How, Office};
use crate::payment::Status;
use crate::provider::{CARD_LIMIT, Provider, When};
use crate::stage::Stage;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::together::together;
use crate::till::Till;
use crate::timeline::{Mark, Timeline};
use crate::waiting::{Line, outcome};

pub(crate) fn new_payment(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let provider = Provider::start(stage.provider_takes())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    office.open("order-1", stage.amount())?;

    let time = Timeline::new();
    let jobs = ["job 1", "job 2", "job 3"].map(|name| office.job("order-1", time.row(name)));
    let reader = time.row("reader");
    provider.show(time.row("provider"));
    let (pause, line) = (provider.pause(When::BeforeAnswer), Line::new());
    let (done, seen) = thread::scope(|scope| {
        let works = jobs.map(|job| {
            let waits = line.teller();
            move || job.run(waits)
        });
        let threads = together(scope, works)?;
        // The provider has charged and does not answer yet: one job holds the lock, two stand in line.
        let seen = pause.reached().and_then(|()| line.has(2)).and_then(|()| {
            reader.mark(Mark::Reads);
            Ok(office.payments.read("order-1")?.status)
        });
        drop(pause);
        Ok::<_, Failure>((threads.into_iter().map(outcome).collect::<Vec<_>>(), seen))
    })?;
    let seen = seen?;
    reader.end(format!("saw {}, at once", seen.name()));
    stage.show(&time);

    promises.equal("scene 1: what the reader saw while the lock was held", seen, Status::New);
    let mut done = done.into_iter().collect::<Result<Vec<Done>, Failure>>()?;
    done.sort_by_key(|job| job.how == How::Skipped);
    let paid = Done { status: Status::Payed, how: How::Charged, waited: false };
    let skipped = Done { status: Status::Payed, how: How::Skipped, waited: true };
    promises.equal("scene 1: the jobs", done, vec![paid, skipped, skipped]);
    promises.equal("scene 1: orders at the provider", provider.counts("order-1").orders, 1);
    stage.say(&audit(&office, &provider, "order-1", Status::Payed, promises)?);
    Ok(engine.close()?)
}

pub(crate) fn settled_payments(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let provider = Provider::start(stage.provider_takes())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    let bills = [
        ("order-1", stage.amount(), Status::Payed),
        ("order-2", CARD_LIMIT + stage.amount(), Status::Failed),
    ];
    for (payment, cents, status) in bills {
        office.open(payment, cents)?;
        let before = office.job(payment, Timeline::new().row("before")).run(|| {})?;
        promises.equal("scene 2: how it began", before.status, status);
        let calls = provider.calls();

        let time = Timeline::new();
        let jobs = ["job 1", "job 2", "job 3"].map(|name| office.job(payment, time.row(name)));
        let done = thread::scope(|scope| {
            let threads = together(scope, jobs.map(|job| move || job.run(|| {})))?;
            Ok::<Vec<_>, Failure>(threads.into_iter().map(outcome).collect())
        })?;
        stage.say(&format!("  {payment} is {}:", status.name()));
        stage.show(&time);
        for job in done {
            let job = job?;
            promises.equal("scene 2: a job", (job.how, job.status), (How::Skipped, status));
        }
        promises.equal("scene 2: calls to the provider", provider.calls(), calls);
        stage.say(&format!("{}\n", audit(&office, &provider, payment, status, promises)?));
    }
    Ok(engine.close()?)
}

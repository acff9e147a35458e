//! Scene 3: the provider has charged, and the save fails. The next job finds out, and charges nothing.

use std::thread;

use boxoffice::Error;

use crate::audit::audit;
use crate::job::{Done, How, Luck, Office};
use crate::payment::Status;
use crate::provider::{Provider, When};
use crate::stage::Stage;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::till::Till;
use crate::timeline::Timeline;
use crate::waiting::{Line, at_once, outcome};

pub(crate) fn scene(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let provider = Provider::start(stage.provider_takes())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    office.open("order-1", stage.amount())?;

    let time = Timeline::new();
    let job_1 = office.job("order-1", time.row("job 1")).with_luck(Luck::SaveFails);
    let row_2 = time.row("job 2");
    let job_2 = office.job("order-1", row_2.clone()).with_luck(Luck::Panics);
    // It does not wait for locks at all: that of the job before is free the moment it has failed, or this one fails too.
    let job_3 = office.job("order-1", time.row("job 3")).with(at_once());
    provider.show(time.row("provider"));
    let (pause, line) = (provider.pause(When::BeforeAnswer), Line::new());
    let (first, second, came) = thread::scope(|scope| {
        let first = scope.spawn(|| job_1.run(|| {}));
        let came = pause.reached();
        let waits = line.teller();
        let second = scope.spawn(|| job_2.run(waits));
        let came = came.and_then(|()| line.has(1));
        drop(pause);
        (outcome(first), outcome(second), came)
    });
    came?;
    let second = second.err().map(|failure| failure.to_string());
    row_2.fail("waited; panicked");
    let third = job_3.run(|| {})?;
    stage.show(&time);

    let first = first.err();
    let refused = first.as_ref().and_then(|failure| failure.downcast_ref::<Error>());
    promises.check(matches!(refused, Some(Error::MetadataTooLarge { .. })), || {
        format!("scene 3: job 1 was to fail at its save, and not with {first:?}")
    });
    promises.equal("scene 3: job 2", second.as_deref(), Some("panicked: out of paper"));
    let learned = Done { status: Status::Payed, how: How::Learned, waited: false };
    promises.equal("scene 3: job 3", third, learned);
    promises.equal("scene 3: orders at the provider", provider.counts("order-1").orders, 1);
    stage.say(&audit(&office, &provider, "order-1", Status::Payed, promises)?);
    Ok(engine.close()?)
}

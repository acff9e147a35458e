//! Scene 5a: a wait with a limit, and no wait at all.

use std::thread;
use std::time::Duration;

use boxoffice::options::Wait;
use boxoffice::{Error, Options};

use crate::audit::audit;
use crate::job::{How, Office};
use crate::payment::Status;
use crate::provider::{Provider, When};
use crate::stage::Stage;
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::till::Till;
use crate::timeline::Timeline;
use crate::waiting::{at_once, outcome};

const LIMIT: Duration = Duration::from_millis(60);

pub(crate) fn not_for_ever(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let engine = stage.open()?;
    let provider = Provider::start(stage.provider_takes())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    office.open("order-1", stage.amount())?;
    office.open("order-2", stage.amount())?;

    let time = Timeline::new();
    let holder = office.job("order-1", time.row("job 1"));
    let up_to = Options { wait: Wait::AtMost(LIMIT), ..Options::pessimistic() };
    let limited = office.job("order-1", time.row("60 ms")).with(up_to);
    let row = time.row("no wait");
    let eager = office.job("order-1", row.clone()).with(at_once());
    let elsewhere = office.job("order-2", row).with(at_once());
    let pause = provider.pause(When::BeforeAnswer);
    let (held, late, busy, other) = thread::scope(|scope| {
        let held = scope.spawn(|| holder.run(|| {}));
        let reached = pause.reached();
        let late = limited.run(|| {});
        let busy = eager.run(|| {});
        // A worker who does not wait takes the next payment on the list instead.
        let other = elsewhere.run(|| {});
        drop(pause);
        (reached.and_then(|()| outcome(held)), late, busy, other)
    });
    stage.show(&time);

    promises.equal("scene 5a: the holder", held?.how, How::Charged);
    let late = late.err().and_then(|failure| failure.downcast::<Error>().ok());
    match late.as_deref() {
        Some(error @ Error::LockTimeout { stream, waited }) => {
            stage.say(&format!("  60 ms:   {error}"));
            promises.equal("scene 5a: whose lock it was", stream.to_string(), "payment/order-1".into());
            promises.check(*waited >= LIMIT, || format!("scene 5a: it waited {waited:?} only"));
        }
        other => promises.check(false, || format!("scene 5a: no LockTimeout, but {other:?}")),
    }
    let busy = busy.err().and_then(|failure| failure.downcast::<Error>().ok());
    match busy.as_deref() {
        Some(error @ Error::WouldBlock { stream }) => {
            stage.say(&format!("  no wait: {error}\n"));
            promises.equal("scene 5a: whose lock it is", stream.to_string(), "payment/order-1".into());
        }
        other => promises.check(false, || format!("scene 5a: no WouldBlock, but {other:?}")),
    }
    promises.equal("scene 5a: the worker who went on", other?.how, How::Charged);
    for payment in ["order-1", "order-2"] {
        stage.say(&audit(&office, &provider, payment, Status::Payed, promises)?);
    }
    Ok(engine.close()?)
}

//! Scene 4: the process is killed between its order to the provider and the save. The next one finishes, with one charge.

use std::io::{self, BufRead, Write};
use std::process::{Command, Stdio};
use std::thread;

use boxoffice::Engine;

use crate::audit::audit;
use crate::job::{Done, How, Office};
use crate::payment::{Payment, Status};
use crate::provider::{Provider, When};
use crate::stage::{Stage, open};
use crate::support::Failure;
use crate::support::child::Killed;
use crate::support::patience::PATIENCE;
use crate::support::promises::Promises;
use crate::till::Till;
use crate::timeline::{Kind, Timeline};
use crate::waiting::outcome;

pub(crate) fn scene(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    stage.say("  The charge is in the provider's books. Who asks by the key learns of it.");
    let orders = killed(stage, "order-1", When::BeforeAnswer, How::Learned, promises)?;
    promises.equal("scene 4: orders at the provider, when the charge was known", orders, 1);
    stage.say(
        "\n  The provider is still at it. Who asks learns nothing, and sends the key again: the same charge.",
    );
    let orders = killed(stage, "order-2", When::BeforeCharge, How::Charged, promises)?;
    promises.equal("scene 4: orders at the provider, when the key was sent again", orders, 2);
    Ok(())
}

/// Kills a child when the provider has come this far, and lets the next process finish. How often the provider was
/// told to charge, in all.
fn killed(
    stage: &Stage<'_>,
    payment: &'static str,
    when: When,
    how: How,
    promises: &mut Promises,
) -> Result<u32, Failure> {
    let provider = Provider::start(stage.provider_takes())?;
    let till = Till::new(provider.address);
    {
        let engine = stage.open()?;
        Office::new(&engine, till.clone())?.open(payment, stage.amount())?;
        engine.close()?;
    }

    let time = Timeline::new();
    let (child_row, next_row) = (time.row("child"), time.row("next"));
    provider.show(time.row("provider"));
    let pause = provider.pause(when);
    child_row.now(Kind::Runs);
    let mut child = start_child(stage, &provider, payment)?;
    // No answer is under way: the child cannot have saved anything.
    pause.reached()?;
    // SIGKILL: no destructor runs, nothing is flushed, nobody says good-bye.
    child.0.kill()?;
    let status = child.0.wait()?;
    child_row.fail("killed");
    promises.check(status.code().is_none(), || format!("scene 4: the child ended by itself: {status}"));
    let charges = provider.counts(payment).charges.len();
    promises.equal("scene 4: charges by then", charges, usize::from(when == When::BeforeAnswer));

    next_row.now(Kind::Runs);
    let engine = stage.open()?;
    let office = Office::new(&engine, till)?;
    promises.equal("scene 4: what the file says then", office.payments.read(payment)?.status, Status::New);
    let (orders, job) = (provider.orders(), office.job(payment, next_row));
    let done = thread::scope(|scope| {
        let next = scope.spawn(|| job.run(|| {}));
        // A provider that has not charged yet goes on only when the key has come again.
        let again = when == When::BeforeAnswer || orders.recv_timeout(PATIENCE).is_ok();
        promises.check(again, || format!("scene 4: the key of {payment} did not come again"));
        drop(pause);
        outcome(next)
    })?;
    stage.show(&time);
    promises.equal("scene 4: the next process", done, Done { status: Status::Payed, how, waited: false });
    engine.close()?;

    // What is on disk counts, not what is in memory.
    let engine = Engine::builder().aggregate::<Payment>().open_read_only(stage.file())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    stage.say(&audit(&office, &provider, payment, Status::Payed, promises)?);
    engine.close()?;
    Ok(provider.counts(payment).orders)
}

/// Starts this program again, to be killed. It is told in three lines what to do: the file, where the provider is, and
/// the payment.
fn start_child(stage: &Stage<'_>, provider: &Provider, payment: &str) -> Result<Killed, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = Killed(command.arg("--child").stdin(Stdio::piped()).spawn()?);
    let file = stage.file();
    let file = file.to_str().ok_or("the temporary folder has a name that is no text")?;
    let mut told = child.0.stdin.take().ok_or("the child does not listen")?;
    writeln!(told, "{file}\n{}\n{payment}", provider.address)?;
    Ok(child)
}

/// The child: does its job, and would save the answer if it lived to hear it.
pub(crate) fn child() -> Result<(), Failure> {
    let mut lines = io::stdin().lock().lines();
    let mut line = move || lines.next().ok_or("--child reads a file, an address and a payment");
    let (file, provider, payment) = (line()??, line()??, line()??);
    let engine = open(file)?;
    let office = Office::new(&engine, Till::new(provider))?;
    office.job(&payment, Timeline::new().row("child")).run(|| {})?;
    Ok(engine.close()?)
}

//! Scene 4: the process is killed between the provider's charge and the save. The next one finishes, with one charge.

use std::io::{self, BufRead, Write};
use std::process::{Child, Command, Stdio};

use boxoffice::Engine;

use crate::audit::audit;
use crate::job::{Done, How, Office};
use crate::payment::{Payment, Status};
use crate::provider::Provider;
use crate::stage::{Stage, open};
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::till::Till;
use crate::timeline::{Kind, Timeline};

const PAYMENT: &str = "order-1";

pub(crate) fn scene(stage: &Stage<'_>, promises: &mut Promises) -> Result<(), Failure> {
    let provider = Provider::start(stage.provider_takes())?;
    let till = Till::new(provider.address);
    {
        let engine = stage.open()?;
        Office::new(&engine, till.clone())?.open(PAYMENT, stage.amount())?;
        engine.close()?;
    }

    let time = Timeline::new();
    let (child_row, next_row) = (time.row("child"), time.row("next"));
    provider.show(time.row("provider"));
    let pause = provider.pause();
    child_row.now(Kind::Runs);
    let mut child = start_child(stage, &provider)?;
    // The charge is in the provider's books, the answer is not under way: the child cannot have saved anything.
    pause.reached()?;
    // SIGKILL: no destructor runs, nothing is flushed, nobody says good-bye.
    child.0.kill()?;
    let status = child.0.wait()?;
    child_row.fail("killed, charge not saved");
    drop(pause);
    promises.check(status.code().is_none(), || format!("scene 4: the child ended by itself: {status}"));
    promises.equal("scene 4: charges when it was killed", provider.counts(PAYMENT).charges.len(), 1);

    next_row.now(Kind::Runs);
    let engine = stage.open()?;
    let office = Office::new(&engine, till)?;
    promises.equal("scene 4: what the file says then", office.payments.read(PAYMENT)?.status, Status::New);
    let done = office.job(PAYMENT, next_row).run(|| {})?;
    stage.show(&time);
    let learned = Done { status: Status::Payed, how: How::Learned, waited: false };
    promises.equal("scene 4: the next process", done, learned);
    promises.equal("scene 4: orders at the provider", provider.counts(PAYMENT).orders, 1);
    engine.close()?;

    // What is on disk counts, not what is in memory.
    let engine = Engine::builder().aggregate::<Payment>().open_read_only(stage.file())?;
    let office = Office::new(&engine, Till::new(provider.address))?;
    stage.say(&audit(&office, &provider, PAYMENT, Status::Payed, promises)?);
    Ok(engine.close()?)
}

/// Starts this program again, to be killed. It is told what to do in two lines: the file, and where the provider is.
fn start_child(stage: &Stage<'_>, provider: &Provider) -> Result<Killed, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = Killed(command.arg("--child").stdin(Stdio::piped()).spawn()?);
    let file = stage.file();
    let file = file.to_str().ok_or("the temporary folder has a name that is no text")?;
    let mut told = child.0.stdin.take().ok_or("the child does not listen")?;
    writeln!(told, "{file}\n{}", provider.address)?;
    Ok(child)
}

/// The child: does its job, and would save the answer if it lived to hear it.
pub(crate) fn child() -> Result<(), Failure> {
    let mut lines = io::stdin().lock().lines();
    let mut line = move || lines.next().ok_or("--child reads a file and an address from its input");
    let (file, provider) = (line()??, line()??);
    let engine = open(file)?;
    let office = Office::new(&engine, Till::new(provider))?;
    office.job(PAYMENT, Timeline::new().row("child")).run(|| {})?;
    Ok(engine.close()?)
}

/// A child that does not outlive its parent's interest in it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

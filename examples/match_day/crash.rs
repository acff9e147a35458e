//! The crash: this program starts itself, kills its child in mid-sale, and looks at what is left.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use boxoffice::history::{Happened, History};
use boxoffice::layout::SeatIndex;
use boxoffice::venue::Venue;
use boxoffice::{Decision, Engine, Error, Options, Outcome, View};

use crate::args::{Args, Mode};
use crate::audit::audit;
use crate::desk::{Answer, Deed, Desk};
use crate::open;
use crate::sale::Sale;
use crate::stadium::{MOST_SEATS, Stadium};
use crate::support::Failure;
use crate::support::child::Killed;
use crate::support::screen::Screen;
use crate::support::text::{grouped, plural};
use crate::venue_desk::VenueDesk;

/// How many decisions the child may acknowledge before it is killed.
const KILL_AFTER: u64 = 5_000;

/// Kills the child and opens its file again. Returns the promises that were broken.
pub(crate) fn parent(
    args: &Args,
    stadium: &Stadium,
    file: &Path,
    screen: &Screen,
) -> Result<Vec<String>, Failure> {
    let title = screen.bold(Mode::Crash.title());
    screen.say(&format!("\n{title}\nA child process sells, and says of each decision when it is on disk."));
    let (acknowledged, was_killed) = sell_and_kill(args, file, screen)?;
    let end = if was_killed { "was killed in mid-sale" } else { "had served everybody before it was killed" };
    screen.settle(&format!("  the child {end}; it had acknowledged {}", decisions(acknowledged.len())));

    let began = Instant::now();
    let engine = open(file)?;
    let found = engine.recovery();
    screen.say(&format!(
        "  opened again in {} ms: {} ms to verify the file, {} ms to replay {} of {}",
        began.elapsed().as_millis(),
        found.verify_time.as_millis(),
        found.replay_time.as_millis(),
        plural(found.events, "event"),
        plural(found.streams, "sale"),
    ));
    let desk = desk(&engine, stadium)?;
    let mut faults = compare(&acknowledged, &desk, screen)?;
    faults.extend(no_seat_twice(&desk, stadium, "after the crash", screen)?);

    // And on it goes, with fans who have not been there yet.
    let fans = args.fans..args.fans + args.fans.div_ceil(10);
    let sale = Sale { stadium, fans, threads: args.threads, seed: args.seed };
    let tally = sale.run(&desk, |_| Ok(()))?;
    screen.say(&format!("  the sale went on: {} more", decisions(tally.decisions() as usize)));
    faults.extend(no_seat_twice(&desk, stadium, "at the end", screen)?);
    engine.close()?;
    Ok(faults)
}

/// Opens the sale that the crash interrupts.
fn desk<'s>(engine: &Engine, stadium: &'s Stadium) -> Result<VenueDesk<'s>, Error> {
    VenueDesk::open(engine, Mode::Crash.name(), stadium, Options::default())
}

/// Lets a child sell and kills it. Returns each line in which it acknowledged a decision, and whether
/// the kill was in time.
fn sell_and_kill(args: &Args, file: &Path, screen: &Screen) -> Result<(Vec<String>, bool), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--crash-child").arg("--file").arg(file);
    command.args(["--seats", &args.seats.to_string(), "--fans", &args.fans.to_string()]);
    command.args(["--threads", &args.threads.to_string(), "--seed", &args.seed.to_string()]);
    let mut child = Killed(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let Some(pipe) = child.0.stdout.take() else { return Err("the child has no output".into()) };

    let enough = KILL_AFTER.min(args.fans.div_ceil(4));
    screen.begin("  the child starts");
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(pipe);
    loop {
        let mut line = String::new();
        // What it had written before it died is still in the pipe: it counts as acknowledged. A line
        // that the kill cut short does not.
        if lines.read_line(&mut line)? == 0 || line.pop() != Some('\n') {
            break;
        }
        acknowledged.push(line);
        let count = acknowledged.len() as u64;
        if count == enough {
            // SIGKILL: no destructor runs, nothing is flushed, nobody says good-bye.
            child.0.kill()?;
        }
        if count.is_multiple_of(100) {
            screen.update(&format!("  the child has acknowledged {}", decisions(acknowledged.len())));
        }
    }
    let status = child.0.wait()?;
    match status.code() {
        // Ended by a signal.
        None => Ok((acknowledged, true)),
        Some(0) => Ok((acknowledged, false)),
        Some(_) => Err(format!("the child failed: {status}").into()),
    }
}

/// Every acknowledged decision must be in the history, exactly as it was acknowledged.
fn compare(acknowledged: &[String], desk: &VenueDesk<'_>, screen: &Screen) -> Result<Vec<String>, Failure> {
    let mut stored: HashMap<String, bool> = HashMap::new();
    for record in desk.history()? {
        let record = record?;
        let (position, version) = (record.position, record.version);
        let line = match &record.what {
            Happened::Event(_) if matches!(VenueDesk::deed(&record.what), Deed::Opened) => continue,
            Happened::Event(event) => acknowledgement(position, version, event),
            Happened::Rejection(no) => acknowledgement(position, version, no),
        };
        stored.insert(line, false);
    }
    let mut lost = Vec::new();
    for line in acknowledged {
        match stored.get_mut(line) {
            Some(seen) => *seen = true,
            None => lost.push(line),
        }
    }
    let silent = stored.values().filter(|seen| !**seen).count();
    if let Some(first) = lost.first() {
        return Ok(vec![format!(
            "crash: {} acknowledged and lost, the first: {first}",
            decisions(lost.len())
        )]);
    }
    let count = grouped(acknowledged.len() as u64);
    screen.say(&format!("  of {count} acknowledged, {count} are there, each exactly as it was acknowledged"));
    screen.say(&format!("  on disk, but not acknowledged yet: {}", grouped(silent as u64)));
    Ok(Vec::new())
}

fn no_seat_twice(
    desk: &VenueDesk<'_>,
    stadium: &Stadium,
    when: &str,
    screen: &Screen,
) -> Result<Vec<String>, Failure> {
    let findings = audit(desk, stadium, None)?;
    let mut faults: Vec<String> = findings.faults.iter().map(|fault| format!("crash: {fault}")).collect();
    match findings.sold_twice {
        0 => screen.say(&format!("  {} taken {when}, none of them twice", plural(findings.taken, "seat"))),
        twice => faults.push(format!("crash: {twice} seats sold twice {when}")),
    }
    Ok(faults)
}

fn decisions(count: usize) -> String {
    plural(count as u64, "decision")
}

/// The child: sells until it is killed.
pub(crate) fn child(args: &Args, stadium: &Stadium) -> Result<(), Failure> {
    let file = args.file.as_deref().ok_or("--crash-child needs --file")?;
    let engine = open(file)?;
    let teller = Teller { desk: desk(&engine, stadium)? };
    Sale { stadium, fans: 0..args.fans, threads: args.threads, seed: args.seed }.run(&teller, |_| Ok(()))?;
    Ok(engine.close()?)
}

/// A desk that tells the parent of each decision, once it is on disk.
struct Teller<'s> {
    desk: VenueDesk<'s>,
}

impl Teller<'_> {
    fn tell(&self, outcome: &Outcome<Venue>) {
        let position = outcome.position().unwrap_or_default();
        let version = outcome.version();
        let line = match outcome.decision() {
            Decision::Accepted(events) => events.first().map(|one| acknowledgement(position, version, one)),
            Decision::Rejected(no) => Some(acknowledgement(position, version, no)),
        };
        // A line in one piece: whole or cut, never mixed. If the parent is gone, there is nobody to
        // tell, and nothing to sell for.
        let line = line.unwrap_or_default() + "\n";
        if io::stdout().lock().write_all(line.as_bytes()).is_err() {
            std::process::exit(1);
        }
    }
}

/// A decision in a line, the same from the child's outcome and from the stored history.
fn acknowledgement(position: u64, version: u64, what: &impl Debug) -> String {
    format!("{position} {version} {what:?}")
}

impl Desk for Teller<'_> {
    type Show = Venue;
    const LIMIT: Option<u32> = Some(MOST_SEATS);

    fn look(&self) -> Result<View<Venue>, Error> {
        self.desk.look()
    }

    fn buy(&self, fan: u64, seats: &[SeatIndex]) -> Result<Answer, Error> {
        self.desk.reserve(fan, seats).inspect(|outcome| self.tell(outcome)).map(|it| Answer::from(&it))
    }

    fn give_back(&self, fan: u64, seats: &[SeatIndex]) -> Result<Option<Answer>, Error> {
        let outcome = self.desk.release(fan, seats).inspect(|outcome| self.tell(outcome))?;
        Ok(Some(Answer::from(&outcome)))
    }

    fn history(&self) -> Result<History<Venue>, Error> {
        self.desk.history()
    }

    fn deed(what: &Happened<Venue>) -> Deed<'_> {
        VenueDesk::deed(what)
    }
}

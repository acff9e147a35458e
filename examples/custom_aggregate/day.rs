//! Step 8, the run: a day with many cars at once, in one mode, and the books at its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use boxoffice::clock::{Clock, Timestamp};
use boxoffice::{Error, Handle, Outcome};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::args::Args;
use crate::command::Command;
use crate::event::Event;
use crate::garage::Garage;
use crate::ledger;
use crate::map;
use crate::state::{GarageState, Plan};
use crate::support::Failure;
use crate::support::promises::Promises;
use crate::support::screen::{Frame, Screen};
use crate::support::table::{Column, Table};
use crate::support::text::{duration, grouped, money, plural};

/// How often somebody looks at the bays.
const TICK: Duration = Duration::from_millis(15);

/// How often who finds it full drives round the block, and how long that takes: five minutes.
const LAPS: usize = 100;
const LAP: Duration = Duration::from_millis(5);

/// A clock whose day takes little more than a second: a millisecond is a minute.
pub(crate) struct QuickClock(Instant);

impl Default for QuickClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for QuickClock {
    fn now(&self) -> Timestamp {
        Timestamp(0).saturating_add(self.0.elapsed().saturating_mul(60_000))
    }
}

/// A day, over: what the drivers heard.
pub(crate) struct Day {
    name: &'static str,
    heard: Heard,
    took: Duration,
}

#[derive(Default)]
struct Heard {
    entered: u64,
    left: u64,
    takings: u64,
    /// Cars that drove on in the end.
    turned_away: u64,
    refused: BTreeMap<&'static str, u64>,
    conflicts: u64,
    lock_waits: u64,
}

/// What the threads share: the next car, and whether somebody met an error.
#[derive(Default)]
struct Street {
    next: AtomicU64,
    closed: AtomicBool,
}

pub(crate) fn day(
    name: &'static str,
    garages: &Handle<Garage>,
    args: &Args,
    screen: &Screen,
    promises: &mut Promises,
) -> Result<Day, Failure> {
    let plan = Plan { levels: args.levels, bays: args.bays, disabled: args.bays.div_ceil(12) };
    screen.say(&format!(
        "\n{}\n{} of {}; {} on {}.\n",
        screen.bold(&format!("A DAY, {}", name.to_uppercase())),
        plural(plan.levels.into(), "level"),
        plural(plan.bays.into(), "bay"),
        plural(args.cars, "car"),
        plural(args.threads as u64, "thread"),
    ));
    let _ = garages.execute(name, &Command::Open(plan))?;
    let (street, began) = (Street::default(), Instant::now());
    let heard = thread::scope(|scope| {
        let mut drivers = Vec::new();
        for number in 0..args.threads {
            let driver = Builder::new().name(format!("driver-{number}"));
            let driver = driver.spawn_scoped(scope, || drive(garages, name, args, &street));
            drivers.push(driver.inspect_err(|_| street.closed.store(true, Relaxed))?);
        }
        let (mut frame, mut fullest) = (Frame::default(), GarageState::default());
        while drivers.iter().any(|driver| !driver.is_finished()) {
            thread::sleep(TICK);
            // A look costs a clone, which is why that has to be cheap. It waits for nobody.
            let view = garages.read(name).inspect_err(|_| street.closed.store(true, Relaxed))?;
            if view.cars.size() >= fullest.cars.size() {
                fullest = (*view).clone();
            }
            if screen.is_live() {
                frame.draw(&map::draw(&view, screen));
            }
        }
        if !screen.is_live() {
            screen.say(&format!("  at its fullest\n{}", map::draw(&fullest, screen).join("\n")));
        }
        let mut heard = Heard::default();
        for driver in drivers {
            heard.add(driver.join().unwrap_or(Err(Error::Closed))?);
        }
        Ok::<Heard, Failure>(heard)
    })?;
    let took = began.elapsed();

    let books = ledger::read(garages, name, promises)?;
    let said = (heard.entered, heard.left, heard.takings, &heard.refused);
    let stored = (books.entered, books.left, books.takings, &books.refused);
    promises.equal(&format!("{name}: what was heard and what is stored"), said, stored);
    promises.equal(&format!("{name}: cars that came in and went out"), books.entered, books.left);
    let answered = books.entered + heard.turned_away;
    promises.equal(&format!("{name}: cars that came in or drove on"), answered, args.cars);
    Ok(Day { name, heard, took })
}

/// One thread: car after car, each in, and out again.
fn drive(garages: &Handle<Garage>, id: &str, args: &Args, street: &Street) -> Result<Heard, Error> {
    let mut heard = Heard::default();
    while !street.closed.load(Relaxed) {
        let car = street.next.fetch_add(1, Relaxed);
        if car >= args.cars {
            break;
        }
        one_visit(garages, id, args, car, &mut heard).inspect_err(|_| street.closed.store(true, Relaxed))?;
    }
    Ok(heard)
}

fn one_visit(
    garages: &Handle<Garage>,
    id: &str,
    args: &Args,
    car: u64,
    heard: &mut Heard,
) -> Result<(), Error> {
    let mut dice = StdRng::seed_from_u64(args.seed ^ car.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let plate: smol_str::SmolStr = format!("C-{car}").into();
    let (level, permit) = (dice.random_range(0..args.levels), dice.random_bool(0.1));
    let enter = Command::Enter { plate: plate.clone(), level, permit };
    let mut laps = 0;
    while !heard.note(&garages.execute(id, &enter)?) {
        if laps == LAPS {
            heard.turned_away += 1;
            return Ok(());
        }
        laps += 1;
        thread::sleep(LAP);
    }
    // Minutes of the quick clock.
    thread::sleep(Duration::from_millis(dice.random_range(1..120)));
    if dice.random_bool(0.03) {
        // Somebody else comes with the same plate.
        heard.note(&garages.execute(id, &enter)?);
    }
    heard.note(&garages.execute(id, &Command::Leave { plate })?);
    Ok(())
}

impl Heard {
    /// Whether it was a yes.
    fn note(&mut self, outcome: &Outcome<Garage>) -> bool {
        self.conflicts += u64::from(outcome.effort().conflicts);
        self.lock_waits += u64::from(outcome.effort().lock_waits);
        for event in outcome.events() {
            match event {
                Event::Opened(_) => {}
                Event::Entered { .. } => self.entered += 1,
                Event::Left { fee, .. } => {
                    self.left += 1;
                    self.takings += fee;
                }
            }
        }
        if let Some(no) = outcome.rejection() {
            *self.refused.entry(no.reason()).or_default() += 1;
        }
        outcome.is_accepted()
    }

    fn add(&mut self, other: Self) {
        self.entered += other.entered;
        self.left += other.left;
        self.takings += other.takings;
        self.turned_away += other.turned_away;
        self.conflicts += other.conflicts;
        self.lock_waits += other.lock_waits;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }
}

pub(crate) fn table(days: &[Day]) -> String {
    let heads = ["parked", "drove on", "\"full\"", "forged", "takings", "lock waits", "conflicts", "time"];
    let mut table = Table::new([Column::left("")].into_iter().chain(heads.map(Column::right)));
    for Day { name, heard, took } in days {
        let refused = |reason| grouped(heard.refused.get(reason).copied().unwrap_or_default());
        table.row([
            (*name).to_owned(),
            grouped(heard.entered),
            grouped(heard.turned_away),
            refused("full"),
            refused("already_inside"),
            money(heard.takings),
            grouped(heard.lock_waits),
            grouped(heard.conflicts),
            duration(*took),
        ]);
    }
    format!(
        "\n{table}\nWhoever is told \"full\" drives round the block and asks again; a millisecond is a minute."
    )
}

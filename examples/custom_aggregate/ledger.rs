//! The books of a day, from the stored history alone. Its rules are written down a second time, in another way: what
//! the garage gets wrong must not be wrong here too.

use std::collections::{BTreeMap, BTreeSet};

use boxoffice::Handle;
use boxoffice::clock::Timestamp;
use boxoffice::history::Happened;

use crate::event::{Event, Refusal};
use crate::garage::Garage;
use crate::state::{Bay, Plan, Plate};
use crate::support::Failure;
use crate::support::promises::Promises;

#[derive(Default)]
pub(crate) struct Ledger {
    /// Every bay that there is, and those of them that are for the disabled.
    bays: BTreeSet<Bay>,
    disabled: BTreeSet<Bay>,
    inside: BTreeMap<Bay, (Plate, Timestamp)>,
    version: u64,
    pub(crate) entered: u64,
    pub(crate) left: u64,
    pub(crate) takings: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

pub(crate) fn read(garages: &Handle<Garage>, id: &str, promises: &mut Promises) -> Result<Ledger, Failure> {
    let mut ledger = Ledger::default();
    for record in garages.history(id)? {
        let record = record?;
        promises.equal(&format!("{id}: the next version"), record.version, ledger.version + 1);
        ledger.version = record.version;
        match record.what {
            Happened::Event(event) => ledger.enter(event, promises),
            Happened::Rejection(no) => {
                if let Refusal::Full { permit } = no {
                    let free = ledger.free(permit);
                    promises.check(free.is_none(), || {
                        format!(
                            "{id}: version {} says full, permit: {permit}, and {free:?} is free",
                            ledger.version
                        )
                    });
                }
                *ledger.refused.entry(no.reason()).or_default() += 1;
            }
        }
    }
    let view = garages.read(id)?;
    let taken = view.bays.iter().flatten().count();
    let inside = ledger.inside.len();
    promises.equal(&format!("{id}: cars, and bays taken"), (view.cars.size(), taken), (inside, inside));
    for (bay, (plate, since)) in &ledger.inside {
        let shown = view.stay(*bay).map(|stay| (&stay.plate, stay.since));
        promises.equal(&format!("{id}: bay {}", bay.0), shown, Some((plate, *since)));
    }
    Ok(ledger)
}

impl Ledger {
    /// A free bay that a car may use: any with a permit, and without one those that are for everybody.
    fn free(&self, permit: bool) -> Option<Bay> {
        let mut free = self.bays.iter().filter(|bay| !self.inside.contains_key(bay));
        free.find(|bay| permit || !self.disabled.contains(bay)).copied()
    }

    /// Level by level, bay by bay: the first ones of each level are for the disabled.
    fn open(&mut self, plan: &Plan) {
        let mut numbers = (0..).map(Bay);
        for _ in 0..plan.levels {
            let level: Vec<Bay> = numbers.by_ref().take(plan.bays as usize).collect();
            self.disabled.extend(level.iter().take(plan.disabled as usize));
            self.bays.extend(level);
        }
    }

    fn enter(&mut self, event: Event, promises: &mut Promises) {
        match event {
            Event::Opened(plan) => self.open(&plan),
            Event::Entered { plate, bay, permit, at } => {
                self.entered += 1;
                promises.check(self.bays.contains(&bay), || format!("there is no bay {}", bay.0));
                let kept = self.disabled.contains(&bay);
                promises
                    .check(permit || !kept, || format!("{plate} stands on bay {} without a permit", bay.0));
                let twice = self.inside.values().any(|(other, _)| *other == plate);
                promises.check(!twice, || format!("{plate} is inside twice"));
                let before = self.inside.insert(bay, (plate.clone(), at));
                promises.check(before.is_none(), || format!("bay {} has {plate} and {before:?}", bay.0));
            }
            Event::Left { plate, bay, fee, at } => {
                self.left += 1;
                self.takings += fee;
                let stay = self.inside.remove(&bay).filter(|(there, _)| *there == plate);
                let due = stay.map(|(_, since)| due(at.0.saturating_sub(since.0)));
                promises.equal(&format!("the fee of {plate}"), Some(fee), due);
            }
        }
    }
}

/// What a stay of so many microseconds costs, hour by hour: 2.50 for each that has begun, but nothing for the ninth and
/// those after it in every 24, and nothing at all for less than a quarter.
pub(crate) fn due(stay: u64) -> u64 {
    const HOUR: u64 = 3_600 * 1_000_000;
    if stay < HOUR / 4 {
        return 0;
    }
    (0..=stay / HOUR).filter(|hour| hour % 24 < 8).map(|_| 250).sum()
}

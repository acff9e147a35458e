//! The books of a day, from the stored history alone, by rules that are written down a second time.

use std::collections::BTreeMap;
use std::time::Duration;

use boxoffice::Handle;
use boxoffice::clock::Timestamp;
use boxoffice::history::Happened;

use crate::event::{Event, Refusal};
use crate::garage::{Garage, tariff};
use crate::state::{Bay, Plan, Plate};
use crate::support::Failure;
use crate::support::promises::Promises;

#[derive(Default)]
pub(crate) struct Ledger {
    plan: Option<Plan>,
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
                promises.check(no != Refusal::Full || ledger.is_full(), || {
                    format!("{id}: version {} says full, and a bay is free", ledger.version)
                });
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
    /// Whether every bay that any car may use has one.
    fn is_full(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| {
            let mut bays = (0..plan.levels * plan.bays).map(Bay);
            bays.all(|bay| plan.is_for_disabled(bay) || self.inside.contains_key(&bay))
        })
    }

    fn enter(&mut self, event: Event, promises: &mut Promises) {
        match event {
            Event::Opened(plan) => self.plan = Some(plan),
            Event::Entered { plate, bay, permit, at } => {
                self.entered += 1;
                let kept = self.plan.as_ref().is_none_or(|plan| plan.is_for_disabled(bay));
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
                let due = stay.map(|(_, since)| tariff(Duration::from_micros(at.0.saturating_sub(since.0))));
                promises.equal(&format!("the fee of {plate}"), Some(fee), due);
            }
        }
    }
}

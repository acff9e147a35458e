//! Step 1, the state: what must be known to decide the next command, and nothing else.
//!
//! What the garage has earned is not here, because no decision asks for it: it is a sum over the events.
//!
//! `clone` must be cheap, whatever the size: the engine clones while somebody still looks at the old state.
//! Hence an `Arc`, a copy-on-write array, and a map that shares its branches.

use std::ops::Range;
use std::sync::Arc;

use boxoffice::clock::Timestamp;
use boxoffice::cow::CowArray;
use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub(crate) type Plate = SmolStr;

/// A bay's number in the whole garage, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Bay(pub(crate) u32);

/// How the garage was built. Never changes, so no decision has to depend on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) levels: u32,
    /// How many bays each level has.
    pub(crate) bays: u32,
    /// How many of them, the first ones beside the lift, are for the disabled.
    pub(crate) disabled: u32,
}

impl Plan {
    pub(crate) fn bays_of(&self, level: u32) -> Range<u32> {
        level * self.bays..(level + 1) * self.bays
    }

    pub(crate) fn is_for_disabled(&self, bay: Bay) -> bool {
        bay.0 % self.bays < self.disabled
    }
}

/// A car in its bay.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stay {
    pub(crate) plate: Plate,
    pub(crate) since: Timestamp,
}

/// A garage as it was at one version. `default()` is the garage before its first event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GarageState {
    pub(crate) plan: Option<Arc<Plan>>,
    pub(crate) bays: CowArray<Option<Stay>>,
    pub(crate) cars: HashTrieMapSync<Plate, Bay>,
}

impl GarageState {
    pub(crate) fn stay(&self, bay: Bay) -> Option<&Stay> {
        self.bays.get(bay.0 as usize)?.as_ref()
    }

    /// The bay of a car and its stay there.
    pub(crate) fn car(&self, plate: &str) -> Option<(Bay, &Stay)> {
        let bay = *self.cars.get(plate)?;
        Some((bay, self.stay(bay)?))
    }

    /// The free bay that is nearest to the gate of a level: this level first, then those next to it. Who has a
    /// permit gets a bay for the disabled if there is one; nobody else ever does.
    pub(crate) fn nearest(&self, gate: u32, permit: bool) -> Option<Bay> {
        let plan = self.plan.as_deref()?;
        let mut levels: Vec<u32> = (0..plan.levels).collect();
        levels.sort_by_key(|level| level.abs_diff(gate));
        levels.into_iter().find_map(|level| {
            let free = || plan.bays_of(level).map(Bay).filter(|bay| self.stay(*bay).is_none());
            let special = || free().find(|bay| plan.is_for_disabled(*bay)).filter(|_| permit);
            special().or_else(|| free().find(|bay| !plan.is_for_disabled(*bay)))
        })
    }
}

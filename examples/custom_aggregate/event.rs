//! Step 3, the events and the refusals: what is stored, and all that is stored.
//!
//! An event is a fact with everything that its readers need: the chosen bay, the fee, the time. `apply` must
//! not choose, ask or look at a clock again, today or when the file is opened in ten years.

use boxoffice::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Bay, GarageState, Plan, Plate};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Opened(Plan),
    Entered {
        plate: Plate,
        bay: Bay,
        permit: bool,
        at: Timestamp,
    },
    Left {
        plate: Plate,
        bay: Bay,
        /// In cents.
        fee: u64,
        at: Timestamp,
    },
}

impl Event {
    /// The policy: whoever stands on a bay for the disabled has a permit.
    pub(crate) fn keeps_bays_free(&self, after: &GarageState) -> bool {
        match self {
            Self::Entered { bay, permit: false, .. } => {
                after.plan.as_ref().is_some_and(|plan| !plan.is_for_disabled(*bay))
            }
            _ => true,
        }
    }
}

/// A no. It is an outcome and not an error: decided, stored, and part of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    AlreadyOpen,
    NoSuchLevel,
    /// This plate is inside; one of the two is forged.
    AlreadyInside(Bay),
    /// No bay that this car may use is free, on any level. Which these are depends on its permit: a refusal too has
    /// all that its readers need.
    Full {
        permit: bool,
    },
    NotInside,
}

impl Refusal {
    /// In one word, for tables and programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::AlreadyOpen => "already_open",
            Self::NoSuchLevel => "no_such_level",
            Self::AlreadyInside(_) => "already_inside",
            Self::Full { .. } => "full",
            Self::NotInside => "not_inside",
        }
    }
}

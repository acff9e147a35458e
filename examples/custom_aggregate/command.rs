//! Step 2, the commands: what can be asked, and what no state could accept.

use boxoffice::error::Invalid;

use crate::state::{Plan, Plate};

#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Opens the garage. The only command that may be a garage's first.
    Open(Plan),
    /// A car stands at the gate of a level. The garage chooses its bay.
    Enter { plate: Plate, level: u32, permit: bool },
    /// A car pays and leaves.
    Leave { plate: Plate },
}

impl Command {
    pub(crate) fn creates(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Refuses nonsense before any work. What depends on the state is for `decide` to refuse.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Open(plan) if plan.levels == 0 || plan.levels > 20 => {
                Err(Invalid::new("a garage has 1 to 20 levels"))
            }
            Self::Open(plan) if plan.bays == 0 || plan.bays > 1_000 || plan.disabled > plan.bays => {
                Err(Invalid::new("a level has 1 to 1,000 bays, and no more for the disabled than that"))
            }
            Self::Open(_) => Ok(()),
            Self::Enter { plate, .. } | Self::Leave { plate } if !(1..=12).contains(&plate.len()) => {
                Err(Invalid::new("a plate has 1 to 12 letters"))
            }
            Self::Enter { .. } | Self::Leave { .. } => Ok(()),
        }
    }
}

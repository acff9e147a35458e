//! What a program promises, checked: every broken promise is named, and one is enough to fail.

use std::fmt::Debug;

use super::Failure;

/// The promises that were broken so far.
#[derive(Default)]
pub(crate) struct Promises {
    faults: Vec<String>,
}

impl Promises {
    /// Notes a fault unless the promise was kept.
    pub(crate) fn check(&mut self, kept: bool, fault: impl FnOnce() -> String) {
        if !kept {
            self.faults.push(fault());
        }
    }

    /// Notes a fault unless what was found is what was promised.
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, what: &str, found: T, promised: T) {
        self.check(found == promised, || format!("{what}: found {found:?}, promised {promised:?}"));
    }

    /// Takes on what somebody else found.
    pub(crate) fn extend(&mut self, faults: impl IntoIterator<Item = String>) {
        self.faults.extend(faults);
    }

    /// Takes on what was promised elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.faults.extend(other.faults);
    }

    /// The end of a program: an error that names every fault, if there is one.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(format!("a promise was broken:\n  {}", self.faults.join("\n  ")).into())
    }
}

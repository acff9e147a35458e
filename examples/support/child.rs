//! A child process that is there to be killed.

use std::process::Child;

/// A child that does not outlive its parent's interest in it.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

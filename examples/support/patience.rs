//! Patience: how long a call may wait in a program whose promise is that nobody gets an error.

use std::time::Duration;

use boxoffice::Options;
use boxoffice::options::Wait;

/// Ample, for a long line and for a disk that stands still for a while. A run without faults is not slower for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The same options, with patience.
pub(crate) fn patient(options: Options) -> Options {
    Options { wait: Wait::AtMost(PATIENCE), ..options }
}

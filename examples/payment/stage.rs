//! Where a scene takes place: a file of its own, a screen, and numbers that the seed decides.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boxoffice::venue::Venue;
use boxoffice::{Engine, Error};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::payment::Payment;
use crate::support::Failure;
use crate::support::screen::Screen;
use crate::timeline::Timeline;

pub(crate) struct Stage<'s> {
    screen: &'s Screen,
    file: PathBuf,
    random: RefCell<StdRng>,
}

impl<'s> Stage<'s> {
    pub(crate) fn new(screen: &'s Screen, folder: &Path, name: &str, seed: u64) -> Self {
        let random = RefCell::new(StdRng::seed_from_u64(seed));
        Self { screen, file: folder.join(format!("{name}.boxoffice")), random }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn open(&self) -> Result<Engine, Failure> {
        Ok(open(&self.file)?)
    }

    /// What there is to pay, in cents.
    pub(crate) fn amount(&self) -> u64 {
        self.random.borrow_mut().random_range(500..20_000)
    }

    /// How long the provider thinks.
    pub(crate) fn provider_takes(&self) -> Duration {
        Duration::from_millis(self.random.borrow_mut().random_range(100..180))
    }

    pub(crate) fn say(&self, text: &str) {
        self.screen.say(text);
    }

    pub(crate) fn show(&self, time: &Timeline) {
        self.screen.say(&time.draw(self.screen));
    }
}

/// Every aggregate type that a file of this example may hold is registered.
pub(crate) fn open(file: impl AsRef<Path>) -> Result<Engine, Error> {
    Engine::builder().aggregate::<Payment>().aggregate::<Venue>().open(file)
}

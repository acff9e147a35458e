//! A view of the log that is kept up to date, in which each entry counts once.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use redb::StorageBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Engine;
use super::feed::{Feed, FeedEntry};
use crate::error::Error;
use crate::limits::MAX_ENTRY_BYTES;
use crate::log::{EncodeFailure, Head, Mark, Source, ViewStore, decode, encode_to};

/// A view that is folded from the entries of a log, and that knows how far it has come.
///
/// The view and its position are saved together, in a small file of its own: after a crash both are those of
/// the last save, and the entries since are counted again, on that view. Each entry counts once, whatever
/// happens. Where folding the whole log at every start is quick enough, it can live
/// [in memory](Projection::in_memory).
///
/// [`update`](Projection::update) is what a thread calls in a loop, [`catch_up`](Projection::catch_up) what a
/// program calls before it looks. Both block, for the reads and for the save. The view is saved as a whole: up
/// to a few MiB that is cheap, beyond 64 MiB it is refused. Keep a larger one in a database of your own, with
/// [`Feed::next_position`](crate::history::Feed::next_position) in the same transaction.
///
/// ```
/// use std::time::Duration;
///
/// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand, FlashSaleEvent};
/// use boxoffice::history::{FeedEntry, Happened, Projection};
/// use boxoffice::{Engine, Error};
///
/// /// How many were sold in all sales.
/// fn count(sold: &mut u64, entry: &FeedEntry) -> Result<(), Error> {
///     for event in entry.events::<FlashSale>() {
///         if let Happened::Event(FlashSaleEvent::Purchased { quantity, .. }) = event?.what {
///             *sold += quantity;
///         }
///     }
///     Ok(())
/// }
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("sold.projection");
/// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
/// let sales = engine.handle::<FlashSale>(())?;
/// assert!(sales.execute("lamp", &FlashSaleCommand::create(9))?.is_accepted());
/// assert!(sales.execute("lamp", &FlashSaleCommand::purchase("ada", 2))?.is_accepted());
///
/// let mut sold = Projection::<u64>::open(&path, "sold", 1)?;
/// sold.catch_up(&engine, count)?;
/// assert_eq!((*sold.view(), sold.position()), (2, 2));
/// drop(sold);
///
/// // Later: what was counted is not counted again.
/// assert!(sales.execute("lamp", &FlashSaleCommand::purchase("bob", 1))?.is_accepted());
/// let mut sold = Projection::<u64>::open(&path, "sold", 1)?;
/// assert_eq!(sold.update(&engine, Duration::from_millis(100), count)?, 1);
/// assert_eq!((*sold.view(), sold.position()), (3, 3));
/// # Ok::<(), Error>(())
/// ```
pub struct Projection<V> {
    view: V,
    name: String,
    version: u32,
    /// The last entry that the view has counted.
    counted: Mark,
    saved: Mark,
    store: Option<ViewStore>,
    save_every: u64,
    /// Stands behind the last counted entry, in a log that is known to hold it.
    feed: Option<Feed>,
    /// The view was lost while an entry was counted: begin at what was saved.
    lost: bool,
}

const SAVE_EVERY: u64 = 100_000;

impl<V: Serialize + DeserializeOwned + Default> Projection<V> {
    /// Opens the projection's file, or creates it. With another `version` than that of the last save the view
    /// begins anew: give it a new one whenever the view's type, or what counts, has changed.
    ///
    /// # Errors
    ///
    /// [`Error::NotThisProjection`] if the file holds something else, a projection of another name, or a view
    /// that does not decode as a `V`. [`Error::AlreadyOpen`], [`Error::CannotOpen`] or [`Error::Storage`] as
    /// for an engine. [`Error::Corrupt`] if the file was damaged: the log has all of it, so remove the file.
    pub fn open(path: impl AsRef<Path>, name: &str, version: u32) -> Result<Self, Error> {
        Self::open_on(Source::File(path.as_ref().to_owned()), name, version)
    }

    /// As [`open`](Self::open), on storage of your own.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn backend(storage: impl StorageBackend, name: &str, version: u32) -> Result<Self, Error> {
        Self::open_on(Source::Custom(Box::new(storage)), name, version)
    }

    /// A projection without a file: it begins at the start of the log, and there again if an entry could not be
    /// counted.
    pub fn in_memory() -> Self {
        Self::new(None, "", 0)
    }

    fn open_on(source: Source, name: &str, version: u32) -> Result<Self, Error> {
        let mut projection = Self::new(Some(ViewStore::open(source)?), name, version);
        projection.load()?;
        Ok(projection)
    }

    fn new(store: Option<ViewStore>, name: &str, version: u32) -> Self {
        Self {
            view: V::default(),
            name: name.into(),
            version,
            counted: Mark::default(),
            saved: Mark::default(),
            store,
            save_every: SAVE_EVERY,
            feed: None,
            lost: false,
        }
    }

    /// Saves after so many entries at the latest, at least 1. Default 100,000. A save costs as much as the
    /// view is large, and two syncs; what was not saved is counted again after a crash.
    #[must_use]
    pub fn save_every(self, entries: u64) -> Self {
        Self { save_every: entries.max(1), ..self }
    }

    /// The view, with every entry up to [`position`](Self::position) counted once.
    pub fn view(&self) -> &V {
        &self.view
    }

    /// The position of the last entry that was counted; 0 before the first.
    pub fn position(&self) -> u64 {
        self.counted.position
    }

    /// Waits for an entry that was not counted yet, for at most so long, counts what is durable, and saves.
    /// Returns how many entries were counted, at most as many as are saved at once; 0 if none came in time.
    ///
    /// `count` is called with each entry in order. If it fails, the projection is what it was at its last save,
    /// and the entries since will be counted again: nothing half counted is ever seen or saved. After a panic
    /// that holds from the next call on, and until then the view is empty, at position 0.
    ///
    /// # Errors
    ///
    /// What `count` said. [`Error::ProjectionDiverged`] if the log does not hold what was counted: call
    /// [`rebuild`](Self::rebuild). [`Error::Storage`] or [`Error::Broken`] if the engine has stopped, and
    /// [`Error::Storage`], too, if the view could not be saved: open the projection again.
    /// [`Error::TooLarge`] or [`Error::Encode`] if the view cannot be written. Whatever was not saved is tried
    /// again at the next call.
    pub fn update(
        &mut self,
        engine: &Engine,
        wait: Duration,
        mut count: impl FnMut(&mut V, &FeedEntry) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        if self.lost {
            self.load()?;
        }
        let mut feed = self.feed_of(engine)?;
        let mut next = feed.next_timeout(wait);
        if next.is_none() {
            self.feed = Some(feed);
            if self.saved != self.counted {
                self.save()?;
            }
            return Ok(0);
        }
        // Out of sight while it is changed: after a panic it is gone, not half changed.
        let mut view = std::mem::take(&mut self.view);
        let before = std::mem::take(&mut self.counted);
        self.lost = true;
        let (mut counted, mut last, mut failed) = (0, None, None);
        while let Some(entry) = next.take() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            if let Err(error) = count(&mut view, &entry) {
                self.load()?;
                return Err(error);
            }
            counted += 1;
            last = Some(entry);
            if counted < self.save_every {
                next = feed.try_next();
            }
        }
        self.counted = last.map_or(Ok(before), |entry| entry.mark())?;
        (self.view, self.lost, self.feed) = (view, false, Some(feed));
        self.save()?;
        failed.map_or(Ok(counted), Err)
    }

    /// Counts everything that was durable when it was called, and saves. Returns how many entries were
    /// counted.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update). What was saved on the way stays.
    pub fn catch_up(
        &mut self,
        engine: &Engine,
        mut count: impl FnMut(&mut V, &FeedEntry) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let last = engine.durable_position();
        let mut counted = 0;
        loop {
            let more = self.update(engine, Duration::ZERO, &mut count)?;
            counted += more;
            if more == 0 || self.position() >= last {
                return Ok(counted);
            }
        }
    }

    /// Forgets the view, and saves that: the next update begins at the start of the log.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if it could not be saved.
    pub fn rebuild(&mut self) -> Result<(), Error> {
        self.begin_anew();
        self.save()
    }

    fn begin_anew(&mut self) {
        self.view = V::default();
        self.counted = Mark::default();
        self.feed = None;
        self.lost = false;
    }

    /// Makes the projection what it was at its last save.
    fn load(&mut self) -> Result<(), Error> {
        let saved = match &self.store {
            Some(store) => store.load()?,
            None => None,
        };
        self.begin_anew();
        let Some((head, view)) = saved else { return Ok(()) };
        if head.name != self.name {
            let cause = format!("it holds the projection {:?}, not {:?}", head.name, self.name);
            return Err(Error::NotThisProjection { cause: cause.into() });
        }
        self.saved = head.mark;
        if head.version == self.version {
            self.view = decode(&view).map_err(|cause| Error::NotThisProjection {
                cause: format!("its view does not decode ({cause})").into(),
            })?;
            self.counted = head.mark;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), Error> {
        if let Some(store) = &self.store {
            let mut view = Vec::new();
            encode_to(&self.view, |bytes| view.extend_from_slice(bytes), MAX_ENTRY_BYTES).map_err(
                |failure| match failure {
                    EncodeFailure::TooLarge => {
                        Error::TooLarge { bytes: MAX_ENTRY_BYTES + 1, limit: MAX_ENTRY_BYTES }
                    }
                    EncodeFailure::Serde(cause) => Error::Encode { cause: cause.into() },
                },
            )?;
            let head = Head { name: self.name.clone(), version: self.version, mark: self.counted };
            store.save(&head, &view)?;
        }
        self.saved = self.counted;
        Ok(())
    }

    /// A feed that stands behind the last counted entry, of a log that holds it.
    fn feed_of(&mut self, engine: &Engine) -> Result<Feed, Error> {
        if let Some(feed) = self.feed.take()
            && feed.is_of(engine)
            && !feed.is_ended()
        {
            return Ok(feed);
        }
        let position = self.counted.position;
        if position == 0 {
            return engine.feed(1);
        }
        let last = engine.durable_position();
        let diverged = Error::ProjectionDiverged { position, last };
        if position > last {
            return Err(diverged);
        }
        let mut feed = engine.feed(position)?;
        match feed.try_next().transpose()? {
            Some(entry) if entry.mark()? == self.counted => Ok(feed),
            _ => Err(diverged),
        }
    }
}

impl<V> fmt::Debug for Projection<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("position", &self.counted.position)
            .finish_non_exhaustive()
    }
}

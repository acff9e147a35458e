//! A stream's state as it was: folded from the log up to a version, a position or a time.

use std::sync::Arc;

use super::handle::Handle;
use super::outcome::View;
use super::registry::Visit;
use super::replay::Fold;
use super::scan::{self, Until};
use super::stream::{StateArc, Whereabouts};
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::Error;

/// A moment in the past of a stream. Each includes what happened at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After so many events of the stream, recorded rejections included.
    Version(u64),
    /// After the entry at this place in the whole log, whichever stream it belongs to.
    Position(u64),
    /// After everything that was durable at this time, by
    /// [`committed_at`](crate::history::Recorded::committed_at). A time that lies in the future is now.
    Time(Timestamp),
}

impl<A: Aggregate> Handle<A> {
    /// The state of a stream as it was, of what is on disk. Scans the log from the stream's first event and
    /// blocks for that; works for a fenced stream up to the event that fences it.
    ///
    /// ```
    /// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
    /// use boxoffice::{Engine, history::At};
    ///
    /// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
    /// let sales = engine.handle::<FlashSale>(())?;
    /// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
    /// assert!(sales.execute("lamp", &FlashSaleCommand::purchase("ada", 2))?.is_accepted());
    /// assert_eq!(sales.read_at("lamp", At::Version(1))?.left(), 5);
    /// assert_eq!(sales.read("lamp")?.left(), 3);
    /// # Ok::<(), boxoffice::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`] or [`Error::InvalidId`]; [`Error::NotYetCreated`] if the stream had no events
    /// then; [`Error::UnknownVersion`] or [`Error::UnknownPosition`] for what is not on disk yet;
    /// [`Error::Fenced`] if an event up to then cannot be read or applied; or why the engine has stopped.
    pub fn read_at(&self, id: impl AsRef<str>, at: At) -> Result<View<A>, Error> {
        let log = &self.shared.log;
        log.check_readable()?;
        self.check_id(id.as_ref())?;
        let name = self.name(id.as_ref());
        let Some(place) = Visit::begin(&*self.registry, id.as_ref(), false)?.stream().whereabouts() else {
            return Err(Error::UnknownStream { stream: name });
        };
        let Whereabouts { number, first, last, .. } = place;
        let durable = log.durable();
        let (mut last, mut until) = (last.min(durable), Until::END);
        match at {
            At::Position(position) if position > durable => {
                return Err(Error::UnknownPosition { position, last: durable });
            }
            At::Position(position) => last = last.min(position),
            At::Version(version) => until.version = version,
            At::Time(time) => until.committed_at = time,
        }
        let mut fold = Fold::new(Arc::clone(&self.registry), id.as_ref(), number);
        scan::fold(log, &mut fold, number, first..=last, &until)?;
        if let Some(reason) = fold.fence() {
            return Err(Error::Fenced { stream: name, reason: reason.clone() });
        }
        let (version, position) = (fold.version(), fold.position());
        match at {
            At::Version(asked) if asked > version => {
                Err(Error::UnknownVersion { stream: name, version: asked, last: version })
            }
            _ if version == 0 => Err(Error::NotYetCreated { stream: name, first }),
            _ => Ok(View { state: StateArc::new(fold.state), version, position, durable: true }),
        }
    }
}

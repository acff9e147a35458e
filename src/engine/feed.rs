//! The change feed: every durable entry in order, from a position on, and then live.

use std::fmt;
use std::iter::from_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use smol_str::SmolStr;

use super::history::{Happened, happened};
use super::schema::Schema;
use super::{Engine, Shared};
use crate::aggregate::Aggregate;
use crate::clock::Timestamp;
use crate::error::{Error, StreamName};
use crate::log::{Arrival, DurableEntry, Mark, Reader};
use crate::metadata::Metadata;
use crate::sync::{Patience, Place, run_blocking};

/// Every durable entry of the log in order, from a position on; then the new ones as they become durable.
///
/// Get one from [`Engine::feed`]. As an iterator it blocks for the next entry, and ends when the engine was
/// closed and everything was delivered. An error is delivered once, and ends it. Entries are whole, follow
/// each other without a gap, and are on disk: what a feed has shown, no crash takes back.
///
/// Any number of feeds may read at once. Each reads for itself, in transactions that last for one batch, and
/// keeps that batch in memory (up to [`Limits::batch_bytes`](crate::Limits::batch_bytes), or one larger
/// entry). It pins nothing else: a feed that nobody reads holds up no decision, no other feed, and no space
/// in the file.
///
/// To go on later, store [`next_position`](Feed::next_position) with what was done, and begin there. A
/// [`Projection`](crate::history::Projection) does that.
///
/// ```
/// use boxoffice::flash_sale::{FlashSale, FlashSaleCommand};
/// use boxoffice::history::Happened;
/// use boxoffice::{Engine, Error};
///
/// let engine = Engine::builder().aggregate::<FlashSale>().in_memory()?;
/// let sales = engine.handle::<FlashSale>(())?;
/// assert!(sales.execute("lamp", &FlashSaleCommand::create(5))?.is_accepted());
/// assert!(sales.execute("lamp", &FlashSaleCommand::purchase("ada", 2))?.is_accepted());
///
/// let mut feed = engine.feed(2)?;
/// let entry = feed.next().expect("the engine is open")?;
/// assert_eq!((entry.position(), feed.next_position()), (2, 3));
/// for event in entry.events::<FlashSale>() {
///     let event = event?;
///     assert_eq!((event.id.as_str(), event.version), ("lamp", 2));
///     assert!(matches!(event.what, Happened::Event(_)));
/// }
/// assert!(feed.try_next().is_none());
///
/// engine.close()?;
/// assert!(feed.next().is_none());
/// # Ok::<(), Error>(())
/// ```
pub struct Feed {
    shared: Arc<Shared>,
    reader: Reader,
    ended: bool,
}

impl Engine {
    /// The durable entries from position `from` on, and then the new ones: 1 is the start of the log,
    /// [`durable_position`](Self::durable_position)` + 1` shows new ones only. Reads nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPosition`] for 0, and beyond the position that the next entry gets: a reader that has
    /// seen more than the log holds has read another log, or this one before an older backup was restored.
    /// [`Error::Storage`] or [`Error::Broken`] if the engine has stopped.
    pub fn feed(&self, from: u64) -> Result<Feed, Error> {
        self.shared.log.check_readable()?;
        let last = self.shared.log.tail();
        if from == 0 || from > last + 1 {
            return Err(Error::UnknownPosition { position: from, last });
        }
        Ok(Feed { shared: Arc::clone(&self.shared), reader: Reader::new(from), ended: false })
    }
}

impl Feed {
    /// The position of the entry that comes next: store it to go on from there.
    pub fn next_position(&self) -> u64 {
        self.reader.position()
    }

    /// Whether nothing will come any more: the engine was closed, or an error was delivered.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next entry if it is durable already. Never waits for one; reads a batch from the disk where the
    /// last one ended. `None` if there is nothing now. To look is not to wait: what nobody waits for may come 10 ms later.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] or [`Error::Broken`] if the engine has stopped. [`Error::Closed`] if the engine was
    /// closed before this feed came to the end: the rest is there when the file is open again.
    pub fn try_next(&mut self) -> Option<Result<FeedEntry, Error>> {
        if self.ended {
            return None;
        }
        match self.reader.next(&self.shared.log) {
            Ok(None) => None,
            Ok(Some(entry)) => Some(Ok(FeedEntry(entry))),
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    /// The next entry; blocks until it is durable, for at most so long. `None` if nothing came in time, or
    /// nothing will come: see [`is_ended`](Self::is_ended).
    ///
    /// # Errors
    ///
    /// As [`try_next`](Self::try_next).
    pub fn next_timeout(&mut self, limit: Duration) -> Option<Result<FeedEntry, Error>> {
        self.next_blocking(Some(limit))
    }

    /// The next entry; suspends a task until it is durable. `None` if nothing will come any more.
    ///
    /// A future that is dropped before it is ready leaves nothing behind, and takes no entry with it. Reading
    /// a batch from the disk runs in place.
    ///
    /// # Errors
    ///
    /// As [`try_next`](Self::try_next).
    pub async fn next_async(&mut self) -> Option<Result<FeedEntry, Error>> {
        if let Some(ready) = self.try_next() {
            return Some(ready);
        }
        let shared = Arc::clone(&self.shared);
        self.advance(&mut Patience::of_task(None, &shared.timer)).await
    }

    /// This feed as a [`futures_core::Stream`], which every async runtime knows how to drive.
    pub fn into_async(self) -> AsyncFeed {
        AsyncFeed { feed: self, place: None }
    }

    pub(super) fn is_of(&self, engine: &Engine) -> bool {
        Arc::ptr_eq(&self.shared, &engine.shared)
    }

    fn next_blocking(&mut self, limit: Option<Duration>) -> Option<Result<FeedEntry, Error>> {
        match self.try_next() {
            None => run_blocking(self.advance(&mut Patience::of_thread(limit))),
            ready => ready,
        }
    }

    async fn advance(&mut self, patience: &mut Patience<'_>) -> Option<Result<FeedEntry, Error>> {
        while !self.ended {
            let news = self.shared.log.wait_for(self.next_position(), patience).await;
            if let ControlFlow::Break(next) = self.hear(news) {
                return next;
            }
        }
        None
    }

    /// What a wait that ended means.
    fn hear(&mut self, news: Result<Arrival, Error>) -> ControlFlow<Option<Result<FeedEntry, Error>>> {
        ControlFlow::Break(match news {
            Ok(Arrival::Durable) => match self.try_next() {
                None => return ControlFlow::Continue(()),
                ready => ready,
            },
            Ok(Arrival::NotYet) => None,
            Ok(Arrival::Never) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        })
    }
}

impl Iterator for Feed {
    type Item = Result<FeedEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_blocking(None)
    }
}

/// A [`Feed`] for tasks: a [`futures_core::Stream`] of entries, with the same promises.
///
/// Apart from the iterator, so that a program that has a stream's and an iterator's methods in sight need
/// not say which `next` it means.
///
/// ```
/// use std::future::poll_fn;
/// use std::pin::Pin;
/// # use std::task::{Context, Waker, Poll};
///
/// use boxoffice::Engine;
/// use futures_core::Stream;
///
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
/// #         Poll::Ready(output) => output,
/// #         Poll::Pending => unreachable!("the engine is closed"),
/// #     }
/// # }
/// let engine = Engine::builder().in_memory()?;
/// let mut feed = engine.feed(1)?.into_async();
/// engine.close()?;
/// let next = block_on(poll_fn(|cx| Pin::new(&mut feed).poll_next(cx)));
/// assert!(next.is_none());
/// # Ok::<(), boxoffice::Error>(())
/// ```
pub struct AsyncFeed {
    feed: Feed,
    /// Where the task of the last look stands in line.
    place: Option<Place>,
}

impl AsyncFeed {
    /// As [`Feed::next_position`].
    pub fn next_position(&self) -> u64 {
        self.feed.next_position()
    }

    /// The feed itself, to go on blocking. Whoever waited is forgotten.
    pub fn into_feed(self) -> Feed {
        self.feed
    }
}

impl Stream for AsyncFeed {
    type Item = Result<FeedEntry, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { feed, place } = &mut *self;
        loop {
            if let Some(ready) = feed.try_next() {
                *place = None;
                return Poll::Ready(Some(ready));
            }
            if feed.ended {
                return Poll::Ready(None);
            }
            let Poll::Ready(news) = feed.shared.log.poll_for(feed.next_position(), place, cx) else {
                return Poll::Pending;
            };
            if let ControlFlow::Break(next) = feed.hear(news) {
                return Poll::Ready(next);
            }
        }
    }
}

/// A durable entry: all that one command decided, over one stream or several, as it was stored.
///
/// It keeps the bytes of its batch in memory until it is dropped, and decodes only what it is asked for.
#[derive(Clone)]
pub struct FeedEntry(DurableEntry);

/// The events of one stream in an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSpan {
    /// Whose they are: also of a type that nobody registered.
    pub stream: StreamName,
    /// The version of the first.
    pub first_version: u64,
    /// How many there are, recorded rejections among them.
    pub events: u32,
}

/// An event of an entry, decoded.
pub struct FeedEvent<A: Aggregate> {
    /// The stream's id.
    pub id: SmolStr,
    /// The event's number in its stream.
    pub version: u64,
    /// What happened.
    pub what: Happened<A>,
}

impl FeedEntry {
    /// Its place in the log, from 1, without a gap.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// When it was decided.
    pub fn decided_at(&self) -> Timestamp {
        self.0.decided_at
    }

    /// When it became durable: never decreases along the log, also across restarts.
    pub fn committed_at(&self) -> Timestamp {
        self.0.committed_at()
    }

    /// The id of the command that caused it, if it had one.
    pub fn command_id(&self) -> Option<SmolStr> {
        // It was read whole before it was handed out.
        let asked = self.0.view().ok()?.sections.command().ok()??;
        Some(SmolStr::new(asked.id))
    }

    /// What the call or the transaction said about itself, if it did.
    pub fn metadata(&self) -> Option<Metadata> {
        self.0.view().ok()?.sections.metadata().ok()?
    }

    /// The streams that it belongs to, in the order in which they were decided.
    pub fn streams(&self) -> impl Iterator<Item = FeedSpan> + '_ {
        // It was read whole before it was handed out, and the audit knew every stream of it.
        let spans = self.0.view().map(|view| view.spans).unwrap_or_default();
        spans.into_iter().filter_map(|span| {
            let stream = self.0.directory().name(span.stream)?;
            Some(FeedSpan { stream, first_version: span.first_version, events: span.events })
        })
    }

    /// The events of the streams of type `A`, in order; nothing for an entry without one. Others are skipped,
    /// not decoded. The type need not be registered.
    ///
    /// # Errors
    ///
    /// In the place of an event that does not decode: [`Error::Fenced`] with the reason. Those after it
    /// follow.
    pub fn events<A: Aggregate>(&self) -> impl Iterator<Item = Result<FeedEvent<A>, Error>> + '_ {
        let (spans, mut events, mut broken) = match self.0.view() {
            Ok(view) => (view.spans.clone(), Some(view.events()), None),
            Err(malformed) => (Default::default(), None, Some(Error::from(malformed))),
        };
        let mut spans = spans.into_iter();
        let schema = Schema::<A>::default();
        // The stream whose turn it is, with its next version and the number of events that are left.
        let mut turn: Option<(SmolStr, u64, u32)> = None;
        from_fn(move || {
            if let Some(error) = broken.take() {
                return Some(Err(error));
            }
            let rest = events.as_mut()?;
            loop {
                if let Some((id, version, left @ 1..)) = &mut turn {
                    let event = match rest.next()? {
                        Ok(event) => event,
                        Err(malformed) => {
                            events = None;
                            return Some(Err(malformed.into()));
                        }
                    };
                    let (id, version) = (id.clone(), std::mem::replace(version, *version + 1));
                    *left -= 1;
                    return Some(match happened(&schema, &event) {
                        Ok(what) => Ok(FeedEvent { id, version, what }),
                        Err(reason) => {
                            let stream = StreamName { aggregate: SmolStr::new_static(A::TYPE), id };
                            Err(Error::Fenced { stream, reason })
                        }
                    });
                }
                let span = spans.next()?;
                match self.0.directory().id_in(span.stream, A::TYPE) {
                    Some(id) => turn = Some((id, span.first_version, span.events)),
                    None => {
                        if let Err(malformed) = rest.of_span(&span, drop) {
                            events = None;
                            return Some(Err(malformed.into()));
                        }
                    }
                }
            }
        })
    }

    pub(super) fn mark(&self) -> Result<Mark, Error> {
        Ok(Mark {
            position: self.position(),
            committed_at: self.committed_at(),
            checksum: self.0.checksum()?,
        })
    }
}

impl<A: Aggregate> fmt::Debug for FeedEvent<A>
where
    A::Event: fmt::Debug,
    A::Rejection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = f.debug_struct("FeedEvent");
        line.field("id", &self.id).field("version", &self.version);
        match &self.what {
            Happened::Event(event) => line.field("event", event),
            Happened::Rejection(rejection) => line.field("rejection", rejection),
        };
        line.finish()
    }
}

impl fmt::Debug for FeedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams: Vec<_> = self.streams().collect();
        f.debug_struct("FeedEntry").field("position", &self.position()).field("streams", &streams).finish()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("next_position", &self.next_position())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AsyncFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFeed").field("feed", &self.feed).finish_non_exhaustive()
    }
}

//! What the open windows hear: one reader of the engine's feed, and a channel that fans out.
//!
//! The reader folds every durable entry into a state of its own, and says which seats are different now.
//! A window costs a place in the channel and not a feed; what it is sent was put into bytes once, for all.
//! That a hold lapses is no event: a window is told until when a seat is held, and goes by the clock.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use boxoffice::Aggregate;
use boxoffice::clock::Timestamp;
use boxoffice::error::Error;
use boxoffice::history::{AsyncFeed, FeedEntry, Happened};
use boxoffice::layout::SeatIndex;
use boxoffice::venue::VenueState;
use futures_core::Stream;
use serde::Serialize;
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::{broadcast, watch};

use crate::cinema::{Cinema, SHOWS};
use crate::office::{Hall, Office};
use crate::paper::{Bookings, Paper, PaperEvent};
use crate::standing::{Standing, bookings, millis, now};

/// How many messages a window may be behind before it is sent the whole picture instead.
const BEHIND: usize = 256;
/// How many messages are kept for windows that come back.
const KEPT: usize = 1024;

/// A message to every window of a show, ready for the wire.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) show: &'static str,
    position: u64,
    pub(crate) frame: Bytes,
}

pub(crate) struct Live {
    cinema: Arc<Cinema>,
    /// Tells this log from another one with the same positions.
    log: u64,
    inner: Mutex<Inner>,
    /// How far the log was folded in, for those who wait for it.
    reached: watch::Sender<u64>,
}

struct Inner {
    /// The last position that was folded in.
    position: u64,
    shows: BTreeMap<&'static str, Picture>,
    kept: VecDeque<Message>,
    /// None once the server stops: every window ends.
    sender: Option<broadcast::Sender<Message>>,
}

#[derive(Default)]
struct Picture {
    hall: VenueState<SmolStr>,
    paper: Bookings,
}

/// A seat as a window draws it.
#[derive(Serialize)]
pub(crate) struct SeatNow {
    pub(crate) id: SmolStr,
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<SmolStr>,
    /// In milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(skip_serializing_if = "is_usual")]
    bookings: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_usual(bookings: &u32) -> bool {
    *bookings <= 1
}

#[derive(Serialize)]
struct Update {
    seats: Vec<SeatNow>,
}

impl Live {
    /// Folds what the log holds already, and follows it from there on. The feed is read by
    /// [`follow`](Self::follow).
    pub(crate) fn new(office: &Office) -> Result<(Arc<Self>, AsyncFeed), Error> {
        let mut feed = office.engine.feed(1)?;
        let shows = SHOWS.iter().map(|show| (show.id, Picture::default())).collect();
        let (sender, _) = broadcast::channel(BEHIND);
        let inner = Inner { position: 0, shows, kept: VecDeque::new(), sender: Some(sender) };
        let mut live = Self {
            cinema: Arc::clone(&office.cinema),
            log: 0,
            inner: Mutex::new(inner),
            reached: watch::Sender::new(0),
        };
        while let Some(entry) = feed.try_next() {
            let entry = entry?;
            if entry.position() == 1 {
                live.log = entry.committed_at().0;
            }
            live.fold(&entry)?;
        }
        Ok((Arc::new(live), feed.into_async()))
    }

    /// Reads the feed to its end, which is the end of the engine, or of the windows.
    pub(crate) async fn follow(&self, mut feed: AsyncFeed) -> Result<(), Error> {
        while let Some(entry) = poll_fn(|cx| Pin::new(&mut feed).poll_next(cx)).await {
            self.fold(&entry?)?;
        }
        Ok(())
    }

    /// Ends every window, and lets none begin.
    pub(crate) fn stop(&self) {
        self.lock().sender = None;
    }

    /// What to show to others in place of a customer's id, which is all that a cart is protected by. The same after
    /// a restart, so that windows that stayed open still know what is theirs.
    pub(crate) fn tag(&self, client: &SmolStr) -> SmolStr {
        let mut hasher = DefaultHasher::new();
        (self.log, client.as_str()).hash(&mut hasher);
        format_smolstr!("{:012x}", hasher.finish() >> 16)
    }

    /// Waits until everything up to this position is folded in.
    pub(crate) async fn reach(&self, position: u64) {
        // It cannot be closed while somebody looks at it.
        let _ = self.reached.subscribe().wait_for(|reached| *reached >= position).await;
    }

    /// What a window that has seen everything up to `last` is sent first, and where the rest comes from. None if the
    /// server stops.
    pub(crate) fn join(
        &self,
        show: &'static str,
        last: Option<&str>,
    ) -> Option<(Vec<Bytes>, broadcast::Receiver<Message>)> {
        let inner = self.lock();
        let receiver = inner.sender.as_ref()?.subscribe();
        let seen = last.and_then(|id| self.position_in(id)).filter(|seen| *seen <= inner.position);
        let first_kept = inner.kept.front().map_or(inner.position + 1, |message| message.position);
        let missed = |seen: u64| {
            let rest = inner.kept.iter().filter(|message| message.show == show && message.position > seen);
            rest.map(|message| message.frame.clone()).collect()
        };
        let first = match seen {
            // What came before the first that is kept is not known to concern another show.
            Some(seen) if seen + 1 >= first_kept || seen == inner.position => missed(seen),
            _ => vec![self.whole(&inner, show)],
        };
        Some((first, receiver))
    }

    /// The whole picture, for a window that has missed too much; also while the server stops, so that its last message
    /// is the last of all.
    pub(crate) fn again(&self, show: &'static str) -> (Vec<Bytes>, broadcast::Receiver<Message>) {
        let inner = self.lock();
        let ended = || broadcast::channel(1).1;
        let receiver = inner.sender.as_ref().map_or_else(ended, broadcast::Sender::subscribe);
        (vec![self.whole(&inner, show)], receiver)
    }

    /// What is sent first, and when nothing happens: the time. Other messages have none, which may be sent again later.
    pub(crate) fn pulse() -> Bytes {
        format!("event: pulse\ndata: {}\n\n", millis(now())).into()
    }

    fn fold(&self, entry: &FeedEntry) -> Result<(), Error> {
        let mut inner = self.lock();
        let mut changed: BTreeMap<&'static str, Vec<SeatIndex>> = BTreeMap::new();
        for event in entry.events::<Hall>() {
            let event = event?;
            let Some((show, picture)) = picture_of(&mut inner.shows, &event.id) else { continue };
            if let Happened::Event(event) = &event.what {
                Hall::apply(&mut picture.hall, event);
                changed.entry(show).or_default().extend(event.seats());
            }
        }
        for event in entry.events::<Paper>() {
            let event = event?;
            let Some((show, picture)) = picture_of(&mut inner.shows, &event.id) else { continue };
            if let Happened::Event(event) = &event.what {
                let seats = changed.entry(show).or_default();
                match event {
                    PaperEvent::Blanked { .. } => {
                        let layout = &self.cinema.layout;
                        seats.extend(layout.seats().filter(|seat| picture.paper.written(*seat) > 0));
                    }
                    PaperEvent::Written { lines, .. } => seats.extend(lines.iter().map(|line| line.seat)),
                }
                Paper::apply(&mut picture.paper, event);
            }
        }
        inner.position = entry.position();
        self.reached.send_replace(inner.position);
        for (show, mut seats) in changed {
            seats.sort_unstable();
            seats.dedup();
            let Some(picture) = inner.shows.get(show) else { continue };
            let frame = self.frame("seats", inner.position, picture, seats.into_iter());
            let message = Message { show, position: inner.position, frame };
            if inner.kept.len() == KEPT {
                inner.kept.pop_front();
            }
            inner.kept.push_back(message.clone());
            if let Some(sender) = &inner.sender {
                // Nobody listening is no reason to stop.
                let _ = sender.send(message);
            }
        }
        Ok(())
    }

    fn whole(&self, inner: &Inner, show: &'static str) -> Bytes {
        let seats = self.cinema.in_order().map(|(seat, _)| seat);
        match inner.shows.get(show) {
            Some(picture) => self.frame("hall", inner.position, picture, seats),
            None => Bytes::new(),
        }
    }

    fn frame(
        &self,
        event: &str,
        position: u64,
        picture: &Picture,
        seats: impl Iterator<Item = SeatIndex>,
    ) -> Bytes {
        let at = now();
        let seats = seats.map(|seat| self.seat_now(picture, seat, at)).collect();
        // A struct of texts and numbers always becomes JSON.
        let data = serde_json::to_string(&Update { seats }).unwrap_or_default();
        format!("event: {event}\nid: {:x}.{position}\ndata: {data}\n\n", self.log).into()
    }

    fn seat_now(&self, picture: &Picture, seat: SeatIndex, at: Timestamp) -> SeatNow {
        let (status, by, until) = match Standing::of(&picture.hall, &picture.paper, seat, at) {
            Standing::Free => ("available", None, None),
            Standing::Held { by, until } => ("held", Some(self.tag(&by)), Some(millis(until))),
            Standing::Booked { by } => ("booked", by.map(|by| self.tag(&by)), None),
        };
        let bookings = bookings(&picture.hall, &picture.paper, seat);
        SeatNow { id: self.cinema.label(seat), status, by, until, bookings }
    }

    /// The position of an event's id, if it is of this log.
    fn position_in(&self, id: &str) -> Option<u64> {
        let (log, position) = id.split_once('.')?;
        (u64::from_str_radix(log, 16) == Ok(self.log)).then(|| position.parse().ok())?
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is inside is whole after every step: a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn picture_of<'p>(
    shows: &'p mut BTreeMap<&'static str, Picture>,
    id: &str,
) -> Option<(&'static str, &'p mut Picture)> {
    shows.iter_mut().find(|(show, _)| **show == id).map(|(show, picture)| (*show, picture))
}

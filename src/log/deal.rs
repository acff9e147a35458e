//! Sorts the log's events by stream, for those who replay it.
//!
//! Whoever folds a stream then reads memory in order, stays with one state for many events, and asks once what it would
//! have to ask for each. The spans of one entry part here: no order between streams matters to them.

use std::borrow::Cow;

use smol_str::SmolStr;

use super::bytes::Malformed;
use super::entry::{EntryView, Events, Span};
use crate::clock::Timestamp;

/// Events of one stream that follow each other, of one entry or of several.
pub(crate) struct Run<'a> {
    /// The positions of the first entry and of the last.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The latest time that one of them was decided at.
    pub(crate) decided_at: Timestamp,
    /// How many of the events are the first entry's.
    pub(crate) begins_with: u32,
    pub(crate) count: u64,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Run<'a> {
    /// Takes one span's off the events of an entry.
    pub(crate) fn of_span(
        position: u64,
        decided_at: Timestamp,
        span: &Span<'_>,
        events: &mut Events<'a>,
    ) -> Result<Self, Malformed> {
        let bytes = Cow::Borrowed(events.bytes_of(span)?);
        let (first, last, begins_with) = (position, position, span.events);
        Ok(Self { first, last, decided_at, begins_with, count: begins_with.into(), bytes })
    }

    pub(crate) fn events(&self) -> Events<'_> {
        Events::of(&self.bytes, self.count)
    }
}

/// What one share gets of a portion of the log.
pub(crate) type Hand = Vec<Dealt>;

/// What one stream got in a portion of the log.
pub(crate) struct Dealt {
    pub(crate) stream: u32,
    /// Aggregate type and id, where the stream begins.
    pub(crate) defines: Option<(SmolStr, SmolStr)>,
    pub(crate) run: Run<'static>,
}

/// Deals the streams out to so many shares, each always to the same one.
pub(crate) struct Dealer {
    shares: usize,
    dealt: Vec<Dealt>,
    /// Where in `dealt` each stream is, by number.
    places: Vec<u32>,
    /// So many bytes a stream got on average the last time, and half as many again: portions grow, and streams differ.
    room: usize,
}

const NOWHERE: u32 = u32::MAX;

/// At most so much room is made ahead for the streams of one portion together: one that had much may be followed by many.
const MOST_ROOM: usize = 16 << 20;

impl Dealer {
    pub(crate) fn new(shares: usize) -> Self {
        Self { shares, dealt: Vec::new(), places: Vec::new(), room: 0 }
    }

    /// Takes the next entry. Its numbers must have been audited: memory is spent on them.
    ///
    /// Where an entry ends is not to be seen in a run: its events must fill it.
    #[inline]
    pub(crate) fn deal(&mut self, position: u64, entry: &EntryView<'_>) -> Result<(), Malformed> {
        let mut events = entry.events();
        for span in &entry.spans {
            let bytes = events.bytes_of(span)?;
            let place = match self.places.get(span.stream as usize) {
                Some(place) if *place != NOWHERE => *place,
                _ => self.begin(position, span),
            };
            let Some(Dealt { run, .. }) = self.dealt.get_mut(place as usize) else { continue };
            run.last = position;
            run.decided_at = run.decided_at.max(entry.decided_at);
            run.count += u64::from(span.events);
            run.bytes.to_mut().extend_from_slice(bytes);
        }
        events.finish()
    }

    fn begin(&mut self, position: u64, span: &Span<'_>) -> u32 {
        let (stream, place) = (span.stream as usize, self.dealt.len() as u32);
        if stream >= self.places.len() {
            self.places.resize(stream + 1, NOWHERE);
        }
        if let Some(old) = self.places.get_mut(stream) {
            *old = place;
        }
        let left = MOST_ROOM.saturating_sub(self.room.saturating_mul(self.dealt.len()));
        let bytes = Vec::with_capacity(self.room.min(left));
        self.dealt.push(Dealt {
            stream: span.stream,
            defines: span.defines.map(|(aggregate, id)| (SmolStr::new(aggregate), SmolStr::new(id))),
            run: Run {
                first: position,
                last: position,
                decided_at: Timestamp::default(),
                begins_with: span.events,
                count: 0,
                bytes: Cow::Owned(bytes),
            },
        });
        place
    }

    /// How many streams got something since the last time.
    pub(crate) fn streams(&self) -> usize {
        self.dealt.len()
    }

    /// What was dealt since the last time, by share; streams in the order of their first entries.
    pub(crate) fn hands(&mut self) -> Vec<Hand> {
        let mut hands: Vec<Hand> = (0..self.shares).map(|_| Hand::new()).collect();
        let bytes: usize = self.dealt.iter().map(|dealt| dealt.run.bytes.len()).sum();
        self.room = bytes * 3 / 2 / self.dealt.len().max(1);
        for dealt in self.dealt.drain(..) {
            let stream = dealt.stream as usize;
            if let Some(place) = self.places.get_mut(stream) {
                *place = NOWHERE;
            }
            if let Some(hand) = hands.get_mut(stream % self.shares) {
                hand.push(dealt);
            }
        }
        hands
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::bytes::Cursor;
    use crate::log::draft::Draft;
    use crate::log::entry::{Entry, EventKind, NewSpan, StreamRef};

    /// What reached a stream.
    #[derive(Debug, Default, PartialEq)]
    struct Got {
        defined: u32,
        events: Vec<u32>,
        latest: u64,
        first: u64,
        last: u64,
        begins_with: u32,
    }

    const STREAMS: usize = 6;

    proptest! {
        /// However entries are cut into portions, each stream gets all its events in their order, at one share.
        #[test]
        fn every_stream_gets_its_events_in_order(
            // Of each entry: the streams (as a set of bits), how many events in each, and when.
            entries in prop::collection::vec((1u8..1 << STREAMS, prop::array::uniform6(1u32..4), 0u64..99), 1..60),
            cuts in prop::collection::vec(1usize..20, 1..20),
            shares in 1usize..5,
        ) {
            let mut wanted: Vec<Got> = (0..STREAMS).map(|_| Got::default()).collect();
            let mut dealer = Dealer::new(shares);
            let mut got: Vec<Got> = (0..STREAMS).map(|_| Got::default()).collect();
            let mut numbers = std::collections::HashMap::new();
            let (mut cuts, mut serial) = (cuts.into_iter().cycle(), 0);
            let mut left = cuts.next().unwrap();
            let mut gather = |dealer: &mut Dealer| {
                for (share, hand) in dealer.hands().into_iter().enumerate() {
                    assert!(hand.iter().filter(|dealt| dealt.defines.is_some()).is_sorted_by_key(|dealt| dealt.stream));
                    for dealt in hand {
                        let (stream, run) = (dealt.stream as usize, &dealt.run);
                        assert_eq!(stream % shares, share);
                        let got = &mut got[stream];
                        got.defined += u32::from(dealt.defines.is_some());
                        if got.events.is_empty() {
                            (got.first, got.begins_with) = (run.first, run.begins_with);
                        }
                        got.last = run.last;
                        got.latest = got.latest.max(run.decided_at.0);
                        let before = got.events.len() as u64;
                        got.events.extend(run.events().map(|event| {
                            crate::log::decode::<u32>(event.unwrap().payload).unwrap()
                        }));
                        assert_eq!(got.events.len() as u64, before + run.count);
                    }
                }
            };
            for (position, (streams, counts, decided_at)) in (1u64..).zip(entries) {
                let (mut drafts, mut next) = (Vec::new(), numbers.len() as u32);
                let first_new = next;
                for stream in (0..STREAMS).filter(|stream| streams >> stream & 1 == 1) {
                    let (mut draft, each) = (Draft::new(1 << 20), counts[stream]);
                    let number = *numbers.entry(stream).or_insert_with(|| { next += 1; next - 1 });
                    let want = &mut wanted[number as usize];
                    for _ in 0..each {
                        serial += 1;
                        draft.push(EventKind::Event, 1, &serial).unwrap();
                        want.events.push(serial);
                    }
                    if number >= first_new {
                        (want.defined, want.first, want.begins_with) = (1, position, each);
                    }
                    want.last = position;
                    want.latest = want.latest.max(decided_at);
                    drafts.push((number, each, draft));
                }
                let spans: Vec<_> = drafts.iter().map(|(number, each, draft)| NewSpan {
                    stream: if *number < first_new {
                        StreamRef::Known(*number)
                    } else {
                        StreamRef::New { aggregate: "type", id: "id" }
                    },
                    first_version: 1,
                    events: *each,
                    draft,
                }).collect();
                let mut bytes = Vec::new();
                Entry { decided_at: Timestamp(decided_at), sections: &[], spans: &spans }
                    .write(first_new, &mut bytes);
                dealer.deal(position, &EntryView::read(&mut Cursor(&bytes)).unwrap()).unwrap();
                left -= 1;
                if left == 0 {
                    gather(&mut dealer);
                    left = cuts.next().unwrap();
                }
            }
            gather(&mut dealer);
            prop_assert_eq!(got, wanted);
        }
    }

    /// An entry of one stream that has one event, says that it has so many, and goes on with other bytes.
    fn entry(stream: u32, events: u32, more: &[u8]) -> Vec<u8> {
        let mut draft = Draft::new(1 << 20);
        draft.push(EventKind::Event, 1, &[7u8; 300].as_slice()).unwrap();
        let span = NewSpan { stream: StreamRef::Known(stream), first_version: 1, events, draft: &draft };
        let mut bytes = Vec::new();
        Entry { decided_at: Timestamp(1), sections: &[], spans: &[span] }.write(0, &mut bytes);
        bytes.extend_from_slice(more);
        let len = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    fn deal(dealer: &mut Dealer, entry: &[u8]) -> Result<(), Malformed> {
        dealer.deal(1, &EntryView::read(&mut Cursor(entry))?)
    }

    /// What is too much in one entry and missing in the next would be right in sum.
    #[test]
    fn an_entry_has_neither_more_nor_fewer_events_than_it_says() {
        assert!(deal(&mut Dealer::new(1), &entry(0, 1, &[])).is_ok());
        assert!(deal(&mut Dealer::new(1), &entry(0, 2, &[])).is_err());
        assert!(deal(&mut Dealer::new(1), &entry(0, 1, &[0, 0])).is_err());
    }

    #[test]
    fn many_streams_after_one_that_had_much_get_little_room_ahead() {
        let mut dealer = Dealer::new(1);
        for _ in 0..10_000 {
            deal(&mut dealer, &entry(0, 1, &[])).unwrap();
        }
        assert_eq!(dealer.hands().len(), 1);
        for stream in 0..10_000 {
            deal(&mut dealer, &entry(stream, 1, &[])).unwrap();
        }
        let room = |dealt: &Dealt| match &dealt.run.bytes {
            Cow::Owned(bytes) => bytes.capacity(),
            Cow::Borrowed(_) => unreachable!("it was dealt"),
        };
        let all: usize = dealer.dealt.iter().map(room).sum();
        assert!((MOST_ROOM / 2..=MOST_ROOM + 10_000 * 1024).contains(&all), "{all} bytes");
    }
}

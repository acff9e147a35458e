//! The entry: events over 1 to m streams, written and read as one indivisible piece.
//!
//! ```text
//! entry   := length u32, flags u8, decided_at u64, [sections length varint, section...], spans varint, span..., event...
//! section := tag varint, length varint, bytes        there if flags is 1; see `section.rs`
//! span    := stream varint (number << 1 | defined here), [type text, id text], first version varint, events varint
//! event   := kind varint (schema version << 1 | is rejection), payload length varint, payload
//! ```
//!
//! The events of all spans follow each other in the order of the spans. An entry without a span has
//! sections: it is the answer to a command that had an id and changed nothing. An entry's position is not
//! stored: it is the batch's first position plus the entry's place in it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::bytes::{Cursor, Gather, MAX_VARINT, Malformed, Sink};
use super::draft::Draft;
use super::section::Sections;
use crate::clock::Timestamp;
use crate::error::Error;

/// What an event's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Event,
    Rejection,
}

/// Which stream, and what the log knows of it.
#[derive(Clone, Copy)]
pub(crate) enum StreamRef<'a> {
    Known(u32),
    /// Gets its number, and its definition in the log, with this entry.
    New {
        aggregate: &'a str,
        id: &'a str,
    },
}

/// An entry ready to be appended.
pub(crate) struct Entry<'a> {
    pub(crate) decided_at: Timestamp,
    /// Encoded by `section.rs`; empty for most.
    pub(crate) sections: &'a [u8],
    /// Each of another stream.
    pub(crate) spans: &'a [NewSpan<'a>],
}

/// One stream's share of an entry.
pub(crate) struct NewSpan<'a> {
    pub(crate) stream: StreamRef<'a>,
    pub(crate) first_version: u64,
    pub(crate) events: u32,
    pub(crate) draft: &'a Draft,
}

const WITH_SECTIONS: u8 = 1;

/// Room for what is fixed in an entry, with two numbers; and for a span's numbers and the lengths of its names.
const ENTRY_BYTES: usize = 4 + 1 + 8 + 2 * MAX_VARINT;
const SPAN_BYTES: usize = 5 * MAX_VARINT;

impl Entry<'_> {
    /// Appends the entry. New streams get the numbers from `next` on; returns the one after.
    pub(crate) fn write(&self, mut next: u32, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        let mut out = Gather::before(out);
        out.put(&[0; 4]);
        out.put_byte(if self.sections.is_empty() { 0 } else { WITH_SECTIONS });
        out.put(&self.decided_at.0.to_le_bytes());
        if !self.sections.is_empty() {
            out.put_block(self.sections);
        }
        out.put_varint(self.spans.len() as u64);
        for span in self.spans {
            match span.stream {
                StreamRef::Known(number) => out.put_varint(u64::from(number) << 1),
                StreamRef::New { aggregate, id } => {
                    out.put_varint(u64::from(next) << 1 | 1);
                    out.put_block(aggregate.as_bytes());
                    out.put_block(id.as_bytes());
                    next += 1;
                }
            }
            out.put_varint(span.first_version);
            out.put_varint(u64::from(span.events));
        }
        for span in self.spans {
            out.put(span.draft.bytes());
        }
        let out = out.done();
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        next
    }
}

/// At most how many bytes an entry of one stream takes in a batch; `names` are those of the stream, should it be
/// new.
pub(crate) fn entry_bytes(sections: usize, names: usize, draft: &Draft) -> usize {
    ENTRY_BYTES + sections + span_bytes(names, draft)
}

/// What every further stream adds to that.
pub(crate) fn span_bytes(names: usize, draft: &Draft) -> usize {
    SPAN_BYTES + names + draft.bytes().len()
}

/// An entry as it lies in a batch.
#[derive(Default)]
pub(crate) struct EntryView<'a> {
    pub(crate) decided_at: Timestamp,
    pub(crate) spans: SmallVec<[Span<'a>; 1]>,
    pub(crate) sections: Sections<'a>,
    /// How many events all its spans have.
    count: u64,
    rest: Cursor<'a>,
}

/// Consecutive events of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) stream: u32,
    /// Aggregate type and id, in the entry that uses the stream first.
    pub(crate) defines: Option<(&'a str, &'a str)>,
    pub(crate) first_version: u64,
    pub(crate) events: u32,
}

/// An event as it lies in an entry.
#[derive(Clone, Copy)]
pub(crate) struct EventView<'a> {
    pub(crate) kind: EventKind,
    pub(crate) schema: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> EntryView<'a> {
    /// Takes the next entry off `row`.
    pub(crate) fn read(row: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let mut view = Self::default();
        view.become_next(row)?;
        Ok(view)
    }

    /// Takes the next entry off `row`, in the place of this one: a view is many words, and moves slowly.
    #[inline(always)]
    pub(super) fn become_next(&mut self, row: &mut Cursor<'a>) -> Result<(), Malformed> {
        let len = row.u32()? as usize;
        let mut bytes = Cursor(row.take(len)?);
        let [flags] = bytes.array()?;
        if flags & !WITH_SECTIONS != 0 {
            return Err(Malformed("unknown entry flags"));
        }
        self.decided_at = Timestamp(bytes.u64()?);
        self.sections = if flags == 0 { Sections::default() } else { Sections::read(bytes.block()?)? };
        let streams = bytes.varint()?;
        self.spans.clear();
        self.count = 0;
        for _ in 0..streams {
            let span = Span::read(&mut bytes)?;
            self.count += u64::from(span.events);
            self.spans.push(span);
        }
        self.rest = bytes;
        if streams == 0 && (flags == 0 || !bytes.is_empty()) {
            return Err(Malformed("an entry without a stream"));
        }
        Ok(())
    }

    /// The events in order; those of the first span come first.
    pub(crate) fn events(&self) -> Events<'a> {
        Events { left: self.count, rest: self.rest }
    }
}

impl<'a> Span<'a> {
    #[inline(always)]
    fn read(bytes: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let tag = bytes.varint()?;
        let stream = u32::try_from(tag >> 1).map_err(|_| Malformed("stream number too large"))?;
        let defines = match tag & 1 {
            0 => None,
            _ => Some((bytes.text()?, bytes.text()?)),
        };
        let first_version = bytes.varint()?;
        let events = bytes.varint_u32()?;
        if events == 0 || first_version.checked_add(u64::from(events)).is_none() {
            return Err(Malformed("a span without events"));
        }
        Ok(Self { stream, defines, first_version, events })
    }
}

/// The events of an entry, one by one. A copy starts where the original is.
#[derive(Clone)]
pub(crate) struct Events<'a> {
    left: u64,
    rest: Cursor<'a>,
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<EventView<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let event = EventView::read(&mut self.rest);
        if event.is_err() {
            self.left = 0;
        }
        Some(event)
    }
}

impl<'a> EventView<'a> {
    #[inline(always)]
    pub(super) fn read(bytes: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let tag = bytes.varint()?;
        let schema = u32::try_from(tag >> 1).map_err(|_| Malformed("schema version too large"))?;
        let kind = if tag & 1 == 0 { EventKind::Event } else { EventKind::Rejection };
        Ok(EventView { kind, schema, payload: bytes.block()? })
    }
}

impl<'a> Events<'a> {
    /// So many events that lie behind each other.
    pub(crate) fn of(bytes: &'a [u8], count: u64) -> Self {
        Self { left: count, rest: Cursor(bytes) }
    }

    /// Goes to the end, where nothing may be left over: an event would be read from where none is, if more follow.
    #[inline(always)]
    pub(crate) fn finish(mut self) -> Result<(), Malformed> {
        if self.left > 0 {
            self.by_ref().try_for_each(|event| event.map(drop))?;
        }
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes after the last event")) }
    }

    /// The bytes of the next events, those of one span.
    #[inline(always)]
    pub(crate) fn bytes_of(&mut self, span: &Span<'_>) -> Result<&'a [u8], Malformed> {
        let all = self.rest.0;
        self.left =
            self.left.checked_sub(span.events.into()).ok_or(Malformed("an entry without its events"))?;
        for _ in 0..span.events {
            EventView::read(&mut self.rest)?;
        }
        Ok(all.get(..all.len() - self.rest.0.len()).unwrap_or_default())
    }

    /// Calls `visit` with the next events, those of one span.
    pub(crate) fn of_span(
        &mut self,
        span: &Span<'_>,
        mut visit: impl FnMut(EventView<'a>),
    ) -> Result<(), Malformed> {
        for _ in 0..span.events {
            visit(self.next().ok_or(Malformed("an entry without its events"))??);
        }
        Ok(())
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Corrupt { cause: Arc::from(malformed.0) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::section::{Tag, put_section};

    proptest! {
        #[test]
        fn an_entry_reads_as_written_and_no_prefix_of_it_does(
            decided_at: u64,
            number in 0..u32::MAX >> 1,
            first_version in 1..u64::MAX >> 1,
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            new: bool,
            alone: bool,
            user: Option<String>,
            schema: u16,
        ) {
            let mut draft = Draft::new(1 << 20);
            for payload in &payloads {
                draft.push(EventKind::Rejection, schema, payload).unwrap();
            }
            let stream = if new { StreamRef::New { aggregate: "type", id: "id/with/slash" } } else { StreamRef::Known(number) };
            let span = |stream| NewSpan { stream, first_version, events: payloads.len() as u32, draft: &draft };
            let mut sections = Vec::new();
            if let Some(text) = &user {
                put_section(&mut sections, Tag::User, text.as_bytes());
            }
            // Once alone, and once beside a second stream.
            let spans = [span(stream), span(StreamRef::New { aggregate: "other", id: "" })];
            let spans = if alone { &spans[..1] } else { &spans[..] };
            let entry = Entry { decided_at: Timestamp(decided_at), sections: &sections, spans };
            let mut bytes = Vec::new();
            let next = entry.write(number, &mut bytes);
            prop_assert_eq!(next, number + u32::from(new) + u32::from(!alone));
            let most = entry_bytes(sections.len(), "typeid/with/slash".len(), &draft);
            let more = if alone { 0 } else { span_bytes("other".len(), &draft) };
            prop_assert!(bytes.len() <= most + more);

            let mut cursor = Cursor(&bytes);
            let view = EntryView::read(&mut cursor).unwrap();
            prop_assert!(cursor.is_empty());
            prop_assert_eq!(view.decided_at.0, decided_at);
            prop_assert_eq!(view.spans[0].stream, number);
            prop_assert_eq!(view.spans[0].defines.is_some(), new);
            prop_assert_eq!(view.spans[0].first_version, first_version);
            let read: Vec<Vec<u8>> = view.events().map(|event| {
                let event = event.unwrap();
                assert_eq!((event.kind, event.schema), (EventKind::Rejection, u32::from(schema)));
                crate::log::decode(event.payload).unwrap()
            }).collect();
            let twice: Vec<_> = payloads.iter().chain(&payloads).take(read.len()).cloned().collect();
            prop_assert_eq!(read.len(), payloads.len() * spans.len());
            prop_assert_eq!(read, twice);
            prop_assert!(view.events().finish().is_ok());
            let mut longer = view.rest.0.to_vec();
            longer.push(0);
            prop_assert!(Events::of(&longer, view.count).finish().is_err());
            prop_assert!(Events::of(&longer[..longer.len() - 2], view.count).finish().is_err());
            prop_assert_eq!(view.spans.len(), spans.len());
            let metadata = view.sections.metadata().unwrap().unwrap_or_default();
            prop_assert_eq!(metadata.user(), user.as_deref());
            for cut in 0..bytes.len() {
                prop_assert!(EntryView::read(&mut Cursor(&bytes[..cut])).is_err());
            }
        }

        #[test]
        fn hostile_bytes_give_an_error_and_not_memory(bytes: Vec<u8>) {
            if let Ok(view) = EntryView::read(&mut Cursor(&bytes)) {
                for event in view.events() {
                    if event.is_err() { break }
                }
            }
        }
    }
}

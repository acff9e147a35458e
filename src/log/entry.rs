//! The entry: 1 to n events over 1 to m streams, written and read as one indivisible piece.
//!
//! ```text
//! entry   := length u32, flags u8 (0), decided_at u64, spans varint, span..., event..., section...
//! span    := stream varint (number << 1 | defined here), [type text, id text], first version varint, events varint
//! event   := kind varint (schema version << 1 | is rejection), payload length varint, payload
//! section := tag varint, length varint, bytes        unknown tags are kept and skipped
//! ```
//!
//! The events of all spans follow each other in the order of the spans. An entry's position is not
//! stored: it is the batch's first position plus the entry's place in it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::bytes::{Cursor, Malformed, Sink};
use super::draft::Draft;
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

/// An entry ready to be appended: one stream's events.
pub(crate) struct Entry<'a> {
    pub(crate) decided_at: Timestamp,
    pub(crate) stream: StreamRef<'a>,
    pub(crate) first_version: u64,
    pub(crate) events: u32,
    pub(crate) draft: &'a Draft,
}

impl Entry<'_> {
    /// Appends the entry; `number` is the stream's.
    pub(crate) fn write(&self, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.put(&[0; 5]);
        out.put(&self.decided_at.0.to_le_bytes());
        out.put(&[1]);
        match self.stream {
            StreamRef::Known(_) => out.put_varint(u64::from(number) << 1),
            StreamRef::New { aggregate, id } => {
                out.put_varint(u64::from(number) << 1 | 1);
                out.put_block(aggregate.as_bytes());
                out.put_block(id.as_bytes());
            }
        }
        out.put_varint(self.first_version);
        out.put_varint(u64::from(self.events));
        out.put(self.draft.bytes());
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// An entry as it lies in a batch.
pub(crate) struct EntryView<'a> {
    pub(crate) decided_at: Timestamp,
    pub(crate) spans: SmallVec<[Span<'a>; 1]>,
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
    /// Takes the next entry off `rows`.
    pub(crate) fn read(row: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let len = row.u32()? as usize;
        let mut bytes = Cursor(row.take(len)?);
        let [flags] = bytes.array()?;
        if flags != 0 {
            return Err(Malformed("unknown entry flags"));
        }
        let decided_at = Timestamp(bytes.u64()?);
        let count = bytes.varint()?;
        if count == 0 {
            return Err(Malformed("an entry without a stream"));
        }
        // Nearly always the only one.
        let mut spans = SmallVec::from_buf([Span::read(&mut bytes)?]);
        for _ in 1..count {
            spans.push(Span::read(&mut bytes)?);
        }
        Ok(Self { decided_at, spans, rest: bytes })
    }

    /// The events in order; those of the first span come first.
    pub(crate) fn events(&self) -> Events<'a> {
        let left = self.spans.iter().map(|span| u64::from(span.events)).sum();
        Events { left, rest: self.rest }
    }
}

impl<'a> Span<'a> {
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

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let event = self.read();
        if event.is_err() {
            self.left = 0;
        }
        Some(event)
    }
}

impl<'a> Events<'a> {
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

    fn read(&mut self) -> Result<EventView<'a>, Malformed> {
        let tag = self.rest.varint()?;
        let schema = u32::try_from(tag >> 1).map_err(|_| Malformed("schema version too large"))?;
        let kind = if tag & 1 == 0 { EventKind::Event } else { EventKind::Rejection };
        Ok(EventView { kind, schema, payload: self.rest.block()? })
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

    proptest! {
        #[test]
        fn an_entry_reads_as_written_and_no_prefix_of_it_does(
            decided_at: u64,
            number in 0..u32::MAX >> 1,
            first_version in 1..u64::MAX >> 1,
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            new: bool,
            schema: u16,
        ) {
            let mut draft = Draft::new(1 << 20);
            for payload in &payloads {
                draft.push(EventKind::Rejection, schema, payload).unwrap();
            }
            let stream = if new { StreamRef::New { aggregate: "type", id: "id/with/slash" } } else { StreamRef::Known(number) };
            let entry = Entry {
                decided_at: Timestamp(decided_at), stream, first_version, events: payloads.len() as u32, draft: &draft,
            };
            let mut bytes = Vec::new();
            entry.write(number, &mut bytes);
            prop_assert!(bytes.len() <= draft.bytes_with("typeid/with/slash".len()));

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
            prop_assert_eq!(read, payloads);
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

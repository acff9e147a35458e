//! What an entry carries beside its events: the id of its command, metadata, and the answer to a command
//! that changed nothing. Costs nothing when absent.
//!
//! ```text
//! 1 command     id text, fingerprint u64 of the stream's name and the command
//! 2 correlation text     3 causation text     4 user text
//! 5 pair        key text, value text
//! 6 answer      version varint, [kind varint, payload]     of an entry without a span
//! ```
//!
//! `text` is a length as varint and UTF-8, except where it is all of its section. Unknown tags are skipped.

use super::bytes::{Cursor, Malformed, Sink};
use super::draft::Draft;
use super::entry::{EventKind, EventView};
use crate::error::Error;
use crate::limits::Limits;
use crate::metadata::Metadata;

#[derive(Clone, Copy)]
pub(super) enum Tag {
    Command = 1,
    Correlation = 2,
    Causation = 3,
    User = 4,
    Pair = 5,
    Answer = 6,
}

pub(super) fn put_section(out: &mut Vec<u8>, tag: Tag, bytes: &[u8]) {
    out.put_varint(tag as u64);
    out.put_block(bytes);
}

/// The id of the command that an entry answers.
pub(crate) fn put_command(out: &mut Vec<u8>, id: &str, fingerprint: u64) {
    let mut section = Vec::with_capacity(id.len() + 10);
    section.put_block(id.as_bytes());
    section.put(&fingerprint.to_le_bytes());
    put_section(out, Tag::Command, &section);
}

/// What a call says about itself.
///
/// # Errors
///
/// [`Error::MetadataTooLarge`]; then nothing is put.
pub(crate) fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata, limits: &Limits) -> Result<(), Error> {
    let (bytes, limit) = (metadata.bytes(), limits.metadata_bytes);
    if bytes > limit {
        return Err(Error::MetadataTooLarge { bytes, limit });
    }
    let named = [
        (Tag::Correlation, metadata.correlation()),
        (Tag::Causation, metadata.causation()),
        (Tag::User, metadata.user()),
    ];
    for (tag, text) in named {
        if let Some(text) = text {
            put_section(out, tag, text.as_bytes());
        }
    }
    for (key, value) in metadata.pairs() {
        let mut section = Vec::with_capacity(key.len() + value.len() + 4);
        section.put_block(key.as_bytes());
        section.put_block(value.as_bytes());
        put_section(out, Tag::Pair, &section);
    }
    Ok(())
}

/// The answer to a command that changed nothing at `version`: `said` holds a rejection, or nothing.
pub(crate) fn put_answer(out: &mut Vec<u8>, version: u64, said: &Draft) {
    let mut section = Vec::with_capacity(said.bytes().len() + 10);
    section.put_varint(version);
    section.put(said.bytes());
    put_section(out, Tag::Answer, &section);
}

/// The sections of an entry as they lie in a batch, well-formed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sections<'a>(&'a [u8]);

/// The id of an entry's command, and what tells another command with the same id from it.
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a str,
    pub(crate) fingerprint: u64,
}

/// What was answered without changing anything.
pub(crate) struct Answer<'a> {
    /// The version that the command was decided on.
    pub(crate) version: u64,
    /// None if the command asked for what was already so.
    pub(crate) rejection: Option<EventView<'a>>,
}

impl<'a> Sections<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        if cursor.is_empty() {
            return Err(Malformed("sections without a section"));
        }
        while !cursor.is_empty() {
            cursor.varint()?;
            cursor.block()?;
        }
        Ok(Self(bytes))
    }

    fn each(self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let mut cursor = Cursor(self.0);
        std::iter::from_fn(move || Some((cursor.varint().ok()?, cursor.block().ok()?)))
    }

    fn find(self, wanted: Tag) -> Option<&'a [u8]> {
        self.each().find(|(tag, _)| *tag == wanted as u64).map(|(_, bytes)| bytes)
    }

    #[inline]
    pub(crate) fn command(self) -> Result<Option<Asked<'a>>, Malformed> {
        // As in most entries: an open asks each.
        if self.0.is_empty() {
            return Ok(None);
        }
        let Some(bytes) = self.find(Tag::Command) else { return Ok(None) };
        let mut cursor = Cursor(bytes);
        Ok(Some(Asked { id: cursor.text()?, fingerprint: cursor.u64()? }))
    }

    pub(crate) fn answer(self) -> Result<Option<Answer<'a>>, Malformed> {
        let Some(bytes) = self.find(Tag::Answer) else { return Ok(None) };
        let mut cursor = Cursor(bytes);
        let version = cursor.varint()?;
        let rejection = if cursor.is_empty() { None } else { Some(EventView::read(&mut cursor)?) };
        if rejection.is_some_and(|it| it.kind != EventKind::Rejection) {
            return Err(Malformed("an answer that is an event"));
        }
        Ok(Some(Answer { version, rejection }))
    }

    /// None if the call said nothing about itself.
    pub(crate) fn metadata(self) -> Result<Option<Metadata>, Malformed> {
        let mut metadata = Metadata::default();
        for (tag, bytes) in self.each() {
            let mut cursor = Cursor(bytes);
            let text = || std::str::from_utf8(bytes).map_err(|_| Malformed("metadata is not UTF-8"));
            metadata = match tag {
                tag if tag == Tag::Correlation as u64 => metadata.with_correlation(text()?),
                tag if tag == Tag::Causation as u64 => metadata.with_causation(text()?),
                tag if tag == Tag::User as u64 => metadata.with_user(text()?),
                tag if tag == Tag::Pair as u64 => metadata.with(cursor.text()?, cursor.text()?),
                _ => metadata,
            };
        }
        Ok((metadata != Metadata::default()).then_some(metadata))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sections_read_as_written_and_unknown_ones_are_skipped(
            id in ".{1,40}",
            fingerprint: u64,
            correlation: Option<String>,
            causation: Option<String>,
            pairs in prop::collection::vec((".{0,9}", ".{0,300}"), 0..4),
            version: u64,
            refused: Option<u16>,
            unknown in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut metadata = Metadata::default();
            if let Some(text) = &correlation { metadata = metadata.with_correlation(text); }
            if let Some(text) = &causation { metadata = metadata.with_causation(text); }
            for (key, value) in &pairs { metadata = metadata.with(key, value); }
            let mut said = Draft::new(100);
            if let Some(why) = &refused { said.push(EventKind::Rejection, 4, why).unwrap(); }
            let mut bytes = Vec::new();
            put_command(&mut bytes, &id, fingerprint);
            bytes.put_varint(77);
            bytes.put_block(&unknown);
            put_metadata(&mut bytes, &metadata, &Limits::default()).unwrap();
            put_answer(&mut bytes, version, &said);

            let read = Sections::read(&bytes).unwrap();
            let asked = read.command().unwrap().unwrap();
            prop_assert_eq!((asked.id, asked.fingerprint), (&*id, fingerprint));
            prop_assert_eq!(read.metadata().unwrap().unwrap_or_default(), metadata);
            let answer = read.answer().unwrap().unwrap();
            prop_assert_eq!(answer.version, version);
            let said = answer.rejection.map(|it| crate::log::decode::<u16>(it.payload).unwrap());
            prop_assert_eq!(said, refused);
        }

        #[test]
        fn hostile_bytes_give_an_error_and_not_memory(bytes: Vec<u8>) {
            if let Ok(sections) = Sections::read(&bytes) {
                let _ = (sections.command().is_ok(), sections.answer().is_ok(), sections.metadata().is_ok());
            }
        }
    }
}

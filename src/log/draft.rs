//! The events of an entry, encoded by the caller before it holds any mutex.

use serde::Serialize;

use super::bytes::Sink;
use super::entry::EventKind;
use crate::codec::{EncodeFailure, encode_into, encode_to};
use crate::error::Error;

/// Encoded events. Short ones, which most decisions are, need no allocation.
pub(crate) struct Draft {
    short: [u8; SHORT],
    /// How much of `short` is used; beyond its end once everything is in `long`.
    len: usize,
    long: Vec<u8>,
    limit: usize,
}

const SHORT: usize = 96;

impl Draft {
    /// Without events yet; holds at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { short: [0; SHORT], len: 0, long: Vec::new(), limit }
    }

    pub(crate) fn push<T: Serialize>(
        &mut self,
        kind: EventKind,
        schema: u16,
        value: &T,
    ) -> Result<(), Error> {
        let rejection = u64::from(kind == EventKind::Rejection);
        self.put_varint(u64::from(schema) << 1 | rejection);
        // One byte holds the length of nearly every event; a longer one moves its payload.
        self.put_byte(0);
        let (start, end) = (self.len, SHORT.min(self.limit));
        // An event that does not fit is encoded again, into memory that grows; one that fails says there why.
        let fits = self.short.get_mut(start..end).and_then(|room| encode_into(value, room));
        let Some(bytes) = fits else { return self.push_long(value) };
        self.len += bytes;
        if let Some(length) = self.short.get_mut(start - 1) {
            *length = bytes as u8;
        }
        Ok(())
    }

    /// The payload, and in the byte before it its length.
    #[cold]
    fn push_long<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.spill();
        let (start, limit) = (self.long.len(), self.limit);
        let room = limit.checked_sub(start).ok_or_else(|| Self::too_large(limit))?;
        encode_to(value, |bytes| self.long.extend_from_slice(bytes), room).map_err(
            |failure| match failure {
                EncodeFailure::TooLarge => Self::too_large(limit),
                EncodeFailure::Serde(cause) => Error::Encode { cause: cause.into() },
            },
        )?;
        match u8::try_from(self.long.len() - start) {
            Ok(len @ 0..0x80) => self.long[start - 1] = len,
            _ => self.lengthen(start),
        }
        Ok(())
    }

    fn too_large(limit: usize) -> Error {
        Error::TooLarge { bytes: limit.saturating_add(1), limit }
    }

    /// Puts the length of everything from `start` in the place of the byte before it.
    #[cold]
    fn lengthen(&mut self, start: usize) {
        let mut prefix = Vec::new();
        prefix.put_varint((self.long.len() - start) as u64);
        self.long.splice(start - 1..start, prefix);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.short.get(..self.len).unwrap_or(&self.long)
    }

    /// Takes back everything, and gives back the memory of what was long.
    pub(crate) fn clear(&mut self) {
        if self.len > SHORT {
            self.long = Vec::new();
        }
        self.len = 0;
    }

    /// Takes back what was pushed after it had this many bytes.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        if self.len > SHORT { self.long.truncate(bytes) } else { self.len = self.len.min(bytes) }
    }

    /// The payload of the first event.
    #[cfg(feature = "testing")]
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        let mut cursor = super::bytes::Cursor(self.bytes());
        cursor.varint().ok()?;
        cursor.block().ok()
    }

    fn spill(&mut self) {
        if let Some(short) = self.short.get(..self.len) {
            self.long.extend_from_slice(short);
            self.len = SHORT + 1;
        }
    }

    #[cold]
    fn put_long(&mut self, bytes: &[u8]) {
        self.spill();
        self.long.extend_from_slice(bytes);
    }
}

impl Sink for Draft {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match self.short.get_mut(self.len..self.len.saturating_add(bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.put_long(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::bytes::{Cursor, MAX_VARINT};

    proptest! {
        /// Short or long, and wherever it outgrows its first place, a draft is its events in order.
        #[test]
        fn a_draft_is_its_events(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6)) {
            let mut draft = Draft::new(1 << 20);
            for payload in &payloads {
                draft.push(EventKind::Event, 3, payload).unwrap();
            }
            let mut cursor = Cursor(draft.bytes());
            for payload in payloads {
                prop_assert_eq!(cursor.varint(), Ok(6));
                prop_assert_eq!(crate::log::decode::<Vec<u8>>(cursor.block().unwrap()).unwrap(), payload);
            }
            prop_assert!(cursor.is_empty());
        }

        /// What is taken back leaves no trace, wherever it had spilled.
        #[test]
        fn a_draft_forgets_what_is_taken_back(
            kept in prop::collection::vec(any::<u8>(), 0..200),
            dropped in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (mut draft, mut plain) = (Draft::new(1 << 20), Draft::new(1 << 20));
            draft.push(EventKind::Event, 3, &kept).unwrap();
            let bytes = draft.bytes().len();
            draft.push(EventKind::Event, 3, &dropped).unwrap();
            draft.truncate(bytes);
            draft.push(EventKind::Event, 4, &kept).unwrap();
            plain.push(EventKind::Event, 3, &kept).unwrap();
            plain.push(EventKind::Event, 4, &kept).unwrap();
            prop_assert_eq!(draft.bytes(), plain.bytes());
        }

        #[test]
        fn a_draft_never_exceeds_its_limit(payload in prop::collection::vec(any::<u8>(), 0..300), limit in 2..300usize) {
            let mut draft = Draft::new(limit);
            let pushed = draft.push(EventKind::Event, 1, &payload);
            prop_assert!(draft.bytes().len() <= limit + MAX_VARINT);
            prop_assert_eq!(pushed.is_ok(), payload.len() + if payload.len() < 251 { 3 } else { 5 } <= limit);
        }
    }

    /// A `Serialize` that makes an error of its own of whatever it meets, or none.
    struct Stubborn {
        payload: Vec<u8>,
        says: bool,
    }

    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut pair = serializer.serialize_tuple(2)?;
            match pair.serialize_element(&self.payload) {
                Err(error) if self.says => {
                    return Err(serde::ser::Error::custom(format!("wrapped: {error}")));
                }
                Err(_) | Ok(()) => {}
            }
            pair.end()
        }
    }

    #[test]
    fn what_a_serialize_makes_of_an_error_changes_nothing() {
        for says in [true, false] {
            for len in [10, 90, 91, 92, 93, 94, 100, 200] {
                let payload = vec![7; len];
                let mut draft = Draft::new(150);
                let pushed = draft.push(EventKind::Event, 1, &Stubborn { payload: payload.clone(), says });
                match pushed {
                    Ok(()) => {
                        let mut cursor = Cursor(draft.bytes());
                        assert_eq!(cursor.varint(), Ok(2));
                        let stored: Vec<u8> = crate::log::decode(cursor.block().unwrap()).unwrap();
                        assert_eq!(stored, payload);
                    }
                    Err(error) => assert!(len == 200 && matches!(error, Error::TooLarge { .. }), "{error:?}"),
                }
            }
        }
    }

    /// The bytes that the format asks for.
    fn plain(events: &[(u16, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (schema, len) in events {
            let mut payload = Vec::new();
            crate::codec::encode_to(&vec![1u8; *len], |part| payload.extend_from_slice(part), 1 << 20)
                .unwrap();
            bytes.put_varint(u64::from(*schema) << 1);
            bytes.put_block(&payload);
        }
        bytes
    }

    proptest! {
        /// Several events around every bound: each is there as the format says, or it did not fit.
        #[test]
        fn a_draft_takes_what_fits_and_nothing_else(
            limit in prop_oneof![0..130usize, 240..270usize, Just(usize::MAX)],
            events in prop::collection::vec(
                (prop_oneof![Just(1u16), Just(64), Just(u16::MAX)], prop_oneof![0..130usize, 240..270usize]),
                1..5,
            ),
        ) {
            let (mut draft, mut kept) = (Draft::new(limit), Vec::new());
            for event in events {
                let bytes = draft.bytes().len();
                // A byte that says how long the payload is, before it is known whether more are needed.
                let (schema, len) = event;
                let all = [&kept[..], &[event]].concat();
                let more = usize::from(plain(&[(1, len)]).len() > 0x80 + 2);
                let fits = plain(&all).len() - more <= limit;
                prop_assert_eq!(draft.push(EventKind::Event, schema, &vec![1u8; len]).is_ok(), fits);
                if fits {
                    kept = all;
                } else {
                    draft.truncate(bytes);
                }
                prop_assert_eq!(draft.bytes(), plain(&kept));
            }
        }
    }
}

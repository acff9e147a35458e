//! The one door to bincode: values to bytes and back, bounded in both directions.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bytes::Sink;
use crate::limits::MAX_ENTRY_BYTES;

// A length that a damaged or hostile payload claims is refused before memory is spent on it.
type Config = Configuration<LittleEndian, Varint, Limit<MAX_CLAIM>>;

/// bincode counts what values take in memory, up to 16 bytes for one that takes a single byte here: what
/// could be encoded must decode.
const MAX_CLAIM: usize = 16 * MAX_ENTRY_BYTES;

fn config() -> Config {
    bincode::config::standard().with_limit::<MAX_CLAIM>()
}

/// Why a value could not be encoded.
#[derive(Debug)]
pub(crate) enum EncodeFailure {
    TooLarge,
    Serde(String),
}

/// Appends `value` to `out`, in at most `room` bytes.
pub(crate) fn encode_to<T: Serialize>(
    value: &T,
    out: &mut impl Sink,
    room: usize,
) -> Result<(), EncodeFailure> {
    let mut bounded = Bounded { out, room, overrun: false };
    match bincode::serde::encode_into_writer(value, &mut bounded, config()) {
        Ok(()) => Ok(()),
        Err(_) if bounded.overrun => Err(EncodeFailure::TooLarge),
        Err(error) => Err(EncodeFailure::Serde(error.to_string())),
    }
}

/// Tells values apart, the same way in every program that ever opens the file: FNV-1a over their encoding
/// (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>).
pub(crate) fn fingerprint<T: Serialize>(value: &T) -> Result<u64, String> {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    match encode_to(value, &mut hash, MAX_ENTRY_BYTES) {
        Ok(()) => Ok(hash.0),
        Err(EncodeFailure::TooLarge) => Err(format!("it has more than {MAX_ENTRY_BYTES} bytes")),
        Err(EncodeFailure::Serde(cause)) => Err(cause),
    }
}

struct Fnv(u64);

impl Sink for Fnv {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

// bincode enforces its limit only when it decodes.
struct Bounded<'a, S> {
    out: &'a mut S,
    room: usize,
    overrun: bool,
}

impl<S: Sink> Writer for Bounded<'_, S> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let Some(room) = self.room.checked_sub(bytes.len()) else {
            self.overrun = true;
            return Err(EncodeError::Other("entry too large"));
        };
        self.room = room;
        self.out.put(bytes);
        Ok(())
    }
}

/// Reads exactly one value: bytes left over are an error too.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config()).map_err(|error: DecodeError| error.to_string())?;
    if used != bytes.len() {
        return Err(format!("{} bytes left over", bytes.len() - used));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Stored in files: never to change. The first is the published value for "foobar".
    #[test]
    fn fingerprints_stay_what_they_are() {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.put(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_f739_67e8);
        assert_eq!(fingerprint(&("venue", "hall", 7u32)), Ok(18_055_544_539_198_082_023));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_and_nothing_shorter_or_longer_does(value: (u64, String, Vec<Option<i32>>)) {
            let mut bytes = Vec::new();
            encode_to(&value, &mut bytes, 1 << 20).unwrap();
            prop_assert_eq!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).unwrap(), value.clone());
            bytes.push(0);
            prop_assert!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).is_err());
            bytes.pop();
            let whole = bytes.len();
            bytes.pop();
            prop_assert!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).is_err());
            let mut small = Vec::new();
            prop_assert!(matches!(encode_to(&value, &mut small, whole - 1), Err(EncodeFailure::TooLarge)));
            prop_assert!(small.len() < whole);
        }

        #[test]
        fn hostile_bytes_give_an_error_and_not_memory(bytes: Vec<u8>) {
            let _ = decode::<Vec<Vec<u64>>>(&bytes);
            let _ = decode::<std::collections::HashMap<String, Vec<u8>>>(&bytes);
        }
    }
}

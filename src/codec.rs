//! The one door to bincode: values to bytes and back, bounded in both directions.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// Hands the bytes of `value` to `put`, at most `room` of them.
pub(crate) fn encode_to<T: Serialize>(
    value: &T,
    put: impl FnMut(&[u8]),
    room: usize,
) -> Result<(), EncodeFailure> {
    let mut bounded = Bounded { put, room, overrun: false };
    match bincode::serde::encode_into_writer(value, &mut bounded, config()) {
        // Whatever a user's `Serialize` has made of it.
        _ if bounded.overrun => Err(EncodeFailure::TooLarge),
        Ok(()) => Ok(()),
        Err(error) => Err(EncodeFailure::Serde(error.to_string())),
    }
}

/// Puts the bytes of `value` at the beginning of `room`, and says how many they are; none if they do not fit, or cannot
/// be had.
#[inline]
pub(crate) fn encode_into<T: Serialize>(value: &T, room: &mut [u8]) -> Option<usize> {
    let size = room.len();
    let mut left = Left { room, overrun: false };
    let encoded = bincode::serde::encode_into_writer(value, &mut left, config());
    // By the flag, not by the error: a user's `Serialize` may have made another one of it, or none.
    (encoded.is_ok() && !left.overrun).then_some(size - left.room.len())
}

/// Tells values apart, the same way in every program that ever opens the file: FNV-1a over their encoding
/// (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>).
pub(crate) fn fingerprint<T: Serialize>(value: &T) -> Result<u64, String> {
    let mut hash = FNV_OFFSET;
    match encode_to(value, |bytes| hash = fnv(hash, bytes), MAX_ENTRY_BYTES) {
        Ok(()) => Ok(hash),
        Err(EncodeFailure::TooLarge) => Err(format!("it has more than {MAX_ENTRY_BYTES} bytes")),
        Err(EncodeFailure::Serde(cause)) => Err(cause),
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

// bincode enforces its limit only when it decodes.
struct Bounded<P> {
    put: P,
    room: usize,
    overrun: bool,
}

impl<P: FnMut(&[u8])> Writer for Bounded<P> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let Some(room) = self.room.checked_sub(bytes.len()) else {
            self.overrun = true;
            return Err(EncodeError::Other("entry too large"));
        };
        self.room = room;
        (self.put)(bytes);
        Ok(())
    }
}

/// What is left of a place of fixed size.
struct Left<'r> {
    room: &'r mut [u8],
    overrun: bool,
}

impl Writer for Left<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let Some((here, left)) = std::mem::take(&mut self.room).split_at_mut_checked(bytes.len()) else {
            self.overrun = true;
            return Err(EncodeError::UnexpectedEnd);
        };
        here.copy_from_slice(bytes);
        self.room = left;
        Ok(())
    }
}

/// Reads exactly one value: bytes left over are an error too.
#[inline(always)]
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
        assert_eq!(fnv(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fingerprint(&("venue", "hall", 7u32)), Ok(18_055_544_539_198_082_023));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_and_nothing_shorter_or_longer_does(value: (u64, String, Vec<Option<i32>>)) {
            let mut bytes = Vec::new();
            encode_to(&value, |part| bytes.extend_from_slice(part), 1 << 20).unwrap();
            prop_assert_eq!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).unwrap(), value.clone());
            bytes.push(0);
            prop_assert!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).is_err());
            bytes.pop();
            let whole = bytes.len();
            bytes.pop();
            prop_assert!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).is_err());
            let mut small = Vec::new();
            let cut = encode_to(&value, |part| small.extend_from_slice(part), whole - 1);
            prop_assert!(matches!(cut, Err(EncodeFailure::TooLarge)));
            prop_assert!(small.len() < whole);
        }

        /// What the table in the documentation of `Upcasts` promises.
        #[test]
        fn values_survive_the_changes_that_need_no_step(
            short: u16, long: u32, text: String, list: Vec<u32>, pick in 0..2usize,
        ) {
            #[derive(Serialize)]
            enum Old { Unit, Some { short: u16, long: u32, text: String, list: Vec<u32> } }
            #[derive(Debug, PartialEq, serde::Deserialize)]
            enum Renamed {
                Nothing,
                Thing { one: u32, two: u64, three: smol_str::SmolStr, four: Box<smallvec::SmallVec<[u64; 2]>> },
                Added(String),
            }
            let old = [Old::Unit, Old::Some { short, long, text: text.clone(), list: list.clone() }];
            let four = Box::new(list.iter().map(|item| u64::from(*item)).collect());
            let thing = Renamed::Thing { one: short.into(), two: long.into(), three: text.into(), four };
            let mut bytes = Vec::new();
            encode_to(&old[pick], |part| bytes.extend_from_slice(part), 1 << 20).unwrap();
            prop_assert_eq!(decode::<Renamed>(&bytes).unwrap(), [Renamed::Nothing, thing].into_iter().nth(pick).unwrap());
        }

        /// And what it warns of: these give an error or another value, never the same.
        #[test]
        fn values_do_not_survive_the_others(one in 251..u32::MAX, two: u64, small in 251..u8::MAX, signed in 1..i32::MAX) {
            #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
            struct Added { one: u32, two: u64, #[serde(default)] three: u8 }
            #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
            struct Swapped { two: u64, one: u32 }
            let mut bytes = Vec::new();
            encode_to(&(one, two), |part| bytes.extend_from_slice(part), 1 << 20).unwrap();
            prop_assert!(decode::<Added>(&bytes).is_err());
            prop_assert!(decode::<u32>(&bytes).is_err());
            prop_assert_ne!(decode::<Swapped>(&bytes).ok(), Some(Swapped { two, one }));
            let mut bytes = Vec::new();
            encode_to(&small, |part| bytes.extend_from_slice(part), 1 << 20).unwrap();
            prop_assert_ne!(decode::<u32>(&bytes).ok(), Some(u32::from(small)));
            let mut bytes = Vec::new();
            encode_to(&signed.cast_unsigned(), |part| bytes.extend_from_slice(part), 1 << 20).unwrap();
            prop_assert_ne!(decode::<i32>(&bytes).ok(), Some(signed));
            prop_assert_ne!(decode::<Option<u32>>(&bytes).ok(), Some(Some(signed.cast_unsigned())));
        }

        #[test]
        fn hostile_bytes_give_an_error_and_not_memory(bytes: Vec<u8>) {
            let _ = decode::<Vec<Vec<u64>>>(&bytes);
            let _ = decode::<std::collections::HashMap<String, Vec<u8>>>(&bytes);
        }
    }
}

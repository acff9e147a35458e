//! Variable-length integers and bounded reads: how lengths and numbers are laid out in an entry.

/// Bytes were cut short, or claim a length that they do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Somewhere to append bytes.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn put_byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    /// Seven bits a byte, the lowest first (LEB128).
    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_byte(value as u8);
    }

    fn put_block(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

/// Small pieces on their way to a buffer. They are put together on the stack first: to ask a vector for room takes
/// longer than to copy a few bytes.
pub(crate) struct Gather<'v> {
    bytes: [u8; GATHERED],
    len: usize,
    to: &'v mut Vec<u8>,
}

/// The numbers of an entry of one stream, and a short event.
const GATHERED: usize = 64;

impl<'v> Gather<'v> {
    /// Appends to this.
    pub(crate) fn before(to: &'v mut Vec<u8>) -> Self {
        Self { bytes: [0; GATHERED], len: 0, to }
    }

    /// The buffer with all of it.
    pub(crate) fn done(&mut self) -> &mut Vec<u8> {
        self.flush();
        self.to
    }

    fn flush(&mut self) {
        self.to.extend_from_slice(self.bytes.get(..self.len).unwrap_or_default());
        self.len = 0;
    }

    #[cold]
    fn put_beyond(&mut self, bytes: &[u8]) {
        self.flush();
        self.to.extend_from_slice(bytes);
    }
}

impl Sink for Gather<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.put_beyond(bytes),
        }
    }
}

/// Longest encoding of a 64-bit number.
pub(crate) const MAX_VARINT: usize = 10;

/// Reads from the front of a slice, never beyond it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Malformed("cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Malformed("cut short"))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        // Most numbers take one byte or two.
        match *self.0 {
            [only @ 0..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(only.into())
            }
            [low, high @ 0..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("number too long"))
    }

    #[inline(always)]
    pub(crate) fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("number too large"))
    }

    /// A length and that many bytes.
    #[inline(always)]
    pub(crate) fn block(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed("length too large"))?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.block()?).map_err(|_| Malformed("a name is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_survives_and_no_prefix_reads(value: u64) {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            prop_assert!(bytes.len() <= MAX_VARINT);
            prop_assert_eq!(Cursor(&bytes).varint(), Ok(value));
            for cut in 0..bytes.len() {
                prop_assert!(Cursor(&bytes[..cut]).varint().is_err());
            }
        }

        /// Two bytes that say what one could are read as ever: files may hold them.
        #[test]
        fn more_bytes_than_needed_read_as_the_same_number(value in 0..0x80u8, more in 1..9usize) {
            let mut bytes = vec![value | 0x80];
            bytes.extend(std::iter::repeat_n(0x80, more - 1));
            bytes.push(0);
            let mut cursor = Cursor(&bytes);
            prop_assert_eq!(cursor.varint(), Ok(value.into()));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_read_beyond_their_end(bytes: Vec<u8>) {
            let mut cursor = Cursor(&bytes);
            while cursor.block().is_ok() && !cursor.is_empty() {}
            let _ = Cursor(&bytes).varint();
            let _ = Cursor(&bytes).text();
        }
    }
}

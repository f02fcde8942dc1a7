//! XDR (RFC 4506), as far as the calls need it.

use super::CallError;

/// Arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// Bytes of variable length, padded to a multiple of four.
    pub(super) fn opaque(mut self, bytes: &[u8]) -> Self {
        self = self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn append(mut self, more: &Self) -> Self {
        self.0.extend(&more.0);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Results of a call. A length is checked against the bytes at hand; nothing is allocated for a claimed one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CallError> {
        let (value, rest) = self.0.split_first_chunk().ok_or(CallError::Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*value))
    }

    pub(super) fn opaque(&mut self, most: usize) -> Result<&'a [u8], CallError> {
        let len = self.u32()? as usize;
        if len > most {
            return Err(CallError::Malformed);
        }
        let bytes = self.0.get(..len).ok_or(CallError::Malformed)?;
        self.skip(len.next_multiple_of(4))?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Result<(), CallError> {
        self.0 = self.0.get(bytes..).ok_or(CallError::Malformed)?;
        Ok(())
    }

    /// The rest.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_is_bounded_by_the_bytes() {
        let written = Writer::default().u32(7).opaque(b"abcde").u64(1);
        let mut reader = Reader::new(written.bytes());
        assert_eq!(reader.u32().unwrap(), 7);
        assert_eq!(reader.opaque(5).unwrap(), b"abcde");
        assert_eq!(reader.rest(), [0, 0, 0, 0, 0, 0, 0, 1]);
        for len in [6_u32, 1 << 20, u32::MAX] {
            let claimed = Writer::default().u32(len).u32(0);
            assert!(Reader::new(claimed.bytes()).opaque(usize::MAX).is_err(), "{len}");
            assert!(Reader::new(claimed.bytes()).opaque(4).is_err(), "{len}");
        }
    }
}

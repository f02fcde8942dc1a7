//! A call's arguments, read from its record.
//!
//! The codec's variable-length types allocate as much as the length on the wire claims, up to gigabytes for a record of a hundred
//! bytes. So values of variable length are borrowed from the record here, and the codec decodes values of fixed size only.

use nfs3_types::xdr_codec::Unpack;

use super::observe::CallRefusal;

/// The rest of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a>(&'a [u8]);

/// The arguments do not match the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbage;

impl<'a> Arguments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A value of a codec type without parts of variable length.
    pub(super) fn fixed<T: Unpack>(&mut self) -> Result<T, Garbage> {
        T::unpack(&mut self.0).map(|(value, _)| value).map_err(|_| Garbage)
    }

    /// `opaque<>` and `string<>` (RFC 4506, sections 4.10 and 4.11): a length, the bytes, and padding to a multiple of four. The
    /// record bounds the length; the procedure checks its own limit.
    pub(super) fn opaque(&mut self) -> Result<&'a [u8], Garbage> {
        let len = usize::try_from(self.fixed::<u32>()?).map_err(|_| Garbage)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Garbage)?;
        let padding = len.next_multiple_of(4) - len;
        // The last padding may be missing: some clients omit it, and the meaning stays clear.
        self.0 = rest.get(padding..).unwrap_or_default();
        Ok(bytes)
    }
}

impl From<Garbage> for CallRefusal {
    fn from(Garbage: Garbage) -> Self {
        Self::GarbageArguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order() {
        let mut arguments = Arguments::new(b"\0\0\0\x05hello\0\0\0\0\0\0\x07");
        assert_eq!(arguments.opaque(), Ok(&b"hello"[..]));
        assert_eq!(arguments.fixed::<u32>(), Ok(7));
        assert_eq!(arguments.fixed::<u32>(), Err(Garbage));
    }

    #[test]
    fn a_claimed_length_beyond_the_record_is_refused_before_anything_is_allocated() {
        assert_eq!(Arguments::new(b"\xff\xff\xff\xffhello").opaque(), Err(Garbage));
        assert_eq!(Arguments::new(b"\0\0\0\x06hello").opaque(), Err(Garbage));
    }
}

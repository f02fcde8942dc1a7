//! The bytes of the NBD protocol: its numbers, requests and replies. All numbers are big-endian.
//!
//! Source: the protocol's specification, `doc/proto.md` of the project NetworkBlockDevice/nbd.

use crate::disk::DiskError;
use rustix::io::Errno;

/// "NBDMAGIC", the server's first word.
pub(crate) const GREETING: u64 = 0x4e42_444d_4147_4943;
/// "IHAVEOPT", before each option.
pub(crate) const OPTION: u64 = 0x4948_4156_454f_5054;
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;

/// Handshake flags, the server's and the client's: fixed newstyle, no zeros after EXPORT_NAME.
pub(crate) const FIXED: u16 = 1;
pub(crate) const NO_ZEROES: u16 = 2;

pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const STARTTLS: u32 = 5;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// Types of replies to options; errors have bit 31.
pub(crate) mod answer {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    pub(crate) const UNSUPPORTED: u32 = 1 << 31 | 1;
    pub(crate) const INVALID: u32 = 1 << 31 | 3;
    pub(crate) const TLS_REQUIRED: u32 = 1 << 31 | 5;
    pub(crate) const UNKNOWN: u32 = 1 << 31 | 6;
}

pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const DESCRIPTION: u16 = 2;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags of an export.
pub(crate) mod export {
    pub(crate) const HAS_FLAGS: u16 = 1;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const FLUSH: u16 = 1 << 2;
    pub(crate) const FUA: u16 = 1 << 3;
    pub(crate) const TRIM: u16 = 1 << 5;
    pub(crate) const WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const DONT_FRAGMENT: u16 = 1 << 7;
    pub(crate) const MULTI_CONN: u16 = 1 << 8;
    pub(crate) const CACHE: u16 = 1 << 10;
}

/// The one metadata context, and its number.
pub(crate) const ALLOCATION: &[u8] = b"base:allocation";
pub(crate) const ALLOCATION_ID: u32 = 1;

/// A request of the transmission phase; a write's payload follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISCONNECT: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const CACHE: u16 = 5;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// Flags of requests.
pub(crate) mod flag {
    pub(crate) const FUA: u16 = 1;
    pub(crate) const NO_HOLE: u16 = 1 << 1;
    pub(crate) const DONT_FRAGMENT: u16 = 1 << 2;
    pub(crate) const ONE: u16 = 1 << 3;
}

/// Kinds of chunks of a structured reply; errors have bit 15.
pub(crate) mod chunk {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const DATA: u16 = 1;
    pub(crate) const HOLE: u16 = 2;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    pub(crate) const ERROR: u16 = 1 << 15 | 1;
    pub(crate) const ERROR_AT: u16 = 1 << 15 | 2;
}

impl Request {
    /// Bytes of a request without payload.
    pub(crate) const LEN: usize = 28;

    /// A request, or `None` for a wrong magic number: the stream is out of step.
    pub(crate) fn parse(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut at = Fields(bytes);
        if at.u32()? != REQUEST {
            return None;
        }
        Some(Self {
            flags: at.u16()?,
            command: at.u16()?,
            cookie: at.u64()?,
            offset: at.u64()?,
            len: at.u32()?,
        })
    }

    /// Whether the request is one for the storage device rather than for memory. A read may be both.
    pub(crate) const fn may_wait(&self) -> bool {
        !matches!(self.command, command::READ | command::WRITE)
            || self.command == command::WRITE && self.flags & flag::FUA != 0
    }

    /// The bytes of the request: a client's side, for tests.
    #[cfg(test)]
    pub(crate) fn emit(&self) -> Vec<u8> {
        let Self { flags, command, cookie, offset, len } = *self;
        let mut out = REQUEST.to_be_bytes().to_vec();
        out.extend([flags, command].into_iter().flat_map(u16::to_be_bytes));
        out.extend([cookie, offset].into_iter().flat_map(u64::to_be_bytes));
        out.extend(len.to_be_bytes());
        out
    }
}

/// A simple reply without data.
pub(crate) fn simple(cookie: u64, error: u32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&SIMPLE.to_be_bytes());
    out[4..8].copy_from_slice(&error.to_be_bytes());
    out[8..].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// The head of a chunk with a payload of `len` bytes.
pub(crate) fn chunk_head(cookie: u64, kind: u16, done: bool, len: u32) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(&STRUCTURED.to_be_bytes());
    out[4..6].copy_from_slice(&u16::from(done).to_be_bytes());
    out[6..8].copy_from_slice(&kind.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out[16..].copy_from_slice(&len.to_be_bytes());
    out
}

/// The protocol's error number.
pub(crate) fn error_number(error: DiskError) -> u32 {
    const EPERM: u32 = 1;
    const EIO: u32 = 5;
    const ENOMEM: u32 = 12;
    const ENOSPC: u32 = 28;
    match error {
        DiskError::OutOfRange => EINVAL,
        DiskError::ReadOnly => EPERM,
        DiskError::NoSpace => ENOSPC,
        DiskError::System(Errno::NOMEM) => ENOMEM,
        _ => EIO,
    }
}

/// Fields of a message, front to back; `None` beyond its end.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text with its length in 32 bits before it.
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        let (text, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(text)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}

pub(crate) const EINVAL: u32 = 22;
pub(crate) const REQUEST: u32 = 0x2560_9513;
pub(crate) const SIMPLE: u32 = 0x6744_6698;
pub(crate) const STRUCTURED: u32 = 0x668e_33ef;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let request =
            Request { flags: 1, command: command::WRITE, cookie: u64::MAX - 3, offset: 1 << 40, len: 4096 };
        let mut bytes: [u8; 28] = request.emit().try_into().unwrap();
        assert_eq!(Request::parse(&bytes), Some(request));
        bytes[0] ^= 1;
        assert_eq!(Request::parse(&bytes), None);
    }
}

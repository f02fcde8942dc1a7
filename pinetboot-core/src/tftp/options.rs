//! Options, as asked and as agreed.

use core::time::Duration;

use super::DATA_HEADER;
use super::retry::RetryPolicy;
use super::writer::Writer;

/// The options of a request or of an OACK. An option with a value out of its RFC's range counts as not asked.
///
/// Names are compared without regard to case (RFC 2347). Unknown options are ignored, as that RFC has it. Of an
/// option that stands twice the first counts; the RFC does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Options {
    /// `blksize`: bytes of payload in a DATA packet, 8 to 65464 (RFC 2348). A larger value is read as 65464, which
    /// the client must accept: the server may always answer with less.
    pub block_size: Option<u16>,
    /// `timeout`: seconds to wait before sending again, 1 to 255 (RFC 2349).
    pub timeout_secs: Option<u8>,
    /// `tsize`: the file's length in bytes; 0 in a read request asks for it (RFC 2349).
    pub transfer_size: Option<u64>,
    /// `windowsize`: blocks sent before an ACK is waited for, 1 to 65535 (RFC 7440). A larger value is read as 65535.
    pub window_size: Option<u16>,
}

impl Options {
    /// What the bootloader of a Pi 4 or 5 asks for: `tsize 0` and `blksize 1468` (captured; 1468 since 2022-10-03 and
    /// on every Pi 5, 1024 before).
    pub const RASPBERRY_PI: Self =
        Self { block_size: Some(1468), timeout_secs: None, transfer_size: Some(0), window_size: None };

    /// The same with this `blksize`, in bytes.
    #[must_use]
    pub const fn with_block_size(mut self, block_size: u16) -> Self {
        self.block_size = Some(block_size);
        self
    }

    /// The same with this `timeout`, in seconds.
    #[must_use]
    pub const fn with_timeout_secs(mut self, timeout_secs: u8) -> Self {
        self.timeout_secs = Some(timeout_secs);
        self
    }

    /// The same with this `tsize`, in bytes.
    #[must_use]
    pub const fn with_transfer_size(mut self, transfer_size: u64) -> Self {
        self.transfer_size = Some(transfer_size);
        self
    }

    /// The same with this `windowsize`, in blocks.
    #[must_use]
    pub const fn with_window_size(mut self, window_size: u16) -> Self {
        self.window_size = Some(window_size);
        self
    }

    /// Whether no option is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same, with a window that block numbers of 16 bits can tell apart.
    pub(super) fn within_window(&self) -> Self {
        Self { window_size: self.window_size.map(|size| size.min(MAX_WINDOW)), ..*self }
    }

    /// Takes in one option as it stands in a packet; `None` if it is one that we know with a value that it cannot have.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let value = decimal(value);
        if is(BLOCK_SIZE) {
            let size = value.filter(|size| *size >= 8)?;
            self.block_size.get_or_insert(size.min(MAX_BLOCK_SIZE.into()) as u16);
        } else if is(TIMEOUT) {
            let secs = u8::try_from(value?).ok().filter(|secs| *secs > 0)?;
            self.timeout_secs.get_or_insert(secs);
        } else if is(TRANSFER_SIZE) {
            self.transfer_size.get_or_insert(value?);
        } else if is(WINDOW_SIZE) {
            let size = value.filter(|size| *size >= 1)?;
            self.window_size.get_or_insert(size.min(u16::MAX.into()) as u16);
        }
        Some(())
    }

    /// Writes the options in the order in which a Pi asks for them.
    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        let mut option = |name: &[u8], value: Option<u64>| {
            let Some(value) = value else { return Some(()) };
            writer.text(name)?;
            let mut digits = [0; 20];
            writer.text(to_decimal(value, &mut digits))
        };
        option(TRANSFER_SIZE, self.transfer_size)?;
        option(BLOCK_SIZE, self.block_size.map(u64::from))?;
        option(TIMEOUT, self.timeout_secs.map(u64::from))?;
        option(WINDOW_SIZE, self.window_size.map(u64::from))
    }
}

/// The terms of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Terms {
    /// Bytes of payload in every DATA packet but the last.
    pub block_size: u16,
    /// Blocks sent before an ACK is waited for.
    pub window_size: u16,
    /// The waits and the number of retries.
    pub retry: RetryPolicy,
}

impl Terms {
    /// The terms of a transfer without options: blocks of 512 bytes, one at a time (RFC 1350).
    pub const fn plain(retry: RetryPolicy) -> Self {
        Self { block_size: 512, window_size: 1, retry }
    }

    /// The terms that a client asked for and a server agreed to; `None` if the server's answer does not fit the request.
    pub(super) fn agreed(asked: &Options, answer: &Options, retry: RetryPolicy) -> Option<Self> {
        // > The value ... must be less than or equal to the value specified by the client (RFC 2348; 7440 alike)
        let at_most = |asked: Option<u16>, answer: Option<u16>, default: u16| match (asked, answer) {
            (_, None) => Some(default),
            (Some(asked), Some(answer)) if answer <= asked => Some(answer),
            _ => None,
        };
        let mut terms = Self {
            block_size: at_most(asked.block_size, answer.block_size, 512)?,
            window_size: at_most(asked.window_size, answer.window_size, 1)?,
            retry,
        };
        // > the specified timeout value must match the value specified by the client (RFC 2349)
        match (asked.timeout_secs, answer.timeout_secs) {
            (_, None) => {}
            (Some(asked), Some(answer)) if asked == answer => {
                terms.retry = retry.with_timeout(Duration::from_secs(answer.into()));
            }
            _ => return None,
        }
        if answer.transfer_size.is_some() && asked.transfer_size.is_none() {
            return None;
        }
        Some(terms)
    }
}

/// The limits of a server to the options that clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Limits {
    /// The largest block, in bytes; within it, what the path carries unfragmented (1468 on Ethernet).
    pub block_size: u16,
    /// The largest window, in blocks; more than 32767 counts as that.
    pub window_size: u16,
    /// The waits and the number of retries, unless the client asks for another wait (`timeout`).
    pub retry: RetryPolicy,
    /// The longest file, in bytes, that is sent in mode netascii. The server reads the whole file before it sends
    /// the first byte, and serves no other client meanwhile.
    pub netascii_len: u64,
}

impl Limits {
    /// The longest `timeout` agreed to, in seconds. The server leaves a longer one out of the OACK, which
    /// refuses it (RFC 2347): a client that is gone would hold its place for many minutes.
    pub const MAX_TIMEOUT_SECS: u8 = 60;

    /// The same with this largest block, in bytes.
    #[must_use]
    pub const fn with_block_size(mut self, block_size: u16) -> Self {
        self.block_size = block_size;
        self
    }

    /// The same with this largest window, in blocks.
    #[must_use]
    pub const fn with_window_size(mut self, window_size: u16) -> Self {
        self.window_size = window_size;
        self
    }

    /// The same with this retry policy.
    #[must_use]
    pub const fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The same with this longest file in mode netascii, in bytes.
    #[must_use]
    pub const fn with_netascii_len(mut self, netascii_len: u64) -> Self {
        self.netascii_len = netascii_len;
        self
    }

    /// The terms of a transfer for which the client asked `asked`, and the OACK; `None` if no option is agreed to.
    ///
    /// `len` is the length in bytes of the file to be sent; `None` if the client sends, whose `tsize` is echoed.
    pub fn agree(&self, asked: &Options, len: Option<u64>) -> (Terms, Option<Options>) {
        let answer = Options {
            block_size: asked.block_size.map(|size| size.min(self.block_size)).filter(|size| *size >= 8),
            timeout_secs: asked.timeout_secs.filter(|secs| *secs <= Self::MAX_TIMEOUT_SECS),
            transfer_size: asked.transfer_size.map(|announced| len.unwrap_or(announced)),
            window_size: asked.window_size.map(|size| size.min(self.window_size).clamp(1, MAX_WINDOW)),
        };
        let plain = Terms::plain(self.retry);
        let terms = Terms {
            block_size: answer.block_size.unwrap_or(plain.block_size),
            window_size: answer.window_size.unwrap_or(plain.window_size),
            retry: answer
                .timeout_secs
                .map_or(self.retry, |secs| self.retry.with_timeout(Duration::from_secs(secs.into()))),
        };
        (terms, (!answer.is_empty()).then_some(answer))
    }

    /// The same limits on a path that carries UDP payloads of at most `max_payload` bytes.
    #[must_use]
    pub fn within(&self, max_payload: u16) -> Self {
        Self { block_size: self.block_size.min(max_payload.saturating_sub(DATA_HEADER as u16)), ..*self }
    }
}

/// Blocks as large as the path carries, windows of 64 blocks, netascii up to 64 MiB.
impl Default for Limits {
    fn default() -> Self {
        let retry = RetryPolicy::default();
        Self { block_size: MAX_BLOCK_SIZE, window_size: 64, retry, netascii_len: 64 << 20 }
    }
}

/// A decimal number, nothing else around it. One too large for 64 bits is the largest.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        byte.is_ascii_digit().then(|| value.saturating_mul(10).saturating_add((byte - b'0').into()))
    })
}

fn to_decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    digits.last_chunk::<20>().map_or(&[], |all| all.split_at(20 - used).1)
}

const BLOCK_SIZE: &[u8] = b"blksize";
const TIMEOUT: &[u8] = b"timeout";
const TRANSFER_SIZE: &[u8] = b"tsize";
const WINDOW_SIZE: &[u8] = b"windowsize";

/// In a larger window 16 bits cannot tell an old ACK from one of a whole window.
const MAX_WINDOW: u16 = i16::MAX as u16;

/// RFC 2348: 65464 = 65535 - IPv4's largest header (60) less UDP's (8) and TFTP's (4), rounded by the RFC.
const MAX_BLOCK_SIZE: u16 = 65464;

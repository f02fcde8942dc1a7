//! The report of a transfer.

use core::fmt;
use core::net::SocketAddrV4;

use super::packet::ErrorCode;
use super::step::Outcome;
use crate::Instant;

/// A transfer that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[must_use = "a transfer that failed has a report too"]
pub struct Report {
    /// The other side.
    pub peer: SocketAddrV4,
    /// The direction of the bytes.
    pub direction: Direction,
    /// The end of the transfer.
    pub outcome: Outcome,
    /// The time of its request.
    pub began: Instant,
    /// The client ended it with ERROR 0 "Early terminate", as a Pi ends a size probe (captured, raspberrypi/firmware issue
    /// 1700): after the OACK, or after DATA 1 and with any count of bytes.
    pub early_terminate: bool,
    /// The file's length in bytes, if it is known.
    pub len: Option<u64>,
    /// Bytes acknowledged by the receiving side.
    pub bytes: u64,
    /// Packets that this side sent again.
    pub resent: u32,
    /// Bytes of payload in every block but the last.
    pub block_size: u16,
    /// Blocks sent before an ACK is waited for.
    pub window_size: u16,
}

impl Report {
    /// The report of a complete transfer, or an error that says how the transfer ended.
    ///
    /// # Errors
    ///
    /// Every [`Outcome`] but [`Outcome::Complete`].
    pub fn into_result(self) -> Result<Self, TransferError> {
        match self.outcome {
            Outcome::Complete { .. } => Ok(self),
            _ => Err(TransferError(self)),
        }
    }

    /// Whether all blocks were sent and only the last ACK is missing: the client may have the whole file.
    pub fn lacks_only_the_last_ack(&self) -> bool {
        let window = u64::from(self.window_size) * u64::from(self.block_size);
        let missing = self.len.map(|len| len.saturating_sub(self.bytes));
        matches!(self.outcome, Outcome::TimedOut | Outcome::Displaced)
            && self.bytes > 0
            && missing.is_some_and(|missing| missing <= window)
    }

    /// Whether the request was a size probe: the client ended the transfer with "Early terminate", or before the first byte
    /// with a code that boot ROMs use for this (a Pi 0, iPXE and UEFI 8; captured).
    pub fn is_probe(&self) -> bool {
        let probes = [ErrorCode::NOT_DEFINED, ErrorCode::OPTIONS_REFUSED];
        self.early_terminate
            || matches!(self.outcome, Outcome::PeerError(code) if self.bytes == 0 && probes.contains(&code))
    }
}

/// A failed transfer. Its text is that of its [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TransferError(Report);

impl TransferError {
    /// The transfer's report.
    pub const fn report(&self) -> Report {
        self.0
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.outcome.fmt(f)
    }
}

impl core::error::Error for TransferError {}

/// The direction of a transfer's bytes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "RFC 1350 reads and writes")]
pub enum Direction {
    /// From the server to the client (RRQ).
    Read,
    /// From the client to the server (WRQ).
    Write,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome, bytes: u64) -> Report {
        Report {
            peer: "10.0.0.1:40000".parse().unwrap(),
            direction: Direction::Read,
            outcome,
            began: Instant::ZERO,
            early_terminate: false,
            len: Some(10_000),
            bytes,
            resent: 0,
            block_size: 1000,
            window_size: 2,
        }
    }

    #[test]
    fn a_probe_takes_no_byte_unless_the_client_says_so() {
        assert!(report(Outcome::PeerError(ErrorCode::NOT_DEFINED), 0).is_probe());
        assert!(!report(Outcome::PeerError(ErrorCode::NOT_DEFINED), 1000).is_probe());
        assert!(!report(Outcome::PeerError(ErrorCode::DISK_FULL), 0).is_probe());
        let early = report(Outcome::PeerError(ErrorCode::NOT_DEFINED), 1000);
        assert!(Report { early_terminate: true, ..early }.is_probe(), "after DATA 1");
    }

    #[test]
    fn a_client_that_left_after_the_last_window_may_have_the_file() {
        assert!(report(Outcome::TimedOut, 8000).lacks_only_the_last_ack());
        assert!(!report(Outcome::TimedOut, 7000).lacks_only_the_last_ack());
        assert!(!report(Outcome::PeerError(ErrorCode::DISK_FULL), 9000).lacks_only_the_last_ack());
    }
}

//! What happened, as plain values: for logs, timelines, counters and LEDs.

use core::net::SocketAddrV4;

use crate::Instant;
use crate::dhcp;
use crate::tftp::{ErrorCode, Options, Outcome, ParseError, Terms};

/// Someone who is told what happens. Called from the loop: be quick.
///
/// The observer `()` is told nothing, at no cost.
pub trait Observer {
    /// `event` happened at `now`.
    fn observe(&mut self, now: Instant, event: &Event<'_>);
}

impl Observer for () {
    #[inline]
    fn observe(&mut self, _: Instant, _: &Event<'_>) {}
}

impl<O: Observer> Observer for &mut O {
    #[inline]
    fn observe(&mut self, now: Instant, event: &Event<'_>) {
        (**self).observe(now, event);
    }
}

/// Something that happened in the server loop.
///
/// A peer (address and port) has at most one transfer at a time, so the peer tells which transfer an event belongs to.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was accepted: the file is open. A [`Started`](Self::Started) follows unless there is no port left.
    Requested {
        /// Who asks.
        peer: SocketAddrV4,
        /// To read or to write.
        direction: Direction,
        /// For what, as it stands in the packet.
        filename: &'a [u8],
        /// And with which options.
        options: Options,
    },
    /// A request was answered with an ERROR.
    Refused {
        /// Who asked.
        peer: SocketAddrV4,
        /// To read or to write.
        direction: Direction,
        /// For what, as it stands in the packet.
        filename: &'a [u8],
        /// The error that was answered.
        code: ErrorCode,
        /// And its text.
        reason: &'static str,
    },
    /// A request came again that is being answered already.
    Repeated {
        /// Who asks.
        peer: SocketAddrV4,
    },
    /// A transfer begins.
    Started {
        /// With whom.
        peer: SocketAddrV4,
        /// Which way.
        direction: Direction,
        /// The file's length in bytes, if it is known.
        len: Option<u64>,
        /// The terms agreed on.
        terms: Terms,
    },
    /// A transfer is over; after one that was written, its last block may be acknowledged once more.
    Finished(Report),
    /// A datagram was dropped or answered with an ERROR. It changed nothing, unless it was nonsense from the other side of
    /// a transfer, which ends that.
    Rejected {
        /// Who sent it.
        peer: SocketAddrV4,
        /// Why.
        why: Rejection,
    },
    /// A DHCP client said something, and was answered or not.
    Dhcp {
        /// Who sent it: the client itself, 0.0.0.0 while it has no address, or a relay agent.
        peer: SocketAddrV4,
        /// What it says.
        request: &'a dhcp::Message<'a>,
        /// The answer, or why there is none.
        answer: Result<dhcp::Reply, dhcp::Silence>,
    },
}

/// Which way the bytes of a transfer go, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Direction {
    /// From the server to the client (RRQ).
    Read,
    /// From the client to the server (WRQ).
    Write,
}

/// A transfer that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// The other side.
    pub peer: SocketAddrV4,
    /// Which way the bytes went.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub began: Instant,
    /// The file's length, if it is known.
    pub len: Option<u64>,
    /// Bytes that are known to have arrived.
    pub bytes: u64,
    /// Packets that we sent more than once.
    pub resent: u32,
    /// Bytes of payload in every block but the last.
    pub block_size: u16,
    /// Blocks sent before an ACK is waited for.
    pub window_size: u16,
}

impl Report {
    /// Whether all of it was sent, and only the last ACK never came: the client may well have the file, and have left.
    pub fn lacks_only_the_last_ack(&self) -> bool {
        let window = u64::from(self.window_size) * u64::from(self.block_size);
        let missing = self.len.map(|len| len.saturating_sub(self.bytes));
        self.outcome == Outcome::TimedOut
            && self.bytes > 0
            && missing.is_some_and(|missing| missing <= window)
    }

    /// Whether the client only wanted to know whether the file is there and how long it is: it ended the transfer
    /// before it took a byte, with the codes that boot ROMs use for this (a Pi 0, iPXE and UEFI 8; captured).
    pub fn is_probe(&self) -> bool {
        let probes = [ErrorCode::NOT_DEFINED, ErrorCode::OPTIONS_REFUSED];
        matches!(self.outcome, Outcome::PeerError(code) if self.bytes == 0 && probes.contains(&code))
    }
}

/// Why a datagram changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Rejection {
    /// It is not a TFTP packet.
    Malformed(ParseError),
    /// It belongs to no transfer that we know.
    UnknownTransfer,
    /// There was no port left for a transfer.
    NoPort,
    /// It came to a DHCP port and is not a DHCP message.
    NotDhcp(dhcp::ParseError),
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
            len: Some(10_000),
            bytes,
            resent: 0,
            block_size: 1000,
            window_size: 2,
        }
    }

    #[test]
    fn a_probe_takes_no_byte() {
        assert!(report(Outcome::PeerError(ErrorCode::NOT_DEFINED), 0).is_probe());
        assert!(!report(Outcome::PeerError(ErrorCode::NOT_DEFINED), 1000).is_probe());
        assert!(!report(Outcome::PeerError(ErrorCode::DISK_FULL), 0).is_probe());
    }

    #[test]
    fn a_client_that_left_after_the_last_window_may_have_the_file() {
        assert!(report(Outcome::TimedOut, 8000).lacks_only_the_last_ack());
        assert!(!report(Outcome::TimedOut, 7000).lacks_only_the_last_ack());
        assert!(!report(Outcome::PeerError(ErrorCode::DISK_FULL), 9000).lacks_only_the_last_ack());
    }
}

//! The facts of the loops' events, as plain values for an [`Observer`](crate::Observer).
//!
//! Each kind of event is a struct that may get more fields; only the loops make it.

use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use crate::dhcp;
use crate::storage::Refusal;
use crate::tftp::{Direction, ErrorCode, Options, ParseError, Terms};

/// A request that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Requested<'a> {
    /// The client.
    pub peer: SocketAddrV4,
    /// To read or to write.
    pub direction: Direction,
    /// The file's name as it stands in the packet.
    pub filename: &'a [u8],
    /// The options as the client asked for them.
    pub options: Options,
}

/// A request that was answered with an ERROR.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Refused<'a> {
    /// The client.
    pub peer: SocketAddrV4,
    /// To read or to write.
    pub direction: Direction,
    /// The file's name as it stands in the packet.
    pub filename: &'a [u8],
    /// The ERROR's code.
    pub code: ErrorCode,
    /// The ERROR's text.
    pub reason: &'static str,
    /// The storage's reason. `None` when the server refused: the name is not a clean path, or the file is too long for mode
    /// netascii.
    pub cause: Option<&'a dyn Refusal>,
}

#[cfg(feature = "defmt")]
impl defmt::Format for Refused<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let Self { peer, direction, filename, code, reason, cause } = *self;
        let place = cause.and_then(Refusal::place);
        defmt::write!(
            f,
            "Refused {{ peer: {}, direction: {}, filename: {}, code: {}, reason: {}, place: {} }}",
            peer,
            direction,
            filename,
            code,
            reason,
            place
        );
    }
}

/// A request that came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Repeated {
    /// The client.
    pub peer: SocketAddrV4,
}

/// A transfer that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Started {
    /// The client.
    pub peer: SocketAddrV4,
    /// Which way the bytes go.
    pub direction: Direction,
    /// The file's length in bytes, if it is known.
    pub len: Option<u64>,
    /// The terms agreed on.
    pub terms: Terms,
}

/// A transfer that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stalled {
    /// The client.
    pub peer: SocketAddrV4,
    /// Bytes acknowledged by the receiving side.
    pub bytes: u64,
    /// Bytes of payload in every block but the last.
    pub block_size: u16,
    /// The time from the request to the client's last packet.
    pub after: Duration,
}

/// A transfer that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Progress {
    /// The client.
    pub peer: SocketAddrV4,
    /// Bytes acknowledged by the receiving side.
    pub bytes: u64,
}

/// An ERROR by which the client ended a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct PeerError<'a> {
    /// The client.
    pub peer: SocketAddrV4,
    /// The ERROR's code.
    pub code: ErrorCode,
    /// The ERROR's text as it stands in the packet, without the zero byte that ends it: any bytes, or none.
    pub message: &'a [u8],
}

/// A datagram that was dropped or answered with an ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Rejected {
    /// The sender.
    pub peer: SocketAddrV4,
    /// The reason.
    pub why: Rejection,
}

/// A message of a DHCP client.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Dhcp<'a> {
    /// The sender: the client itself, 0.0.0.0 while it has no address, or a relay agent.
    pub peer: SocketAddrV4,
    /// The message.
    pub request: &'a dhcp::Message<'a>,
    /// The reply, or the reason for sending no reply.
    pub answer: Result<dhcp::Reply, dhcp::NoReply>,
}

/// The reason for rejecting a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Rejection {
    /// The datagram is not a TFTP packet.
    Malformed(ParseError),
    /// The packet belongs to no transfer.
    UnknownTransfer,
    /// The packet came from a port below 1024, which is a service's: some answer any datagram (7, echo; 19, chargen), and no
    /// client uses one.
    ServicePort,
    /// No port was left for a transfer. The request is not answered: the client repeats it.
    NoPort,
    /// All places for transfers are taken, and none yields. The request is not answered: the client repeats it.
    TableFull,
    /// The datagram came to a DHCP port and is not a DHCP message.
    NotDhcp(dhcp::ParseError),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "not a TFTP packet: {error}"),
            Self::UnknownTransfer => f.write_str("the packet belongs to no transfer"),
            Self::ServicePort => f.write_str("the port is a service's"),
            Self::NoPort => f.write_str("no port is left for a transfer"),
            Self::TableFull => f.write_str("all places for transfers are taken"),
            Self::NotDhcp(error) => write!(f, "not a DHCP message: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_rejection_says_what_is_wrong() {
        assert_eq!(Rejection::Malformed(ParseError::Opcode).to_string(), "not a TFTP packet: no such opcode");
        assert_eq!(
            Rejection::NotDhcp(dhcp::ParseError::Cookie).to_string(),
            "not a DHCP message: no DHCP options"
        );
    }
}

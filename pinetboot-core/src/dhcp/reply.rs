//! What the responders have in common: which clients they answer, and where a reply goes.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use super::emit::Emitter;
use super::message::{Header, Message};
use super::option::{MessageType, OptionCode};
use super::{CLIENT_PORT, SERVER_PORT};
use crate::Instant;

/// Answers DHCP messages: [`ProxyDhcp`](super::ProxyDhcp), [`LeaseServer`](super::LeaseServer).
pub trait Respond {
    /// Answers `request`, writing the reply into `out` ([`MAX_LEN`](super::MAX_LEN) bytes suffice).
    ///
    /// # Errors
    ///
    /// The reason for sending no reply. Most messages on a network are for another server.
    fn respond(&mut self, arrival: &Arrival, request: &Message<'_>, out: &mut [u8])
    -> Result<Reply, NoReply>;
}

impl<R: Respond> Respond for &mut R {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        (**self).respond(arrival, request, out)
    }
}

/// Time, port and sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Arrival {
    /// The time of arrival.
    pub at: Instant,
    /// The server's port that received it.
    pub port: Port,
    /// The sender.
    pub peer: SocketAddrV4,
}

impl Arrival {
    /// A message that this port received at this time from this peer.
    pub const fn new(at: Instant, port: Port, peer: SocketAddrV4) -> Self {
        Self { at, port, peer }
    }
}

/// A port of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "RFC 2131 and PXE have one each")]
pub enum Port {
    /// 67: DHCP's.
    Server,
    /// 4011: a PXE client that has its address asks a proxy again here. No Pi does.
    Pxe,
}

/// Destination and length of a written reply.
///
/// RFC 2131, section 4.1, has a server unicast to a client that asked for no broadcast, at its new address and its
/// hardware address. A [`Net`](crate::Net) can do neither: the client does not answer ARP yet, and the network sends UDP,
/// not frames. But
///
/// > If unicasting is not possible, the message MAY be sent as an IP broadcast using an IP broadcast address (preferably
/// > 0xffffffff) as the IP destination address
///
/// so the reply is broadcast. Pis take it, as do PXE clients, U-Boot and Linux (dnsmasq's proxy always broadcasts; captured).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Reply {
    /// The destination. 255.255.255.255 is the network that the request came from.
    pub to: SocketAddrV4,
    /// The length in bytes.
    pub len: u16,
    /// OFFER, ACK or NAK.
    pub kind: MessageType,
    /// The address for the client; 0.0.0.0 in a reply without one.
    pub address: Ipv4Addr,
}

impl Reply {
    /// A reply of `len` bytes that goes to `to` and gives the client `address`.
    pub const fn new(to: SocketAddrV4, len: u16, kind: MessageType, address: Ipv4Addr) -> Self {
        Self { to, len, kind, address }
    }
}

/// The reason for sending no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NoReply {
    /// The message is not a DHCP client's: a server's, or of a type that clients do not send.
    NotAClient,
    /// The message has no type: BOOTP (RFC 951), which knows no leases.
    Bootp,
    /// Clients of this kind are not served: see [`Clients`].
    NotServed,
    /// The message is for another server.
    ForAnother,
    /// No boot file is set for PXE clients, and this client is one.
    NothingToOffer,
    /// A client without a record wants to keep an address:
    ///
    /// > If the DHCP server has no record of this client, then it MUST remain silent (RFC 2131, section 4.3.2)
    NoRecord,
    /// A relay agent sent the message from a network that is not served, or has an address that no relay agent can have.
    OtherNetwork,
    /// All addresses are taken. Remedy: a larger range, or shorter leases.
    Exhausted,
    /// The client found this address in use by another host. The server does not offer it for an hour. Remedy: find the
    /// other host.
    Declined(Ipv4Addr),
    /// The client released this address.
    Released(Ipv4Addr),
    /// The answer waits until it is known whether another host uses this address. No [`Respond`] of this crate says so.
    Probing(Ipv4Addr),
    /// The reply would be longer than a client takes.
    TooLong,
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAClient => "not a DHCP client's message",
            Self::Bootp => "BOOTP, which knows no leases",
            Self::NotServed => "clients of this kind are not served",
            Self::ForAnother => "for another server",
            Self::NothingToOffer => "no boot file for PXE clients",
            Self::NoRecord => "the client has no record",
            Self::OtherNetwork => "relayed from a network that is not served",
            Self::Exhausted => "all addresses are taken",
            Self::Declined(address) => return write!(f, "{address} is in use by another host"),
            Self::Released(address) => return write!(f, "{address} is released"),
            Self::Probing(_) => "waiting for another host's answer at the address",
            Self::TooLong => "the reply would be too long",
        })
    }
}

impl core::error::Error for NoReply {}

/// The clients that are answered. Never decided by option 93 (every Pi says it is an x86 PC) or the vendor
/// part of the hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Clients {
    /// Raspberry Pis, by options 97 and 60: see [`Message::pi`].
    #[default]
    Pi,
    /// PXE clients, by option 60; Pis say that they are.
    Pxe,
    /// All clients. A proxy has nothing for other clients than PXE's, and takes this as [`Pxe`](Self::Pxe).
    All,
}

impl Clients {
    /// Whether the sender of this message is one of them.
    pub fn admit(self, message: &Message<'_>) -> bool {
        match self {
            Self::Pi => message.pi().is_some(),
            Self::Pxe => message.is_pxe() || message.pi().is_some(),
            Self::All => true,
        }
    }
}

/// Whether a message comes from a client or through a relay agent, and not with an address in `giaddr` that no agent has: a
/// reply would go to a group, to all hosts or to this one.
pub(super) const fn comes_from_a_host(request: &Header) -> bool {
    let giaddr = request.giaddr;
    let [first, ..] = giaddr.octets();
    giaddr.is_unspecified() || (first != 0 && !giaddr.is_loopback() && first < FIRST_OF_CLASS_D)
}

/// Whether a datagram comes from the port of another service than DHCP's: some answer any datagram (7, echo; 19, chargen).
pub(super) const fn is_service(peer: SocketAddrV4) -> bool {
    peer.port() < FIRST_CLIENT_PORT && !matches!(peer.port(), CLIENT_PORT | SERVER_PORT)
}

const FIRST_CLIENT_PORT: u16 = 1024;

/// The multicast addresses of class D begin with this byte; above them are class E's and the broadcast address.
const FIRST_OF_CLASS_D: u8 = 224;

/// Copies an option of the request, if it has it, to the reply.
pub(super) fn echo(request: &Message<'_>, code: OptionCode, reply: &mut Emitter<'_>) -> Option<()> {
    match request.option(code) {
        Some(value) => reply.option_from(code, value.bytes()),
        None => Some(()),
    }
}

/// Begins a reply: the header's fields as RFC 2131, table 3, has them, but for the addresses that are to be added.
///
/// A broadcast has the flag even for a client that did not ask for one: dnsmasq's have it (captured), and Pis take those.
pub(super) fn header(arrival: &Arrival, request: &Message<'_>, kind: MessageType) -> Header {
    let header = request.header.reply();
    // > If 'giaddr' is set in the DHCPREQUEST message, the client is on a different subnet. The server MUST set the
    // > broadcast bit in the DHCPNAK (RFC 2131, section 4.3.2)
    let broadcast =
        kind == MessageType::Nak || destination(arrival, &request.header, kind).ip().is_broadcast();
    let flags = if broadcast { header.flags | Header::BROADCAST } else { header.flags };
    let ciaddr = if kind == MessageType::Ack { request.header.ciaddr } else { Ipv4Addr::UNSPECIFIED };
    Header { flags, ciaddr, ..header }
}

/// Ends a reply with the options that every client gets back, and addresses it.
pub(super) fn finish(
    arrival: &Arrival,
    request: &Message<'_>,
    kind: MessageType,
    address: Ipv4Addr,
    mut reply: Emitter<'_>,
) -> Option<Reply> {
    // > If the 'client identifier' option is present in a message received from a client, the server MUST return the
    // > 'client identifier' option, unaltered, in its response message. (RFC 6842, section 3)
    echo(request, OptionCode::CLIENT_ID, &mut reply)?;
    // > DHCP servers claiming to support the Relay Agent Information option SHALL echo the entire contents of the Relay
    // > Agent Information option in all replies. (RFC 3046, section 2.2)
    echo(request, OptionCode::RELAY_AGENT, &mut reply)?;
    let len = u16::try_from(reply.finish()?).ok()?;
    Some(Reply { to: destination(arrival, &request.header, kind), len, kind, address })
}

/// RFC 2131, section 4.1; see [`Reply`].
fn destination(arrival: &Arrival, request: &Header, kind: MessageType) -> SocketAddrV4 {
    let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    if arrival.port == Port::Pxe && !arrival.peer.ip().is_unspecified() {
        // It has its address, and answers ARP.
        return arrival.peer;
    }
    // > If the 'giaddr' field in a DHCP message from a client is non-zero, the server sends any return messages to the
    // > 'DHCP server' port on the BOOTP relay agent whose address appears in 'giaddr'.
    if !request.giaddr.is_unspecified() {
        return SocketAddrV4::new(request.giaddr, SERVER_PORT);
    }
    match kind {
        // > the server unicasts DHCPOFFER and DHCPACK messages to the address in 'ciaddr'
        // It has none while it discovers.
        MessageType::Ack if !request.ciaddr.is_unspecified() => {
            SocketAddrV4::new(request.ciaddr, CLIENT_PORT)
        }
        // > In all cases, when 'giaddr' is zero, the server broadcasts any DHCPNAK messages to 0xffffffff.
        _ => everyone,
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::dhcp::HardwareAddress;

    #[test]
    fn replies_go_where_rfc_2131_has_them() {
        let header = Header::request(HardwareAddress::ethernet([2; 6]), 1);
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let arrival = |port, peer: &str| Arrival { at: Instant::ZERO, port, peer: peer.parse().unwrap() };
        let to =
            |port, peer, header: Header, kind| destination(&arrival(port, peer), &header, kind).to_string();
        let has_address = Header { ciaddr: address, ..header };
        let relayed = Header { giaddr: Ipv4Addr::new(10, 9, 0, 1), ..has_address };

        let (server, new) = (Port::Server, "0.0.0.0:68");
        assert_eq!(to(server, new, header, MessageType::Offer), "255.255.255.255:68");
        assert_eq!(to(server, new, has_address, MessageType::Ack), "10.0.0.9:68");
        assert_eq!(to(server, new, has_address, MessageType::Nak), "255.255.255.255:68");
        assert_eq!(to(server, new, has_address, MessageType::Offer), "255.255.255.255:68");
        for kind in [MessageType::Offer, MessageType::Ack, MessageType::Nak] {
            assert_eq!(to(server, "10.9.0.1:67", relayed, kind), "10.9.0.1:67");
        }
        assert_eq!(to(Port::Pxe, "10.0.0.9:4011", has_address, MessageType::Ack), "10.0.0.9:4011");
        assert_eq!(to(Port::Pxe, new, header, MessageType::Ack), "255.255.255.255:68");
    }
}

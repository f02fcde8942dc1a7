//! What a frame says that is for no port of this machine: ARP (RFC 826), BPDUs (IEEE 802.1D-2004, clause 9), DHCP messages of others,
//! and lines of the Pi's NETCONSOLE.
//!
//! [`Frame::parse`] is a function of bytes that anybody sent: it reads within them, and keeps nothing. `fuzz/fuzz_targets/frame.rs`
//! runs this file.

use core::net::{Ipv4Addr, SocketAddrV4};

use pinetboot_core::pi::console;

/// A MAC address.
type Mac = [u8; 6];

/// A frame that evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// ARP for Ethernet and IPv4.
    Arp {
        /// A request, else a reply.
        is_request: bool,
        /// The sender.
        from: Mac,
        /// The sender's address; 0.0.0.0 in a probe (RFC 5227).
        sender: Ipv4Addr,
        /// The address asked for, or the receiver's.
        target: Ipv4Addr,
    },
    /// A spanning tree's configuration message.
    Bpdu {
        /// The protocol version: 0 is STP, 2 RSTP, 3 MSTP.
        version: u8,
        /// Seconds in each of the states listening and learning, rounded down.
        forward_delay: u16,
    },
    /// A UDP datagram at the port of DHCP servers or clients.
    Dhcp {
        /// The sender's MAC address.
        from: Mac,
        /// The sender's address and port.
        source: SocketAddrV4,
        /// To a server, else to a client.
        to_server: bool,
        /// The message.
        message: &'a [u8],
    },
    /// A UDP datagram at the port of NETCONSOLE.
    Console {
        /// The sender's MAC address.
        from: Mac,
        /// Lines, or parts of lines.
        text: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Reads an Ethernet frame without a VLAN tag; `None` for all other ones, fragments, and what is cut off.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (_to, rest) = frame.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (kind, payload) = rest.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*kind) {
            ARP => arp(payload),
            IPV4 => udp(*from, payload),
            len if len <= MAX_LEN_FIELD => bpdu(payload.get(..len.into())?),
            _ => None,
        }
    }
}

fn arp<'a>(packet: &[u8]) -> Option<Frame<'a>> {
    let (head, rest) = packet.split_first_chunk::<6>()?;
    // Ethernet, IPv4, addresses of 6 and 4 bytes.
    if *head != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let (from, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let (target, _) = rest.split_first_chunk::<4>()?;
    let is_request = match u16::from_be_bytes(*operation) {
        1 => true,
        2 => false,
        _ => return None,
    };
    Some(Frame::Arp { is_request, from: *from, sender: (*sender).into(), target: (*target).into() })
}

/// A configuration BPDU: LLC, then the protocol's id 0, version, type, and 31 bytes of which the last two are the forward delay in
/// 1/256 s (IEEE 802.1D-2004, 9.3.1). RSTP and MSTP begin with the same fields (9.3.3).
fn bpdu<'a>(packet: &[u8]) -> Option<Frame<'a>> {
    let rest = packet.strip_prefix(&[0x42, 0x42, 0x03, 0, 0])?;
    let (&[version, kind], rest) = rest.split_first_chunk::<2>()?;
    // A topology change notification (0x80) has no times.
    if !matches!(kind, 0x00 | 0x02) {
        return None;
    }
    let delay = rest.get(29..31)?;
    let forward_delay = u16::from_be_bytes(delay.try_into().ok()?) / 256;
    Some(Frame::Bpdu { version, forward_delay })
}

fn udp(from: Mac, packet: &[u8]) -> Option<Frame<'_>> {
    let (&[version, _, len_high, len_low, _, _, fragment_high, fragment_low], _) =
        packet.split_first_chunk::<8>()?;
    let header = usize::from(version & 15) * 4;
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let is_fragment = u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0;
    if version >> 4 != 4 || header < 20 || is_fragment || packet.get(9) != Some(&UDP) {
        return None;
    }
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let (udp, payload) = packet.get(header..len)?.split_first_chunk::<8>()?;
    let [source_high, source_low, high, low, udp_high, udp_low, _, _] = *udp;
    let len = usize::from(u16::from_be_bytes([udp_high, udp_low])).checked_sub(8)?;
    let payload = payload.get(..len)?;
    let source = SocketAddrV4::new(source.into(), u16::from_be_bytes([source_high, source_low]));
    match u16::from_be_bytes([high, low]) {
        to @ (DHCP_SERVER | DHCP_CLIENT) => {
            Some(Frame::Dhcp { from, source, to_server: to == DHCP_SERVER, message: payload })
        }
        console::PORT => Some(Frame::Console { from, text: payload }),
        _ => None,
    }
}

/// The type of ARP.
pub(super) const ARP: u16 = 0x0806;
/// The type of IPv4.
pub(super) const IPV4: u16 = 0x0800;
/// A type field up to this is a length (IEEE 802.3).
pub(super) const MAX_LEN_FIELD: u16 = 1500;
/// IPv4's number of UDP.
pub(super) const UDP: u8 = 17;
/// The port of DHCP servers.
pub(super) const DHCP_SERVER: u16 = 67;
/// The port of DHCP clients.
pub(super) const DHCP_CLIENT: u16 = 68;

#[cfg(test)]
mod tests {
    use super::*;

    const PI: Mac = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, 0x1e];

    fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
        [&[0xff; 6][..], &PI, &kind.to_be_bytes(), payload].concat()
    }

    fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
        let udp =
            [&[0, 68][..], &port.to_be_bytes(), &(8 + payload.len() as u16).to_be_bytes(), &[0; 2], payload];
        let udp = udp.concat();
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
        ip[2..4].copy_from_slice(&(20 + udp.len() as u16).to_be_bytes());
        ip.extend(udp);
        frame(IPV4, &ip)
    }

    /// A request as a Pi sends it: who has 192.168.2.214 (rpi-eeprom issue 72)?
    fn asks() -> Vec<u8> {
        let ends = [&[0, 1][..], &PI, &[192, 168, 0, 60], &[0; 6], &[192, 168, 2, 214]].concat();
        frame(ARP, &[&[0, 1, 8, 0, 6, 4][..], &ends].concat())
    }

    /// A configuration BPDU of a bridge of Linux with the default times (captured).
    fn tree() -> Vec<u8> {
        let root = [0x80, 0, 0x52, 0x54, 0, 1, 2, 3];
        let times = [0, 0, 20, 0, 2, 0, 15, 0];
        let body = [&[0x42, 0x42, 3, 0, 0, 0, 0, 0][..], &root, &[0; 4], &root, &[0x80, 1], &times].concat();
        frame(body.len() as u16, &[&body[..], &[0; 8]].concat())
    }

    #[test]
    fn each_kind_is_read() {
        assert_eq!(
            Frame::parse(&asks()),
            Some(Frame::Arp {
                is_request: true,
                from: PI,
                sender: Ipv4Addr::new(192, 168, 0, 60),
                target: Ipv4Addr::new(192, 168, 2, 214)
            })
        );
        assert_eq!(Frame::parse(&tree()), Some(Frame::Bpdu { version: 0, forward_delay: 15 }));
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        assert_eq!(
            Frame::parse(&datagram(67, b"message")),
            Some(Frame::Dhcp { from: PI, source, to_server: true, message: b"message" })
        );
        assert_eq!(
            Frame::parse(&datagram(6666, b"NETBOOT")),
            Some(Frame::Console { from: PI, text: b"NETBOOT" })
        );
    }

    #[test]
    fn others_are_passed_over() {
        assert_eq!(Frame::parse(&datagram(6970, b"DATA")), None);
        assert_eq!(Frame::parse(&frame(0x86dd, &[0x60; 60])), None);
        let mut fragment = datagram(67, b"message");
        fragment[14 + 6] = 0x20;
        assert_eq!(Frame::parse(&fragment), None);
    }

    #[test]
    fn a_cut_or_damaged_frame_has_no_more_than_its_bytes() {
        for whole in [asks(), tree(), datagram(67, &[7; 300]), datagram(6666, b"line\n")] {
            for cut in 0..whole.len() {
                let _read = Frame::parse(&whole[..cut]);
            }
            for damaged in crate::damaged::mutations(&whole, 10_000) {
                let _read = Frame::parse(&damaged);
            }
        }
    }
}

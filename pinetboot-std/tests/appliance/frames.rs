//! Frames by hand: from senders that do not exist, right and wrong ones.

use core::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use pinetboot_core::dhcp::{MAX_LEN, Profile, Selected};
use pinetboot_core::pi::{PiIdentity, Revision};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

/// An interface, to send frames on and to hear them.
pub(crate) struct Wire(OwnedFd);

impl Wire {
    pub(crate) fn open(interface: &str) -> Self {
        let mut addresses = getifaddrs().unwrap().filter(|address| address.interface_name == interface);
        let link = addresses.find_map(|address| address.address?.as_link_addr().copied()).unwrap();
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
        bind(socket.as_raw_fd(), &link).unwrap();
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0)).unwrap();
        Self(socket)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    }

    /// Asks for the appliance's hardware address, as the host of that number, and waits for the answer: it has then taken
    /// in every frame that was sent before, and knows that host's hardware address.
    pub(crate) fn asks_who_has(&self, last: u8, within: Duration) -> bool {
        self.send(&who_has(last));
        let deadline = Instant::now() + within;
        let mut frame = [0; 1600];
        while Instant::now() < deadline {
            let len = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap_or(0);
            if answers(&frame[..len], last) {
                return true;
            }
        }
        false
    }
}

fn who_has(last: u8) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: hardware(last),
        source_protocol_addr: [10, 55, 0, last].into(),
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OURS.into(),
    };
    let ethernet = EthernetRepr {
        src_addr: hardware(last),
        dst_addr: EthernetAddress(to_all()),
        ethertype: EthernetProtocol::Arp,
    };
    let mut frame = vec![0; ethernet.buffer_len() + arp.buffer_len()];
    let mut out = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.emit(&mut out);
    arp.emit(&mut ArpPacket::new_unchecked(out.payload_mut()));
    frame
}

/// Whether a frame tells that host the appliance's hardware address.
fn answers(frame: &[u8], last: u8) -> bool {
    let ethernet = EthernetFrame::new_checked(frame).ok().filter(|frame| frame.dst_addr() == hardware(last));
    let arp =
        ethernet.and_then(|ethernet| ArpRepr::parse(&ArpPacket::new_checked(ethernet.payload()).ok()?).ok());
    matches!(arp, Some(ArpRepr::EthernetIpv4 { operation: ArpOperation::Reply, .. }))
}

const fn hardware(last: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, last])
}

/// A UDP datagram to the appliance, whole.
pub(crate) fn udp(from: [u8; 4], source: u16, to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: source, dst_port: port };
    let payload_len = 8 + payload.len();
    let ip = Ipv4Repr {
        src_addr: from.into(),
        dst_addr: to.into(),
        next_header: IpProtocol::Udp,
        payload_len,
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: hardware(from[3]),
        dst_addr: EthernetAddress(if to == [255; 4] { to_all() } else { MAC }),
        ethertype: EthernetProtocol::Ipv4,
    };
    let checksums = ChecksumCapabilities::default();
    let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + payload_len];
    let mut out = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.emit(&mut out);
    let mut out = Ipv4Packet::new_unchecked(out.payload_mut());
    ip.emit(&mut out, &checksums);
    let mut out = UdpPacket::new_unchecked(out.payload_mut());
    let fill = |room: &mut [u8]| room.copy_from_slice(payload);
    udp.emit(&mut out, &ip.src_addr.into(), &ip.dst_addr.into(), payload.len(), fill, &checksums);
    frame
}

const fn to_all() -> [u8; 6] {
    [0xff; 6]
}

/// Endless frames, the same in every run: noise, and datagrams of TFTP and DHCP that are right but for what was changed
/// in them, before or after their checksums were made.
pub(crate) struct Frames(u64);

impl Frames {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        if self.below(16) == 0 {
            return self.noise();
        }
        let mut payload = if self.below(2) == 0 { self.tftp() } else { self.dhcp() };
        if self.below(4) != 0 {
            self.spoil(&mut payload);
        }
        let from = [10, 55, 0, SENDERS.start + self.below(SENDERS.len()) as u8];
        let source = [68, 40_000, 40_001, self.below(65_536) as u16][self.below(4)];
        let to = if self.below(3) == 0 { [255; 4] } else { OURS };
        let port = match self.below(8) {
            0 => self.below(65_536) as u16,
            1 => 49_152 + self.below(16_384) as u16,
            // A sender of TFTP to the DHCP server, or of DHCP to the TFTP server, is malicious, too.
            2 => 69,
            3 => 67,
            _ if payload.len() < 200 => 69,
            _ => 67,
        };
        let mut frame = udp(from, source, to, port, &payload);
        if self.below(8) == 0 {
            self.spoil(&mut frame);
            frame.resize(frame.len().max(14), 0);
        }
        frame
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = 14 + self.below(1486);
        let mut frame: Vec<u8> = (0..len).map(|_| self.below(256) as u8).collect();
        frame[..6].copy_from_slice(&if self.below(2) == 0 { MAC } else { to_all() });
        frame[12..14].copy_from_slice([&[8, 0], &[8, 6], &[0x86, 0xdd], &[0x81, 0]][self.below(4)]);
        frame
    }

    fn tftp(&mut self) -> Vec<u8> {
        let name: &[u8] =
            [&b"config.txt"[..], b"kernel_2712.img", b"bd989ae1//cmdline.txt", b"../x", b"not-there"]
                [self.below(5)];
        let options: &[u8] = [
            &b""[..],
            b"tsize\x000\0blksize\x001468\0",
            b"blksize\x008\0windowsize\x0065535\0",
            b"timeout\x001\0tsize\x0018446744073709551615\0",
            b"blksize\0\0",
        ][self.below(5)];
        match self.below(8) {
            0..4 => [b"\0\x01", name, b"\0octet\0", options].concat(),
            4 => [b"\0\x01", name, b"\0netascii\0", options].concat(),
            5 => [b"\0\x02", name, b"\0octet\0", options].concat(),
            6 => vec![0, 4, self.below(3) as u8, self.below(256) as u8],
            _ => b"\0\x05\0\0Early terminate\0".to_vec(),
        }
    }

    fn dhcp(&mut self) -> Vec<u8> {
        let mac = [0xd8, 0x3a, 0xdd, 0xe8, 0x27, self.below(256) as u8];
        let pi = PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, self.below(256) as u32);
        let profile =
            [Profile::Pi(pi.unwrap()), Profile::PiBootRom, Profile::UBoot, Profile::Plain][self.below(4)];
        let mut message = vec![0; MAX_LEN];
        let len = if self.below(2) == 0 {
            profile.discover(mac, 1, 0, &mut message)
        } else {
            let address = [10, 55, 0, self.below(256) as u8].into();
            let server = [10, 55, 0, 1 + self.below(2) as u8].into();
            profile.request(mac, 1, 0, &Selected::new(address, server), &mut message)
        };
        message.truncate(len.unwrap_or(0));
        message
    }

    /// Changes some bytes, or the length.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let len = bytes.len();
            match self.below(4) {
                0 => bytes.truncate(self.below(len + 1)),
                1 => bytes.resize(len + self.below(1400 - len.min(1399)), self.below(256) as u8),
                _ if len > 0 => {
                    bytes[self.below(len)] = [0, 1, 0x7f, 0xff, self.below(256) as u8][self.below(5)]
                }
                _ => {}
            }
        }
        bytes.truncate(1400);
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % bound
    }
}

/// The last numbers of the addresses from which [`Frames`] seem to come.
pub(crate) const SENDERS: Range<u8> = 60..68;

/// The appliance's address.
pub(crate) const OURS: [u8; 4] = [10, 55, 0, 1];

/// And that of its TAP device.
const MAC: [u8; 6] = [2, 3, 4, 5, 6, 7];

//! Clients by hand: messages of many Pis and of PCs, from one socket.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use pinetboot_core::dhcp::{
    Emitter, HardwareAddress, Header, MAX_LEN, Message, MessageType, OptionCode, Profile, Selected,
};
use pinetboot_core::pi::{PiIdentity, Revision};

use crate::namespace::dhcp_client;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: Option<MessageType>,
    pub(crate) mac: [u8; 6],
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) next_server: Ipv4Addr,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
    pub(crate) file: String,
}

impl Answer {
    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }
}

/// A client's socket in the present namespace.
pub(crate) struct Clients(UdpSocket);

impl Clients {
    pub(crate) fn new() -> Self {
        let socket = dhcp_client();
        // Without a route to it, a broadcast leaves by this interface.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::BindToDevice, &"eth0".into())
            .unwrap();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &(4 << 20)).unwrap();
        Self(socket)
    }

    pub(crate) fn broadcast(&self, message: &[u8]) {
        self.0.send_to(message, "255.255.255.255:67").unwrap();
    }

    /// The first answer to a message, which is sent again each second (RFC 2131 section 4.1): a new port of a switch
    /// forwards nothing at first.
    pub(crate) fn exchange(&self, message: &[u8]) -> Answer {
        let mut sent_again = 0..10;
        loop {
            self.broadcast(message);
            let answers = self.answers_within(Duration::from_secs(1), |answers| !answers.is_empty());
            if let Some(answer) = answers.into_iter().next() {
                break answer;
            }
            assert!(sent_again.next().is_some(), "no answer");
        }
    }

    /// The answers until `enough` says so, for three seconds at most.
    pub(crate) fn answers(&self, enough: impl Fn(&[Answer]) -> bool) -> Vec<Answer> {
        self.answers_within(Duration::from_secs(3), enough)
    }

    fn answers_within(&self, most: Duration, enough: impl Fn(&[Answer]) -> bool) -> Vec<Answer> {
        let (began, mut answers) = (Instant::now(), Vec::new());
        while !enough(&answers) {
            let left = most.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            self.0.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 2048];
            let Ok((len, _)) = self.0.recv_from(&mut bytes) else { break };
            let Ok(message) = Message::parse(&bytes[..len]) else { continue };
            answers.push(Answer {
                kind: message.kind(),
                mac: message.header.hardware.mac().unwrap(),
                address: message.header.yiaddr,
                server: message.server_id().unwrap_or(Ipv4Addr::UNSPECIFIED),
                next_server: message.header.siaddr,
                options: message.options().map(|option| (option.code.0, option.value.to_vec())).collect(),
                file: message.boot_file().map_or(String::new(), |file| file.to_string()),
            });
        }
        answers
    }
}

/// A Pi by its number: its bootloader, and its kernel.
pub(crate) fn pi(number: u8) -> (Profile, [u8; 6]) {
    let mac = [0xdc, 0xa6, 0x32, 0, 1, number];
    let pi =
        PiIdentity::new(*b"RPi5", Revision::from_code(0x00d0_4170), mac, 0x0100_0000 + u32::from(number));
    (Profile::Pi(pi.unwrap()), mac)
}

pub(crate) fn discover(profile: &Profile, mac: [u8; 6]) -> Vec<u8> {
    let mut out = [0; MAX_LEN];
    let len = profile.discover(mac, u32::from(mac[5]) + 1, 0, &mut out).unwrap();
    out[..len].to_vec()
}

pub(crate) fn request(profile: &Profile, mac: [u8; 6], address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let mut out = [0; MAX_LEN];
    let selected = Selected::new(address, server);
    let len = profile.request(mac, u32::from(mac[5]) + 1, 0, &selected, &mut out).unwrap();
    out[..len].to_vec()
}

/// The REQUEST of a client that has this address and hears no more from its server (RFC 2131, REBINDING).
pub(crate) fn rebind(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut header = Header::request(HardwareAddress::ethernet(mac), 7);
    header.ciaddr = address;
    let mut out = [0; MAX_LEN];
    let mut message = Emitter::new(&header, &mut out).unwrap();
    message.kind(MessageType::Request).unwrap();
    let len = message.finish().unwrap();
    out[..len].to_vec()
}

/// The DISCOVER of a PC that boots by PXE: its BIOS, or iPXE that was loaded. Both have the vendor class of a Pi.
pub(crate) fn pc(ipxe: bool) -> Vec<u8> {
    let mut header = Header::request(HardwareAddress::ethernet([2, 0, 0, 0, 0, 0x77]), 77);
    header.flags = Header::BROADCAST; // the interface has another address
    let mut out = [0; MAX_LEN];
    let mut message = Emitter::new(&header, &mut out).unwrap();
    message.kind(MessageType::Discover).unwrap();
    message.option(OptionCode::PARAMETER_LIST, &[1, 3, 43, 60, 66, 67]).unwrap();
    message.option(OptionCode::ARCHITECTURE, &[0, 0]).unwrap();
    message.option(OptionCode::INTERFACE, &[1, 2, 1]).unwrap();
    let id = [0, 0x4c, 0x4c, 0x45, 0x44, 0, 0x4d, 0x30, 0x10, 0x80, 0x4c, 0xb8, 0xc0, 0x4f, 0x57, 0x4d, 0x32];
    message.option(OptionCode::MACHINE_ID, &id).unwrap();
    message.option(OptionCode::VENDOR_CLASS, b"PXEClient:Arch:00000:UNDI:002001").unwrap();
    if ipxe {
        message.option(OptionCode::USER_CLASS, b"iPXE").unwrap();
        message.option(OptionCode::IPXE, &[0xb1, 0, 0x13, 1, 1]).unwrap();
    }
    let len = message.finish().unwrap();
    out[..len].to_vec()
}

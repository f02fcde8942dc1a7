//! An address by DHCP: pinetboot-core's client on a UDP socket of an interface that has no address yet.

use core::net::Ipv4Addr;
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use pinetboot_core::Instant as Moment;
use pinetboot_core::dhcp::{Client, MAX_LEN, Message, MessageType, OptionCode, Outcome, Profile, Step};

use super::link::{Address, Link};
use super::{class_mask, failed};
use crate::console::Console;
use crate::failure::Failure;

/// Asks until a server gives an address; with it, the name servers.
pub(super) fn lease(console: &Console, link: &Link) -> Result<(Address, Vec<Ipv4Addr>), Failure> {
    let socket = open(link.name()).map_err(failed)?;
    let mac = link.mac().map_err(failed)?;
    loop {
        let (outcome, name_servers) = exchange(&socket, mac).map_err(failed)?;
        match outcome {
            Outcome::Bound { address, mask, router, .. } => {
                let mask = mask.unwrap_or_else(|| class_mask(address));
                return Ok((Address { address, mask, router }, name_servers));
            }
            Outcome::NoBoot(why) => {
                console.error(format_args!(
                    "no address for {}: {why}. Check that a DHCP server runs",
                    link.name()
                ));
            }
        }
    }
}

/// The socket of a client on this interface.
pub(super) fn open(interface: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT))?;
    socket.set_broadcast(true)?;
    setsockopt(&socket, BindToDevice, &interface.into())?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket, mac: [u8; 6]) -> io::Result<(Outcome, Vec<Ipv4Addr>)> {
    let mut name_servers = Vec::new();
    let mut xid = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut xid)?;
    let mut client = Client::new(Profile::Plain, mac, u32::from_ne_bytes(xid));
    let began = Instant::now();
    let now = || Moment::from_micros(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    let mut buffer = [0; 1500];
    loop {
        let until = match client.poll(now()) {
            Step::Done(outcome) => return Ok((outcome, name_servers)),
            Step::Wait { until } => until,
            Step::Send(kind) => {
                let mut out = [0; MAX_LEN];
                let len = client.emit(now(), kind, &mut out).ok_or(io::ErrorKind::InvalidData)?;
                // > A client that cannot receive unicast IP datagrams until its protocol software has been configured with an
                // > IP address SHOULD set the BROADCAST bit (RFC 2131, section 4.1)
                out[FLAGS] |= BROADCAST;
                // A lost datagram is sent again.
                let _lost = socket.send_to(&out[..len], (Ipv4Addr::BROADCAST, SERVER));
                continue;
            }
        };
        let wait = until.since(now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut buffer) {
            Ok((len, SocketAddr::V4(from))) => {
                if let Ok(message) = Message::parse(&buffer[..len]) {
                    if message.kind() == Some(MessageType::Ack) {
                        let named = message.option(OptionCode::NAME_SERVER);
                        name_servers = named.iter().flat_map(|value| value.addresses()).collect();
                    }
                    client.handle(now(), *from.ip(), &message);
                }
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

const CLIENT: u16 = 68;
pub(super) const SERVER: u16 = 67;
/// Offset of the flags (RFC 2131, figure 1), whose first bit is BROADCAST.
const FLAGS: usize = 10;
const BROADCAST: u8 = 0x80;

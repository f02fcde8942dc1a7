//! Keeps the address, which the system's network services leave alone: asks for its lease again in time (RFC 2131, section 4.4.5).
//!
//! Any server is asked, as in REBINDING: the kernel, which may have the lease, does not tell which server gave it. An address that
//! is not granted any more stays: the root depends on it.

use core::net::Ipv4Addr;
use std::fs::File;
use std::io::{self, Read};
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use pinetboot_core::dhcp::{Emitter, HardwareAddress, Header, MAX_LEN, Message, MessageType, OptionCode};

use super::dhcp::{SERVER, open};
use super::{BY_KERNEL, link};
use crate::console::Console;
use crate::settings::Network;

/// A lease to renew. What it needs of /proc and /sys is read before the system takes these.
#[derive(Debug)]
pub(crate) struct Renewal {
    interface: String,
    mac: [u8; 6],
    address: Ipv4Addr,
    /// The kernel sends no client identifier, this program does: a server knows the lease by that.
    has_identifier: bool,
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// For so long.
    Granted(Duration),
    Refused,
}

impl Renewal {
    /// The lease of an address that was given by DHCP; `None` for another.
    pub(crate) fn of(network: &Network, address: Ipv4Addr) -> io::Result<Option<Self>> {
        let Network::Dhcp(named) = network else { return Ok(None) };
        let interface = match named {
            Some(name) => name.clone(),
            None => link::carrying_default_or_first()?,
        };
        let (mac, has_identifier) = (link::mac_of(&interface)?, !Path::new(BY_KERNEL).exists());
        Ok(Some(Self { interface, mac, address, has_identifier }))
    }

    /// Renews the lease as long as the machine runs, in a thread of its own.
    pub(crate) fn start(self) -> io::Result<()> {
        thread::Builder::new().name("lease".into()).stack_size(STACK).spawn(move || self.run()).map(drop)
    }

    fn run(&self) {
        let console = Console::open();
        let mut is_well = true;
        loop {
            let (wait, trouble) = match self.ask() {
                Ok(Some(Answer::Granted(time))) => (renew_after(time), None),
                Ok(Some(Answer::Refused)) => (AGAIN, Some("the DHCP server refuses it".to_owned())),
                Ok(None) => (AGAIN, Some("no DHCP server answers".to_owned())),
                Err(error) => (AGAIN, Some(error.to_string())),
            };
            if let Some(why) = trouble.as_ref().filter(|_| is_well) {
                console.error(format_args!(
                    "the lease of {} is not renewed: {why}. The address stays in use; reserve it for this machine",
                    self.address
                ));
            }
            is_well = trouble.is_none();
            thread::sleep(wait);
        }
    }

    fn ask(&self) -> io::Result<Option<Answer>> {
        let mut xid = [0; 4];
        File::open("/dev/urandom")?.read_exact(&mut xid)?;
        let xid = u32::from_ne_bytes(xid);
        // Not kept open: a DHCP client of the system, for another interface, needs the port too.
        let socket = open(&self.interface)?;
        for wait in WAITS {
            let mut out = [0; MAX_LEN];
            let len = self.request(xid, &mut out).ok_or(io::ErrorKind::InvalidData)?;
            socket.send_to(&out[..len], (Ipv4Addr::BROADCAST, SERVER))?;
            if let Some(answer) = hear(&socket, xid, wait)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// > DHCPREQUEST generated during REBINDING state: 'server identifier' MUST NOT be filled in, 'requested IP address' option MUST
    /// > NOT be filled in, 'ciaddr' MUST be filled in with client's IP address. (RFC 2131, section 4.3.2)
    fn request(&self, xid: u32, out: &mut [u8]) -> Option<usize> {
        let mut header = Header::request(HardwareAddress::ethernet(self.mac), xid);
        header.ciaddr = self.address;
        let mut message = Emitter::new(&header, out)?;
        message.kind(MessageType::Request)?;
        if self.has_identifier {
            let [a, b, c, d, e, f] = self.mac;
            message.option(OptionCode::CLIENT_ID, &[HardwareAddress::ETHERNET, a, b, c, d, e, f])?;
        }
        message.finish()
    }
}

fn hear(socket: &UdpSocket, xid: u32, wait: Duration) -> io::Result<Option<Answer>> {
    let until = Instant::now() + wait;
    let mut buffer = [0; 1500];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(len) => {
                let answer = Message::parse(&buffer[..len]).ok().and_then(|message| read(&message, xid));
                if answer.is_some() {
                    return Ok(answer);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read(message: &Message<'_>, xid: u32) -> Option<Answer> {
    if message.header.xid != xid {
        return None;
    }
    match message.kind()? {
        MessageType::Ack => Some(Answer::Granted(
            message.lease_secs().map_or(Duration::MAX, |secs| Duration::from_secs(secs.into())),
        )),
        MessageType::Nak => Some(Answer::Refused),
        _ => None,
    }
}

/// > T1 defaults to (0.5 * duration_of_lease). (RFC 2131, section 4.4.5)
fn renew_after(time: Duration) -> Duration {
    (time / 2).clamp(SHORTEST, LONGEST)
}

const STACK: usize = 128 << 10;
/// The times for an answer to a request and its repetitions.
const WAITS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
const AGAIN: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);

    fn renewal(has_identifier: bool) -> Renewal {
        Renewal { interface: "eth0".into(), mac: [2, 0, 0, 0, 0, 7], address: ADDRESS, has_identifier }
    }

    #[test]
    fn the_request_is_that_of_a_client_that_has_the_address() {
        let mut out = [0; MAX_LEN];
        let len = renewal(true).request(9, &mut out).unwrap_or_default();
        let message = Message::parse(&out[..len]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (message.header.ciaddr, message.header.xid, message.kind()),
            (ADDRESS, 9, Some(MessageType::Request))
        );
        assert_eq!((message.server_id(), message.requested_address()), (None, None));
        let identifier = message.option(OptionCode::CLIENT_ID).map(|value| value.bytes().collect::<Vec<_>>());
        assert_eq!(identifier.as_deref(), Some(&[1, 2, 0, 0, 0, 0, 7][..]));
        let len = renewal(false).request(9, &mut out).unwrap_or_default();
        let plain =
            Message::parse(&out[..len]).map(|message| message.option(OptionCode::CLIENT_ID).is_some());
        assert_eq!(plain, Ok(false));
    }

    #[test]
    fn half_of_the_granted_time_passes_before_the_next_request() {
        let mut out = [0; MAX_LEN];
        let header = Header::request(HardwareAddress::ethernet([2, 0, 0, 0, 0, 7]), 9).reply();
        let mut message = Emitter::new(&header, &mut out).expect("room");
        let done = message.kind(MessageType::Ack).and(message.seconds(OptionCode::LEASE_TIME, 600));
        let len = done.and(message.finish()).expect("room");
        let message = Message::parse(&out[..len]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read(&message, 8), None, "the answer to another");
        assert_eq!(read(&message, 9), Some(Answer::Granted(Duration::from_secs(600))));
        assert_eq!(renew_after(Duration::from_secs(600)), Duration::from_secs(300));
        assert_eq!(renew_after(Duration::ZERO), SHORTEST);
        assert_eq!(renew_after(Duration::MAX), LONGEST);
    }
}

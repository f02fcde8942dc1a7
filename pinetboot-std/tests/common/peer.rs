//! A client moved by hand, packet by packet, which no state machine keeps from sending forbidden packets.
//!
//! Packets are written as text: `RRQ config.txt octet blksize=7`, `ACK 1`, `DATA 1 +512` (512 zero bytes),
//! `ERROR 0 enough`, `OACK tsize=600`. They are put together and taken apart here, not by the core: what it gets wrong
//! both ways would not show.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

pub(crate) struct Peer {
    socket: UdpSocket,
    /// Where requests go.
    pub(crate) server: SocketAddrV4,
    /// Where the last packet came from: where the others go.
    pub(crate) transfer: Option<SocketAddrV4>,
}

impl Peer {
    /// A client of this server, with its own port.
    pub(crate) fn of(server: SocketAddrV4) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, server)
    }

    /// The same, at this address.
    pub(crate) fn at(address: Ipv4Addr, server: SocketAddrV4) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(TOO_LONG)).unwrap();
        Self { socket, server, transfer: None }
    }

    /// A server on a free port, that waits for a client.
    pub(crate) fn listening() -> Self {
        Self::of(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
    }

    /// The address of this end.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Sends a packet: requests to where the server listens, others to where its last packet came from.
    pub(crate) fn say(&self, packet: &str) {
        let to = match self.transfer {
            Some(transfer) if !packet.starts_with(['R', 'W']) => transfer,
            _ => self.server,
        };
        self.send(&bytes(packet), to);
    }

    /// Sends any bytes anywhere.
    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddrV4) {
        assert_eq!(self.socket.send_to(bytes, to).unwrap(), bytes.len());
    }

    /// The next packet that comes.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> String {
        text(&self.hear_bytes())
    }

    /// The payload of the next packet, which is a DATA packet.
    #[track_caller]
    pub(crate) fn hear_data(&mut self, block: u16) -> Vec<u8> {
        self.hear_data_or_error(block).expect("DATA")
    }

    /// The payload of the next packet, or the number of the ERROR that it is.
    #[track_caller]
    pub(crate) fn hear_data_or_error(&mut self, block: u16) -> Result<Vec<u8>, u16> {
        let bytes = self.hear_bytes();
        let (header, payload) = bytes.split_at(4);
        match *header {
            [0, 5, high, low] => Err(u16::from_be_bytes([high, low])),
            [0, 3, high, low] if u16::from_be_bytes([high, low]) == block => Ok(payload.to_vec()),
            _ => panic!("neither DATA {block} nor an ERROR: {}", text(&bytes)),
        }
    }

    /// The packet that has come already.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let heard = std::iter::from_fn(|| self.receive()).map(|bytes| text(&bytes)).collect();
        self.socket.set_nonblocking(false).unwrap();
        heard
    }

    /// Sends a packet and checks the answer.
    #[track_caller]
    pub(crate) fn exchange(&mut self, packet: &str, answer: &str) {
        self.say(packet);
        assert_eq!(self.hear(), answer, "in answer to {packet}");
    }

    /// The same for an answer whose rate has a bound: asks until the answer comes.
    #[track_caller]
    pub(crate) fn insist(&mut self, packet: &str, answer: &str) {
        self.socket.set_read_timeout(Some(ASK_AGAIN)).unwrap();
        let heard = (0..TOO_LONG.as_millis() / ASK_AGAIN.as_millis()).find_map(|_| {
            self.say(packet);
            self.receive()
        });
        self.socket.set_read_timeout(Some(TOO_LONG)).unwrap();
        assert_eq!(text(&heard.expect("an answer")), answer, "in answer to {packet}");
    }

    #[track_caller]
    fn hear_bytes(&mut self) -> Vec<u8> {
        self.receive().expect("an answer")
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        match self.socket.recv_from(&mut buffer) {
            Ok((len, SocketAddr::V4(from))) => {
                self.transfer = Some(from);
                buffer.truncate(len);
                Some(buffer)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            other => panic!("{other:?}"),
        }
    }
}

/// A packet from its text.
pub(crate) fn bytes(packet: &str) -> Vec<u8> {
    let (name, rest) = packet.split_once(' ').unwrap_or((packet, ""));
    let opcode = OPCODES.iter().position(|known| *known == name).expect("a packet's name") as u8 + 1;
    let mut bytes = vec![0, opcode];
    let mut string = |text: &str| {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    };
    match name {
        "RRQ" | "WRQ" | "OACK" => rest.split([' ', '=']).for_each(string),
        _ => {
            let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let number: u16 = number.parse().expect("a number");
            if name == "ERROR" {
                string(rest);
            }
            bytes.splice(2..2, number.to_be_bytes());
            let payload = rest.strip_prefix('+').map_or(0, |len| len.parse().expect("a length"));
            bytes.resize(bytes.len() + payload, 0);
        }
    }
    bytes
}

/// The text of a packet.
fn text(bytes: &[u8]) -> String {
    let [0, opcode @ 1..=6, rest @ ..] = bytes else { return format!("no packet: {bytes:?}") };
    let name = OPCODES[usize::from(*opcode) - 1];
    let number = |rest: &[u8]| rest.first_chunk().map_or(0, |number| u16::from_be_bytes(*number));
    let strings = |rest: &[u8]| -> Vec<String> {
        let strings = rest.strip_suffix(&[0]).expect("a NUL at the end").split(|byte| *byte == 0);
        strings.map(|string| string.escape_ascii().to_string()).collect()
    };
    match name {
        "DATA" => format!("DATA {} +{}", number(rest), rest.len() - 2),
        "ACK" => format!("ACK {}", number(rest)),
        "ERROR" => format!("ERROR {} {}", number(rest), strings(&rest[2..]).concat()),
        _ => {
            let strings = strings(rest);
            let (words, options) = strings.split_at(if name == "OACK" { 0 } else { 2 });
            let options = options.chunks(2).map(|option| option.join("="));
            [name.to_owned()].into_iter().chain(words.to_vec()).chain(options).collect::<Vec<_>>().join(" ")
        }
    }
}

const OPCODES: [&str; 6] = ["RRQ", "WRQ", "DATA", "ACK", "ERROR", "OACK"];

/// Longer than any answer takes, retries included.
const TOO_LONG: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(100);

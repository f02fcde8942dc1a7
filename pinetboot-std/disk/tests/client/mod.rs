//! An NBD client of a few lines, which sends what a test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const FLUSH: u16 = 3;

/// A connection, whose export is `mine`.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// The greeting is read, and the client's flags are sent.
    pub(crate) fn greet(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self(stream);
        assert_eq!(&client.take::<18>()[..16], b"NBDMAGICIHAVEOPT");
        client.0.write_all(&3u32.to_be_bytes()).unwrap();
        client
    }

    /// A client with the disk.
    pub(crate) fn connect(address: SocketAddr, len: u64) -> Self {
        let mut client = Self::greet(address);
        client.option(1, b"mine");
        let [size @ .., _, _] = client.take::<10>();
        assert_eq!(u64::from_be_bytes(size), len);
        client
    }

    /// Sends an option.
    pub(crate) fn option(&mut self, option: u32, data: &[u8]) {
        let len = u32::try_from(data.len()).unwrap();
        let message = [b"IHAVEOPT", &option.to_be_bytes()[..], &len.to_be_bytes(), data].concat();
        self.0.write_all(&message).unwrap();
    }

    /// The type and the data of a reply to an option.
    pub(crate) fn reply(&mut self) -> (u32, Vec<u8>) {
        let head = self.take::<20>();
        let number = |at: usize| u32::from_be_bytes(*head[at..].first_chunk().unwrap());
        let mut data = vec![0; number(16) as usize];
        self.0.read_exact(&mut data).unwrap();
        (number(12), data)
    }

    /// Sends a request.
    pub(crate) fn request(&mut self, command: u16, cookie: u64, offset: u64, len: u32, payload: &[u8]) {
        let mut message = 0x2560_9513u32.to_be_bytes().to_vec();
        message.extend([0, command].into_iter().flat_map(u16::to_be_bytes));
        message.extend([cookie, offset].into_iter().flat_map(u64::to_be_bytes));
        message.extend(len.to_be_bytes());
        message.extend(payload);
        self.0.write_all(&message).unwrap();
    }

    /// The error and the cookie of a simple reply.
    pub(crate) fn result(&mut self) -> (u32, u64) {
        let reply = self.take::<16>();
        assert_eq!(reply[..4], 0x6744_6698u32.to_be_bytes());
        (
            u32::from_be_bytes(*reply[4..].first_chunk().unwrap()),
            u64::from_be_bytes(*reply[8..].first_chunk().unwrap()),
        )
    }

    /// The next bytes.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether the server has closed the connection, or does so now.
    pub(crate) fn is_closed(&mut self) -> bool {
        // A server that closes with unread bytes in its socket resets the connection.
        !matches!(self.0.read(&mut [0; 1]), Ok(1..))
    }
}

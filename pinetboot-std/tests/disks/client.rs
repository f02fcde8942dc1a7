//! An NBD client of a few lines, at an address of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// A connection that has a disk.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes of the disk.
    pub(crate) len: u64,
}

impl Client {
    /// Connects from this address to the export; the error is the reply's number.
    pub(crate) fn connect(from: Ipv4Addr, server: SocketAddrV4, export: &str) -> Result<Self, u32> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0))).unwrap();
        connect(socket.as_raw_fd(), &SockaddrIn::from(server)).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self { stream, len: 0 };
        assert_eq!(&client.take::<18>().unwrap()[..16], b"NBDMAGICIHAVEOPT");
        client.stream.write_all(&3u32.to_be_bytes()).unwrap();
        // NBD_OPT_GO, without a wish for more facts.
        let name_len = u32::try_from(export.len()).unwrap();
        let data = [&name_len.to_be_bytes()[..], export.as_bytes(), &[0, 0]].concat();
        let len = u32::try_from(data.len()).unwrap();
        let option = [b"IHAVEOPT", &7u32.to_be_bytes()[..], &len.to_be_bytes(), &data].concat();
        client.stream.write_all(&option).unwrap();
        loop {
            let head = client.take::<20>().unwrap();
            let word = |at: usize| u32::from_be_bytes(*head[at..].first_chunk().unwrap());
            let mut data = vec![0; word(16) as usize];
            client.stream.read_exact(&mut data).unwrap();
            match word(12) {
                1 => return Ok(client),
                // NBD_INFO_EXPORT
                3 if data[..2] == [0, 0] => {
                    client.len = u64::from_be_bytes(*data[2..].first_chunk().unwrap())
                }
                3 => {}
                error => return Err(error),
            }
        }
    }

    /// Writes; the error is NBD's number.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<u32> {
        self.request(1, offset, u32::try_from(bytes.len()).unwrap(), bytes)?;
        self.result()
    }

    /// Sends the beginning of a write of four bytes.
    pub(crate) fn write_in_part(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.request(1, offset, 4, bytes)
    }

    /// Sends the rest of a write; the error is NBD's number.
    pub(crate) fn write_the_rest(&mut self, bytes: &[u8]) -> io::Result<u32> {
        self.stream.write_all(bytes)?;
        self.result()
    }

    /// Reads.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
        self.request(0, offset, u32::try_from(len).unwrap(), &[]).unwrap();
        assert_eq!(self.result().unwrap(), 0);
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Flushes; the error is NBD's number.
    pub(crate) fn flush(&mut self) -> io::Result<u32> {
        self.request(3, 0, 0, &[])?;
        self.result()
    }

    /// Ends the connection by the protocol's request.
    pub(crate) fn disconnect(mut self) {
        self.request(2, 0, 0, &[]).unwrap();
        // The server closes once the disk is given back.
        assert!(matches!(self.stream.read(&mut [0]), Ok(0)));
    }

    fn request(&mut self, command: u16, offset: u64, len: u32, payload: &[u8]) -> io::Result<()> {
        let mut message = 0x2560_9513u32.to_be_bytes().to_vec();
        message.extend([0, command].into_iter().flat_map(u16::to_be_bytes));
        message.extend([7, offset].into_iter().flat_map(u64::to_be_bytes));
        message.extend(len.to_be_bytes());
        message.extend(payload);
        self.stream.write_all(&message)
    }

    fn result(&mut self) -> io::Result<u32> {
        let reply = self.take::<16>()?;
        assert_eq!(reply[..4], 0x6744_6698u32.to_be_bytes());
        Ok(u32::from_be_bytes(*reply[4..].first_chunk().unwrap()))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

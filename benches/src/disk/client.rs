//! A client on one TCP connection, with a given number of requests under way; of NBD it asks like Linux: simple replies
//! (`doc/proto.md` of the project NetworkBlockDevice/nbd).

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::Failed;
use crate::world;

/// A connection with a disk, or with files in its place.
pub(super) trait Client {
    /// Adds a request to those that [`send`](Self::send) sends.
    fn ask(&mut self, command: u16, cookie: u64, offset: u64, len: u32, payload: &[u8])
    -> Result<(), Failed>;

    fn send(&mut self) -> Result<(), Failed>;

    /// Whether another reply is there in part at least.
    fn has_more(&self) -> bool;

    /// The next reply's cookie.
    fn receive(&mut self) -> Result<u64, Failed>;

    /// The data of a reply.
    fn data(&mut self, buf: &mut [u8]) -> Result<(), Failed>;
}

/// A connection by NBD.
pub(super) struct Nbd {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const FLUSH: u16 = 3;

impl Nbd {
    /// Connects to the export `name`.
    pub(super) fn connect(name: &str) -> Result<Self, Failed> {
        let address = SocketAddrV4::new(world::SERVER, PORT);
        let failed = |error| format!("cannot connect to {address}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut client = Self { stream: BufReader::with_capacity(64 << 10, stream), out: Vec::new() };
        let mut greeting = [0; 18];
        client.stream.read_exact(&mut greeting).map_err(failed)?;
        if &greeting[..16] != b"NBDMAGICIHAVEOPT" {
            return Err("not a server of NBD".into());
        }
        // Fixed newstyle, no zeros; EXPORT_NAME.
        let len = (name.len() as u32).to_be_bytes();
        let option =
            [&3u32.to_be_bytes()[..], b"IHAVEOPT", &1u32.to_be_bytes(), &len, name.as_bytes()].concat();
        client.stream.get_mut().write_all(&option).map_err(failed)?;
        client.stream.read_exact(&mut [0; 10]).map_err(failed)?;
        Ok(client)
    }
}

impl Client for Nbd {
    fn ask(
        &mut self,
        command: u16,
        cookie: u64,
        offset: u64,
        len: u32,
        payload: &[u8],
    ) -> Result<(), Failed> {
        self.out.extend(0x2560_9513u32.to_be_bytes());
        self.out.extend([0, command].into_iter().flat_map(u16::to_be_bytes));
        self.out.extend([cookie, offset].into_iter().flat_map(u64::to_be_bytes));
        self.out.extend(len.to_be_bytes());
        self.out.extend(payload);
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failed> {
        self.stream.get_mut().write_all(&self.out).map_err(|error| format!("cannot send: {error}"))?;
        self.out.clear();
        Ok(())
    }

    fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    fn receive(&mut self) -> Result<u64, Failed> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).map_err(|error| format!("cannot receive: {error}"))?;
        if head[..8] != [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0] {
            return Err(format!("not a successful reply: {head:x?}").into());
        }
        Ok(head[8..].iter().fold(0, |cookie, byte| cookie << 8 | u64::from(*byte)))
    }

    fn data(&mut self, buf: &mut [u8]) -> Result<(), Failed> {
        self.stream.read_exact(buf).map_err(|error| format!("cannot receive data: {error}").into())
    }
}

pub(super) const PORT: u16 = 10809;
/// The longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(60);

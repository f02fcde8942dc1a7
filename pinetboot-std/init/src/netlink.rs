//! Netlink: messages of attributes to the kernel, and its answers (netlink(7)).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// A socket to one part of the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A netlink request under construction.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

/// A message from the kernel: its type, and what follows the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    sequence: u32,
    pub(crate) body: &'a [u8],
}

impl Netlink {
    /// A socket that receives the messages of these multicast groups, as a mask of the first 32.
    pub(crate) fn open(protocol: SockProtocol, groups: u32) -> Result<Self, Errno> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request. Returns the body of the answer, or an empty one for a request that the kernel only acknowledges.
    pub(crate) fn ask(&mut self, mut request: Request) -> Result<Vec<u8>, Errno> {
        self.sequence += 1;
        request.finish(self.sequence);
        send(self.socket.as_raw_fd(), &request.0, MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let len = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in messages(&buffer[..len]).filter(|message| message.sequence == self.sequence) {
                if message.kind != ERROR {
                    answer = message.body.to_vec();
                    continue;
                }
                // > Error code 0 means acknowledgement (netlink(7))
                let code = message.body.first_chunk().map_or(-1, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(answer) } else { Err(Errno::from_raw(code.wrapping_neg())) };
            }
        }
    }

    /// Waits for messages of the groups, and calls `take` with each.
    pub(crate) fn listen(&self, mut take: impl FnMut(Message<'_>)) -> Result<(), Errno> {
        let mut buffer = vec![0; BUFFER];
        let len = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        messages(&buffer[..len]).for_each(&mut take);
        Ok(())
    }
}

impl Request {
    /// A request with the structure that its type begins with. `flags` besides those of every request.
    pub(crate) fn new(kind: u16, flags: u16, structure: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | ACKNOWLEDGE | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(structure);
        Self(bytes).padded()
    }

    /// With an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(attribute(kind, value));
        self
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(&mut self, sequence: u32) {
        let len = u32::try_from(self.0.len()).unwrap_or_default();
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// The bytes of an attribute, padded to four. Values have some bytes, never 64 KiB.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The attributes in these bytes: type, and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (len, kind) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        let value = bytes.get(4..usize::from(len))?;
        bytes = bytes.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, value))
    })
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    core::iter::from_fn(move || {
        let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let (kind, sequence) = (u16_at(bytes, 4)?, u32_at(bytes, 8)?);
        let body = bytes.get(HEAD..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, body })
    })
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// In the type of an attribute that holds others (linux/netlink.h, NLA_F_NESTED).
pub(crate) const NESTED: u16 = 1 << 15;
/// NLA_TYPE_MASK
const TYPE: u16 = !(3 << 14);

// linux/netlink.h
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 2;
const HEAD: usize = 16;
/// Bytes; the kernel's messages have a page at most.
const BUFFER: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let bytes =
            [attribute(1, b"nbd\0"), attribute(7 | NESTED, &attribute(1, &[1, 2, 3])), vec![1, 2]].concat();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0], (1, &b"nbd\0"[..]));
        assert_eq!(attributes(read[1].1).next(), Some((1, &[1, 2, 3][..])));
    }

    #[test]
    fn a_message_that_lies_about_its_length_is_the_end() {
        for len in [0u32, 3, 15, 17, u32::MAX] {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0, "{len}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0, 9]).count(), 0);
    }
}

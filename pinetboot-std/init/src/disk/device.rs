//! `/dev/nbd0`, by the kernel's generic netlink family `nbd` (Linux, include/uapi/linux/nbd-netlink.h).

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::Session;
use crate::netlink::{NESTED, Netlink, Request, attribute, attributes, u16_at, u32_at};

/// The kernel's NBD driver, and its device 0.
#[derive(Debug)]
pub(crate) struct Device {
    requests: Netlink,
    events: Netlink,
    family: u16,
}

impl Device {
    /// Finds the driver, and listens to its events from here on.
    pub(crate) fn open() -> Result<Self, Errno> {
        let mut requests = Netlink::open(SockProtocol::NetlinkGeneric, 0)?;
        let about =
            requests.ask(Request::new(CONTROL, 0, &[GET_FAMILY, 1, 0, 0]).with(FAMILY_NAME, b"nbd\0"))?;
        let about = about.get(GENERIC_HEAD..).unwrap_or_default();
        let find = |wanted| attributes(about).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let family = find(FAMILY_ID).and_then(|value| u16_at(value, 0)).ok_or(Errno::ENOENT)?;
        // One group, `nbd_mc_group`.
        let group = find(GROUPS)
            .and_then(|groups| attributes(groups).next())
            .and_then(|(_, group)| attributes(group).find(|(kind, _)| *kind == GROUP_ID))
            .and_then(|(_, id)| u32_at(id, 0));
        let group = group.and_then(|id| 1u32.checked_shl(id.checked_sub(1)?)).ok_or(Errno::ENOTSUP)?;
        let events = Netlink::open(SockProtocol::NetlinkGeneric, group)?;
        Ok(Self { requests, events, family })
    }

    /// Makes the disk of a new connection.
    pub(crate) fn connect(&mut self, session: &Session) -> Result<(), Errno> {
        let request = self
            .request(CONNECT)
            .with(SIZE, &session.export.len.to_ne_bytes())
            .with(BLOCK_SIZE, &SECTOR.to_ne_bytes())
            .with(SERVER_FLAGS, &u64::from(session.export.flags).to_ne_bytes());
        self.give(request, session)
    }

    /// Gives the disk a new connection in place of a dead one. The kernel repeats the requests that were under way.
    pub(crate) fn reconnect(&mut self, session: &Session) -> Result<(), Errno> {
        match self.give(self.request(RECONFIGURE), session) {
            Err(Errno::ENOSPC) => Ok(()), // no connection is dead (`nbd_reconnect_socket`)
            done => done,
        }
    }

    /// Ends the disk, and its connection by the protocol's request.
    pub(crate) fn disconnect(&mut self) -> Result<(), Errno> {
        self.requests.ask(self.request(DISCONNECT)).map(drop)
    }

    /// Waits until a connection of the disk is dead.
    pub(crate) fn wait_for_death(&self) -> Result<(), Errno> {
        let mut is_dead = false;
        while !is_dead {
            let heard = self.events.listen(|message| {
                is_dead |= message.kind == self.family && message.body.first() == Some(&LINK_DEAD);
            });
            match heard {
                Ok(()) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Ok(()), // an event was lost, perhaps this one
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn request(&self, command: u8) -> Request {
        Request::new(self.family, 0, &[command, 1, 0, 0]).with(INDEX, &0u32.to_ne_bytes())
    }

    fn give(&mut self, request: Request, session: &Session) -> Result<(), Errno> {
        let socket = attribute(SOCKET_FD, &session.stream.as_raw_fd().to_ne_bytes());
        let request = request
            .with(TIMEOUT, &REQUEST_SECONDS.to_ne_bytes())
            .with(DEAD_CONNECTION_TIMEOUT, &DEAD_SECONDS.to_ne_bytes())
            .with(SOCKETS | NESTED, &attribute(SOCKET_ITEM | NESTED, &socket));
        self.requests.ask(request).map(drop)
    }
}

/// With larger blocks the kernel reads the partition table in units of these: a table made for 512 names other partitions then (tried:
/// "p2 size .. extends beyond EOD").
const SECTOR: u64 = 512;
/// Seconds after which a request without an answer is repeated on another connection. With 0 the kernel does so only where the
/// connection has been replaced by then, and asks every 30 s (`nbd_xmit_timeout`): a write that was under way when the server was
/// killed took that long.
const REQUEST_SECONDS: u64 = 10;
/// Seconds for which requests wait for a new connection, instead of failing: a day.
const DEAD_SECONDS: u64 = 86_400;

// linux/genetlink.h
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GROUPS: u16 = 7;
const GROUP_ID: u16 = 2;
const GENERIC_HEAD: usize = 4;

// linux/nbd-netlink.h
const CONNECT: u8 = 1;
const DISCONNECT: u8 = 2;
const RECONFIGURE: u8 = 3;
const LINK_DEAD: u8 = 4;
const INDEX: u16 = 1;
const SIZE: u16 = 2;
const BLOCK_SIZE: u16 = 3;
const TIMEOUT: u16 = 4;
const SERVER_FLAGS: u16 = 5;
const SOCKETS: u16 = 7;
const DEAD_CONNECTION_TIMEOUT: u16 = 8;
const SOCKET_ITEM: u16 = 1;
const SOCKET_FD: u16 = 1;

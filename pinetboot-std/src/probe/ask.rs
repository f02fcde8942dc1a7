//! One DISCOVER, and all OFFERs within a time. No REQUEST follows, so no address is bound.

use core::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use pinetboot_core::dhcp::{HardwareAddress, MAX_LEN, Message, MessageType, Offer, Op, Profile, SERVER_PORT};
use pinetboot_core::{Net, block_on};

use crate::net::Frames;

/// A received OFFER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) from: Ipv4Addr,
    /// Time from the DISCOVER to the OFFER.
    pub(super) after: Duration,
    bytes: Vec<u8>,
}

impl Heard {
    /// The parsed OFFER; never `None`, because only parsable messages are kept.
    pub(super) fn offer(&self) -> Option<Offer<'_>> {
        Some(Offer::new(self.from, Message::parse(&self.bytes).ok()?))
    }
}

/// Broadcasts a DISCOVER, repeats it if no OFFER comes in half of the time, and collects OFFERs.
pub(super) fn ask(
    net: &mut Frames,
    profile: &Profile,
    mac: [u8; 6],
    time: Duration,
) -> io::Result<Vec<Heard>> {
    let xid = match profile {
        Profile::PiBootRom => Profile::BOOT_ROM_XID,
        _ => random(),
    };
    let mut discover = [0; MAX_LEN];
    let len = profile.discover(mac, xid, 0, &mut discover).ok_or(io::ErrorKind::InvalidInput)?;
    let discover = discover.get(..len).unwrap_or_default();
    let began = net.now();
    let (half, end) = (began + time / 2, began + time);
    let mut heard: Vec<Heard> = Vec::new();
    block_on(async {
        broadcast(net, discover).await;
        let mut deadline = half;
        loop {
            let Some(datagram) = net.recv(deadline).await? else {
                if deadline == end {
                    return Ok(heard);
                }
                if heard.is_empty() {
                    broadcast(net, discover).await;
                }
                deadline = end;
                continue;
            };
            if datagram.at >= end {
                return Ok(heard);
            }
            let (from, bytes) = (*datagram.peer.ip(), datagram.bytes);
            if is_offer(bytes, mac, xid)
                && heard.iter().all(|known| known.from != from || known.bytes != bytes)
            {
                heard.push(Heard { from, after: datagram.at.since(began), bytes: bytes.to_vec() });
            }
        }
    })
}

async fn broadcast(net: &mut Frames, message: &[u8]) {
    if let Some(room) = net.buffer().get_mut(..message.len()) {
        room.copy_from_slice(message);
    }
    net.send((), SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), message.len()).await;
}

fn is_offer(bytes: &[u8], mac: [u8; 6], xid: u32) -> bool {
    Message::parse(bytes).is_ok_and(|message| {
        let header = &message.header;
        header.op == Op::Reply
            && header.xid == xid
            && header.hardware == HardwareAddress::ethernet(mac)
            && message.kind() == Some(MessageType::Offer)
    })
}

/// A random transaction id: the standard library seeds its hashes from the system's randomness.
pub(crate) fn random() -> u32 {
    std::hash::RandomState::new().build_hasher().finish() as u32
}

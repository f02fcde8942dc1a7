//! The search for another DHCP server on the network.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use pinetboot_core::dhcp::{HardwareAddress, Message, MessageType, Profile, SERVER_PORT};
use pinetboot_core::{Net, block_on};
use std::net::SocketAddrV4;

use crate::net::Frames;

/// Another DHCP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Its address.
    pub(super) server: Ipv4Addr,
    /// The address that it offered.
    pub(super) offered: Ipv4Addr,
}

/// Broadcasts a plain DISCOVER and waits up to [`LONGEST`] for the first OFFER of an address. No REQUEST follows, so no lease
/// changes. `None`: no server offered an address.
///
/// # Errors
///
/// The system's; [`Interrupted`](io::ErrorKind::Interrupted) when `stops` says so.
pub(super) fn other_servers(mut frames: Frames, stops: impl Fn() -> bool) -> io::Result<Option<Found>> {
    let mac = frames.mac();
    let xid = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.subsec_nanos());
    let began = frames.now();
    for (number, wait) in WAITS.iter().enumerate() {
        let secs = frames.now().since(began).as_secs() as u16;
        let len = Profile::Plain.discover(mac, xid, secs, frames.buffer());
        let len = len.ok_or_else(|| io::Error::other(format!("DISCOVER {number} does not fit a frame")))?;
        block_on(frames.send((), SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), len));
        let deadline = frames.now() + *wait;
        while frames.now() < deadline {
            if stops() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let soon = deadline.min(frames.now() + STOP_WITHIN);
            let Some(datagram) = block_on(frames.recv(soon))? else { continue };
            let peer = datagram.peer;
            let Ok(message) = Message::parse(datagram.bytes) else { continue };
            let ours = message.header.xid == xid && message.header.hardware == HardwareAddress::ethernet(mac);
            // A proxy offers no address, and so does not conflict.
            let gives = message.kind() == Some(MessageType::Offer) && !message.header.yiaddr.is_unspecified();
            if ours && gives {
                let server = message.server_id().unwrap_or(*peer.ip());
                return Ok(Some(Found { server, offered: message.header.yiaddr }));
            }
        }
    }
    Ok(None)
}

/// The waits after each DISCOVER. Some servers probe an address for up to 3 s before they offer it.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(3500)];

/// All waits.
pub(super) const LONGEST: Duration = Duration::from_millis(4500);

/// The time to notice a stop.
const STOP_WITHIN: Duration = Duration::from_millis(200);

//! The board's address from the network's DHCP server, for an interface that is no DHCP client itself.
//!
//! The core's [`Renewal`] keeps the lease: at half of its time the board asks the server that gave it, later any server (RFC 2131,
//! section 4.4.5), and gives the address up when the lease ends.

use core::convert::Infallible;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use pinetboot_core::dhcp::{
    HardwareAddress, Header, Message, MessageType, Op, OptionCode, Profile, Renewal, RenewalStep,
    SERVER_PORT, Selected,
};
use pinetboot_core::{Datagram, Instant, Net};

use crate::config::Address;
use crate::interface::Interface;

/// Asks for an address by this network, whose port is 68, and keeps it. Ends with the network.
pub(crate) async fn own_address<N: Net>(
    interface: impl Interface,
    net: &mut N,
    port: N::Local,
    mac: [u8; 6],
    mut xid: u32,
) -> Result<Infallible, N::Error> {
    loop {
        xid = xid.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        let began = net.now();
        let mut granted = None;
        if let Some((selected, ..)) = exchange(net, port, mac, xid, None).await? {
            granted = exchange(net, port, mac, xid, Some(&selected)).await?;
        }
        let Some((Selected { address, server, .. }, mask, router, secs)) = granted else {
            wait(net, began + AGAIN).await?;
            continue;
        };
        let mask = mask.unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
        let prefix_len = mask.to_bits().leading_ones() as u8;
        interface.configure(Address::Static { address, prefix_len, router });
        let now = net.now();
        keep(net, port, Renewal::new(address, server, mac, xid, secs, now)).await?;
        warn!("the lease of the board's address is over");
        interface.configure(Address::Dhcp);
    }
}

/// An address and its server; the network's mask and router, and the lease time in seconds.
type Granted = (Selected, Option<Ipv4Addr>, Option<Ipv4Addr>, Option<u32>);

/// Sends DISCOVER until there is an offer, or the REQUEST of an offer until there is an answer; `None`: none in a minute, or a refusal.
///
/// The core's `Client` does the same, and what a Pi and U-Boot do: six KiB more.
async fn exchange<N: Net>(
    net: &mut N,
    port: N::Local,
    mac: [u8; 6],
    xid: u32,
    selected: Option<&Selected>,
) -> Result<Option<Granted>, N::Error> {
    for pause in PAUSES {
        let buffer = net.buffer();
        let emitted = match selected {
            Some(selected) => Profile::Plain.request(mac, xid, 0, selected, buffer),
            None => Profile::Plain.discover(mac, xid, 0, buffer),
        };
        let Some(len) = emitted else { return Ok(None) };
        // Without an address the board receives no unicast datagram.
        if let Some(flags) = buffer.get_mut(FLAGS) {
            *flags |= BROADCAST;
        }
        net.send(port, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), len).await;
        let until = net.now() + pause;
        while net.now() < until {
            let Some(Datagram { peer, bytes, .. }) = net.recv(until).await? else { continue };
            let Ok(message) = Message::parse(bytes) else { continue };
            let Header { op, xid: of, hardware, yiaddr: address, .. } = message.header;
            let server = message.server_id().unwrap_or(*peer.ip());
            let is_ours = op == Op::Reply && of == xid && hardware == HardwareAddress::ethernet(mac);
            let is_wanted = match (message.kind(), selected) {
                (Some(MessageType::Offer), None) => !address.is_unspecified(),
                (Some(MessageType::Ack), Some(selected)) => *selected == Selected::new(address, server),
                (Some(MessageType::Nak), Some(selected)) if is_ours && server == selected.server => {
                    return Ok(None);
                }
                _ => false,
            };
            if is_ours && is_wanted {
                let option = |code| message.option(code).and_then(|value| value.address());
                let (mask, router) = (option(OptionCode::SUBNET_MASK), option(OptionCode::ROUTER));
                return Ok(Some((Selected::new(address, server), mask, router, message.lease_secs())));
            }
        }
    }
    Ok(None)
}

/// Renews the lease until its end.
async fn keep<N: Net>(net: &mut N, port: N::Local, mut lease: Renewal) -> Result<(), N::Error> {
    loop {
        let now = net.now();
        let until = match lease.poll(now) {
            RenewalStep::Lost => return Ok(()),
            RenewalStep::Wait { until } => until,
            RenewalStep::Send { to } => {
                let len = lease.emit(now, net.buffer()).unwrap_or_default();
                net.send(port, SocketAddrV4::new(to, SERVER_PORT), len).await;
                continue;
            }
        };
        if let Some(datagram) = net.recv(until).await?
            && let Ok(message) = Message::parse(datagram.bytes)
        {
            lease.handle(datagram.at, &message);
        }
    }
}

/// Lets time pass: no message is expected.
async fn wait<N: Net>(net: &mut N, until: Instant) -> Result<(), N::Error> {
    while net.now() < until {
        net.recv(until).await?;
    }
    Ok(())
}

/// > the delay before the first retransmission SHOULD be 4 seconds [..], 8 seconds [..] (RFC 2131, section 4.1)
const PAUSES: [Duration; 4] =
    [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16), Duration::from_secs(32)];

/// The least time from one attempt in vain to the next.
const AGAIN: Duration = Duration::from_secs(5);

/// The first byte of the field `flags` (RFC 2131, section 2), and the bit that asks for broadcast.
const FLAGS: usize = 10;
const BROADCAST: u8 = 1 << 7;

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::vec::Vec;

    use pinetboot_core::block_on;

    use super::*;
    use crate::cable::{Cable, SERVER};

    type Sent = (u64, Ipv4Addr);

    #[derive(Clone, Copy)]
    struct Own<'a>(&'a Cell<Option<Ipv4Addr>>);

    impl Interface for Own<'_> {
        fn configure(&self, address: Address) {
            self.0.set(match address {
                Address::Dhcp => None,
                Address::Static { address, prefix_len, .. } => {
                    assert_eq!(prefix_len, 24);
                    Some(address)
                }
            });
        }

        fn address(&self) -> Option<Ipv4Addr> {
            self.0.get()
        }

        fn is_link_up(&self) -> bool {
            true
        }
    }

    /// The addresses that the board has, and the destinations of its messages, with a server that answers until then.
    fn seen(answers_until: Instant) -> (Vec<(u64, Option<Ipv4Addr>)>, Vec<Sent>) {
        let address = Cell::new(None);
        let look = |_| address.get();
        let mut cable = Cable::new(Instant::ZERO..answers_until, hours(1000), &look);
        let ended = block_on(own_address(Own(&address), &mut cable, (), [2, 0, 0, 0, 0, 9], 1));
        assert!(ended.is_err());
        (cable.seen, cable.sent)
    }

    fn hours(hours: u64) -> Instant {
        Instant::from_millis(hours * 3_600_000)
    }

    #[test]
    fn the_lease_is_renewed_with_its_server_and_given_up_when_that_does_not_answer() {
        let (kept, sent) = seen(Instant::MAX);
        let leased = kept.last().unwrap().1;
        assert!(leased.is_some());
        assert_eq!(kept, [(0, leased)]);
        let (first, later) = sent.split_at(2);
        assert!(first.iter().all(|(_, to)| *to == Ipv4Addr::BROADCAST));
        assert!(later.len() > 10 && later.iter().all(|(_, to)| *to == SERVER), "{later:?}");

        let (lost, sent) = seen(hours(1));
        assert_eq!(lost.iter().map(|(_, address)| *address).collect::<Vec<_>>(), [leased, None]);
        let rebinds = sent.iter().filter(|(at, to)| *at < lost[1].0 && *at > 0 && *to == Ipv4Addr::BROADCAST);
        assert!(rebinds.count() > 0, "any server is asked before the end");
    }
}

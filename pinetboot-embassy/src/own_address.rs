//! The board's address from the network's DHCP server, for an interface that is no DHCP client itself.
//!
//! At half of its lease the board asks anew, by DISCOVER; a server gives a client its last address again (RFC 2131, section 4.3.1).
//! Without an answer the address is given up when the lease ends.

use core::convert::Infallible;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use pinetboot_core::dhcp::{
    HardwareAddress, Message, MessageType, Op, OptionCode, Profile, SERVER_PORT, Selected,
};
use pinetboot_core::{Datagram, Instant, Net};

use crate::config::Address;
use crate::interface::Interface;

/// Asks for an address by this network, whose port is 68, and keeps it. Ends with the network.
pub(crate) async fn own_address<N: Net>(
    interface: impl Interface,
    net: N,
    port: N::Local,
    mac: [u8; 6],
    xid: u32,
) -> Result<Infallible, N::Error> {
    let mut client = Client { net, port, mac, xid };
    let mut expires = Instant::MAX;
    loop {
        let granted = client.ask().await?;
        let began = client.net.now();
        let mut next = began + AGAIN;
        if let Some(Granted { address, mask, router, lease }) = granted {
            let prefix_len = mask.to_bits().leading_ones() as u8;
            interface.configure(Address::Static { address, prefix_len, router });
            expires = began + lease;
            next = next.max(began + lease / 2);
        }
        loop {
            let now = client.net.now();
            if now >= expires {
                warn!("the lease of the board's address is over");
                interface.configure(Address::Dhcp);
                expires = Instant::MAX;
            }
            if now >= next {
                break;
            }
            client.net.recv(next.min(expires)).await?; // nothing is expected
        }
    }
}

struct Client<N: Net> {
    net: N,
    port: N::Local,
    mac: [u8; 6],
    xid: u32,
}

struct Granted {
    address: Ipv4Addr,
    mask: Ipv4Addr,
    router: Option<Ipv4Addr>,
    lease: Duration,
}

impl<N: Net> Client<N> {
    /// One exchange: DISCOVER, OFFER, REQUEST, ACK. `None`: nobody grants an address.
    async fn ask(&mut self) -> Result<Option<Granted>, N::Error> {
        self.xid = self.xid.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        let offer = |from: Ipv4Addr, message: &Message<'_>| {
            let server = message.server_id().unwrap_or(from);
            let selected = Selected::new(message.header.yiaddr, server);
            let is_offer = message.kind() == Some(MessageType::Offer) && !selected.address.is_unspecified();
            is_offer.then_some(Some(selected))
        };
        let Some(Some(selected)) = self.exchange(None, offer).await? else { return Ok(None) };
        let granted = |_: Ipv4Addr, message: &Message<'_>| {
            if message.server_id().is_some_and(|server| server != selected.server) {
                return None;
            }
            match message.kind() {
                Some(MessageType::Nak) => Some(None),
                Some(MessageType::Ack) if message.header.yiaddr == selected.address => {
                    let option = |code| message.option(code).and_then(|value| value.address());
                    let secs = message.lease_secs().map_or(FOREVER, u64::from);
                    Some(Some(Granted {
                        address: selected.address,
                        mask: option(OptionCode::SUBNET_MASK).unwrap_or(Ipv4Addr::new(255, 255, 255, 0)),
                        router: option(OptionCode::ROUTER),
                        lease: Duration::from_secs(secs),
                    }))
                }
                _ => None,
            }
        };
        Ok(self.exchange(Some(&selected), granted).await?.flatten())
    }

    /// Sends DISCOVER, or the REQUEST of an offer, until `take` makes something of an answer; `None` after four attempts.
    async fn exchange<T>(
        &mut self,
        selected: Option<&Selected>,
        mut take: impl FnMut(Ipv4Addr, &Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, N::Error> {
        let Self { net, port, mac, xid } = self;
        for wait in WAITS {
            let buffer = net.buffer();
            let emitted = match selected {
                Some(selected) => Profile::Plain.request(*mac, *xid, 0, selected, buffer),
                None => Profile::Plain.discover(*mac, *xid, 0, buffer),
            };
            let Some(len) = emitted else { return Ok(None) };
            // Without an address the board receives no unicast datagram.
            if let Some(flags) = buffer.get_mut(FLAGS) {
                *flags |= BROADCAST;
            }
            net.send(*port, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), len).await;
            let until = net.now() + wait;
            while net.now() < until {
                let Some(Datagram { peer, bytes, .. }) = net.recv(until).await? else { continue };
                let Ok(message) = Message::parse(bytes) else { continue };
                let is_ours = message.header.xid == *xid
                    && message.header.hardware == HardwareAddress::ethernet(*mac)
                    && message.header.op == Op::Reply;
                if let Some(taken) = is_ours.then(|| take(*peer.ip(), &message)).flatten() {
                    return Ok(Some(taken));
                }
            }
        }
        Ok(None)
    }
}

/// > the delay before the first retransmission SHOULD be 4 seconds [..], 8 seconds [..] (RFC 2131, section 4.1)
const WAITS: [Duration; 4] =
    [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16), Duration::from_secs(32)];

/// A lease without an end, in seconds.
const FOREVER: u64 = u32::MAX as u64;

/// The pause between attempts, and the least one between renewals.
const AGAIN: Duration = Duration::from_secs(5);

/// The first byte of the field `flags` (RFC 2131, section 2), and the bit that asks for broadcast.
const FLAGS: usize = 10;
const BROADCAST: u8 = 1 << 7;

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::net::Ipv4Addr;
    use std::vec::Vec;

    use pinetboot_core::block_on;
    use pinetboot_core::dhcp::{Arrival, Clients, LeaseServer, LeaseSlot, Network, Port};

    use super::*;

    /// A cable to a DHCP server, on a virtual clock. The network fails at the end of the test.
    struct Cable<'a> {
        now: Instant,
        end: Instant,
        server: LeaseServer<'static, [LeaseSlot; 2]>,
        /// The server answers until then.
        answers_until: Instant,
        reply: Option<Vec<u8>>,
        given: Vec<u8>,
        buffer: [u8; 1472],
        address: &'a Cell<Option<Ipv4Addr>>,
        seen: Vec<(u64, Option<Ipv4Addr>)>,
    }

    impl Net for Cable<'_> {
        type Error = ();
        type Local = ();

        fn now(&self) -> Instant {
            self.now
        }

        async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, ()> {
            if let Some(reply) = self.reply.take() {
                self.given = reply;
                let server = SocketAddrV4::new(Ipv4Addr::new(10, 55, 0, 1), 67);
                return Ok(Some(Datagram::new(self.now, (), server, &self.given)));
            }
            let seen = (self.now.as_micros() / 1_000_000, self.address.get());
            if self.seen.last().is_none_or(|last| last.1 != seen.1) {
                self.seen.push(seen);
            }
            self.now = self.now.max(deadline);
            if self.now >= self.end { Err(()) } else { Ok(None) }
        }

        fn buffer(&mut self) -> &mut [u8] {
            &mut self.buffer
        }

        async fn send(&mut self, (): (), _: SocketAddrV4, len: usize) {
            let message = Message::parse(&self.buffer[..len]).unwrap();
            assert!(message.header.broadcast());
            let peer = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
            let mut out = [0; 600];
            let arrival = Arrival::new(self.now, Port::Server, peer);
            let answer = self.server.respond(&arrival, &message, &mut out);
            if self.now < self.answers_until {
                self.reply = answer.ok().map(|reply| out[..reply.len.into()].to_vec());
            }
        }
    }

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

    fn seen(answers_until: Instant, end: Instant) -> Vec<(u64, Option<Ipv4Addr>)> {
        let own = Ipv4Addr::new(10, 55, 0, 1);
        let pool = [10, 20].map(|last| Ipv4Addr::new(10, 55, 0, last));
        let mut network = Network::new(own, 24, pool[0], pool[1]).unwrap();
        network.clients = Clients::All;
        let address = Cell::new(None);
        let mut cable = Cable {
            now: Instant::ZERO,
            end,
            server: LeaseServer::new(network, [LeaseSlot::EMPTY; 2]),
            answers_until,
            reply: None,
            given: Vec::new(),
            buffer: [0; 1472],
            address: &address,
            seen: Vec::new(),
        };
        let ended = block_on(own_address(Own(&address), &mut cable, (), [2, 0, 0, 0, 0, 9], 1));
        assert!(ended.is_err());
        cable.seen
    }

    #[test]
    fn the_lease_is_kept_while_the_server_answers_and_given_up_when_it_does_not() {
        let hours = |hours: u64| Instant::from_millis(hours * 3_600_000);
        let kept = seen(Instant::MAX, hours(1000));
        let leased = kept.iter().find_map(|(_, address)| *address);
        assert!(leased.is_some());
        assert!(
            kept.iter().skip_while(|(_, address)| address.is_none()).all(|(_, address)| *address == leased)
        );

        let lost = seen(hours(1), hours(1000));
        assert!(lost.iter().any(|(_, address)| *address == leased));
        assert_eq!(lost.last().map(|(_, address)| *address), Some(None));
        assert_eq!(lost.iter().filter(|(_, address)| address.is_some()).count(), 1);
    }
}

//! The search for another DHCP server, before addresses are leased: two servers on a network give addresses twice.
//!
//! The board asks as a client that boots nothing, and takes no offer. Some servers ping an address for up to three seconds before they
//! offer it (dnsmasq, ISC dhcpd), so the search takes four.

use core::convert::Infallible;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use pinetboot_core::dhcp::{
    Emitter, HardwareAddress, Header, Message, MessageType, Op, OptionCode, SERVER_PORT,
};
use pinetboot_core::{Instant, Net};

/// One search. A value without a socket, a clock or a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    mac: [u8; 6],
    xid: u32,
    began: Option<Instant>,
    next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Broadcast the DISCOVER.
    Send,
    Wait {
        until: Instant,
    },
    /// No server has answered.
    Alone,
}

impl Search {
    pub(crate) const fn new(mac: [u8; 6], xid: u32) -> Self {
        Self { mac, xid, began: None, next: Instant::ZERO }
    }

    /// The next step. Poll until it is `Wait` or `Alone`.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        let end = *self.began.get_or_insert(now) + LONGEST;
        if now >= end {
            return Step::Alone;
        }
        if now < self.next {
            return Step::Wait { until: self.next.min(end) };
        }
        self.next = now + INTERVAL;
        Step::Send
    }

    /// The server of a message that answers the search.
    pub(crate) fn handle(&self, from: Ipv4Addr, message: &Message<'_>) -> Option<Ipv4Addr> {
        let Header { op, xid, hardware, .. } = message.header;
        let is_answer = op == Op::Reply && xid == self.xid && hardware == HardwareAddress::ethernet(self.mac);
        let offers = matches!(message.kind(), Some(MessageType::Offer | MessageType::Ack));
        // A proxy gives no addresses.
        let gives = !message.header.yiaddr.is_unspecified();
        (is_answer && offers && gives).then(|| message.server_id().unwrap_or(from))
    }

    /// Writes the DISCOVER into `out`, and returns its length in bytes.
    pub(crate) fn emit(&self, out: &mut [u8]) -> Option<usize> {
        // The board has another address, so that an answer to the offered one would not reach it.
        let mut header = Header::request(HardwareAddress::ethernet(self.mac), self.xid);
        header.flags = Header::BROADCAST;
        let mut message = Emitter::new(&header, out)?;
        message.kind(MessageType::Discover)?;
        message.option(OptionCode::PARAMETER_LIST, &[1, 3])?;
        message.finish()
    }
}

/// The address of another DHCP server on this network, whose port is 68; `None`: none has answered within four seconds.
pub(crate) async fn other_server<N: Net<Error = Infallible>>(
    net: &mut N,
    local: N::Local,
    mac: [u8; 6],
    xid: u32,
) -> Option<Ipv4Addr> {
    let mut search = Search::new(mac, xid);
    loop {
        let until = match search.poll(net.now()) {
            Step::Send => {
                let len = search.emit(net.buffer()).unwrap_or_default();
                net.send(local, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), len).await;
                continue;
            }
            Step::Wait { until } => until,
            Step::Alone => return None,
        };
        let Ok(received) = net.recv(until).await;
        if let Some(datagram) = received
            && let Ok(message) = Message::parse(datagram.bytes)
            && let Some(server) = search.handle(*datagram.peer.ip(), &message)
        {
            return Some(server);
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(1500);

const LONGEST: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use pinetboot_core::dhcp::{
        Arrival, Clients, LeaseServer, LeaseSlot, MAX_LEN, Network, Port, ProxyDhcp, Respond,
    };

    use super::*;

    const MAC: [u8; 6] = [2, b'p', 1, 2, 3, 4];
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    /// What the search makes of a server's answer.
    fn found(server: &mut impl Respond, of: [u8; 6]) -> Option<Ipv4Addr> {
        let (mut out, mut answer) = ([0; MAX_LEN], [0; MAX_LEN]);
        let len = Search::new(of, 7).emit(&mut out).unwrap();
        let request = Message::parse(&out[..len]).unwrap();
        assert!(request.header.broadcast());
        let arrival = Arrival::new(Instant::ZERO, Port::Server, "10.55.0.1:68".parse().unwrap());
        let reply = server.respond(&arrival, &request, &mut answer).ok()?;
        let message = Message::parse(&answer[..reply.len.into()]).unwrap();
        Search::new(MAC, 7).handle(OTHER, &message)
    }

    #[test]
    fn a_server_that_offers_an_address_is_found_and_a_proxy_is_none() {
        let (first, last) = Network::upper_half(OTHER, 24);
        let mut network = Network::new(OTHER, 24, first, last).unwrap();
        network.clients = Clients::All;
        let mut server = LeaseServer::new(network, [LeaseSlot::EMPTY; 4]);
        assert_eq!(found(&mut server, MAC), Some(OTHER));
        assert_eq!(found(&mut server, [2, 0, 0, 0, 0, 9]), None, "the answer to another client");
        assert_eq!(found(&mut ProxyDhcp::new(OTHER), MAC), None);
    }

    #[test]
    fn three_questions_and_four_seconds() {
        let mut search = Search::new(MAC, 7);
        let at = |millis: u64| Instant::from_millis(500 + millis);
        let (mut now, mut sent) = (at(0), std::vec::Vec::new());
        loop {
            match search.poll(now) {
                Step::Send => sent.push(now),
                Step::Wait { until } => now = until,
                Step::Alone => break,
            }
        }
        assert_eq!(sent, [at(0), at(1500), at(3000)]);
        assert_eq!(now, at(4000));
    }
}

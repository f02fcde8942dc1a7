//! The search for another DHCP server, before addresses are leased: two servers on a network give addresses twice.
//!
//! The board asks as a client that boots nothing, and takes no offer. Some servers ping an address for up to three seconds before they
//! offer it (dnsmasq, ISC dhcpd), so the search takes four.

use core::cell::Cell;
use core::convert::Infallible;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use pinetboot_core::dhcp::{
    Emitter, HardwareAddress, Header, Message, MessageType, Op, OptionCode, SERVER_PORT,
};
use pinetboot_core::{Instant, Net};

use crate::interface::Interface;

/// What is known of other DHCP servers on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Others {
    /// The first search is not over.
    #[default]
    Unknown,
    /// There is none: addresses may be leased.
    None,
    Found(Ipv4Addr),
}

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

/// Looks for another DHCP server on this network, whose port is 68, once there is a cable and every few minutes from then on. Ends with the
/// network.
///
/// What was found holds until the next search is over: a Pi that starts takes its end of the cable down for a moment.
pub(crate) async fn search<N: Net>(
    interface: impl Interface,
    net: &mut N,
    port: N::Local,
    mac: [u8; 6],
    mut xid: u32,
    others: &Cell<Others>,
) -> Result<Infallible, N::Error> {
    loop {
        while !interface.is_link_up() {
            net.recv(net.now() + LOOK).await?;
        }
        xid = xid.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        let found = other_server(net, port, mac, xid).await?;
        if !interface.is_link_up() {
            continue;
        }
        match (found, others.get()) {
            (Some(server), known) if known != Others::Found(server) => {
                warn!(
                    "another DHCP server, {}, is on this network. No addresses are leased: {}",
                    server, REMEDY
                );
            }
            (None, Others::Found(server)) => {
                info!("the other DHCP server, {}, is gone. Addresses are leased again", server);
            }
            (None, Others::Unknown) => info!("no other DHCP server answers. Addresses are leased"),
            _ => {}
        }
        others.set(found.map_or(Others::None, Others::Found));
        // Of two boards that lease addresses, one searches first, and the other one stays silent.
        let again = net.now() + AGAIN + Duration::from_secs((xid % SPREAD).into());
        let mut had_link = true;
        while net.now() < again && (had_link || !interface.is_link_up()) {
            had_link = interface.is_link_up();
            net.recv(again.min(net.now() + LOOK)).await?;
        }
    }
}

/// The address of another DHCP server on this network; `None`: none has answered within four seconds.
async fn other_server<N: Net>(
    net: &mut N,
    port: N::Local,
    mac: [u8; 6],
    xid: u32,
) -> Result<Option<Ipv4Addr>, N::Error> {
    let mut search = Search::new(mac, xid);
    loop {
        let until = match search.poll(net.now()) {
            Step::Send => {
                let len = search.emit(net.buffer()).unwrap_or_default();
                net.send(port, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), len).await;
                continue;
            }
            Step::Wait { until } => until,
            Step::Alone => return Ok(None),
        };
        if let Some(datagram) = net.recv(until).await?
            && let Ok(message) = Message::parse(datagram.bytes)
            && let Some(server) = search.handle(*datagram.peer.ip(), &message)
        {
            return Ok(Some(server));
        }
    }
}

/// Against another server.
pub(crate) const REMEDY: &str = "remove it, or set dhcp = \"proxy\" in pinetboot.toml";

const INTERVAL: Duration = Duration::from_millis(1500);

const LONGEST: Duration = Duration::from_secs(4);

/// The interval of the looks for a cable.
const LOOK: Duration = Duration::from_millis(500);

/// The pause between searches, and the seconds at most by which one is longer.
const AGAIN: Duration = Duration::from_secs(180);
const SPREAD: u32 = 120;

#[cfg(test)]
mod tests {
    use pinetboot_core::dhcp::{
        Arrival, Clients, LeaseServer, LeaseSlot, MAX_LEN, Network, Port, ProxyDhcp, Respond,
    };

    use pinetboot_core::block_on;

    use super::*;
    use crate::cable::{Cable, SERVER};
    use crate::config::Address;

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

    /// A board whose cable is plugged in while that is true.
    #[derive(Clone, Copy)]
    struct Plugged<'a>(&'a Cell<bool>);

    impl Interface for Plugged<'_> {
        fn configure(&self, _: Address) {}

        fn address(&self) -> Option<Ipv4Addr> {
            None
        }

        fn is_link_up(&self) -> bool {
            self.0.get()
        }
    }

    /// What is known, each with the second from which on, with a server that answers between these seconds, and without a cable until
    /// 10 s and between these.
    fn known(server: [u64; 2], unplugged: [u64; 2], secs: u64) -> std::vec::Vec<(u64, Others)> {
        let at = |secs: u64| Instant::from_millis(secs * 1000);
        let (link, others) = (Cell::new(false), Cell::new(Others::Unknown));
        let look = |now| {
            link.set(now >= at(10) && !(at(unplugged[0])..at(unplugged[1])).contains(&now));
            others.get()
        };
        let mut cable = Cable::new(at(server[0])..at(server[1]), at(secs), &look);
        assert!(block_on(search(Plugged(&link), &mut cable, (), MAC, 1, &others)).is_err());
        cable.seen
    }

    #[test]
    fn a_server_is_found_when_it_comes_and_when_it_goes() {
        let alone = known([u64::MAX / 1_000_000; 2], [0; 2], 2000);
        assert_eq!(alone, [(0, Others::Unknown), (14, Others::None)], "four seconds after the cable");

        let found = known([0, 1000], [0; 2], 2000);
        assert_eq!(found[..2], [(0, Others::Unknown), (10, Others::Found(SERVER))]);
        let &[(gone, Others::None)] = &found[2..] else { panic!("{found:?}") };
        assert!((1004..1310).contains(&gone), "{gone}");

        let &[_, (14, Others::None), (came, Others::Found(SERVER))] = &known([500, 3000], [0; 2], 2000)[..]
        else {
            panic!()
        };
        assert!((500..810).contains(&came), "{came}");
    }

    #[test]
    fn a_cable_that_is_plugged_in_again_may_lead_elsewhere() {
        let found = known([50, 3000], [40, 60], 2000);
        assert_eq!(found[1..], [(14, Others::None), (60, Others::Found(SERVER))]);
    }
}

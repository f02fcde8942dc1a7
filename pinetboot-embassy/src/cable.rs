//! A cable to a DHCP server, on a virtual clock: for tests of clients.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::Range;
use std::vec::Vec;

use pinetboot_core::dhcp::{Arrival, Clients, LeaseServer, LeaseSlot, Message, Network, Port};
use pinetboot_core::{Datagram, Instant, Net};

/// The network fails at the end of the test.
pub(crate) struct Cable<'a, S> {
    now: Instant,
    end: Instant,
    server: LeaseServer<'static, [LeaseSlot; 2]>,
    /// The time in which the server answers.
    answers: Range<Instant>,
    reply: Option<Vec<u8>>,
    given: Vec<u8>,
    buffer: [u8; 1472],
    look: &'a dyn Fn(Instant) -> S,
    /// The states that were seen, each with the second since the start.
    pub(crate) seen: Vec<(u64, S)>,
    /// The addresses to which messages went, each with the second.
    pub(crate) sent: Vec<(u64, Ipv4Addr)>,
}

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);

impl<'a, S> Cable<'a, S> {
    pub(crate) fn new(answers: Range<Instant>, end: Instant, look: &'a dyn Fn(Instant) -> S) -> Self {
        let [first, last] = [10, 20].map(|last| Ipv4Addr::new(10, 55, 0, last));
        let mut network = Network::new(SERVER, 24, first, last).unwrap();
        network.clients = Clients::All;
        Self {
            now: Instant::ZERO,
            end,
            server: LeaseServer::new(network, [LeaseSlot::EMPTY; 2]),
            answers,
            reply: None,
            given: Vec::new(),
            buffer: [0; 1472],
            look,
            seen: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn second(&self) -> u64 {
        self.now.as_micros() / 1_000_000
    }
}

impl<S: PartialEq> Net for Cable<'_, S> {
    type Error = ();
    type Local = ();

    fn now(&self) -> Instant {
        self.now
    }

    async fn recv(&mut self, deadline: Instant) -> Result<Option<Datagram<'_, ()>>, ()> {
        if let Some(reply) = self.reply.take() {
            self.given = reply;
            return Ok(Some(Datagram::new(self.now, (), SocketAddrV4::new(SERVER, 67), &self.given)));
        }
        let state = (self.look)(self.now);
        if self.seen.last().is_none_or(|last| last.1 != state) {
            self.seen.push((self.second(), state));
        }
        self.now = self.now.max(deadline);
        if self.now >= self.end { Err(()) } else { Ok(None) }
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    async fn send(&mut self, (): (), to: SocketAddrV4, len: usize) {
        self.sent.push((self.second(), *to.ip()));
        let message = Message::parse(&self.buffer[..len]).unwrap();
        let own = message.header.ciaddr;
        // Without an address the board receives no unicast datagram.
        assert_eq!(message.header.broadcast(), own.is_unspecified());
        let mut out = [0; 600];
        let arrival = Arrival::new(self.now, Port::Server, SocketAddrV4::new(own, 68));
        let answer = self.server.respond(&arrival, &message, &mut out);
        if self.answers.contains(&self.now) {
            self.reply = answer.ok().map(|reply| out[..reply.len.into()].to_vec());
        }
    }
}

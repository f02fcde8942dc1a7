//! proxyDHCP (PXE 2.1, section 2.2.3): names the boot server to clients, beside a DHCP server that knows none.
//!
//! A Pi merges the proxy's offer with the other server's, whichever comes first, and sends its REQUEST to the other
//! (captured; rpi-eeprom issues 376 and 687). It never asks on port 4011; other PXE clients may.
//!
//! Not done: a choice of boot servers. Every client gets the same.

use core::net::Ipv4Addr;

use super::emit::Emitter;
use super::message::{Header, Message, Op};
use super::next_server::NextServer;
use super::option::{MessageType, OptionCode};
use super::reply::{
    Arrival, Clients, NoReply, Port, Reply, Respond, comes_from_a_host, finish, header, is_service,
};

/// Answers a DISCOVER with an offer of no address, and a REQUEST only on port 4011. A value without a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ProxyDhcp<'a> {
    /// The proxy's address on the network that it serves.
    pub address: Ipv4Addr,
    /// The boot server that clients are told.
    pub next_server: NextServer<'a>,
    /// The clients that are answered.
    pub clients: Clients,
}

impl<'a> ProxyDhcp<'a> {
    /// A proxy for Raspberry Pis at `address`, which is their boot server's too.
    pub const fn new(address: Ipv4Addr) -> Self {
        Self { address, next_server: NextServer::new(address), clients: Clients::Pi }
    }

    /// The same with another boot server.
    #[must_use]
    pub const fn with_next_server(self, next_server: NextServer<'a>) -> Self {
        Self { next_server, ..self }
    }

    /// The same for these clients.
    #[must_use]
    pub const fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }

    /// As [`Respond::respond`].
    ///
    /// # Errors
    ///
    /// The reason for sending no reply.
    pub fn respond(
        &self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        if request.header.op != Op::Request {
            return Err(NoReply::NotAClient);
        }
        let kind = match (request.kind().ok_or(NoReply::Bootp)?, arrival.port) {
            (MessageType::Discover, Port::Server) => MessageType::Offer,
            (MessageType::Request | MessageType::Inform, Port::Pxe) => MessageType::Ack,
            (MessageType::Offer | MessageType::Ack | MessageType::Nak, _) => return Err(NoReply::NotAClient),
            // A REQUEST on port 67 takes another server's offer: it has an address in it, and ours have none.
            _ => return Err(NoReply::ForAnother),
        };
        if request.server_id().is_some_and(|server| server != self.address) {
            return Err(NoReply::ForAnother);
        }
        if is_service(arrival.peer) {
            return Err(NoReply::NotAClient);
        }
        if !comes_from_a_host(&request.header) {
            return Err(NoReply::OtherNetwork);
        }
        let admitted = match self.clients {
            Clients::All => Clients::Pxe.admit(request),
            clients => clients.admit(request),
        };
        if !admitted {
            return Err(NoReply::NotServed);
        }
        if request.pi().is_none() && self.next_server.file().is_none() {
            return Err(NoReply::NothingToOffer);
        }
        self.emit(arrival, request, kind, out).ok_or(NoReply::TooLong)
    }

    fn emit(
        &self,
        arrival: &Arrival,
        request: &Message<'_>,
        kind: MessageType,
        out: &mut [u8],
    ) -> Option<Reply> {
        let header = Header { siaddr: self.next_server.address(), ..header(arrival, request, kind) };
        let mut reply = Emitter::new(&header, out)?;
        reply.kind(kind)?;
        reply.address(OptionCode::SERVER_ID, self.address)?;
        self.next_server.emit(request, &mut reply)?;
        finish(arrival, request, kind, Ipv4Addr::UNSPECIFIED, reply)
    }
}

impl Respond for ProxyDhcp<'_> {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        Self::respond(self, arrival, request, out)
    }
}

//! A small complete DHCP server (RFC 2131, section 4.3), for a network without another.
//!
//! The server identifies a client by its hardware address alone, and ignores the client identifier (option 61). One Pi asks
//! up to three times in a boot, as bootloader, kernel and userspace, with an identifier or without one. RFC 2131 takes these
//! for three clients with three addresses, and the kernel's NFS root would be lost with the second.
//!
//! An offer does not reserve its address. If no other address is left, the server offers the same to another client, and the
//! first REQUEST gets it. A flood of DISCOVERs therefore keeps no client from a lease.
//!
//! Not done: more than one network, classes, options beyond those that a boot needs, and see [`dhcp`](super).

use core::net::Ipv4Addr;
use core::time::Duration;

use heapless::Vec;

use super::emit::Emitter;
use super::hardware::HardwareAddress;
use super::message::{Header, Message, Op};
use super::network::Network;
use super::option::{MessageType, OptionCode};
use super::reply::{Arrival, NoReply, Port, Reply, Respond, finish, header};
use crate::Instant;

/// Gives addresses to clients. A value that holds at most `N` leases.
#[derive(Clone, Debug)]
pub struct LeaseServer<'a, const N: usize> {
    network: Network<'a>,
    /// No two of the same address, nor, but for those declined, of the same client.
    leases: Vec<Lease, N>,
    changes: u32,
}

/// A client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Lease {
    /// The client's hardware address.
    pub hardware: HardwareAddress,
    /// The address.
    pub address: Ipv4Addr,
    /// The state.
    pub state: LeaseState,
    /// The end of the lease. The server then keeps the address for the client until another client needs it.
    pub until: Instant,
}

/// The state of a client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "the states that RFC 2131 knows of an address")]
pub enum LeaseState {
    /// The address was offered.
    Offered,
    /// The client has the address.
    Bound,
    /// The client released it.
    Released,
    /// The client found it in use by another host. The server offers it to no client.
    Declined,
}

impl<'a, const N: usize> LeaseServer<'a, N> {
    /// A server of this network that knows no client yet.
    pub const fn new(network: Network<'a>) -> Self {
        Self { network, leases: Vec::new(), changes: 0 }
    }

    /// The network.
    pub const fn network(&self) -> &Network<'a> {
        &self.network
    }

    /// All leases, ended ones included. A caller that survives restarts stores the [`Bound`](LeaseState::Bound) ones.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    /// A count of changes to the leases that a caller should store. It wraps.
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// Takes in a lease from before a restart. `false` if the table is full, or the lease is outside the network or conflicts
    /// with another.
    pub fn restore(&mut self, lease: Lease) -> bool {
        let fits = match self.network.reserved_for(&lease.hardware) {
            Some(reserved) => reserved == lease.address,
            None => self.network.is_free_for_all(lease.address),
        };
        let taken = self.holder(lease.address).is_some() || self.lease_of(&lease.hardware).is_some();
        fits && !taken && self.leases.push(lease).is_ok()
    }

    /// As [`Respond::respond`].
    ///
    /// # Errors
    ///
    /// The reason for sending no reply.
    pub fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let from = &request.header;
        if from.op != Op::Request || from.hardware.as_bytes().is_empty() {
            return Err(NoReply::NotAClient);
        }
        if arrival.port != Port::Server {
            return Err(NoReply::ForAnother);
        }
        let kind = request.kind().ok_or(NoReply::NotAClient)?;
        if !from.giaddr.is_unspecified() && !self.network.contains(from.giaddr) {
            return Err(NoReply::OtherNetwork);
        }
        let known =
            self.lease_of(&from.hardware).is_some() || self.network.reserved_for(&from.hardware).is_some();
        if !known && !self.network.clients.admit(request) {
            return Err(NoReply::NotServed);
        }
        let (kind, address) = match kind {
            MessageType::Discover => (MessageType::Offer, self.discover(arrival.at, request)?),
            MessageType::Request => match self.request(arrival.at, request)? {
                Some(address) => (MessageType::Ack, address),
                None => (MessageType::Nak, Ipv4Addr::UNSPECIFIED),
            },
            MessageType::Inform if self.network.contains(from.ciaddr) => {
                (MessageType::Ack, Ipv4Addr::UNSPECIFIED)
            }
            MessageType::Inform => return Err(NoReply::OtherNetwork),
            MessageType::Decline => return Err(self.decline(arrival.at, request)),
            MessageType::Release => return Err(self.release(arrival.at, request)),
            MessageType::Offer | MessageType::Ack | MessageType::Nak => return Err(NoReply::NotAClient),
        };
        self.emit(arrival, request, kind, address, out).ok_or(NoReply::TooLong)
    }

    /// The address to offer.
    fn discover(&mut self, now: Instant, request: &Message<'_>) -> Result<Ipv4Addr, NoReply> {
        let client = &request.header.hardware;
        let address = self.address_for(now, client, request.requested_address()).ok_or(NoReply::Exhausted)?;
        let bound =
            self.lease_of(client).is_some_and(|lease| lease.state == LeaseState::Bound && lease.until > now);
        if !bound {
            let (state, until) = (LeaseState::Offered, now + OFFERED);
            self.put(now, Lease { hardware: *client, address, state, until })?;
        }
        Ok(address)
    }

    /// The address to confirm; `None` if the client has to be refused.
    fn request(&mut self, now: Instant, request: &Message<'_>) -> Result<Option<Ipv4Addr>, NoReply> {
        let client = request.header.hardware;
        let has = Some(request.header.ciaddr).filter(|address| !address.is_unspecified());
        let Some(address) = request.requested_address().or(has) else { return Err(NoReply::NoRecord) };
        let known = self.lease_of(&client).is_some() || self.network.reserved_for(&client).is_some();
        let may_have = self.may_have(now, &client, address);
        match (request.server_id(), has) {
            // DHCPREQUEST generated during SELECTING state
            (Some(server), _) if server == self.network.address() => {}
            (Some(_), _) => {
                self.leases.retain(|lease| lease.hardware != client || lease.state != LeaseState::Offered);
                return Err(NoReply::ForAnother);
            }
            // DHCPREQUEST generated during INIT-REBOOT state
            // > Server SHOULD send a DHCPNAK message to the client if the 'requested IP address' is incorrect, or is on
            // > the wrong network.
            (None, None) if !self.network.contains(address) => {}
            (None, None) if known => {}
            (None, None) => return Err(NoReply::NoRecord),
            // DHCPREQUEST generated during RENEWING or REBINDING state
            (None, Some(_)) if known => {}
            // Perhaps from before the server's start. The client's root file system depends on the address, so the client
            // keeps it if it is free.
            (None, Some(_)) if may_have => {}
            (None, Some(_)) => return Err(NoReply::NoRecord),
        }
        if !may_have {
            return Ok(None);
        }
        let until = now + Duration::from_secs(self.network.lease_secs().into());
        self.put(now, Lease { hardware: client, address, state: LeaseState::Bound, until })?;
        self.changes = self.changes.wrapping_add(1);
        Ok(Some(address))
    }

    fn decline(&mut self, now: Instant, request: &Message<'_>) -> NoReply {
        let client = request.header.hardware;
        match self.leases.iter_mut().find(|lease| lease.is_of(&client)) {
            Some(lease) if request.requested_address() == Some(lease.address) => {
                lease.state = LeaseState::Declined;
                lease.until = now + DECLINED;
                self.changes = self.changes.wrapping_add(1);
                NoReply::Declined(lease.address)
            }
            _ => NoReply::ForAnother,
        }
    }

    fn release(&mut self, now: Instant, request: &Message<'_>) -> NoReply {
        let Header { hardware, ciaddr, .. } = request.header;
        match self.leases.iter_mut().find(|lease| lease.is_of(&hardware)) {
            Some(lease) if lease.address == ciaddr => {
                lease.state = LeaseState::Released;
                lease.until = now;
                self.changes = self.changes.wrapping_add(1);
                NoReply::Released(ciaddr)
            }
            _ => NoReply::ForAnother,
        }
    }

    /// The address to offer a client: its own, the one it asks for, one that was never given, or the one whose lease ended
    /// longest ago.
    fn address_for(
        &self,
        now: Instant,
        client: &HardwareAddress,
        wanted: Option<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let own = self.network.reserved_for(client).or(self.lease_of(client).map(|lease| lease.address));
        if let Some(own) = own.filter(|own| self.may_have(now, client, *own)) {
            return Some(own);
        }
        let is_new =
            |address: &Ipv4Addr| self.network.is_free_for_all(*address) && self.holder(*address).is_none();
        if !self.leases.is_full() || self.lease_of(client).is_some() {
            let new = wanted.filter(is_new).or_else(|| self.network.range_for(client).find(is_new));
            if new.is_some() {
                return new;
            }
        }
        self.victim(now, |lease| self.network.is_free_for_all(lease.address)).map(|lease| lease.address)
    }

    /// Whether a client can be given an address: the client's own, or a free one that is at most offered to another client.
    fn may_have(&self, now: Instant, client: &HardwareAddress, address: Ipv4Addr) -> bool {
        let allowed = match self.network.reserved_for(client) {
            Some(reserved) if self.holder(reserved).is_none_or(|lease| !lease.is_declined(now)) => {
                reserved == address
            }
            _ => self.network.is_free_for_all(address),
        };
        let holder = self.holder(address);
        allowed && holder.is_none_or(|lease| lease.is_of(client) || lease.may_go(now))
    }

    /// Stores a lease and removes those that it replaces.
    fn put(&mut self, now: Instant, lease: Lease) -> Result<(), NoReply> {
        self.leases.retain(|other| !other.is_of(&lease.hardware) && other.address != lease.address);
        if self.leases.is_full() {
            let victim = self.victim(now, |_| true).ok_or(NoReply::Exhausted)?.address;
            self.leases.retain(|other| other.address != victim);
        }
        self.leases.push(lease).map_err(|_| NoReply::Exhausted)
    }

    /// The lease to remove first: the one that ended longest ago, or else an offer.
    fn victim(&self, now: Instant, which: impl Fn(&Lease) -> bool) -> Option<&Lease> {
        let rank = |lease: &&Lease| (lease.until > now, lease.until);
        self.leases.iter().filter(|lease| which(lease) && lease.may_go(now)).min_by_key(rank)
    }

    fn lease_of(&self, client: &HardwareAddress) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.is_of(client))
    }

    fn holder(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.address == address)
    }

    fn emit(
        &self,
        arrival: &Arrival,
        request: &Message<'_>,
        kind: MessageType,
        address: Ipv4Addr,
        out: &mut [u8],
    ) -> Option<Reply> {
        let Network { router, name_server, next_server, .. } = self.network;
        let header = header(arrival, request, kind);
        if kind == MessageType::Nak {
            let mut reply = Emitter::new(&header, out)?;
            reply.kind(kind)?;
            reply.address(OptionCode::SERVER_ID, self.network.address())?;
            reply.option(OptionCode::MESSAGE, b"not your address")?;
            return finish(arrival, request, kind, address, reply);
        }
        let mut reply =
            Emitter::new(&Header { yiaddr: address, siaddr: next_server.address(), ..header }, out)?;
        reply.kind(kind)?;
        reply.address(OptionCode::SERVER_ID, self.network.address())?;
        if !address.is_unspecified() {
            let secs = self.network.lease_secs();
            reply.seconds(OptionCode::LEASE_TIME, secs)?;
            // > T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 * duration_of_lease).
            reply.seconds(OptionCode::RENEWAL_TIME, secs / 2)?;
            reply.seconds(OptionCode::REBINDING_TIME, secs - secs / 8)?;
        }
        reply.address(OptionCode::SUBNET_MASK, self.network.mask())?;
        reply.address(OptionCode::BROADCAST, self.network.broadcast())?;
        for (code, address) in [(OptionCode::ROUTER, router), (OptionCode::NAME_SERVER, name_server)] {
            if let Some(address) = address {
                reply.address(code, address)?;
            }
        }
        next_server.emit(request, &mut reply)?;
        finish(arrival, request, kind, address, reply)
    }
}

impl<const N: usize> Respond for LeaseServer<'_, N> {
    fn respond(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        Self::respond(self, arrival, request, out)
    }
}

impl Lease {
    /// A lease of `address` to the client with this hardware address.
    pub const fn new(
        hardware: HardwareAddress,
        address: Ipv4Addr,
        state: LeaseState,
        until: Instant,
    ) -> Self {
        Self { hardware, address, state, until }
    }

    fn is_of(&self, client: &HardwareAddress) -> bool {
        self.hardware == *client && self.state != LeaseState::Declined
    }

    fn is_declined(&self, now: Instant) -> bool {
        self.state == LeaseState::Declined && self.until > now
    }

    /// Whether another client may have the address.
    fn may_go(&self, now: Instant) -> bool {
        self.state == LeaseState::Offered || self.until <= now
    }
}

/// The time for which an offered address is not offered to others while other addresses are free: longer than clients take.
const OFFERED: Duration = Duration::from_secs(60);

/// The time for which the server does not offer an address that a client found in use.
const DECLINED: Duration = Duration::from_secs(60 * 60);

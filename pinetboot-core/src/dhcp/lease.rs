//! A small complete DHCP server (RFC 2131, section 4.3), for a network without another.
//!
//! The server identifies a client by its hardware address alone, and ignores the client identifier (option 61). One Pi asks
//! up to three times in a boot, as bootloader, kernel and userspace, with an identifier or without one. RFC 2131 takes these
//! for three clients with three addresses, and the kernel's NFS root would be lost with the second.
//!
//! # Under a flood
//!
//! * Each message visits O(log n) of n leases.
//! * An offer does not reserve its address. If no other address is left, the server offers the same to another client, and
//!   the first REQUEST gets it. A flood of DISCOVERs therefore keeps no client from a lease.
//! * With a [time for first leases](Network::first_lease_time), a lease is short until the client is
//!   [seen](LeaseServer::confirm) at its address: whole handshakes of made-up clients hold their addresses for minutes. An
//!   eighth of the range is then kept for clients that were seen before, for reservations in the range, and for
//!   [listed](Network::listed) Pis. The records of clients that were seen give way to new clients only beyond that share.
//! * A DECLINE or RELEASE counts only from the client that has the address. A DECLINE of a client that was never seen blocks
//!   the address no longer than the client's lease.
//!
//! A hardware address and a serial number are not secret: another host can ask with those of a Pi while that Pi's lease does
//! not run.
//!
//! A server has one network, its own or one [beyond](Network::beyond) a relay agent; with several servers, the caller chooses by
//! [`Message::link`].
//!
//! Not done: classes, options beyond those that a boot needs, and see [`dhcp`](super).

mod policy;
mod requests;
mod slot;
mod table;
mod tree;

use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use super::emit::Emitter;
use super::hardware::HardwareAddress;
use super::message::{Header, Message, Op};
use super::network::Network;
use super::next_server::NextServer;
use super::option::{MessageType, OptionCode};
use super::reply::{Arrival, NoReply, Port, Reply, Respond, comes_from_a_host, finish, header};
use crate::Instant;
use crate::pi::Prefix;
use policy::Client;
use slot::Kept;
use table::Table;

pub use slot::LeaseSlot;

/// Gives addresses to clients, with as many leases as the caller has slots for.
///
/// ```
/// use core::net::Ipv4Addr;
/// use pinetboot_core::dhcp::{LeaseServer, LeaseSlot, Network};
/// use pinetboot_core::pi::Prefix;
///
/// let address = |last| Ipv4Addr::new(10, 77, 0, last);
/// let network = Network::new(address(1), 24, address(100), address(131)).unwrap();
/// let mut server = LeaseServer::new(network, [LeaseSlot::EMPTY; 32]);
/// server.reserve(Prefix::Serial(0xbd98_9ae1), address(9)).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct LeaseServer<'a, S> {
    network: Network<'a>,
    /// No two leases of the same client, but for declined addresses.
    table: Table<S>,
    /// Reservations in the range.
    reserved: u32,
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
    /// The client was seen at its address: see [`LeaseServer::confirm`].
    pub seen: bool,
    /// The address is reserved for the client: see [`LeaseServer::reserve`].
    pub reserved: bool,
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

/// What the server knows of a client, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller orders messages by it")]
pub enum Standing {
    /// Nothing.
    New,
    /// The client was offered an address, or leased one.
    Recorded,
    /// The client was [seen](LeaseServer::confirm) at its address, has a [reservation](LeaseServer::reserve), or is
    /// [listed](Network::listed).
    Known,
}

/// The reason why an address is not reserved or excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NotKept {
    /// The address is not a host's in the network.
    Outside,
    /// The server, the router or the name server has the address.
    InUse,
    /// The address, or another address for this Pi, is reserved already.
    Twice,
    /// All slots are in use.
    Full,
}

impl<'a, S: AsRef<[LeaseSlot]> + AsMut<[LeaseSlot]>> LeaseServer<'a, S> {
    /// A server of this network that knows no client yet. `slots` has the memory: one for each address of the range (at most
    /// 65,535), for each reservation outside the range, and for each [excluded](Self::exclude) address.
    pub fn new(network: Network<'a>, slots: S) -> Self {
        let mut server = Self { network, table: Table::new(slots), reserved: 0, changes: 0 };
        for address in [Some(network.address()), network.router, network.name_server].into_iter().flatten() {
            if network.has_in_range(address) {
                // With fewer slots than three the range is not used up.
                let _full = server.exclude(address);
            }
        }
        server
    }

    /// The network.
    pub const fn network(&self) -> &Network<'a> {
        &self.network
    }

    /// All leases, ended ones included. A caller that survives restarts stores all but the
    /// [offers](LeaseState::Offered).
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.table.iter().filter(|slot| slot.has_client()).map(|slot| &slot.lease)
    }

    /// The lease of this address, ended or not.
    pub fn lease_at(&self, address: Ipv4Addr) -> Option<&Lease> {
        let slot = self.table.at(address).and_then(|place| self.table.slot(place))?;
        slot.has_client().then_some(&slot.lease)
    }

    /// The lease of the client with this hardware address, ended or not; not of an address that it declined.
    pub fn lease_of(&self, hardware: &HardwareAddress) -> Option<&Lease> {
        let slot = self.table.of_client(hardware).and_then(|place| self.table.slot(place))?;
        Some(&slot.lease)
    }

    /// What the server knows of the sender of this message.
    pub fn standing(&self, request: &Message<'_>) -> Standing {
        match self.client(request) {
            Client { is_known: true, .. } => Standing::Known,
            Client { own: Some(_), .. } => Standing::Recorded,
            _ => Standing::New,
        }
    }

    /// Another host answers at an offered or ended address: the server offers the address to no client for an hour. `false` if
    /// a client has the address by a running lease, or none was offered it.
    pub fn mark_in_use(&mut self, now: Instant, address: Ipv4Addr) -> bool {
        let Some(lease) = self.lease_at(address).copied() else { return false };
        let is_free = !lease.is_running(now);
        if is_free {
            self.block(now, lease);
        }
        is_free
    }

    /// A count of changes to the leases that a caller should store. It wraps. Each is a change of the address in the answer of
    /// [`respond`](Self::respond), of the [client's own](Self::lease_of) if the answer has none, or of the one that was
    /// [confirmed](Self::confirm).
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// Reserves an address, inside or outside the range, for a Pi: by its serial number (option 97) or MAC address. Call this
    /// before [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// The reason why the address is not reserved.
    pub fn reserve(&mut self, pi: Prefix, address: Ipv4Addr) -> Result<(), NotKept> {
        if self.table.of_owner(pi).is_some() {
            return Err(NotKept::Twice);
        }
        if address == self.network.address() {
            return Err(NotKept::InUse);
        }
        self.keep(address, Kept::ForPi(pi))?;
        self.reserved += u32::from(self.network.has_in_range(address));
        Ok(())
    }

    /// Excludes an address from all leases: another address of the server's. Call this before [`reserve`](Self::reserve).
    ///
    /// # Errors
    ///
    /// The reason why the address is not excluded.
    pub fn exclude(&mut self, address: Ipv4Addr) -> Result<(), NotKept> {
        match self.keep(address, Kept::Excluded) {
            Err(NotKept::InUse) => Ok(()),
            kept => kept,
        }
    }

    /// Takes in a lease from before a restart. `false` if the table is full, or the lease is outside the range or conflicts
    /// with another lease or a reservation.
    pub fn restore(&mut self, lease: Lease) -> bool {
        let declined = lease.state == LeaseState::Declined;
        let has_another = !declined && self.table.of_client(&lease.hardware).is_some();
        if lease.hardware.as_bytes().is_empty() || has_another {
            return false;
        }
        let Some(place) = self.table.at(lease.address) else {
            let lease = Lease { reserved: false, ..lease };
            let fits = self.network.has_in_range(lease.address);
            return fits && self.table.insert(LeaseSlot::new(lease, Kept::No)).is_some();
        };
        let Some(slot) = self.table.slot(place) else { return false };
        let fits = match slot.kept {
            Kept::ForPi(Prefix::Mac(mac)) => lease.hardware.mac() == Some(mac),
            Kept::ForPi(Prefix::Serial(_)) => lease.reserved,
            Kept::No | Kept::Excluded => false,
        };
        let fits = fits && !slot.has_client();
        if fits {
            self.table.replace(place, Lease { reserved: true, ..lease });
        }
        fits
    }

    /// Notes that the client with this address was seen there: its whole transfer, or its mount. The lease runs its full time
    /// from now on, and so do later leases. `false` if no client has the address.
    pub fn confirm(&mut self, now: Instant, address: Ipv4Addr) -> bool {
        let Some(place) = self.table.at(address) else { return false };
        let Some(slot) = self.table.slot(place).filter(|slot| slot.lease.state == LeaseState::Bound) else {
            return false;
        };
        let lease = slot.lease;
        let full = Duration::from_secs(self.network.lease_secs().into());
        // A client at work is seen often. Its lease is stored half as often as the client would renew it.
        if !lease.seen || lease.until.since(now) < full / 2 {
            self.table.replace(place, Lease { seen: true, until: lease.until.max(now + full), ..lease });
            self.changes = self.changes.wrapping_add(1);
        }
        true
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
        let next_server = self.network.next_server;
        self.respond_with(arrival, request, &next_server, out)
    }

    /// The same, with a boot server for this client.
    ///
    /// # Errors
    ///
    /// The reason for sending no reply.
    pub fn respond_with(
        &mut self,
        arrival: &Arrival,
        request: &Message<'_>,
        next_server: &NextServer<'_>,
        out: &mut [u8],
    ) -> Result<Reply, NoReply> {
        let from = &request.header;
        if from.op != Op::Request || from.hardware.as_bytes().is_empty() {
            return Err(NoReply::NotAClient);
        }
        if arrival.port != Port::Server {
            return Err(NoReply::ForAnother);
        }
        if let Some(link) = request.link() {
            // The reply goes to the agent, whatever network the link selection names.
            let is_host =
                if link == from.giaddr { self.network.has_host(link) } else { comes_from_a_host(from) };
            if !is_host || !self.network.contains(link) {
                return Err(NoReply::OtherNetwork);
            }
        }
        let client = self.client(request);
        if client.own.is_none() && client.reserved.is_none() && !self.network.clients.admit(request) {
            return Err(NoReply::NotServed);
        }
        let kind = request.kind().ok_or(NoReply::Bootp)?;
        let (kind, address) = match kind {
            MessageType::Discover => (MessageType::Offer, self.discover(arrival.at, &client, request)?),
            MessageType::Request => match self.request(arrival.at, &client, request)? {
                Some(address) => (MessageType::Ack, address),
                None => (MessageType::Nak, Ipv4Addr::UNSPECIFIED),
            },
            MessageType::Inform if self.network.has_host(from.ciaddr) => {
                (MessageType::Ack, Ipv4Addr::UNSPECIFIED)
            }
            MessageType::Inform => return Err(NoReply::OtherNetwork),
            MessageType::Decline => return Err(self.decline(arrival.at, &client, request)),
            MessageType::Release => return Err(self.release(arrival.at, &client, from.ciaddr)),
            MessageType::Offer | MessageType::Ack | MessageType::Nak => return Err(NoReply::NotAClient),
        };
        let reply = (kind, address, self.secs(&client));
        self.emit(arrival, request, reply, next_server, out).ok_or(NoReply::TooLong)
    }

    fn keep(&mut self, address: Ipv4Addr, kept: Kept) -> Result<(), NotKept> {
        if !self.network.has_host(address) {
            return Err(NotKept::Outside);
        }
        match self.table.at(address).and_then(|place| self.table.slot(place)).map(|slot| slot.kept) {
            None => {
                let kept = self.table.insert(LeaseSlot::kept(address, kept));
                kept.map(|_| ()).ok_or(NotKept::Full)
            }
            Some(Kept::Excluded) => Err(NotKept::InUse),
            Some(Kept::ForPi(_) | Kept::No) => Err(NotKept::Twice),
        }
    }

    /// The time of a client's lease.
    fn secs(&self, client: &Client) -> u32 {
        let seen = client.own.is_some_and(|lease| lease.seen);
        if seen { self.network.lease_secs() } else { self.network.first_lease_secs() }
    }

    fn emit(
        &self,
        arrival: &Arrival,
        request: &Message<'_>,
        (kind, address, secs): (MessageType, Ipv4Addr, u32),
        next_server: &NextServer<'_>,
        out: &mut [u8],
    ) -> Option<Reply> {
        let Network { router, name_server, .. } = self.network;
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

impl<S: AsRef<[LeaseSlot]> + AsMut<[LeaseSlot]>> Respond for LeaseServer<'_, S> {
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
    /// A lease of `address` to the client with this hardware address, which was not seen there yet.
    pub const fn new(
        hardware: HardwareAddress,
        address: Ipv4Addr,
        state: LeaseState,
        until: Instant,
    ) -> Self {
        Self { hardware, address, state, until, seen: false, reserved: false }
    }

    /// Whether the client has the address now.
    pub fn is_running(&self, now: Instant) -> bool {
        self.state == LeaseState::Bound && self.until > now
    }

    fn is_of(&self, client: &HardwareAddress) -> bool {
        self.hardware == *client && self.state != LeaseState::Declined
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "the address is no address of a host in the network",
            Self::InUse => "the server, the router or the name server has the address",
            Self::Twice => "the address, or another address for this Pi, is reserved already",
            Self::Full => "the table of leases is full",
        })
    }
}

impl core::error::Error for NotKept {}

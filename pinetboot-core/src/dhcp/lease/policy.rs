//! Which address a client may have.

use core::net::Ipv4Addr;

use super::slot::{Kept, LeaseSlot, Rank};
use super::{Lease, LeaseServer};
use crate::Instant;
use crate::dhcp::hardware::HardwareAddress;
use crate::dhcp::message::Message;
use crate::pi::Prefix;

/// A client, as the server knows it.
pub(super) struct Client {
    pub(super) hardware: HardwareAddress,
    /// Its lease.
    pub(super) own: Option<Lease>,
    /// The address reserved for it.
    pub(super) reserved: Option<Ipv4Addr>,
    /// The kept share of the range is for this client too.
    pub(super) is_known: bool,
}

impl<S: AsRef<[LeaseSlot]> + AsMut<[LeaseSlot]>> LeaseServer<'_, S> {
    pub(super) fn client(&self, request: &Message<'_>) -> Client {
        let hardware = request.header.hardware;
        let serial = request.pi().and_then(|pi| pi.prefix());
        let mac = hardware.mac().map(Prefix::Mac);
        let names = || [serial, mac].into_iter().flatten();
        let own = self.table.of_client(&hardware).and_then(|place| self.table.slot(place));
        let reserved = names().find_map(|name| self.table.of_owner(name));
        let reserved = reserved.and_then(|place| self.table.slot(place));
        Client {
            hardware,
            own: own.map(|slot| slot.lease),
            reserved: reserved.map(|slot| slot.lease.address),
            is_known: own.is_some_and(|slot| slot.lease.seen)
                || reserved.is_some()
                || names().any(|name| self.network.listed.binary_search(&name).is_ok()),
        }
    }

    /// The address to offer a client: the reserved one, its own, the one it asks for, one that was never given, or the one
    /// whose lease ended longest ago.
    pub(super) fn address_for(
        &self,
        now: Instant,
        client: &Client,
        wanted: Option<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let mut own = [client.reserved, client.own.map(|lease| lease.address)].into_iter().flatten();
        if let Some(own) = own.find(|own| self.may_have(now, client, *own)) {
            return Some(own);
        }
        let may_use_kept = self.may_use_kept(now, client);
        if may_use_kept && self.free(client) > 0 {
            let is_new =
                |address: &Ipv4Addr| self.network.has_in_range(*address) && self.table.at(*address).is_none();
            let begin = self.network.place_for(&client.hardware);
            let (first, last) = self.network.range();
            let from_begin = || Some(self.table.free_from(begin)).filter(|address| *address <= last);
            return wanted.filter(is_new).or_else(from_begin).or_else(|| Some(self.table.free_from(first)));
        }
        self.victim(now, may_use_kept)
    }

    /// Whether a client can be given an address: the reserved one, the client's own, or one that no other client has.
    pub(super) fn may_have(&self, now: Instant, client: &Client, address: Ipv4Addr) -> bool {
        if let Some(reserved) = client.reserved
            && reserved != address
            && self.is_reachable(now, client, reserved)
        {
            return false;
        }
        match self.table.at(address).and_then(|place| self.table.slot(place)) {
            None => self.network.has_in_range(address) && self.may_use_kept(now, client),
            Some(_) if client.reserved == Some(address) => self.is_reachable(now, client, address),
            Some(slot) if slot.lease.is_of(&client.hardware) => true,
            Some(slot) => {
                slot.kept == Kept::No
                    && slot.may_go(now)
                    && (slot.rank() != Rank::Seen || self.may_use_kept(now, client))
            }
        }
    }

    /// Whether a client's reserved address is neither declined nor another client's by a running lease.
    fn is_reachable(&self, now: Instant, client: &Client, reserved: Ipv4Addr) -> bool {
        let slot = self.table.at(reserved).and_then(|place| self.table.slot(place));
        slot.is_some_and(|slot| slot.lease.is_of(&client.hardware) || slot.may_go(now))
    }

    /// Whether a client may take an address that was never given, or that a client left which was seen there.
    fn may_use_kept(&self, now: Instant, client: &Client) -> bool {
        if client.is_known || self.network.first_lease_time.is_none() {
            return true;
        }
        let most = self.network.range_len().min(self.table.capacity().into());
        let kept = (most / KEPT).saturating_sub(self.reserved);
        self.free(client) + u32::from(self.table.ended(Rank::Seen, now)) > kept
    }

    /// Addresses that were never given, as far as the table has slots for them.
    fn free(&self, client: &Client) -> u32 {
        let (first, last) = self.network.range();
        let addresses = self.network.range_len().saturating_sub(self.table.count(first, last).into());
        // A client that gets another address leaves its slot.
        let leaves = client.own.is_some_and(|lease| !lease.reserved);
        addresses.min(u32::from(self.table.vacant()) + u32::from(leaves))
    }

    /// The address to take from another client: of the leases that ended, the one that ended longest ago, at first of clients
    /// that were never seen; or else of an offer.
    pub(super) fn victim(&self, now: Instant, may_use_kept: bool) -> Option<Ipv4Addr> {
        let ended = |rank| self.table.first_to_end(rank).filter(|(until, _)| *until <= now);
        let new = [ended(Rank::Offered), ended(Rank::New)].into_iter().flatten().min();
        let victim = match new {
            None if may_use_kept => ended(Rank::Seen),
            new => new,
        };
        victim.or_else(|| self.table.first_to_end(Rank::Offered)).map(|(_, address)| address)
    }
}

impl LeaseSlot {
    /// Whether another client may have the address.
    fn may_go(&self, now: Instant) -> bool {
        self.rank() == Rank::Offered || self.lease.until <= now
    }
}

/// One in so many addresses is kept for known clients.
const KEPT: u32 = 8;

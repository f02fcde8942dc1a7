//! What each message of a client changes: DISCOVER, REQUEST, DECLINE and RELEASE (RFC 2131, sections 4.3.1 to 4.3.4).

use core::net::Ipv4Addr;
use core::time::Duration;

use super::policy::Client;
use super::slot::{Kept, LeaseSlot};
use super::{Lease, LeaseServer, LeaseState};
use crate::Instant;
use crate::dhcp::message::Message;
use crate::dhcp::reply::NoReply;

impl<S: AsRef<[LeaseSlot]> + AsMut<[LeaseSlot]>> LeaseServer<'_, S> {
    /// The address to offer.
    pub(super) fn discover(
        &mut self,
        now: Instant,
        client: &Client,
        request: &Message<'_>,
    ) -> Result<Ipv4Addr, NoReply> {
        let address = self.address_for(now, client, request.requested_address()).ok_or(NoReply::Exhausted)?;
        if !client.own.is_some_and(|lease| lease.is_running(now)) {
            self.put(now, client, address, LeaseState::Offered, now + OFFERED)?;
        }
        Ok(address)
    }

    /// The address to confirm; `None` if the client has to be refused.
    pub(super) fn request(
        &mut self,
        now: Instant,
        client: &Client,
        request: &Message<'_>,
    ) -> Result<Option<Ipv4Addr>, NoReply> {
        let has = Some(request.header.ciaddr).filter(|address| !address.is_unspecified());
        let Some(address) = request.requested_address().or(has) else { return Err(NoReply::NoRecord) };
        let known = client.own.is_some() || client.reserved.is_some();
        let may_have = self.may_have(now, client, address);
        match (request.server_id(), has) {
            // DHCPREQUEST generated during SELECTING state
            (Some(server), _) if server == self.network.address() => {}
            (Some(_), _) => {
                // From a server with the same reservations. The client's kernel, which may not name its Pi, is known now.
                if client.reserved == Some(address) && may_have {
                    self.put(now, client, address, LeaseState::Released, now)?;
                    self.changes = self.changes.wrapping_add(1);
                } else {
                    self.withdraw_offer(now, client);
                }
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
            // Perhaps another server's, whose range is another part of the network.
            let is_ours = self.network.has_in_range(address) || self.table.at(address).is_some();
            let has_another =
                client.reserved.is_some() || client.own.is_some_and(|lease| lease.is_running(now));
            let may_be_anothers = self.network.contains(address) && !is_ours && !has_another;
            let is_for_us = request.server_id().is_some();
            return if may_be_anothers && !is_for_us { Err(NoReply::NoRecord) } else { Ok(None) };
        }
        let until = now + Duration::from_secs(self.secs(client).into());
        self.put(now, client, address, LeaseState::Bound, until)?;
        self.changes = self.changes.wrapping_add(1);
        Ok(Some(address))
    }

    /// The client takes another server's offer.
    fn withdraw_offer(&mut self, now: Instant, client: &Client) {
        let Some(lease) = client.own.filter(|lease| lease.state == LeaseState::Offered) else { return };
        let Some(place) = self.table.at(lease.address) else { return };
        if lease.seen {
            self.table.replace(place, Lease { state: LeaseState::Released, until: now, ..lease });
        } else {
            self.table.vacate(place);
        }
    }

    pub(super) fn decline(&mut self, now: Instant, client: &Client, request: &Message<'_>) -> NoReply {
        let has = client.own.filter(|lease| lease.is_running(now));
        let is_for_us = request.server_id().is_none_or(|server| server == self.network.address());
        match has {
            Some(lease) if is_for_us && request.requested_address() == Some(lease.address) => {
                let state = LeaseState::Declined;
                let until = if lease.seen { now + DECLINED } else { lease.until };
                self.update(Lease { state, until, seen: false, ..lease });
                NoReply::Declined(lease.address)
            }
            _ => NoReply::ForAnother,
        }
    }

    /// Another host uses the address.
    pub(super) fn block(&mut self, now: Instant, lease: Lease) {
        self.update(Lease { state: LeaseState::Declined, until: now + DECLINED, seen: false, ..lease });
    }

    pub(super) fn release(&mut self, now: Instant, client: &Client, ciaddr: Ipv4Addr) -> NoReply {
        match client.own {
            Some(lease) if lease.state == LeaseState::Bound && lease.address == ciaddr => {
                self.update(Lease { state: LeaseState::Released, until: now, ..lease });
                NoReply::Released(ciaddr)
            }
            _ => NoReply::ForAnother,
        }
    }

    /// Stores a lease and removes those that it replaces.
    fn put(
        &mut self,
        now: Instant,
        client: &Client,
        address: Ipv4Addr,
        state: LeaseState,
        until: Instant,
    ) -> Result<(), NoReply> {
        let Client { hardware, own, .. } = *client;
        let seen = own.is_some_and(|lease| lease.seen);
        if let Some(lease) = own.filter(|lease| lease.address != address)
            && let Some(place) = self.table.at(lease.address)
        {
            self.table.vacate(place);
        }
        let lease = Lease { hardware, address, state, until, seen, reserved: false };
        if let Some(place) = self.table.at(address) {
            let reserved = self.table.slot(place).is_some_and(|slot| slot.kept != Kept::No);
            self.table.replace(place, Lease { reserved, ..lease });
            return Ok(());
        }
        if self.table.vacant() == 0 {
            let victim = self.victim(now, true).and_then(|victim| self.table.at(victim));
            self.table.remove(victim.ok_or(NoReply::Exhausted)?);
        }
        let put = self.table.insert(LeaseSlot::new(lease, Kept::No));
        put.map(|_| ()).ok_or(NoReply::Exhausted)
    }

    /// Stores a change of a client's lease.
    fn update(&mut self, lease: Lease) {
        if let Some(place) = self.table.at(lease.address) {
            self.table.replace(place, lease);
            self.changes = self.changes.wrapping_add(1);
        }
    }
}

/// The time for which an offered address is not offered to others while other addresses are free: longer than clients take.
const OFFERED: Duration = Duration::from_secs(60);

/// The time for which the server does not offer an address that a client found in use.
const DECLINED: Duration = Duration::from_secs(60 * 60);

//! A slot of the table: a lease, a reservation or an excluded address, and the keys that sort the slots.

use core::cmp::Ordering;
use core::net::Ipv4Addr;

use super::{Lease, LeaseState};
use crate::Instant;
use crate::dhcp::hardware::HardwareAddress;
use crate::pi::Prefix;

/// The index of a slot; [`NONE`] is no slot.
pub(super) type Place = u16;

/// The memory for one lease, reservation or excluded address: 72 bytes.
#[derive(Clone, Copy, Debug)]
pub struct LeaseSlot {
    pub(super) lease: Lease,
    pub(super) kept: Kept,
    nodes: [Node; ORDERS],
}

/// Whether an address is kept from clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Any client may get the address.
    No,
    /// Only this Pi may get the address.
    ForPi(Prefix),
    /// The server, the router or the name server has the address.
    Excluded,
}

/// The order in which other clients get addresses that are not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The address is offered to a client that was never seen at its address.
    Offered,
    /// A client that was never seen at its address has or had the address.
    New,
    /// A client that was seen at its address has or had the address.
    Seen,
}

/// A slot's links in one order. The size is 0 in a slot that is not in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) left: Place,
    pub(super) right: Place,
    pub(super) size: u16,
}

/// A key by which slots are sorted. No two slots of a table are equal in an order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// The hardware address; declined addresses last.
    Client,
    /// The IPv4 address.
    Address,
    /// The rank, then the end of the lease: only addresses that any client may get.
    End,
    /// The Pi that an address is reserved for: only reserved addresses.
    Owner,
}

impl LeaseSlot {
    /// A slot without a lease.
    pub const EMPTY: Self = Self::new(
        Lease::new(HardwareAddress::NONE, Ipv4Addr::UNSPECIFIED, LeaseState::Released, Instant::ZERO),
        Kept::No,
    );

    pub(super) const fn new(lease: Lease, kept: Kept) -> Self {
        Self { lease, kept, nodes: [Node::EMPTY; ORDERS] }
    }

    /// An address without a client.
    pub(super) const fn kept(address: Ipv4Addr, kept: Kept) -> Self {
        Self::new(Lease::new(HardwareAddress::NONE, address, LeaseState::Released, Instant::ZERO), kept)
    }

    pub(super) fn rank(&self) -> Rank {
        match self.lease.state {
            _ if self.lease.seen => Rank::Seen,
            LeaseState::Offered => Rank::Offered,
            _ => Rank::New,
        }
    }

    /// Whether a client has or had the address.
    pub(super) fn has_client(&self) -> bool {
        self.lease.hardware != HardwareAddress::NONE
    }

    pub(super) fn node(&self, order: Order) -> Node {
        self.nodes.get(order as usize).copied().unwrap_or(Node::EMPTY)
    }

    pub(super) fn node_mut(&mut self, order: Order) -> &mut Node {
        let [client, address, end, owner] = &mut self.nodes;
        match order {
            Order::Client => client,
            Order::Address => address,
            Order::End => end,
            Order::Owner => owner,
        }
    }

    pub(super) fn client(&self) -> (bool, HardwareAddress) {
        (self.lease.state == LeaseState::Declined, self.lease.hardware)
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.lease.address
    }

    pub(super) fn end(&self) -> (Rank, Instant) {
        (self.rank(), self.lease.until)
    }

    pub(super) fn owner(&self) -> Option<Prefix> {
        match self.kept {
            Kept::ForPi(owner) => Some(owner),
            Kept::No | Kept::Excluded => None,
        }
    }

    pub(super) fn is_in(&self, order: Order) -> bool {
        match order {
            Order::Client => self.has_client(),
            Order::Address => true,
            Order::End => self.kept == Kept::No,
            Order::Owner => self.owner().is_some(),
        }
    }

    pub(super) fn compare(&self, other: &Self, order: Order) -> Ordering {
        let by_address = || self.address().cmp(&other.address());
        match order {
            Order::Client => self.client().cmp(&other.client()).then_with(by_address),
            Order::Address => by_address(),
            Order::End => self.end().cmp(&other.end()).then_with(by_address),
            Order::Owner => self.owner().cmp(&other.owner()),
        }
    }
}

impl Node {
    /// The links of a slot outside the order.
    pub(super) const EMPTY: Self = Self { left: NONE, right: NONE, size: 0 };
}

/// No slot.
pub(super) const NONE: Place = Place::MAX;

/// The number of orders.
pub(super) const ORDERS: usize = 4;

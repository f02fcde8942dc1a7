//! The leases: slots in the caller's memory, sorted by client, address, end of the lease and reservation.

use core::cmp::Ordering;
use core::net::Ipv4Addr;

use super::Lease;
use super::slot::{Kept, LeaseSlot, NONE, Node, ORDERS, Order, Place, Rank};
use super::tree::slot;
use crate::Instant;
use crate::dhcp::hardware::HardwareAddress;
use crate::pi::Prefix;

/// Slots, of which each has its own address.
#[derive(Clone, Debug)]
pub(super) struct Table<S> {
    slots: S,
    roots: [Place; ORDERS],
    /// Slots that were used; all behind them never were.
    used: Place,
    /// The first of the slots that were used and are vacant, linked by [`Node::left`].
    vacated: Place,
    /// Slots in use.
    len: u16,
}

impl<S> Table<S> {
    pub(super) const fn new(slots: S) -> Self {
        Self { slots, roots: [NONE; ORDERS], used: 0, vacated: NONE, len: 0 }
    }
}

impl<S: AsRef<[LeaseSlot]>> Table<S> {
    /// All slots in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &LeaseSlot> {
        self.slots().iter().filter(|slot| slot.node(Order::Address).size > 0)
    }

    pub(super) fn slot(&self, place: Place) -> Option<&LeaseSlot> {
        slot(self.slots(), place)
    }

    /// The number of slots, at most 65,535.
    pub(super) fn capacity(&self) -> u16 {
        u16::try_from(self.slots().len()).unwrap_or(NONE)
    }

    pub(super) fn vacant(&self) -> u16 {
        self.capacity().saturating_sub(self.len)
    }

    /// The client's slot, but for an address that the client declined.
    pub(super) fn of_client(&self, client: &HardwareAddress) -> Option<Place> {
        let key = (false, *client);
        Order::Client.find(self.slots(), self.root(Order::Client), |slot| slot.client().cmp(&key))
    }

    pub(super) fn at(&self, address: Ipv4Addr) -> Option<Place> {
        Order::Address.find(self.slots(), self.root(Order::Address), |slot| slot.address().cmp(&address))
    }

    /// The address reserved for a Pi.
    pub(super) fn of_owner(&self, owner: Prefix) -> Option<Place> {
        Order::Owner.find(self.slots(), self.root(Order::Owner), |slot| slot.owner().cmp(&Some(owner)))
    }

    /// The lease of this rank that ends first: its end and its address.
    #[inline(never)] // small before fast: called in four places
    pub(super) fn first_to_end(&self, rank: Rank) -> Option<(Instant, Ipv4Addr)> {
        let first = self.slot(self.before_end((rank, Instant::ZERO)).0?)?;
        (first.rank() == rank).then_some((first.lease.until, first.lease.address))
    }

    /// The number of slots of this rank whose lease has ended.
    pub(super) fn ended(&self, rank: Rank, now: Instant) -> u16 {
        let after = now + core::time::Duration::from_micros(1);
        self.before_end((rank, after)).1.saturating_sub(self.before_end((rank, Instant::ZERO)).1)
    }

    /// The number of slots with an address from `first` to `last`.
    pub(super) fn count(&self, first: Ipv4Addr, last: Ipv4Addr) -> u16 {
        let root = self.root(Order::Address);
        let before = |address: Ipv4Addr| {
            Order::Address.first_from(self.slots(), root, |slot| slot.address().cmp(&address)).1
        };
        let after = Order::Address
            .first_from(self.slots(), root, |slot| slot.address().cmp(&last).then(Ordering::Less));
        after.1.saturating_sub(before(first))
    }

    /// The first address from `first` on that no slot has.
    pub(super) fn free_from(&self, first: Ipv4Addr) -> Ipv4Addr {
        let first = first.to_bits();
        let (mut root, mut before, mut free) = (self.root(Order::Address), 0_u32, first);
        let start =
            Order::Address.first_from(self.slots(), root, |slot| slot.address().to_bits().cmp(&first)).1;
        while let Some(slot) = self.slot(root) {
            let Node { left, right, .. } = slot.node(Order::Address);
            let address = slot.address().to_bits();
            let here = before + u32::from(Order::Address.node(self.slots(), left).size);
            // All addresses from the first to this one have slots.
            let is_dense = address < first || here - u32::from(start) == address - first;
            if is_dense {
                before = here + 1;
                free = free.max(address.saturating_add(1));
                root = right;
            } else {
                root = left;
            }
        }
        Ipv4Addr::from_bits(free)
    }

    fn before_end(&self, end: (Rank, Instant)) -> (Option<Place>, u16) {
        Order::End.first_from(self.slots(), self.root(Order::End), |slot| slot.end().cmp(&end))
    }

    fn root(&self, order: Order) -> Place {
        self.roots.get(order as usize).copied().unwrap_or(NONE)
    }

    /// The slots that a [`Place`] can name.
    fn slots(&self) -> &[LeaseSlot] {
        let slots = self.slots.as_ref();
        slots.get(..usize::from(NONE)).unwrap_or(slots)
    }
}

impl<S: AsRef<[LeaseSlot]> + AsMut<[LeaseSlot]>> Table<S> {
    /// Adds a slot with an address that no other has. `None` if all slots are in use.
    pub(super) fn insert(&mut self, new: LeaseSlot) -> Option<Place> {
        let place = match self.vacated {
            NONE if self.used < self.capacity() => {
                self.used += 1;
                self.used - 1
            }
            NONE => return None,
            vacated => {
                self.vacated = self.slot(vacated)?.node(Order::Address).left;
                vacated
            }
        };
        self.len += 1;
        self.set(place, new);
        self.link(place);
        Some(place)
    }

    /// Replaces the lease in a slot; the address stays.
    pub(super) fn replace(&mut self, place: Place, lease: Lease) {
        let Some(LeaseSlot { kept, .. }) = self.slot(place).copied() else { return };
        self.unlink(place);
        self.set(place, LeaseSlot::new(lease, kept));
        self.link(place);
    }

    /// Removes the client from a slot, and the slot unless its address is kept.
    pub(super) fn vacate(&mut self, place: Place) {
        let Some(LeaseSlot { lease, kept, .. }) = self.slot(place).copied() else { return };
        if kept == Kept::No {
            self.remove(place);
        } else {
            self.replace(place, LeaseSlot::kept(lease.address, kept).lease);
        }
    }

    /// Removes a slot.
    pub(super) fn remove(&mut self, place: Place) {
        self.unlink(place);
        let mut vacant = LeaseSlot::EMPTY;
        vacant.node_mut(Order::Address).left = self.vacated;
        self.set(place, vacant);
        self.vacated = place;
        self.len -= 1;
    }

    fn set(&mut self, place: Place, new: LeaseSlot) {
        if let Some(slot) = self.slots.as_mut().get_mut(usize::from(place)) {
            *slot = new;
        }
    }

    fn link(&mut self, place: Place) {
        self.relink(place, |order, slots, root| order.insert(slots, root, place));
    }

    fn unlink(&mut self, place: Place) {
        self.relink(place, |order, slots, root| order.remove(slots, root, place));
    }

    fn relink(&mut self, place: Place, link: impl Fn(Order, &mut [LeaseSlot], Place) -> Place) {
        let Some(slot) = self.slot(place).copied() else { return };
        for order in [Order::Client, Order::Address, Order::End, Order::Owner] {
            if slot.is_in(order)
                && let Some(root) = self.roots.get_mut(order as usize)
            {
                let slots = self.slots.as_mut();
                let most = slots.len().min(NONE.into());
                *root = link(order, slots.split_at_mut(most).0, *root);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    use super::super::LeaseState;
    use super::super::tree::STEPS;
    use super::*;

    fn ip(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 + number)
    }

    fn lease(client: u32, address: u32, until: u64) -> LeaseSlot {
        let [a, b, c, d] = client.to_be_bytes();
        let hardware = HardwareAddress::ethernet([2, 0, a, b, c, d]);
        LeaseSlot::new(
            Lease::new(hardware, ip(address), LeaseState::Bound, Instant::from_micros(until)),
            Kept::No,
        )
    }

    fn steps(work: impl FnOnce()) -> u64 {
        let before = STEPS.with(core::cell::Cell::get);
        work();
        STEPS.with(core::cell::Cell::get) - before
    }

    /// Numbers without a pattern.
    fn random(state: &mut u32) -> u32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *state >> 8
    }

    #[test]
    fn every_order_agrees_with_a_sorted_set() {
        let mut table = Table::new([LeaseSlot::EMPTY; 64]);
        let (mut addresses, mut ends) = (BTreeSet::new(), BTreeSet::new());
        let mut state = 7;
        for _ in 0..4000 {
            let (address, until) = (random(&mut state) % 96, u64::from(random(&mut state) % 50));
            match table.at(ip(address)) {
                Some(place) => {
                    let slot = *table.slot(place).unwrap();
                    assert!(addresses.contains(&address));
                    ends.remove(&(slot.lease.until.as_micros(), address));
                    if random(&mut state).is_multiple_of(2) {
                        table.remove(place);
                        addresses.remove(&address);
                    } else {
                        table.replace(place, lease(address, address, until).lease);
                        ends.insert((until, address));
                    }
                }
                None => {
                    assert!(!addresses.contains(&address));
                    if table.insert(lease(address, address, until)).is_some() {
                        addresses.insert(address);
                        ends.insert((until, address));
                    } else {
                        assert_eq!(addresses.len(), 64);
                    }
                }
            }
            assert_eq!(usize::from(table.len), addresses.len());
            let first = table.first_to_end(Rank::New).map(|(until, _)| until.as_micros());
            assert_eq!(first, ends.first().map(|(until, _)| *until));
            let at = u64::from(random(&mut state) % 50);
            let ended = ends.iter().filter(|(until, _)| *until <= at).count();
            assert_eq!(usize::from(table.ended(Rank::New, Instant::from_micros(at))), ended);
            let begin = random(&mut state) % 96;
            let free = (begin..).find(|number| !addresses.contains(number)).unwrap();
            assert_eq!(table.free_from(ip(begin)), ip(free));
            let end = begin + random(&mut state) % 50;
            assert_eq!(usize::from(table.count(ip(begin), ip(end))), addresses.range(begin..=end).count());
            let clients: Vec<_> = addresses
                .iter()
                .filter(|n| table.of_client(&lease(**n, 0, 0).lease.hardware).is_some())
                .collect();
            assert_eq!(clients.len(), addresses.len());
        }
    }

    #[test]
    fn steps_grow_with_the_logarithm() {
        for (count, most) in [(254_u32, 60), (4090, 90), (65_000, 120)] {
            let mut table = Table::new(vec![LeaseSlot::EMPTY; 65_535]);
            // In ascending order: the worst case of a tree without balance.
            for number in 0..count {
                table.insert(lease(number, number, number.into())).unwrap();
            }
            let (client, address) = (lease(count / 3, 0, 0).lease.hardware, ip(count / 3));
            for found in [
                steps(|| assert!(table.of_client(&client).is_some())),
                steps(|| assert!(table.at(address).is_some())),
                steps(|| assert_eq!(table.free_from(address), ip(count))),
                steps(|| assert!(table.first_to_end(Rank::New).is_some())),
                steps(|| assert_eq!(table.ended(Rank::New, Instant::from_micros(9)), 10)),
            ] {
                assert!(found <= most, "{found} of {most} at {count}");
            }
        }
    }
}

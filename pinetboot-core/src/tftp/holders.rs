//! The addresses and networks that hold the most places, counted without a map of all addresses.
//!
//! An address that holds more than a quarter of the places is one of at most three, and a /24 network that holds more than
//! half is the only one. The algorithm of Misra and Gries ("Finding repeated elements", 1982) finds the candidates in one
//! pass with as many counters; a second pass counts their places exactly. From then on each transfer that begins or ends
//! adjusts the counts. Another address can pass its share only by beginning transfers: the passes are repeated after an
//! eighth of the places has been taken anew, and an address holds at most that many places beyond its share unnoticed.

use core::net::Ipv4Addr;

/// The candidates, and the transfers begun since they were found.
#[derive(Debug)]
pub(super) struct Holders {
    /// [`ADDRESSES`] addresses, then one network.
    candidates: [Holder; ADDRESSES + 1],
    begun: u16,
}

/// A network, or a single address, and the number of places that it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holder {
    bits: u32,
    mask: u32,
    count: u16,
}

impl Holders {
    pub(super) const fn new() -> Self {
        let nobody = Holder { bits: 0, mask: ADDRESS, count: 0 };
        Self { candidates: [nobody; ADDRESSES + 1], begun: 0 }
    }

    /// A client of this address takes a place.
    pub(super) fn begin(&mut self, address: Ipv4Addr) {
        self.begun = self.begun.saturating_add(1);
        self.of(address).for_each(|holder| holder.count += 1);
    }

    /// A client of this address leaves its place.
    pub(super) fn end(&mut self, address: Ipv4Addr) {
        self.of(address).for_each(|holder| holder.count = holder.count.saturating_sub(1));
    }

    /// Whether other addresses may have passed their share since the candidates were found.
    pub(super) fn are_stale(&self, places: usize) -> bool {
        usize::from(self.begun) >= (places / 8).max(1)
    }

    /// Finds the candidates among the addresses of all sessions.
    pub(super) fn find<I: Iterator<Item = Ipv4Addr>>(&mut self, addresses: impl Fn() -> I) {
        let candidates = &mut self.candidates;
        candidates.fill(Holder { mask: ADDRESS, ..Holder::default() });
        let (hosts, networks) = candidates.split_at_mut(ADDRESSES);
        networks.iter_mut().for_each(|network| network.mask = NETWORK);
        for address in addresses() {
            meet(hosts, address);
            meet(networks, address);
        }
        candidates.iter_mut().for_each(|holder| holder.count = 0);
        addresses().for_each(|address| self.of(address).for_each(|holder| holder.count += 1));
        self.begun = 0;
    }

    /// The holder of the most places beyond its share: an address, else a network. One that `client` belongs to gives up
    /// nothing for it.
    pub(super) fn beyond_share(&self, client: Ipv4Addr, places: usize) -> Option<Holder> {
        let beyond =
            |holder: &&Holder| !holder.has(client) && usize::from(holder.count) > holder.share(places);
        self.candidates.iter().filter(beyond).max_by_key(|holder| (holder.mask, holder.count)).copied()
    }

    fn of(&mut self, address: Ipv4Addr) -> impl Iterator<Item = &mut Holder> {
        self.candidates.iter_mut().filter(move |holder| holder.has(address))
    }
}

impl Holder {
    pub(super) fn has(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.bits
    }

    /// The places that the holder keeps in a full table.
    fn share(&self, places: usize) -> usize {
        match self.mask {
            ADDRESS => (places / 4).max(ADDRESS_PLACES),
            _ => (places / 2).max(NETWORK_PLACES),
        }
    }
}

/// One step of Misra and Gries: counts the address, or takes one from all counters.
fn meet(counters: &mut [Holder], address: Ipv4Addr) {
    if let Some(counter) = counters.iter_mut().find(|counter| counter.count > 0 && counter.has(address)) {
        counter.count += 1;
    } else if let Some(counter) = counters.iter_mut().find(|counter| counter.count == 0) {
        counter.bits = address.to_bits() & counter.mask;
        counter.count = 1;
    } else {
        counters.iter_mut().for_each(|counter| counter.count -= 1);
    }
}

/// No more addresses than these can hold more than a quarter each.
const ADDRESSES: usize = 3;

/// The places that an address keeps in any table.
pub(super) const ADDRESS_PLACES: usize = 8;

/// The places that a network keeps in any table: each host of a /24 has its transfer.
const NETWORK_PLACES: usize = 256;

const ADDRESS: u32 = u32::MAX;

const NETWORK: u32 = 0xffff_ff00;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(network: u8, host: u16) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 | u32::from(network) << 16 | u32::from(host))
    }

    /// `count` sessions each of these addresses, in turns.
    fn found(counts: &[(Ipv4Addr, u16)]) -> Holders {
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let turns = (0..most).flat_map(|turn| {
            counts.iter().filter(move |(_, count)| turn < *count).map(|(address, _)| *address)
        });
        let mut holders = Holders::new();
        holders.find(|| turns.clone());
        holders
    }

    #[test]
    fn more_than_a_quarter_is_found_among_many() {
        let mut counts: std::vec::Vec<_> = (0..74).map(|number| (address(number, 1), 1)).collect();
        counts.push((address(100, 7), 26));
        let holders = found(&counts);
        let holder = holders.beyond_share(address(0, 1), 100).unwrap();
        assert_eq!((holder.has(address(100, 7)), holder.count), (true, 26));
        assert_eq!(holders.beyond_share(address(100, 7), 100), None, "its own client");
        counts.pop();
        counts.extend([(address(100, 7), 25), (address(101, 7), 1)]);
        assert_eq!(found(&counts).beyond_share(address(0, 1), 100), None, "a quarter is its share");
    }

    #[test]
    fn three_addresses_may_be_beyond_their_share() {
        let holders =
            found(&[(address(1, 1), 30), (address(2, 1), 33), (address(3, 1), 31), (address(4, 1), 6)]);
        assert_eq!(holders.beyond_share(address(5, 1), 100).unwrap().count, 33);
        assert_eq!(holders.beyond_share(address(2, 1), 100).unwrap().count, 31);
    }

    #[test]
    fn a_network_keeps_half_of_the_places_and_one_for_each_host() {
        let rack: std::vec::Vec<_> = (0..254).map(|host| (address(1, host), 1)).collect();
        assert_eq!(found(&rack).beyond_share(address(2, 1), 254), None, "a rack may fill the table");
        let crowd: std::vec::Vec<_> = (0..254).map(|host| (address(1, host), 3)).collect();
        let holders = found(&crowd);
        assert_eq!(holders.beyond_share(address(2, 1), 1000).unwrap().count, 762);
        assert_eq!(holders.beyond_share(address(1, 255), 1000), None, "of the same network");
        assert_eq!(holders.beyond_share(address(2, 1), 2000), None);
    }

    #[test]
    fn eight_places_are_anyones_share() {
        assert_eq!(found(&[(address(1, 1), 8)]).beyond_share(address(2, 1), 8), None);
        assert_eq!(found(&[(address(1, 1), 9)]).beyond_share(address(2, 1), 9).unwrap().count, 9);
    }

    #[test]
    fn counts_follow_what_begins_and_ends() {
        let mut holders = found(&[(address(1, 1), 26), (address(2, 1), 10)]);
        assert!(!holders.are_stale(100));
        holders.end(address(1, 1));
        assert_eq!(holders.beyond_share(address(2, 1), 100), None);
        (0..12).for_each(|_| holders.begin(address(1, 1)));
        assert_eq!(holders.beyond_share(address(2, 1), 100).unwrap().count, 37);
        assert!(holders.are_stale(100));
    }
}

//! The network of a DHCP server: addresses, range, router, leases.

use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use super::hardware::HardwareAddress;
use super::next_server::NextServer;
use super::reply::Clients;
use crate::pi::Prefix;

/// The network that a [`LeaseServer`](super::LeaseServer) serves. Its addresses are checked.
///
/// ```
/// use core::net::Ipv4Addr;
/// use pinetboot_core::dhcp::{Network, NetworkError};
///
/// let address = |last| Ipv4Addr::new(10, 77, 0, last);
/// let network = Network::new(address(1), 24, address(100), address(199)).unwrap();
/// assert_eq!(network.mask(), Ipv4Addr::new(255, 255, 255, 0));
/// let far = Ipv4Addr::new(10, 78, 0, 1);
/// assert_eq!(Network::new(address(1), 24, address(100), far), Err(NetworkError::Outside(far)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Network<'a> {
    /// The server's address.
    address: Ipv4Addr,
    /// An address in the network.
    inside: Ipv4Addr,
    prefix_len: u8,
    first: Ipv4Addr,
    last: Ipv4Addr,
    /// The router to other networks.
    pub router: Option<Ipv4Addr>,
    /// The name server.
    pub name_server: Option<Ipv4Addr>,
    /// The lease time: at least a second.
    pub lease_time: Duration,
    /// The time of a client's leases until the client is seen at its address, at least a second and at most `lease_time`. `None`:
    /// the caller does not call [`LeaseServer::confirm`](super::LeaseServer::confirm); all leases last `lease_time`, and no share
    /// of the range is kept.
    pub first_lease_time: Option<Duration>,
    /// The boot server that clients are told.
    pub next_server: NextServer<'a>,
    /// Pis, in ascending order, for which a share of the range is kept: see `first_lease_time`.
    pub listed: &'a [Prefix],
    /// The clients that are answered without a lease or a reservation. A client that has one is always answered: a Pi asks up
    /// to three times in one boot, and its kernel and its userspace do not say that they are a Pi.
    pub clients: Clients,
}

impl<'a> Network<'a> {
    /// The network of `address`, the server's, with a mask of `prefix_len` bits (8 to 30). `first` to `last` are for clients.
    ///
    /// Without a router and a name server; leases of twelve hours; the boot server at `address`; for Pis.
    ///
    /// # Errors
    ///
    /// The first setting that is out of range.
    pub fn new(
        address: Ipv4Addr,
        prefix_len: u8,
        first: Ipv4Addr,
        last: Ipv4Addr,
    ) -> Result<Self, NetworkError> {
        let network = Self::beyond(address, address, prefix_len, first, last)?;
        network.check(address)?;
        if first > last {
            return Err(NetworkError::Backwards);
        }
        Ok(network)
    }

    /// The network that has the address `inside`, beyond a relay agent: the server at `address` is in another network. The rest
    /// is as with [`new`](Self::new).
    ///
    /// A `first` above `last` is an empty range: clients get the addresses reserved for them, and no others.
    ///
    /// # Errors
    ///
    /// The first setting that is out of range.
    pub fn beyond(
        address: Ipv4Addr,
        inside: Ipv4Addr,
        prefix_len: u8,
        first: Ipv4Addr,
        last: Ipv4Addr,
    ) -> Result<Self, NetworkError> {
        if !(8..=30).contains(&prefix_len) {
            return Err(NetworkError::PrefixLength);
        }
        let network = Self {
            address,
            inside,
            prefix_len,
            first,
            last,
            listed: &[],
            router: None,
            name_server: None,
            lease_time: Duration::from_secs(12 * 60 * 60),
            first_lease_time: None,
            next_server: NextServer::new(address),
            clients: Clients::Pi,
        };
        network.check(first)?;
        network.check(last)?;
        Ok(network)
    }

    /// The first and the last address of the upper half of a network: the default range for clients.
    ///
    /// ```
    /// use core::net::Ipv4Addr;
    /// use pinetboot_core::dhcp::Network;
    ///
    /// let (first, last) = Network::upper_half(Ipv4Addr::new(10, 77, 0, 1), 24);
    /// assert_eq!((first, last), (Ipv4Addr::new(10, 77, 0, 128), Ipv4Addr::new(10, 77, 0, 254)));
    /// ```
    pub const fn upper_half(address: Ipv4Addr, prefix_len: u8) -> (Ipv4Addr, Ipv4Addr) {
        let hosts = match u32::MAX.checked_shr(prefix_len as u32) {
            Some(hosts) => hosts,
            None => 0,
        };
        let network = address.to_bits() & !hosts;
        let (first, last) = (network | (hosts / 2 + 1), network | hosts.saturating_sub(1));
        (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last))
    }

    /// The server's address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The first and the last of the addresses for clients.
    pub const fn range(&self) -> (Ipv4Addr, Ipv4Addr) {
        (self.first, self.last)
    }

    /// The subnet mask.
    pub const fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(!(u32::MAX >> self.prefix_len))
    }

    /// The network's broadcast address.
    pub const fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.inside.to_bits() | (u32::MAX >> self.prefix_len))
    }

    /// The network's own address: all host bits are zero.
    pub const fn first_address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.inside.to_bits() & self.mask().to_bits())
    }

    /// Whether an address is in this network.
    pub const fn contains(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.inside.to_bits()) & self.mask().to_bits() == 0
    }

    pub(super) fn lease_secs(&self) -> u32 {
        // All ones mean infinity (RFC 2131, section 3.3).
        u32::try_from(self.lease_time.as_secs()).unwrap_or(u32::MAX - 1).clamp(1, u32::MAX - 1)
    }

    pub(super) fn first_lease_secs(&self) -> u32 {
        let lease_time = self.first_lease_time.map_or(self.lease_time, |first| first.min(self.lease_time));
        Network { lease_time, ..*self }.lease_secs()
    }

    /// Whether an address is in the range for clients.
    pub(super) fn has_in_range(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// The number of addresses in the range: at most 2^24.
    pub(super) const fn range_len(&self) -> u32 {
        (self.last.to_bits() + 1).saturating_sub(self.first.to_bits())
    }

    /// The client's own place in the range, so that the client gets the same address again even from a server that lost its
    /// leases.
    pub(super) fn place_for(&self, hardware: &HardwareAddress) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + hardware.hash().checked_rem(self.range_len()).unwrap_or(0))
    }

    /// Whether an address can be a host's in this network.
    pub(super) fn has_host(&self, address: Ipv4Addr) -> bool {
        self.check(address).is_ok()
    }

    fn check(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        let ends = [self.broadcast(), self.first_address()];
        if self.contains(address) && !ends.contains(&address) {
            Ok(())
        } else {
            Err(NetworkError::Outside(address))
        }
    }
}

/// The reason why a network is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NetworkError {
    /// The mask has fewer than 8 bits or more than 30.
    PrefixLength,
    /// This address is not a host's in the network.
    Outside(Ipv4Addr),
    /// The range ends before it begins.
    Backwards,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrefixLength => "the subnet mask must have 8 to 30 bits",
            Self::Outside(address) => return write!(f, "{address} is no address of a host in the network"),
            Self::Backwards => "the range ends before it begins",
        })
    }
}

impl core::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    #[test]
    fn only_what_makes_sense_is_a_network() {
        let new = |prefix_len, first, last| {
            Network::new(address(1), prefix_len, address(first), address(last)).err()
        };
        assert_eq!(new(24, 1, 254), None);
        assert_eq!(new(24, 100, 100), None);
        assert_eq!(new(24, 100, 99), Some(NetworkError::Backwards));
        assert_eq!(new(24, 0, 99), Some(NetworkError::Outside(address(0))));
        assert_eq!(new(24, 100, 255), Some(NetworkError::Outside(address(255))));
        assert_eq!(new(30, 2, 5), Some(NetworkError::Outside(address(5))));
        for prefix_len in [0, 7, 31, 32, 33, 255] {
            assert_eq!(new(prefix_len, 2, 2), Some(NetworkError::PrefixLength));
        }
    }

    #[test]
    fn each_client_has_its_place_in_the_range() {
        let network = Network::new(address(1), 24, address(10), address(14)).unwrap();
        for last in 0..50 {
            let place = network.place_for(&HardwareAddress::ethernet([2, 0, 0, 0, 0, last]));
            assert!(network.has_in_range(place), "{place}");
        }
    }

    #[test]
    fn a_network_beyond_a_relay_agent_has_no_address_of_the_server() {
        let (server, inside) = (Ipv4Addr::new(10, 99, 0, 1), Ipv4Addr::new(10, 77, 0, 0));
        let network = Network::beyond(server, inside, 24, address(10), address(14)).unwrap();
        assert_eq!((network.address(), network.first_address()), (server, inside));
        assert_eq!(network.broadcast(), address(255));
        assert!(network.contains(address(1)) && !network.contains(server));
        let outside = Network::beyond(server, inside, 24, server, server);
        assert_eq!(outside, Err(NetworkError::Outside(server)));
        let empty = Network::beyond(server, inside, 24, address(2), address(1)).unwrap();
        assert_eq!(empty.range_len(), 0);
        let hardware = HardwareAddress::ethernet([2; 6]);
        assert!(!empty.has_in_range(empty.place_for(&hardware)));
    }

    #[test]
    fn leases_end() {
        let network = Network::new(address(1), 24, address(10), address(14)).unwrap();
        for (lease_time, secs) in
            [(Duration::ZERO, 1), (Duration::MAX, u32::MAX - 1), (Duration::from_secs(60), 60)]
        {
            let network = Network { lease_time, ..network };
            assert_eq!((network.lease_secs(), network.first_lease_secs()), (secs, secs));
            let first_lease_time = Some(Duration::from_secs(5));
            assert_eq!(Network { first_lease_time, ..network }.first_lease_secs(), secs.min(5));
        }
    }
}

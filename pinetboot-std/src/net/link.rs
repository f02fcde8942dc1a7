//! The network interfaces of this machine and their IPv4 addresses.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index: an interface that is removed and made again has another one.
    pub index: usize,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Its IPv4 addresses, each with the length of its network prefix, 0 to 32 bits.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// The interfaces of this machine, read again at each [change](super::Changes) and shared by all threads.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Mutex<Arc<[Link]>>>);

impl Link {
    /// All interfaces.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn all() -> io::Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for entry in getifaddrs()? {
            // An address may have a label: eth0:1 (ip-address(8)). No interface has a colon in its name.
            let name = entry.interface_name.split(':').next().unwrap_or_default();
            let at = match all.iter().position(|link| link.name == name) {
                Some(at) => at,
                None => {
                    all.push(Self {
                        name: name.to_owned(),
                        index: 0,
                        up: entry.flags.contains(InterfaceFlags::IFF_UP),
                        loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                        addresses: Vec::new(),
                    });
                    all.len() - 1
                }
            };
            let (Some(link), Some(address)) = (all.get_mut(at), entry.address) else { continue };
            if let Some(packet) = address.as_link_addr() {
                link.index = packet.ifindex();
            }
            let mask = entry.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in());
            if let (Some(address), Some(mask)) = (address.as_sockaddr_in(), mask) {
                link.addresses.push((address.ip(), mask.ip().to_bits().count_ones() as u8));
            }
        }
        Ok(all)
    }

    /// Whether the interface is up and has an IPv4 address.
    pub fn is_usable(&self) -> bool {
        self.up && !self.addresses.is_empty()
    }

    /// The address in the network of `client`, else the first one.
    pub fn address_for(&self, client: Option<Ipv4Addr>) -> Option<(Ipv4Addr, u8)> {
        let is_near = |&&(address, prefix_len): &&(Ipv4Addr, u8)| {
            client.is_some_and(|client| in_one_network(address, client, prefix_len))
        };
        self.addresses.iter().find(is_near).or_else(|| self.addresses.first()).copied()
    }
}

impl Links {
    /// These interfaces, until the next look.
    pub fn of(links: Vec<Link>) -> Self {
        Self(Arc::new(Mutex::new(links.into())))
    }

    /// The interfaces as of the last look.
    pub fn now(&self) -> Arc<[Link]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The interface of this name.
    pub fn find(&self, name: &str) -> Option<Link> {
        self.now().iter().find(|link| link.name == name).cloned()
    }

    /// All IPv4 addresses of this machine, of interfaces that are down too.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.now().iter().flat_map(|link| &link.addresses).map(|(address, _)| *address).collect()
    }

    /// Reads the interfaces; returns those before.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn look(&self) -> io::Result<Arc<[Link]>> {
        let now = Link::all()?.into();
        Ok(std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), now))
    }
}

/// Whether two addresses share their first `prefix_len` bits.
pub fn in_one_network(one: Ipv4Addr, other: Ipv4Addr, prefix_len: u8) -> bool {
    (one.to_bits() ^ other.to_bits()).leading_zeros() >= prefix_len.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known() {
        let links = Links::default();
        assert!(links.look().unwrap().is_empty());
        let loopback = links.find("lo").unwrap();
        assert!(loopback.loopback && loopback.index > 0);
        if loopback.up {
            assert!(loopback.is_usable() && loopback.addresses.contains(&(Ipv4Addr::LOCALHOST, 8)));
            assert!(links.addresses().contains(&Ipv4Addr::LOCALHOST));
        }
        assert_eq!(links.look().unwrap(), links.now());
    }

    #[test]
    fn a_client_is_told_the_address_of_its_network() {
        let ip = |third, last| Ipv4Addr::new(10, 77, third, last);
        let addresses = vec![(ip(0, 1), 24), (ip(1, 1), 24)];
        let link = Link { name: "eth0".into(), index: 2, up: true, loopback: false, addresses };
        assert_eq!(link.address_for(Some(ip(1, 50))), Some((ip(1, 1), 24)));
        for elsewhere in [None, Some(ip(0, 50)), Some(ip(9, 50))] {
            assert_eq!(link.address_for(elsewhere), Some((ip(0, 1), 24)));
        }
        assert!(in_one_network(ip(0, 1), ip(9, 9), 0) && !in_one_network(ip(0, 1), ip(0, 2), 32));
    }
}

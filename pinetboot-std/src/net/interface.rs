//! An interface and one of its addresses, for a server that names the address to clients.

use std::net::Ipv4Addr;

use super::Link;

/// An IPv4 address of this machine, and the interface that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// Its address; one of them, if there are several.
    pub address: Ipv4Addr,
    /// The length of the network prefix, 0 to 32 bits.
    pub prefix_len: u8,
}

impl Interface {
    /// Every interface that is up, has an IPv4 address and is not the loopback.
    pub fn all(links: &[Link]) -> Vec<Self> {
        links.iter().filter(|link| !link.loopback).filter_map(|link| Self::of(link, None)).collect()
    }

    /// The interface with each of its addresses; none if it is down.
    pub fn each(link: &Link) -> impl Iterator<Item = Self> {
        let addresses = link.addresses.iter().filter(|_| link.up);
        addresses.map(|(address, prefix_len)| Self {
            name: link.name.clone(),
            address: *address,
            prefix_len: *prefix_len,
        })
    }

    /// The interface with its address in the network of `client`, else with its first; `None` if it is down or has no address.
    pub fn of(link: &Link, client: Option<Ipv4Addr>) -> Option<Self> {
        let (address, prefix_len) = link.address_for(client).filter(|_| link.up)?;
        Some(Self { name: link.name.clone(), address, prefix_len })
    }
}

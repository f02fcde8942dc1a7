//! The hosts that DHCP servers name: routers, servers and boot servers.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{BootServer, Message, OptionCode};
use pinetboot_core::pi::boot::ArpTarget;

/// The addresses that DHCP names, the latest last.
#[derive(Debug)]
pub(super) struct Named(VecDeque<Ipv4Addr>);

impl Named {
    pub(super) fn new(addresses: &[Ipv4Addr]) -> Self {
        Self(addresses.iter().copied().collect())
    }

    /// Adds the hosts that a message names: the server of a client's REQUEST; of an answer the router and the boot server too.
    pub(super) fn learn(&mut self, message: &Message<'_>) {
        let option = |code| message.option(code).and_then(|value| value.address());
        let router = option(OptionCode::ROUTER);
        let boot_servers = BootServer::all(message).filter_map(|server| server.address());
        let all = [message.server_id(), router, Some(message.header.giaddr)].into_iter().flatten();
        all.chain(boot_servers.take(MOST_OF_ONE)).for_each(|address| self.add(address));
    }

    /// Adds an address; the oldest goes if there are too many.
    fn add(&mut self, address: Ipv4Addr) {
        if !self.0.contains(&address) && !address.is_unspecified() {
            self.0.push_back(address);
            if self.0.len() > MOST {
                self.0.pop_front();
            }
        }
    }

    /// What has an address that a Pi asks for.
    pub(super) fn target(&self, address: Ipv4Addr, own: &[Ipv4Addr]) -> ArpTarget {
        match () {
            () if own.contains(&address) => ArpTarget::Here,
            () if self.0.contains(&address) => ArpTarget::Named,
            () => ArpTarget::Elsewhere,
        }
    }
}

const MOST: usize = 64;
/// Boot servers that one message may name.
const MOST_OF_ONE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_addresses_are_known() {
        let ip = |last| Ipv4Addr::new(10, 9, 0, last);
        let mut named = Named::new(&[ip(254)]);
        assert_eq!(named.target(ip(254), &[ip(1)]), ArpTarget::Named);
        assert_eq!(named.target(ip(1), &[ip(1)]), ArpTarget::Here);
        assert_eq!(named.target(ip(2), &[ip(1)]), ArpTarget::Elsewhere);
        (2..=65).for_each(|last| named.add(ip(last)));
        assert_eq!(named.target(ip(65), &[ip(1)]), ArpTarget::Named);
        assert_eq!(named.target(ip(254), &[ip(1)]), ArpTarget::Elsewhere);
    }
}

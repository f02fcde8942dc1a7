//! What is known about an IPv4 address, and about a network adapter: evidence, not identity.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::pi::{PiIdentity, Prefix};

use super::Subject;
use super::table::{Founded, Worth};
use crate::events::Mac;

/// What is known about an IPv4 address.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The MAC address that a DHCP message gives it.
    pub(super) mac: Option<Mac>,
    /// This server gave the address, so that the message is no hearsay.
    pub(super) leased: bool,
    /// The Pis whose files it fetched, newest last.
    fetched: Vec<Fetched>,
    /// Whose boot its requests belong to.
    pub(super) subject: Option<Subject>,
    /// When the kernel was asked for its MAC address, and what the kernel had.
    pub(super) looked: Option<Duration>,
    pub(super) neighbour: Option<Mac>,
    /// The Pi that had its root in use here last.
    pub(super) mounted_by: Option<Prefix>,
    /// Layers that were made for it.
    pub(super) layers: u32,
}

/// What an address fetched for one Pi.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetched {
    pub(super) pi: Prefix,
    /// More than the files of the first stages: a kernel, or a file that only config.txt can name.
    pub(super) system: bool,
    /// The client's MAC address then, as the kernel had it.
    pub(super) mac: Option<Mac>,
}

/// What is known about a network adapter, by DHCP.
#[derive(Debug, Default)]
pub(super) struct Adapter {
    pub(super) identity: Option<PiIdentity>,
    pub(super) address: Option<Ipv4Addr>,
    /// When its last boot's first DISCOVER came.
    pub(super) began: Duration,
    pub(super) xid: Option<u32>,
}

impl Founded for Host {
    fn worth(&self) -> Worth {
        match (self.mounted_by, self.fetched.is_empty()) {
            (Some(_), _) => Worth::InUse,
            (None, false) => Worth::Shown,
            (None, true) => Worth::Hearsay,
        }
    }
}

impl Founded for Adapter {
    fn worth(&self) -> Worth {
        Worth::Hearsay
    }
}

impl Host {
    /// A file of a Pi was fetched, to the last byte.
    pub(super) fn fetch(&mut self, new: Fetched) {
        let before = self.fetched.iter().position(|fetched| fetched.pi == new.pi);
        let before = before.map(|place| self.fetched.remove(place));
        if self.fetched.len() >= MOST_FETCHED {
            self.fetched.remove(0);
        }
        let system = new.system || before.is_some_and(|before| before.system);
        let mac = new.mac.or(before.and_then(|before| before.mac));
        self.fetched.push(Fetched { system, mac, ..new });
    }

    pub(super) fn fetched(&self, pi: Prefix) -> Option<Fetched> {
        self.fetched.iter().copied().find(|fetched| fetched.pi == pi)
    }

    pub(super) fn last_fetched(&self) -> Option<Fetched> {
        self.fetched.last().copied()
    }
}

/// Pis behind one address (NAT), or names that were tried from it.
const MOST_FETCHED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fetched_later_takes_nothing_from_the_one_before() {
        let mut host = Host::default();
        let fetched = |serial, system| Fetched { pi: Prefix::Serial(serial), system, mac: None };
        host.fetch(fetched(1, true));
        host.fetch(fetched(2, false));
        host.fetch(fetched(1, false));
        assert!(host.fetched(Prefix::Serial(1)).unwrap().system);
        assert!(!host.fetched(Prefix::Serial(2)).unwrap().system);
        assert_eq!(host.last_fetched().unwrap().pi, Prefix::Serial(1));
        (10..20).for_each(|serial| host.fetch(fetched(serial, true)));
        assert_eq!(host.fetched.len(), MOST_FETCHED);
    }
}

//! Evidence about an IPv4 address, and about a network adapter; identity follows in `claim`.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::pi::{PiIdentity, Prefix};

use super::Subject;
use super::table::{Founded, Worth};
use crate::events::Mac;

/// Evidence about an IPv4 address.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The MAC address, by a DHCP message.
    pub(super) mac: Option<Mac>,
    /// This server leased the address, so the MAC address is not hearsay.
    pub(super) leased: bool,
    /// The Pis whose files the address fetched, newest last.
    fetched: Vec<Fetched>,
    /// The owner of the boot that the requests belong to.
    pub(super) subject: Option<Subject>,
    /// The last directory of a Pi that was requested from the address, and when.
    pub(super) requested: Option<(Prefix, Duration)>,
    /// Before that another Pi's was.
    pub(super) is_shared: bool,
    /// The time of the last query of the kernel's neighbour table, and its result.
    pub(super) looked: Option<Duration>,
    pub(super) neighbour: Option<Mac>,
    /// The last Pi that used its root from here.
    pub(super) mounted_by: Option<Prefix>,
    /// Layers made for the address.
    pub(super) layers: u32,
}

/// The files of one Pi that an address fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetched {
    pub(super) pi: Prefix,
    /// A kernel is among them, or a file that only config.txt can name.
    pub(super) system: bool,
    /// The client's MAC address at that time, by the kernel.
    pub(super) mac: Option<Mac>,
}

/// Evidence about a network adapter, by DHCP.
#[derive(Debug, Default)]
pub(super) struct Adapter {
    pub(super) identity: Option<PiIdentity>,
    pub(super) address: Option<Ipv4Addr>,
    /// Time of the first DISCOVER of the last boot.
    pub(super) began: Duration,
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
    /// Records that the address fetched a whole file of a Pi.
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

/// Limit of Pis behind one address (NAT), or of names tried from it.
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

//! The registry: all that is known about each Pi, in one place.
//!
//! | file | holds |
//! |---|---|
//! | `inventory` | what the owner declared: `[pi.SERIAL]` in the configuration |
//! | `host` | evidence: what is known about an IPv4 address and about a network adapter |
//! | `boot` | one boot of a Pi, and when a new one begins |
//! | `registry` | the Pis, written from the events of the [`bus`](crate::bus) alone |
//! | `claim` | whether a client is the Pi that it says: ranked evidence |
//! | `table` | the bound that all of these share |
//!
//! [`Pis`] reads; the bus alone writes. Look-ups lock for as long as they take.

mod boot;
mod claim;
mod host;
mod inventory;
mod registry;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pinetboot_core::pi::{PiIdentity, Prefix};

use crate::events::{BootRecord, Evidence, Mac};

pub use boot::BootProgress;
pub use claim::{Claim, NotThatPi, SILENT, Token};
pub(crate) use inventory::has_old_name;
pub use inventory::{Inventory, PiEntry, pi};
pub(crate) use registry::Registry;

/// The Pis that are known, to be read.
#[derive(Debug, Clone)]
pub struct Pis {
    registry: Arc<Mutex<Registry>>,
    started: Instant,
}

/// What is known about one Pi.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pi {
    /// The MAC address with which it mounted its root, or else the one in its DHCP messages.
    pub mac: Option<Mac>,
    /// The MAC address is proven: it mounted its root with it.
    pub(super) mac_proven: bool,
    /// What its bootloader says of itself by DHCP.
    pub identity: Option<PiIdentity>,
    /// Where it is.
    pub presence: Option<Presence>,
    /// Its name, once that was asked for.
    pub(super) name: Option<Arc<str>>,
    /// Its boot under way, or its last one.
    pub boot: Option<BootProgress>,
    /// Boots before that, oldest first.
    pub boots: VecDeque<BootRecord>,
}

/// Where a Pi is, and what shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Presence {
    /// The address.
    pub address: Ipv4Addr,
    /// The MAC address there, as far as known.
    pub mac: Option<Mac>,
    /// What shows it.
    pub evidence: Evidence,
    /// It has its root mounted.
    pub mounted: bool,
    /// The last sign of it, since the server started.
    pub last: Duration,
}

/// To whom what is known belongs: a Pi, or a client of which nothing but its address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A Pi, by the name of its directory.
    Pi(Prefix),
    /// Another client.
    Host(Ipv4Addr),
}

/// The boot that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId {
    /// The Pi, if it is known.
    pub pi: Option<Prefix>,
    /// The boot's number; 0 if there is none.
    pub number: u32,
    /// Counts, within a boot, requests that came after a pause of some seconds: a client that is no Pi has no boots to tell
    /// apart.
    pub visit: u32,
}

impl Subject {
    /// The Pi, if it is one.
    pub const fn pi(self) -> Option<Prefix> {
        match self {
            Self::Pi(pi) => Some(pi),
            Self::Host(_) => None,
        }
    }
}

impl Pis {
    /// What the owner declared.
    pub fn inventory(&self) -> Arc<Inventory> {
        self.lock().inventory()
    }

    /// What is known about a Pi.
    pub fn pi(&self, pi: Prefix) -> Option<Pi> {
        self.lock().pi(pi).cloned()
    }

    /// What a Pi is called in all messages: as the owner has it, or else its serial number or MAC address.
    pub fn name_of(&self, pi: Prefix) -> Arc<str> {
        self.lock().display_name(Subject::Pi(pi)).unwrap_or_else(|| pi.to_string().into())
    }

    /// The Pi at an address, by the best evidence that there is.
    pub fn name_at(&self, address: Ipv4Addr) -> Option<Prefix> {
        self.lock().name_at(address)
    }

    /// What the client at an address says of itself by DHCP.
    pub fn identity_at(&self, address: Ipv4Addr) -> Option<PiIdentity> {
        self.lock().identity_at(address)
    }

    /// The MAC address of an address: the kernel's neighbour, or else as DHCP has it.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        crate::net::neighbour(address).or_else(|| self.lock().mac_by_dhcp(address))
    }

    /// Whether the kernel is to be asked for the MAC address of a client that fetches files: it is not known, and the kernel
    /// was not asked a moment ago.
    pub fn wants_mac(&self, address: Ipv4Addr) -> bool {
        self.lock().wants_mac(address)
    }

    /// The Pi and the boot that a request from `address` belongs to; `asked`: the Pi's directory in the file's name.
    pub fn boot_of(&self, address: Ipv4Addr, asked: Option<Prefix>) -> BootId {
        self.lock().boot_of(address, asked)
    }

    /// Whether the client at an address is this Pi, so that it may have what is this Pi's alone.
    ///
    /// # Errors
    ///
    /// What is known instead.
    pub fn check(&self, claim: &Claim) -> Result<Evidence, NotThatPi> {
        self.lock().check(claim)
    }

    /// Why a file that is made for this Pi alone is not given to the client at an address: the Pi is up elsewhere.
    pub fn is_elsewhere(&self, claim: &Claim) -> Option<NotThatPi> {
        self.lock().is_elsewhere(claim)
    }

    /// Why a claim is not believed, in words.
    pub fn in_words(&self, why: NotThatPi) -> String {
        match why {
            NotThatPi::Other(pi) => format!("that address is {}'s", self.name_of(pi)),
            why => why.to_string(),
        }
    }

    /// What the token of this Pi's boot is good for: when the boot began, in seconds since 1970.
    pub fn nonce(&self, pi: Prefix) -> Option<u32> {
        self.lock().pi(pi)?.boot.as_ref().map(|boot| boot.nonce)
    }

    /// The last boots of a Pi, the one under way included; oldest first.
    pub fn boots(&self, pi: Prefix) -> Vec<BootRecord> {
        self.lock().pi(pi).map(Pi::records).unwrap_or_default()
    }

    /// The time of all that is known: since the server started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.set_now(self.now());
        registry
    }
}

impl Default for Pis {
    /// None are known; the clock begins now.
    fn default() -> Self {
        Self { registry: Arc::default(), started: Instant::now() }
    }
}

impl Pi {
    fn records(&self) -> Vec<BootRecord> {
        self.boots.iter().cloned().chain(self.boot.as_ref().map(BootProgress::record)).collect()
    }
}

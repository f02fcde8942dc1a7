//! The registry: the knowledge about each Pi, in one place.
//!
//! | file | holds |
//! |---|---|
//! | `inventory` | the owner's settings: `[pi.SERIAL]` in the configuration |
//! | `host` | evidence about an IPv4 address and about a network adapter |
//! | `boot` | one boot of a Pi: what it fetched and when |
//! | `watch` | the clock of the boot machines, which say when a boot begins, how far it is, and what keeps it there |
//! | `crowd` | boots that begin together |
//! | `registry` | the Pis, written from the events of the [`bus`](crate::bus) alone |
//! | `glance` | what a page or a command shows of a Pi |
//! | `known` | the answers to another process |
//! | `claim` | whether a client is the Pi that it claims to be: ranked evidence |
//! | `table` | the bounded map of all these |
//!
//! [`Pis`] reads; the bus alone writes. A look-up holds the registry's lock.

mod boot;
mod claim;
mod crowd;
mod glance;
mod host;
mod inventory;
mod known;
mod registry;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use pinetboot_core::pi::boot::{Boot, Hearing};
use pinetboot_core::pi::{PiIdentity, Prefix};
use serde::{Deserialize, Serialize};

use crate::events::{BootRecord, Evidence, Mac};

pub use boot::BootProgress;
pub use claim::{Claim, NotThatPi, SILENT, Token};
pub use glance::Glance;
pub(crate) use inventory::has_old_name;
pub use inventory::{GroupEntry, Inventory, PiEntry, pi};
pub use known::{Known, Refusal};
pub(crate) use registry::Registry;

/// Read access to the known Pis.
#[derive(Debug, Clone)]
pub struct Pis {
    registry: Arc<Mutex<Registry>>,
    /// The system's time at the start, suspended or not.
    started: Duration,
}

/// The knowledge about one Pi.
#[derive(Debug, Clone, PartialEq)]
pub struct Pi {
    /// The MAC address of the mount, else that of the Pi's DHCP messages.
    pub mac: Option<Mac>,
    /// The MAC address is proven by a mount.
    pub(super) mac_proven: bool,
    /// The MAC address in its DHCP messages, where the kernel's neighbour is another: a bridge of Wi-Fi or a relay has that one for
    /// all Pis behind it, and it proves nothing. Boxed: few Pis have one.
    pub(super) bridged: Option<Box<Mac>>,
    /// The identity in the bootloader's DHCP messages (option 97).
    pub identity: Option<PiIdentity>,
    /// The Pi's address, with its evidence.
    pub presence: Option<Presence>,
    /// The knowledge before the last mount, which a client may take back.
    pub(super) before_mount: Option<Box<BeforeMount>>,
    /// The cached name.
    pub(super) name: Option<Arc<str>>,
    /// The boot under way, or the last one.
    pub boot: Option<BootProgress>,
    /// Earlier boots, oldest first.
    pub boots: VecDeque<BootRecord>,
    /// How far the boot is, and what keeps it there.
    pub machine: Boot,
    /// The machine's verdict was emitted.
    pub(super) is_told: bool,
    /// The machine's deadline.
    pub(super) deadline: Option<Duration>,
    /// The reason of the last refusal by NFS.
    pub(super) refusal: Option<String>,
}

/// The knowledge about a Pi before a mount.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BeforeMount {
    /// The address of the mount.
    pub(super) by: Ipv4Addr,
    pub(super) mac: Option<Mac>,
    pub(super) mac_proven: bool,
    pub(super) presence: Option<Presence>,
}

/// The presence of a Pi at an address, with its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// The address.
    pub address: Ipv4Addr,
    /// The MAC address, if known.
    pub mac: Option<Mac>,
    /// The evidence.
    pub evidence: Evidence,
    /// The Pi has its root mounted.
    pub mounted: bool,
    /// The time of the last message, since the server started.
    pub last: Duration,
}

/// The Pis that are there now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that have used their root within the last minute.
    pub up: usize,
    /// Others that boot, and have sent a request within the last half minute.
    pub booting: usize,
}

/// The owner of knowledge: a Pi, or a client known by its address only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A Pi, by the name of its directory.
    Pi(Prefix),
    /// Another client.
    Host(Ipv4Addr),
}

/// The boot that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId {
    /// The Pi, if known.
    pub pi: Option<Prefix>,
    /// The boot's number; 0 without a boot.
    pub number: u32,
    /// Number of pauses of some seconds within the boot: tells the boots of other clients than Pis apart.
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
    /// The inventory.
    pub fn inventory(&self) -> Arc<Inventory> {
        self.lock().inventory()
    }

    /// The knowledge about a Pi.
    pub fn pi(&self, pi: Prefix) -> Option<Pi> {
        self.lock().pi(pi).cloned()
    }

    /// The Pi's name in messages: the owner's, else the serial number or MAC address.
    pub fn name_of(&self, pi: Prefix) -> Arc<str> {
        self.lock().display_name(Subject::Pi(pi)).unwrap_or_else(|| pi.to_string().into())
    }

    /// The Pi at an address, by the strongest evidence.
    pub fn name_at(&self, address: Ipv4Addr) -> Option<Prefix> {
        self.lock().name_at(address)
    }

    /// The identity in the DHCP messages of the client at an address.
    pub fn identity_at(&self, address: Ipv4Addr) -> Option<PiIdentity> {
        self.lock().identity_at(address)
    }

    /// The MAC address of an address: the kernel's neighbour, else DHCP's.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        crate::net::neighbour(address).or_else(|| self.lock().mac_by_dhcp(address))
    }

    /// Whether to ask the kernel for the MAC address of a client that fetches files: not if the kernel was asked within the last
    /// 5 s.
    pub fn wants_mac(&self, address: Ipv4Addr) -> bool {
        self.lock().wants_mac(address)
    }

    /// The Pi and the boot that a request from `address` belongs to; `asked`: the Pi's directory in the file's name.
    pub fn boot_of(&self, address: Ipv4Addr, asked: Option<Prefix>) -> BootId {
        self.lock().boot_of(address, asked)
    }

    /// Whether a client is a Pi whose bootloader has not got its kernel yet.
    pub fn is_in_bootloader(&self, address: Ipv4Addr, asked: Option<Prefix>) -> bool {
        self.lock().is_in_bootloader(address, asked)
    }

    /// Whether the client at an address is this Pi, and so may use the Pi's root.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn check(&self, claim: &Claim) -> Result<Evidence, NotThatPi> {
        self.lock().check(claim)
    }

    /// The same, with the reason as text.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn check_in_words(&self, claim: &Claim) -> Result<Evidence, Refusal> {
        self.check(claim).map_err(|why| Refusal { why: self.in_words(why), in_doubt: why.in_doubt() })
    }

    /// The reason why a client gets no file rendered for this Pi: the Pi is up at another address.
    pub fn is_elsewhere(&self, claim: &Claim) -> Option<NotThatPi> {
        self.lock().is_elsewhere(claim)
    }

    /// The reason for a refused claim, as text with the Pi's name.
    pub fn in_words(&self, why: NotThatPi) -> String {
        match why {
            NotThatPi::Other(pi) => format!("that address is {}'s", self.name_of(pi)),
            why => why.to_string(),
        }
    }

    /// The nonce of the boot's token: the beginning of the boot, in seconds since 1970.
    pub fn nonce(&self, pi: Prefix) -> Option<u32> {
        self.lock().pi(pi)?.boot.as_ref().map(|boot| boot.nonce)
    }

    /// The last boots of a Pi, with the one under way; oldest first.
    pub fn boots(&self, pi: Prefix) -> Vec<BootRecord> {
        self.lock().pi(pi).map(Pi::records).unwrap_or_default()
    }

    /// The Pis that are there now; `None` while another thread has the registry.
    pub fn count(&self) -> Option<Count> {
        let mut registry = self.registry.try_lock().ok()?;
        registry.set_now(self.now());
        Some(registry.count())
    }

    /// The registry's time, since the server started.
    pub(crate) fn now(&self) -> Duration {
        since_boot().saturating_sub(self.started)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Registry> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.set_now(self.now());
        registry
    }
}

impl Default for Pis {
    /// An empty registry; the clock begins now.
    fn default() -> Self {
        Self { registry: Arc::default(), started: since_boot() }
    }
}

impl Default for Pi {
    fn default() -> Self {
        Self {
            mac: None,
            mac_proven: false,
            bridged: None,
            identity: None,
            presence: None,
            before_mount: None,
            name: None,
            boot: None,
            boots: VecDeque::new(),
            machine: Boot::new(Hearing::ALL),
            is_told: false,
            deadline: None,
            refusal: None,
        }
    }
}

impl Pi {
    fn records(&self) -> Vec<BootRecord> {
        self.boots.iter().cloned().chain(self.boot.as_ref().map(BootProgress::record)).collect()
    }
}

/// The time since the system was booted. It goes on while a laptop is suspended, and so shows that Pis were not heard meanwhile.
fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

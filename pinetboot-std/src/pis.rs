//! Who has which address: Pis, as they have made themselves known by DHCP and by TFTP.
//!
//! A Pi goes by the name of its directory, a [`Prefix`]. It is known, best first,
//!
//! 1. by the inventory, if that has its address: then this address is that Pi's, whatever else is heard;
//! 2. by DHCP, if this server saw its messages: it says its serial number and MAC address there;
//! 3. by TFTP: who has fetched `SERIAL/config.txt` is that Pi, unless DHCP knows the address as another's. By its MAC address
//!    (the kernel's neighbour table) it is still known when its system has another address than its bootloader had;
//! 4. from before a restart, by the address from which it mounted its root last.
//!
//! None of this is proof against someone who forges: neither DHCP nor TFTP is. It keeps Pis apart that mean no harm.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::{PiIdentity, Prefix};

use crate::config::Inventory;

/// The Pis that are known. Shared by the loops, and locked for a look-up at a time.
#[derive(Debug, Clone, Default)]
pub struct Pis(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    inventory: Arc<Inventory>,
    pis: HashMap<HardwareAddress, Pi>,
    addresses: HashMap<Ipv4Addr, HardwareAddress>,
    /// By what they asked for, or from before.
    asked: HashMap<Ipv4Addr, Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Pi {
    identity: PiIdentity,
    /// When it began to boot, as far as one can tell.
    began: Clock,
    seen: Clock,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    pi: Prefix,
    mac: Option<[u8; 6]>,
    seen: Clock,
}

impl Pis {
    /// From here on the inventory is this one.
    pub fn set_inventory(&self, inventory: Arc<Inventory>) {
        self.lock().inventory = inventory;
    }

    /// Who has this address, by DHCP.
    pub fn identity_at(&self, address: Ipv4Addr) -> Option<PiIdentity> {
        self.lock().at(address)?.1.map(|pi| pi.identity)
    }

    /// Who has this address, by all that is known.
    pub fn name_at(&self, address: Ipv4Addr) -> Option<Prefix> {
        let known = self.lock();
        let by_dhcp = || {
            let (hardware, pi) = known.at(address)?;
            // Who says nothing of itself by DHCP is known if the inventory has its MAC address: U-Boot, or an emulator.
            let listed =
                || hardware.mac().map(Prefix::Mac).filter(|mac| known.inventory.entry(*mac).is_some());
            pi.and_then(|pi| pi.identity.prefix()).or_else(listed)
        };
        let by_asking = || known.asked.get(&address).map(|asked| asked.pi);
        known.inventory.at(address).or_else(by_dhcp).or_else(by_asking)
    }

    /// The MAC address of whoever has this address: from DHCP, or of the kernel's neighbour.
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<[u8; 6]> {
        let by_dhcp = self.lock().addresses.get(&address).and_then(HardwareAddress::mac);
        by_dhcp.or_else(|| neighbour(address))
    }

    /// Whether this Pi has this address; or why that is not believed.
    ///
    /// # Errors
    ///
    /// What is known instead.
    pub fn is(&self, pi: Prefix, address: Ipv4Addr) -> Result<(), Stranger> {
        let known = self.lock();
        if let Some(owner) = known.inventory.at(address) {
            return if owner == pi { Ok(()) } else { Err(Stranger::Other(owner)) };
        }
        if let Some(address) = known.inventory.entry(pi).and_then(|entry| entry.address) {
            return Err(Stranger::Elsewhere(address));
        }
        if let Some((hardware, other)) = known.at(address) {
            let serial = other.and_then(|other| other.identity.prefix());
            if [serial, hardware.mac().map(Prefix::Mac)].contains(&Some(pi)) {
                return Ok(());
            }
            // A boot ROM that says nothing of itself (Pi 3B) is known by what it asks for.
            if let Some(other) = serial {
                return Err(Stranger::Other(other));
            }
        }
        match known.asked.get(&address) {
            Some(asked) if asked.pi == pi => return Ok(()),
            Some(asked) => return Err(Stranger::Other(asked.pi)),
            None => {}
        }
        let mac = neighbour(address);
        let same = |asked: &Asked| asked.pi == pi && asked.mac.is_some() && asked.mac == mac;
        if known.asked.values().any(same) || mac.is_some_and(|mac| pi == Prefix::Mac(mac)) {
            return Ok(());
        }
        Err(Stranger::Unknown)
    }

    /// For how long whoever has this address has been booting, since it first asked by DHCP.
    pub fn booting_for(&self, address: Ipv4Addr) -> Option<Duration> {
        self.lock().at(address)?.1.map(|pi| pi.began.elapsed())
    }

    /// Someone has fetched a file of this Pi, or is known from before.
    pub fn asked(&self, address: Ipv4Addr, pi: Prefix) {
        let now = Clock::now();
        if let Some(asked) = self.lock().asked.get_mut(&address)
            && asked.pi == pi
            && (asked.mac.is_some() || now.duration_since(asked.seen) < LOOK_AGAIN)
        {
            return;
        }
        let mac = neighbour(address);
        let mut known = self.lock();
        if known.asked.len() >= MOST && !known.asked.contains_key(&address) {
            known.asked.retain(|_, asked| now.duration_since(asked.seen) < FORGET);
            if known.asked.len() >= MOST {
                return;
            }
        }
        known.asked.insert(address, Asked { pi, mac, seen: now });
    }

    /// Someone says by DHCP who it is. Whether that begins a new boot, as far as one can tell.
    pub(crate) fn said(&self, hardware: HardwareAddress, identity: PiIdentity) -> bool {
        let mut known = self.lock();
        let now = Clock::now();
        if known.pis.len() >= MOST {
            // Who floods us with names that he made up does not get more of our memory.
            known.pis.retain(|_, pi| now.duration_since(pi.seen) < FORGET);
            let Known { pis, addresses, .. } = &mut *known;
            addresses.retain(|_, hardware| pis.contains_key(hardware));
            if known.pis.len() >= MOST {
                return false;
            }
        }
        let same_boot = known
            .pis
            .get(&hardware)
            .filter(|pi| pi.identity == identity && now.duration_since(pi.seen) <= NEW_BOOT);
        let began = same_boot.map_or(now, |pi| pi.began);
        let begins = same_boot.is_none();
        known.pis.insert(hardware, Pi { identity, began, seen: now });
        begins
    }

    /// Someone has this address, by DHCP.
    pub(crate) fn has(&self, hardware: HardwareAddress, address: Ipv4Addr) {
        let mut known = self.lock();
        if known.addresses.len() < MOST || known.addresses.contains_key(&address) {
            known.addresses.insert(address, hardware);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn at(&self, address: Ipv4Addr) -> Option<(HardwareAddress, Option<&Pi>)> {
        let hardware = self.addresses.get(&address)?;
        Some((*hardware, self.pis.get(hardware)))
    }
}

/// Why an address is not believed to be a Pi's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// It is another Pi's.
    Other(Prefix),
    /// The inventory has another address for this Pi.
    Elsewhere(Ipv4Addr),
    /// Nobody is known to have it.
    Unknown,
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Other(pi) => write!(f, "that address is {pi}'s"),
            Self::Elsewhere(address) => write!(f, "the inventory has it at {address}"),
            Self::Unknown => f.write_str(
                "nobody there has fetched that Pi's boot files, nor said by DHCP to be it. If it boots from elsewhere, \
                 give its address in the inventory",
            ),
        }
    }
}

/// The MAC address that the kernel knows a neighbour by.
fn neighbour(address: Ipv4Addr) -> Option<[u8; 6]> {
    neighbour_in(&fs::read_to_string("/proc/net/arp").ok()?, address)
}

/// In lines such as `10.0.0.5  0x1  0x2  2c:cf:67:01:02:03  *  eth0`; zeros stand for one that did not answer.
fn neighbour_in(table: &str, address: Ipv4Addr) -> Option<[u8; 6]> {
    let address = address.to_string();
    let line = table.lines().find(|line| line.split_ascii_whitespace().next() == Some(&address))?;
    let mac = line.split_ascii_whitespace().nth(3)?.replace(':', "-");
    match Prefix::parse(&mac)? {
        Prefix::Mac(mac) if mac != [0; 6] => Some(mac),
        _ => None,
    }
}

/// How many Pis are known at a time.
const MOST: usize = 4096;

/// Not heard of for so long, a Pi makes room for another.
const FORGET: Duration = Duration::from_secs(600);

/// After so long the kernel may have come to know a neighbour's MAC address.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A Pi repeats its question every four seconds; after so long a silence it has started anew.
const NEW_BOOT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const ONE: Prefix = Prefix::Serial(1);
    const TWO: Prefix = Prefix::Serial(2);

    #[test]
    fn what_dhcp_says_goes_before_what_was_asked_for() {
        let pis = Pis::default();
        assert_eq!(pis.is(ONE, HERE), Err(Stranger::Unknown));
        pis.asked(HERE, TWO);
        assert_eq!(pis.is(TWO, HERE), Ok(()));
        assert_eq!(pis.is(ONE, HERE), Err(Stranger::Other(TWO)));

        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
        pis.said(hardware, PiIdentity::repeated(1).unwrap());
        pis.has(hardware, HERE);
        assert_eq!(pis.name_at(HERE), Some(ONE));
        assert_eq!(pis.is(ONE, HERE), Ok(()));
        assert_eq!(pis.is(Prefix::Mac([2, 0, 0, 0, 0, 1]), HERE), Ok(()));
        assert_eq!(pis.is(TWO, HERE), Err(Stranger::Other(ONE)));
        // The address goes to someone else.
        pis.has(HardwareAddress::ethernet([2, 0, 0, 0, 0, 9]), HERE);
        assert_eq!(pis.name_at(HERE), Some(TWO));
    }

    #[test]
    fn what_the_inventory_says_goes_before_all() {
        let settings: Settings = toml::from_str("tree = '/x'\n[pi.00000001]\naddress = '192.0.2.7'").unwrap();
        let pis = Pis::default();
        pis.set_inventory(Arc::new(settings.resolve().unwrap().inventory));
        pis.asked(HERE, TWO);
        assert_eq!(pis.name_at(HERE), Some(ONE));
        assert_eq!(pis.is(ONE, HERE), Ok(()));
        assert_eq!(pis.is(TWO, HERE), Err(Stranger::Other(ONE)));
        let elsewhere = Ipv4Addr::new(192, 0, 2, 8);
        pis.asked(elsewhere, ONE);
        assert_eq!(pis.is(ONE, elsewhere), Err(Stranger::Elsewhere(HERE)));
    }

    #[test]
    fn a_boot_rom_that_says_nothing_is_known_by_what_it_asks_for() {
        let pis = Pis::default();
        let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
        pis.said(hardware, PiIdentity::BOOT_ROM);
        pis.has(hardware, HERE);
        pis.asked(HERE, ONE);
        assert_eq!(pis.is(ONE, HERE), Ok(()));
        assert_eq!(pis.name_at(HERE), Some(ONE));
    }

    #[test]
    fn neighbours_as_the_kernel_lists_them() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.0.2.70       0x1         0x2         02:00:00:00:00:70     *        eth0\n\
                     192.0.2.7        0x1         0x2         02:00:00:00:00:07     *        eth0\n\
                     192.0.2.8        0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(neighbour_in(table, HERE), Some([2, 0, 0, 0, 0, 7]));
        assert_eq!(neighbour_in(table, Ipv4Addr::new(192, 0, 2, 8)), None);
        assert_eq!(neighbour_in(table, Ipv4Addr::new(192, 0, 2, 9)), None);
    }
}

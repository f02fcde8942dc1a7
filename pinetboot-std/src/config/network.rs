//! Networks that `--dhcp lease` serves: `[network.NAME]` in the configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::dhcp::{Network, NetworkError};
use serde::{Deserialize, Serialize};

use super::one_or_many;
use crate::exit::{Exit, Failed};

/// A network as the file has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkEntry {
    /// The network with the length of its mask: `10.98.0.0/24`.
    subnet: String,
    /// First and last address to lease, or `none`.
    lease_range: Option<String>,
    /// The router (option 3).
    router: Option<Ipv4Addr>,
    /// The DNS servers (option 6).
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    dns: Vec<Ipv4Addr>,
    /// The lease time: `12h`.
    lease_time: Option<String>,
    /// The boot server, instead of the server's own address.
    boot_server: Option<Ipv4Addr>,
}

/// A network to serve, directly or through relay agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The name of the table.
    pub name: String,
    /// The network.
    pub subnet: Subnet,
    /// The terms of its leases.
    pub terms: LeaseTerms,
}

/// The terms of leases in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The addresses to lease.
    pub range: LeaseRange,
    /// The router to name (option 3).
    pub router: Option<Ipv4Addr>,
    /// The DNS servers to name (option 6), at most eight.
    pub dns: Vec<Ipv4Addr>,
    /// The lease time, a minute to 8760 hours.
    pub lease_time: Duration,
    /// The boot server to name; `None`: the server's own address.
    pub boot_server: Option<Ipv4Addr>,
}

/// The addresses of a network that any client may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRange {
    /// The upper half of the network.
    UpperHalf,
    /// The first to the last address.
    Addresses(Ipv4Addr, Ipv4Addr),
    /// No address but those of the inventory.
    None,
}

/// A network, as its own address and the length of its mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The first address.
    pub address: Ipv4Addr,
    /// The length of the mask, 8 to 30 bits.
    pub prefix_len: u8,
}

impl NetworkConfig {
    /// The networks of the file's tables, in order of their names.
    ///
    /// # Errors
    ///
    /// The first invalid table and its fault.
    pub(super) fn all(tables: &BTreeMap<String, NetworkEntry>) -> Result<Vec<Self>, Failed> {
        let mut all: Vec<Self> = Vec::new();
        for (name, entry) in tables {
            let wrong = |why: &dyn fmt::Display| Failed::new(Exit::Usage, format!("[network.{name}]: {why}"));
            let network = Self::of(name, entry).map_err(|why| wrong(&why))?;
            if let Some(other) = all.iter().find(|other| other.subnet.overlaps(network.subnet)) {
                return Err(wrong(&format!("{} is a part of [network.{}] too", network.subnet, other.name)));
            }
            all.push(network);
        }
        Ok(all)
    }

    fn of(name: &str, entry: &NetworkEntry) -> Result<Self, String> {
        let subnet = Subnet::parse(&entry.subnet)?;
        let terms = LeaseTerms {
            range: entry.lease_range.as_deref().map_or(Ok(LeaseRange::UpperHalf), LeaseRange::parse)?,
            router: entry.router,
            dns: entry.dns.clone(),
            lease_time: entry.lease_time.as_deref().map_or(Ok(LEASE_TIME), lease_time)?,
            boot_server: entry.boot_server,
        };
        if let Some(router) = entry.router.filter(|router| !subnet.contains(*router)) {
            return Err(format!("the router {router} is outside {subnet}"));
        }
        if terms.dns.len() > MOST_DNS {
            return Err("dns: at most eight servers".into());
        }
        terms.network(Ipv4Addr::UNSPECIFIED, subnet).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), subnet, terms })
    }
}

impl LeaseTerms {
    /// The network of these terms, as the server at `address` serves it.
    ///
    /// # Errors
    ///
    /// The first setting that is out of range.
    pub fn network(&self, address: Ipv4Addr, subnet: Subnet) -> Result<Network<'static>, NetworkError> {
        let Subnet { address: inside, prefix_len } = subnet;
        let upper_half = Network::upper_half(inside, prefix_len);
        let (first, last) = match self.range {
            LeaseRange::UpperHalf => upper_half,
            LeaseRange::Addresses(first, last) => (first, last),
            LeaseRange::None => (upper_half.1, upper_half.0),
        };
        let mut network = Network::beyond(address, inside, prefix_len, first, last)?;
        network.router = self.router;
        network.lease_time = self.lease_time;
        Ok(network)
    }
}

impl Default for LeaseTerms {
    fn default() -> Self {
        let range = LeaseRange::UpperHalf;
        Self { range, router: None, dns: Vec::new(), lease_time: LEASE_TIME, boot_server: None }
    }
}

impl LeaseRange {
    /// `10.77.0.100-10.77.0.199`, or `none`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let ends = text
            .split_once('-')
            .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
        let (first, last): (Ipv4Addr, Ipv4Addr) = ends.ok_or_else(|| {
            format!(
                "lease-range: {text} is neither a range of addresses, like 10.77.0.100-10.77.0.199, nor none"
            )
        })?;
        if first > last {
            return Err(format!("lease-range: {text} ends before it begins"));
        }
        Ok(Self::Addresses(first, last))
    }
}

impl Subnet {
    /// The network of this address.
    pub fn of(address: Ipv4Addr, prefix_len: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask), prefix_len }
    }

    /// Whether an address is in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::of(address, self.prefix_len).address == self.address
    }

    fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parsed: Option<(Ipv4Addr, u8)> =
            text.split_once('/').and_then(|(address, len)| Some((address.parse().ok()?, len.parse().ok()?)));
        let wrong = || format!("subnet: {text} is not a network of 8 to 30 bits, like 10.98.0.0/24");
        let (address, prefix_len) = parsed.filter(|(_, len)| (8..=30).contains(len)).ok_or_else(wrong)?;
        let subnet = Self::of(address, prefix_len);
        if subnet.address != address {
            return Err(format!(
                "subnet: {text} has bits behind its mask; the network of that address is {subnet}"
            ));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Reads a lease time: `12h`, `90m`.
pub(super) fn lease_time(text: &str) -> Result<Duration, String> {
    let time = text
        .parse::<jiff::SignedDuration>()
        .map_err(|error| format!("lease-time: {text} is not a time like 12h: {error}"))?;
    let time = Duration::try_from(time).unwrap_or_default();
    if (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err(format!("lease-time: {text} is not from 1m to 8760h"))
    }
}

const LEASE_TIME: Duration = Duration::from_secs(12 * 60 * 60);
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(8760 * 60 * 60);
/// Name servers: 34 bytes of a reply.
const MOST_DNS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn all(text: &str) -> Result<Vec<NetworkConfig>, Failed> {
        NetworkConfig::all(&toml::from_str::<Settings>(text).unwrap().network)
    }

    #[test]
    fn a_table_is_a_network() {
        let networks = all(
            "[network.attic]\nsubnet = '10.98.0.0/24'\nrouter = '10.98.0.1'\ndns = ['10.98.0.1', '9.9.9.9']\n\
             lease-time = '90m'\n[network.lab]\nsubnet = '10.77.0.0/16'\nlease-range = 'none'\ndns = '10.77.0.1'",
        )
        .unwrap();
        let [attic, lab] = &networks[..] else { panic!("{networks:?}") };
        assert_eq!((attic.name.as_str(), attic.subnet.to_string().as_str()), ("attic", "10.98.0.0/24"));
        assert_eq!(attic.terms.lease_time, Duration::from_secs(90 * 60));
        assert_eq!(attic.terms.dns.len(), 2);
        assert!(attic.subnet.contains(Ipv4Addr::new(10, 98, 0, 255)));
        assert_eq!(lab.terms.range, LeaseRange::None);
        let network = lab.terms.network(Ipv4Addr::new(10, 0, 0, 1), lab.subnet).unwrap();
        let (first, last) = network.range();
        assert!(first > last, "an empty range");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("subnet = '10.98.0.0'", "not a network"),
            ("subnet = '10.98.0.0/31'", "8 to 30 bits"),
            ("subnet = '10.98.0.1/24'", "the network of that address is 10.98.0.0/24"),
            ("subnet = '10.98.0.0/24'\nrouter = '10.99.0.1'", "outside 10.98.0.0/24"),
            ("subnet = '10.98.0.0/24'\nlease-range = '10.98.0.9-10.98.0.8'", "ends before it begins"),
            ("subnet = '10.98.0.0/24'\nlease-range = '10.99.0.8-10.99.0.9'", "10.99.0.8 is no address"),
            ("subnet = '10.98.0.0/24'\nlease-time = '5'", "not a time"),
            ("subnet = '10.98.0.0/24'\nlease-time = '5s'", "from 1m to 8760h"),
            ("subnet = '10.98.0.0/24'\n[network.two]\nsubnet = '10.98.0.0/16'", "[network.one] too"),
        ] {
            let message = all(&format!("[network.one]\n{text}")).unwrap_err().message;
            assert!(message.contains(why), "{text}: {message}");
        }
    }
}

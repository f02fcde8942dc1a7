//! The boot appliance's configuration file: `pinetboot.toml`, among the boot files in its flash or on its card.
//!
//! ```toml
//! dhcp = "proxy"                # lease, proxy or off
//! address = "192.168.1.5/24"    # the board's own address
//!
//! [pi.bd989ae1]
//! tree = "kitchen"              # this Pi's boot files are in kitchen/
//! ```
//!
//! The settings have the names of `pinetboot serve --config`. The language is a subset of TOML: one setting a line, and every
//! value a short string without escapes. The parser therefore needs no allocator.
//!
//! The firmware and `pinetboot pack` share this parser: an invalid file fails when packed, not on the board. They share the place of the
//! boot files in flash too: [`ArchiveHeader`].
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod archive;
mod draft;
mod error;
mod line;

use core::net::Ipv4Addr;

use heapless::Vec;
use pinetboot_core::dhcp::Network;
use pinetboot_core::pi::Prefix;

pub use archive::{ArchiveHeader, Checksum, MAGIC, SECTOR, checksum, find_archive};
use draft::Draft;
pub use error::{Error, Why};

/// The file's name.
pub const FILE_NAME: &str = "pinetboot.toml";

/// The longest accepted file, in bytes: the size of the firmware's buffer.
pub const MAX_LEN: usize = 2048;

/// The number of Pis that can have a directory set.
pub const MAX_TREES: usize = 16;

/// The appliance's settings.
///
/// ```
/// use pinetboot_config::{Address, Config, Dhcp};
///
/// let config = Config::parse(b"dhcp = \"proxy\"").unwrap();
/// assert_eq!(config.address, Address::Dhcp);
/// assert!(matches!(Config::default().dhcp, Dhcp::Lease(_)));
///
/// let error = Config::parse(b"# beside the router\ndhpc = \"proxy\"").unwrap_err();
/// assert_eq!(error.to_string(), "line 2: unknown setting 'dhpc'");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config<'a> {
    /// DHCP service.
    pub dhcp: Dhcp,
    /// The board's address.
    pub address: Address,
    /// The key by which new boot files are received over the network: the directory of `boot.tar`. `None`: none are.
    pub upload: Option<&'a str>,
    /// Boot directories of single Pis.
    pub trees: Vec<PiDirectory<'a>, MAX_TREES>,
}

/// DHCP service of the appliance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dhcp {
    /// No DHCP service.
    Off,
    /// Proxy DHCP: names the boot server, beside the network's DHCP server, which assigns the addresses.
    Proxy,
    /// DHCP server: assigns addresses on a network without another DHCP server.
    Lease(Network<'static>),
}

/// The board's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Assigned by the network's DHCP server.
    Dhcp,
    /// Fixed.
    Static {
        /// The address.
        address: Ipv4Addr,
        /// Length of the network prefix, 8 to 30 bits.
        prefix_len: u8,
        /// The default router, if any.
        router: Option<Ipv4Addr>,
    },
}

/// The boot directory of one Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PiDirectory<'a> {
    /// The Pi, by the directory that it asks for.
    pub pi: Prefix,
    /// The directory that is served instead; empty: unchanged.
    pub directory: &'a str,
}

impl<'a> Config<'a> {
    /// Settings for a board with an invalid file: the default address, no DHCP service. The file may have been meant for a
    /// network with a DHCP server, which a second one would disturb.
    pub const SAFE: Self = Self {
        dhcp: Dhcp::Off,
        address: Address::Static { address: DEFAULT_ADDRESS, prefix_len: DEFAULT_PREFIX_LEN, router: None },
        upload: None,
        trees: Vec::new(),
    };

    /// Parses a file.
    ///
    /// # Errors
    ///
    /// The first invalid or unknown line. A file longer than [`MAX_LEN`] is an error; its first [`MAX_LEN`] + 1 bytes are enough
    /// to report that.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error<'a>> {
        Draft::read(file)?.finish()
    }

    /// The directory set for a Pi; `None`: the one that the Pi asks for.
    pub fn tree(&self, pi: Prefix) -> Option<&'a str> {
        let tree = self.trees.iter().find(|tree| tree.pi == pi)?;
        (!tree.directory.is_empty()).then_some(tree.directory)
    }
}

/// For a cable between the board and a Pi, or a switch with Pis alone: a DHCP server for 10.55.0.0/24.
impl Default for Config<'_> {
    fn default() -> Self {
        Draft::default().finish().unwrap_or(Self::SAFE)
    }
}

const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);
const DEFAULT_PREFIX_LEN: u8 = 24;

// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! The file by which the boot appliance is configured: `pinetboot.toml`, among the boot files in its flash or on its card.
//!
//! ```toml
//! dhcp = "proxy"                # what is done about DHCP
//! address = "192.168.1.5/24"    # the board's own address
//!
//! [pi.bd989ae1]
//! tree = "kitchen"              # this Pi's boot files are in kitchen/
//! ```
//!
//! The settings are called as in the file that `pinetboot serve --config` reads. It is TOML, but not all of TOML: a line has
//! one setting or none, and every value is a short string without escapes. So it is read without memory of its own.
//!
//! The firmware reads it, and `pinetboot pack` before that: who packs a wrong one should hear of it on their own machine.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod draft;
mod error;
mod line;

use core::net::Ipv4Addr;

use heapless::Vec;
use pinetboot_core::dhcp::Network;
use pinetboot_core::pi::Prefix;

use draft::Draft;
pub use error::{Error, Why};

/// What the file is called.
pub const FILE_NAME: &str = "pinetboot.toml";

/// How long it may be, in bytes: a board reads it into memory that is there for that.
pub const MAX_LEN: usize = 2048;

/// How many Pis can have a tree of their own.
pub const MAX_TREES: usize = 16;

/// What the appliance goes by.
///
/// ```
/// use pinetboot_config::{Address, Config, Dhcp};
///
/// let config = Config::parse(b"dhcp = \"proxy\"").unwrap();
/// assert_eq!(config.address, Address::Dhcp);
/// assert!(matches!(Config::default().dhcp, Dhcp::Lease(_)));
///
/// let error = Config::parse(b"# beside the router\ndhpc = \"proxy\"").unwrap_err();
/// assert_eq!(error.to_string(), "line 2: there is no setting 'dhpc' here");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config<'a> {
    /// What it does about DHCP.
    pub dhcp: Dhcp,
    /// Its own address.
    pub address: Address,
    /// Directories of Pis that are not called like the Pi.
    pub trees: Vec<Tree<'a>, MAX_TREES>,
}

/// What the appliance does about DHCP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dhcp {
    /// Nothing.
    Off,
    /// It tells Pis their boot server, beside the DHCP server that gives them their addresses.
    Proxy,
    /// It gives addresses too, on a network of its own.
    Lease(Network<'static>),
}

/// The appliance's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Whatever the network's DHCP server gives it.
    Dhcp,
    /// This one.
    Static {
        /// The address.
        address: Ipv4Addr,
        /// How many bits of it are the network's.
        prefix_len: u8,
        /// The way to other networks, if there is one.
        router: Option<Ipv4Addr>,
    },
}

/// Where the boot files of one Pi are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree<'a> {
    /// Which Pi: the directory that it asks for.
    pub pi: Prefix,
    /// The directory where its files are instead; the same as before if this is empty.
    pub directory: &'a str,
}

impl<'a> Config<'a> {
    /// For a board whose file is wrong: reachable at the default's address, but without DHCP. It may have been meant for
    /// another's network, where a DHCP server more would keep machines from working.
    pub const SAFE: Self = Self {
        dhcp: Dhcp::Off,
        address: Address::Static { address: DEFAULT_ADDRESS, prefix_len: DEFAULT_PREFIX_LEN, router: None },
        trees: Vec::new(),
    };

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It is longer than [`MAX_LEN`]; else the first thing in it that is wrong or not known. Of a longer one [`MAX_LEN`] + 1
    /// bytes are enough to be told so.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error<'a>> {
        Draft::read(file)?.finish()
    }

    /// Where the files of a Pi are, if not in the directory that it asks for.
    pub fn tree(&self, pi: Prefix) -> Option<&'a str> {
        let tree = self.trees.iter().find(|tree| tree.pi == pi)?;
        (!tree.directory.is_empty()).then_some(tree.directory)
    }
}

/// For a cable between the board and a Pi, or a switch with nothing but Pis: gives Pis addresses of 10.55.0.0/24.
impl Default for Config<'_> {
    fn default() -> Self {
        Draft::default().finish().unwrap_or(Self::SAFE)
    }
}

const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 55, 0, 1);
const DEFAULT_PREFIX_LEN: u8 = 24;

// So that its example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! The settings of a file, each with its line, and their combination.

use core::net::Ipv4Addr;

use heapless::Vec;
use pinetboot_core::BootPath;
use pinetboot_core::dhcp::{Clients, Network, NetworkError};
use pinetboot_core::pi::Prefix;

use crate::error::{Error, Why};
use crate::line::Line;
use crate::{Address, Config, DEFAULT_ADDRESS, DEFAULT_PREFIX_LEN, Dhcp, MAX_LEN, MAX_TREES, PiDirectory};

/// The settings read so far.
#[derive(Default)]
pub(crate) struct Draft<'a> {
    /// In the order of [`SETTINGS`].
    settings: [Option<Given<'a>>; SETTINGS.len()],
    trees: Vec<PiDirectory<'a>, MAX_TREES>,
}

/// A value, and its line.
#[derive(Clone, Copy)]
struct Given<'a> {
    value: &'a str,
    line: u16,
}

impl<'a> Draft<'a> {
    pub(crate) fn read(file: &'a [u8]) -> Result<Self, Error<'a>> {
        if let Some(fits) = file.get(..MAX_LEN).filter(|fits| fits.len() < file.len()) {
            let lines_before = fits.iter().filter(|byte| **byte == b'\n').count();
            return Err(Error { line: line_number(lines_before), why: Why::Is(TOO_LONG) });
        }
        let mut draft = Self::default();
        let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
        for (index, bytes) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let end = bytes.strip_suffix(b"\r\n").or(bytes.strip_suffix(b"\n"));
            let bytes = end.unwrap_or(bytes);
            let line = line_number(index);
            draft.line(line, bytes).map_err(|why| Error { line, why })?;
        }
        Ok(draft)
    }

    fn line(&mut self, line: u16, bytes: &'a [u8]) -> Result<(), Why<'a>> {
        let text = core::str::from_utf8(bytes).map_err(|_| Why::Is("not UTF-8 text"))?;
        match Line::parse(text).ok_or(Why::Is(SYNTAX))? {
            Line::Nothing => Ok(()),
            Line::Section(name) => self.section(name),
            Line::Setting { name, value } if self.trees.is_empty() => {
                let place = SETTINGS.iter().position(|known| *known == name);
                let place = place.and_then(|place| self.settings.get_mut(place)).ok_or(Why::Unknown(name))?;
                match place.replace(Given { value, line }) {
                    None => Ok(()),
                    Some(_) => Err(Why::Twice(name)),
                }
            }
            Line::Setting { name: "tree", value } => self.tree(value),
            Line::Setting { name, .. } => Err(Why::Unknown(name)),
        }
    }

    fn section(&mut self, name: &'a str) -> Result<(), Why<'a>> {
        let pi = name.strip_prefix("pi.").ok_or(Why::Unknown(name))?;
        let low_half = match pi.as_bytes() {
            digits if digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit) => pi.get(8..),
            _ => None,
        };
        let pi = Prefix::parse(low_half.unwrap_or(pi)).ok_or(Why::Is(PI))?;
        if self.trees.iter().any(|tree| tree.pi == pi) {
            return Err(Why::Twice(name));
        }
        self.trees.push(PiDirectory { pi, directory: "" }).map_err(|_| Why::Is("too many Pis: 16 at most"))
    }

    /// In the section of a Pi.
    fn tree(&mut self, value: &'a str) -> Result<(), Why<'a>> {
        if value.len() > 64 || BootPath::parse(value.as_bytes()).is_err() {
            return Err(Why::Is(
                "tree must be a directory of at most 64 bytes, like \"kitchen\" or \"pis/kitchen\"",
            ));
        }
        match self.trees.last_mut() {
            Some(tree) if tree.directory.is_empty() => tree.directory = value,
            _ => return Err(Why::Twice("tree")),
        }
        Ok(())
    }

    /// Combines the settings.
    pub(crate) fn finish(self) -> Result<Config<'a>, Error<'a>> {
        let [dhcp, address, range, clients, router, dns, upload] = self.settings;
        let dhcp_value = dhcp.map_or("lease", |given| given.value);
        if upload.is_some_and(|given| !is_key(given.value)) {
            return Err(is(upload, "upload must be a key of 8 to 32 letters, digits and dashes"));
        }
        let upload = upload.map(|given| given.value);
        if !["lease", "proxy", "off"].contains(&dhcp_value) {
            return Err(is(dhcp, "dhcp must be \"lease\", \"proxy\" or \"off\""));
        }
        if dhcp_value != "lease"
            && let Some(given) = range.or(clients).or(dns)
        {
            return Err(is(Some(given), "needs dhcp = \"lease\""));
        }
        let own = match address {
            None if dhcp_value == "lease" => Some((DEFAULT_ADDRESS, DEFAULT_PREFIX_LEN)),
            None => None,
            Some(Given { value: "dhcp", .. }) if dhcp_value == "lease" => {
                return Err(is(address, "with dhcp = \"lease\" the board needs a fixed address"));
            }
            Some(Given { value: "dhcp", .. }) => None,
            Some(Given { value, .. }) => {
                let expected =
                    "address must be an address with its prefix length, like \"10.55.0.1/24\", or \"dhcp\"";
                Some(interface(value).ok_or(is(address, expected))?)
            }
        };
        let Some((own, prefix_len)) = own else {
            if router.is_some() {
                return Err(is(
                    router,
                    "needs a fixed address: with a DHCP address the router comes from the DHCP server",
                ));
            }
            let dhcp = if dhcp_value == "proxy" { Dhcp::Proxy } else { Dhcp::Off };
            return Ok(Config { dhcp, address: Address::Dhcp, upload, trees: self.trees });
        };

        let wrong = |given| move |error| at(given, Why::Network(error));
        Network::new(own, prefix_len, own, own).map_err(wrong(address))?; // errors after this are the range's
        let (first, last) = match range {
            Some(Given { value, .. }) => {
                let expected = "lease-range must be two addresses, like \"10.55.0.100-10.55.0.199\"";
                parse_range(value).ok_or(is(range, expected))?
            }
            None => Network::upper_half(own, prefix_len),
        };
        let mut network = Network::new(own, prefix_len, first, last).map_err(wrong(range.or(address)))?;
        network.router = host(router, "router must be an address, like \"10.55.0.254\"")?;
        if let Some(outside) = network.router.filter(|router| !network.contains(*router)) {
            return Err(wrong(router)(NetworkError::Outside(outside)));
        }
        network.name_server = host(dns, "dns must be an address, like \"9.9.9.9\"")?;
        network.clients = match clients.map_or("pi", |given| given.value) {
            "pi" => Clients::Pi,
            "all" => Clients::All,
            _ => return Err(is(clients, "dhcp-clients must be \"pi\" or \"all\"")),
        };
        let address = Address::Static { address: own, prefix_len, router: network.router };
        let dhcp = match dhcp_value {
            "lease" => Dhcp::Lease(network),
            "proxy" => Dhcp::Proxy,
            _ => Dhcp::Off,
        };
        Ok(Config { dhcp, address, upload, trees: self.trees })
    }
}

/// The number of the line after `others` lines.
fn line_number(others: usize) -> u16 {
    u16::try_from(others + 1).unwrap_or(u16::MAX)
}

fn at<'a>(given: Option<Given<'a>>, why: Why<'a>) -> Error<'a> {
    Error { line: given.map_or(0, |given| given.line), why }
}

fn is<'a>(given: Option<Given<'a>>, what: &'static str) -> Error<'a> {
    at(given, Why::Is(what))
}

/// A key is a component of a file's name.
fn is_key(key: &str) -> bool {
    (8..=32).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn host<'a>(given: Option<Given<'a>>, expected: &'static str) -> Result<Option<Ipv4Addr>, Error<'a>> {
    let Some(Given { value, .. }) = given else { return Ok(None) };
    value.parse().map(Some).map_err(|_| is(given, expected))
}

/// `10.55.0.1/24`
fn interface(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix_len) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix_len.parse().ok()?))
}

/// `10.55.0.100-10.55.0.199`
fn parse_range(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = text.split_once('-')?;
    Some((first.trim_ascii().parse().ok()?, last.trim_ascii().parse().ok()?))
}

/// Settings outside of a Pi's section.
const SETTINGS: [&str; 7] = ["dhcp", "address", "lease-range", "dhcp-clients", "router", "dns", "upload"];

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const TOO_LONG: &str = "the file is longer than 2048 bytes";

const SYNTAX: &str =
    "expected a setting with a quoted value, like dhcp = \"proxy\", or a Pi's section, like [pi.bd989ae1]";

const PI: &str =
    "expected a Pi's serial number, like [pi.bd989ae1], or MAC address, like [pi.2c-cf-67-01-02-03]";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    fn lease(text: &str) -> Network<'static> {
        match Config::parse(text.as_bytes()).unwrap().dhcp {
            Dhcp::Lease(network) => network,
            other => panic!("{other:?}"),
        }
    }

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_defaults_are_for_a_cable_and_an_empty_file_changes_nothing() {
        let own = address("10.55.0.1");
        let network = Network::new(own, 24, address("10.55.0.128"), address("10.55.0.254")).unwrap();
        let default = Config::default();
        assert_eq!(default.dhcp, Dhcp::Lease(network));
        assert_eq!(default.address, Address::Static { address: own, prefix_len: 24, router: None });
        for nothing in ["", "\n", "\u{feff}# nothing\r\n", "dhcp = \"lease\"", "[pi.bd989ae1]"] {
            let config = Config::parse(nothing.as_bytes()).unwrap();
            assert_eq!((config.dhcp, config.address), (default.dhcp, default.address), "{nothing}");
            assert_eq!(config.tree(Prefix::Serial(0xbd98_9ae1)), None);
        }
    }

    #[test]
    fn a_network_of_its_own() {
        let network = lease(
            "dhcp = 'lease'\naddress = '192.168.7.1/25'\nlease-range = '192.168.7.10 - 192.168.7.20'\n\
             dhcp-clients = 'all'\nrouter = '192.168.7.2'\ndns = '9.9.9.9'",
        );
        let (first, last) = (address("192.168.7.10"), address("192.168.7.20"));
        let mut expected = Network::new(address("192.168.7.1"), 25, first, last).unwrap();
        expected.router = Some(address("192.168.7.2"));
        expected.name_server = Some(address("9.9.9.9"));
        expected.clients = Clients::All;
        assert_eq!(network, expected);
    }

    #[test]
    fn without_a_range_it_is_the_upper_half() {
        for (own, first, last) in [
            ("10.0.0.1/8", "10.128.0.0", "10.255.255.254"),
            ("192.168.7.1/25", "192.168.7.64", "192.168.7.126"),
            ("192.168.7.1/30", "192.168.7.2", "192.168.7.2"),
        ] {
            let (own_address, prefix_len) = interface(own).unwrap();
            let expected = Network::new(own_address, prefix_len, address(first), address(last)).unwrap();
            assert_eq!(lease(&std::format!("address = '{own}'")), expected);
        }
    }

    #[test]
    fn beside_a_router() {
        let config = Config::parse(b"dhcp = 'proxy'").unwrap();
        assert_eq!((config.dhcp, config.address), (Dhcp::Proxy, Address::Dhcp));
        let config = Config::parse(b"dhcp = 'off'\naddress = '10.0.0.9/8'\nrouter = '10.0.0.1'").unwrap();
        assert_eq!(config.dhcp, Dhcp::Off);
        let (own, router) = (address("10.0.0.9"), Some(address("10.0.0.1")));
        assert_eq!(config.address, Address::Static { address: own, prefix_len: 8, router });
    }

    #[test]
    fn files_are_received_with_a_key_alone() {
        assert_eq!(Config::parse(b"").unwrap().upload, None);
        for mode in ["lease", "proxy", "off"] {
            let file = std::format!("dhcp = '{mode}'\nupload = 'a-key-of-ours-7'");
            assert_eq!(Config::parse(file.as_bytes()).unwrap().upload, Some("a-key-of-ours-7"));
        }
    }

    #[test]
    fn pis_have_trees() {
        let text = "[pi.BD989AE1]\ntree = 'kitchen'\n[pi.0c8f7e5c00000001]\ntree='pis/2'\n\
                    [pi.2c-cf-67-01-02-03] # the new one\ntree = 'kitchen'";
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(config.tree(Prefix::Serial(0xbd98_9ae1)), Some("kitchen"));
        assert_eq!(config.tree(Prefix::Serial(1)), Some("pis/2"));
        assert_eq!(config.tree(Prefix::Mac([0x2c, 0xcf, 0x67, 1, 2, 3])), Some("kitchen"));
        assert_eq!(config.tree(Prefix::Serial(2)), None);
    }

    #[test]
    fn errors_name_the_line() {
        let long = std::format!("# {}\n#{}", "x".repeat(1000), "x".repeat(MAX_LEN - 1003));
        let many: Vec<String> = (0..17).map(|pi| std::format!("[pi.{pi:08x}]")).collect();
        for (text, line, word) in [
            ("dhcp", 1, "quoted"),
            ("\r\n\r\ndhcp = proxy", 3, "quoted"),
            ("dhcp = 'on'", 1, "\"lease\""),
            ("dhpc = 'off'", 1, "'dhpc'"),
            ("dhcp = 'off'\ndhcp = 'off'", 2, "twice"),
            ("#\naddress = '10.55.0.1'", 2, "prefix"),
            ("#\naddress = '10.55.0.0/24'", 2, "10.55.0.0 is no address"),
            ("#\naddress = '10.55.0.1/31'", 2, "8 to 30"),
            ("address = 'dhcp'", 1, "needs a fixed address"),
            ("dhcp = 'proxy'\nrouter = '10.0.0.1'", 2, "router"),
            ("dhcp = 'proxy'\naddress = '10.0.0.2/24'\nrouter = '10.0.1.1'", 3, "10.0.1.1 is no address"),
            ("dhcp = 'proxy'\ndhcp-clients = 'all'", 2, "needs dhcp"),
            ("lease-range = '10.55.0.100-10.56.0.1'\naddress = '10.55.0.1/24'", 1, "10.56.0.1 is no address"),
            ("address = '10.55.0.1/24'\nlease-range = '10.55.0.9-10.55.0.8'", 2, "before it begins"),
            ("lease-range = '10.55.0.9'", 1, "two addresses"),
            ("#\nupload = 'short'", 2, "8 to 32"),
            ("upload = 'with/a/slash'", 1, "8 to 32"),
            ("tree = 'kitchen'", 1, "'tree'"),
            ("[kitchen]", 1, "'kitchen'"),
            ("[pi.kitchen]", 1, "serial number"),
            ("[pi.bd989ae1]\ntree = '../x'", 2, "tree must"),
            ("[pi.bd989ae1]\ntree = ''", 2, "tree must"),
            ("[pi.bd989ae1]\ntree = 'x'\ntree = 'y'", 3, "twice"),
            ("[pi.bd989ae1]\n[pi.00000000bd989ae1]", 2, "twice"),
            ("[pi.bd989ae1]\ndhcp = 'off'", 2, "'dhcp'"),
            (&many.join("\n"), 17, "too many"),
            (&long, 2, &MAX_LEN.to_string()),
        ] {
            let error = Config::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        assert!(Config::parse(&long.as_bytes()[..MAX_LEN]).is_ok());
        assert_eq!(Config::parse(b"#\n\xff").unwrap_err().to_string(), "line 2: not UTF-8 text");
    }

    /// Lines that are right, and words that may make some.
    fn line() -> impl Strategy<Value = String> {
        let right = prop::sample::select(&[
            "dhcp = 'lease'",
            "dhcp='proxy'#",
            "\tdhcp\t= \"off\" # \u{e9}",
            "address = \"10.0.0.1/24\"",
            "lease-range = '10.0.0.100-10.0.0.199'",
            "[pi.bd989ae1]",
            "[pi.0c8f7e5c00000001] # [",
            "tree = \"kitchen\"",
            "tree = '\u{e9}#'",
        ]);
        let word = prop::sample::select(&[
            "dhcp",
            "tree",
            "=",
            "'",
            "\"",
            "'off'",
            "\"lease\"",
            "#",
            "\r",
            "\t",
            " ",
            "\\",
            "[",
            "]",
            "pi",
            ".",
            "-",
            "1",
            "\u{7f}",
            "\u{85}",
            "\u{a0}",
        ]);
        prop_oneof![4 => right.prop_map(String::from), 1 => prop::collection::vec(word, 0..7).prop_map(|words| words.concat())]
    }

    proptest! {
        #[test]
        fn what_is_read_is_toml_and_says_the_same(lines in prop::collection::vec(line(), 0..4), crlf: bool) {
            let text = lines.join(if crlf { "\r\n" } else { "\n" });
            let Ok(config) = Config::parse(text.as_bytes()) else { return Ok(()) };
            let table: toml::Table = text.parse().map_err(|error| TestCaseError::fail(std::format!("{text:?}: {error}")))?;
            let mode = match config.dhcp {
                Dhcp::Lease(_) => "lease",
                Dhcp::Proxy => "proxy",
                Dhcp::Off => "off",
            };
            prop_assert_eq!(table.get("dhcp").map_or("lease", |value| value.as_str().unwrap()), mode);
            let pis = table.get("pi").map(|pis| pis.as_table().unwrap());
            let trees = pis.into_iter().flatten().map(|(_, pi)| pi.get("tree").map_or("", |tree| tree.as_str().unwrap()));
            let trees: Vec<_> = trees.collect();
            prop_assert_eq!(trees.len(), config.trees.len());
            prop_assert!(config.trees.iter().all(|tree| trees.contains(&tree.directory)));
        }

        #[test]
        fn no_file_is_too_strange(bytes: Vec<u8>) {
            let _whatever = Config::parse(&bytes);
        }
    }
}

//! The sub-options of option 43, both ways.

use core::net::Ipv4Addr;

use nom::Parser;
use nom::error::Error;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};

use super::{DiscoveryControl, PI_MENU, contains};
use crate::dhcp::value::Options;
use crate::dhcp::writer::Writer;

/// A sub-option of option 43.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SubOption<'a> {
    /// 6: how boot servers are to be found.
    DiscoveryControl(DiscoveryControl),
    /// 7: the multicast address by which.
    DiscoveryAddress(Ipv4Addr),
    /// 8: boot servers, by their kind.
    BootServers(List<'a>),
    /// 9: what the user may choose from.
    Menu(List<'a>),
    /// 10: what the user is told before, and for how long.
    Prompt {
        /// Seconds until the first entry of the menu is taken: 0 at once, 255 never.
        timeout_secs: u8,
        /// The text.
        text: &'a [u8],
    },
    /// 71: which entry was taken.
    Item {
        /// The boot server's kind.
        kind: u16,
        /// Which of its files, the first being 0.
        layer: u16,
    },
    /// Another, or one of these that makes no sense.
    Other(u8, &'a [u8]),
}

/// The entries of a [`SubOption`], parsed as they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct List<'a>(&'a [u8]);

/// An entry of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct MenuEntry<'a> {
    /// The kind of boot server; 0 means: boot from the local disk. A Pi does not care.
    pub kind: u16,
    /// The text, at most 255 bytes.
    pub text: &'a [u8],
}

/// Boot servers of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct BootServers<'a> {
    /// Which kind.
    pub kind: u16,
    addresses: &'a [[u8; 4]],
}

impl<'a> MenuEntry<'a> {
    /// An entry with this text, of at most 255 bytes, for this kind of boot server.
    pub const fn new(kind: u16, text: &'a [u8]) -> Self {
        Self { kind, text }
    }
}

impl<'a> BootServers<'a> {
    /// Their addresses; none if the servers are to be found by broadcast or multicast.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + Clone + use<'a> {
        self.addresses.iter().copied().map(Ipv4Addr::from)
    }
}

impl<'a> List<'a> {
    /// As the entries of a menu.
    pub fn menu(self) -> impl Iterator<Item = MenuEntry<'a>> + Clone {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (after, (kind, text)) = (be_u16::<_, Error<_>>, length_data(be_u8)).parse(rest).ok()?;
            rest = after;
            Some(MenuEntry { kind, text })
        })
    }

    /// As boot servers.
    pub fn boot_servers(self) -> impl Iterator<Item = BootServers<'a>> + Clone {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let list = length_data(be_u8::<_, Error<_>>.map(|count| usize::from(count) * 4));
            let (after, (kind, list)) = (be_u16, list).parse(rest).ok()?;
            rest = after;
            Some(BootServers { kind, addresses: list.as_chunks().0 })
        })
    }
}

/// The sub-options in the value of option 43: its padding, its END or the lack of one as in the options of a message.
///
/// ```
/// use pinetboot_core::dhcp::pxe::{self, SubOption};
///
/// let menu = pxe::sub_options(&pxe::RASPBERRY_PI).find_map(|option| match option {
///     SubOption::Menu(entries) => entries.menu().next(),
///     _ => None,
/// });
/// assert_eq!(menu.unwrap().text, b"Raspberry Pi Boot   ");
/// ```
pub fn sub_options(value: &[u8]) -> impl Iterator<Item = SubOption<'_>> + Clone {
    Options::new(value, &[], &[]).map(|option| SubOption::parse(option.code.0, option.value))
}

/// Whether a Pi finds its boot server's mark in the value of option 43: a menu entry with [`PI_MENU`] in its text.
pub fn is_for_pi(value: &[u8]) -> bool {
    sub_options(value).any(|option| match option {
        SubOption::Menu(entries) => entries.menu().any(|entry| contains(entry.text, PI_MENU)),
        _ => false,
    })
}

impl<'a> SubOption<'a> {
    fn parse(code: u8, value: &'a [u8]) -> Self {
        match (code, value) {
            (DISCOVERY_CONTROL, [bits]) => Self::DiscoveryControl(DiscoveryControl(*bits)),
            (DISCOVERY_ADDRESS, &[a, b, c, d]) => Self::DiscoveryAddress(Ipv4Addr::new(a, b, c, d)),
            (BOOT_SERVERS, list) => Self::BootServers(List(list)),
            (MENU, list) => Self::Menu(List(list)),
            (PROMPT, [timeout_secs, text @ ..]) => Self::Prompt { timeout_secs: *timeout_secs, text },
            (ITEM, &[a, b, c, d]) => {
                Self::Item { kind: u16::from_be_bytes([a, b]), layer: u16::from_be_bytes([c, d]) }
            }
            (code, value) => Self::Other(code, value),
        }
    }
}

/// Writes the value of option 43, sub-option by sub-option. Every call says `None` if the value would be longer than the
/// memory.
///
/// ```
/// use pinetboot_core::dhcp::pxe::{self, DiscoveryControl, MenuEntry, SubOptionEmitter};
///
/// fn for_pi(out: &mut [u8]) -> Option<usize> {
///     let mut value = SubOptionEmitter::new(out);
///     value.discovery_control(DiscoveryControl(3))?;
///     value.prompt(0, b"PXE")?;
///     value.menu(&[MenuEntry::new(0, pxe::PI_MENU)])?;
///     value.finish()
/// }
///
/// let mut out = [0; 255];
/// let len = for_pi(&mut out).unwrap();
/// assert_eq!(out[..len], pxe::DNSMASQ);
/// ```
#[derive(Debug)]
pub struct SubOptionEmitter<'b> {
    writer: Writer<'b>,
}

impl<'b> SubOptionEmitter<'b> {
    /// Begins a value in `out`.
    pub fn new(out: &'b mut [u8]) -> Self {
        Self { writer: Writer::new(out) }
    }

    /// Adds sub-option 6.
    pub fn discovery_control(&mut self, control: DiscoveryControl) -> Option<()> {
        self.sub_option(DISCOVERY_CONTROL, |value| value.u8(control.0))
    }

    /// Adds sub-option 7.
    pub fn discovery_address(&mut self, address: Ipv4Addr) -> Option<()> {
        self.sub_option(DISCOVERY_ADDRESS, |value| value.bytes(&address.octets()))
    }

    /// Adds sub-option 8: kinds of boot server, each with its addresses.
    pub fn boot_servers(&mut self, servers: &[(u16, &[Ipv4Addr])]) -> Option<()> {
        self.sub_option(BOOT_SERVERS, |value| {
            servers.iter().try_for_each(|(kind, addresses)| {
                value.u16(*kind)?;
                value.u8(u8::try_from(addresses.len()).ok()?)?;
                addresses.iter().try_for_each(|address| value.bytes(&address.octets()))
            })
        })
    }

    /// Adds sub-option 9.
    pub fn menu(&mut self, entries: &[MenuEntry<'_>]) -> Option<()> {
        self.sub_option(MENU, |value| {
            entries.iter().try_for_each(|entry| {
                value.u16(entry.kind)?;
                value.u8(u8::try_from(entry.text.len()).ok()?)?;
                value.bytes(entry.text)
            })
        })
    }

    /// Adds sub-option 10.
    pub fn prompt(&mut self, timeout_secs: u8, text: &[u8]) -> Option<()> {
        self.sub_option(PROMPT, |value| {
            value.u8(timeout_secs)?;
            value.bytes(text)
        })
    }

    /// Adds sub-option 71.
    pub fn item(&mut self, kind: u16, layer: u16) -> Option<()> {
        self.sub_option(ITEM, |value| {
            value.u16(kind)?;
            value.u16(layer)
        })
    }

    /// Ends the value and says how long it is.
    pub fn finish(mut self) -> Option<usize> {
        self.writer.u8(END)?;
        Some(self.writer.len())
    }

    fn sub_option(&mut self, code: u8, value: impl FnOnce(&mut Writer<'b>) -> Option<()>) -> Option<()> {
        self.writer.bytes(&[code, 0])?;
        let begin = self.writer.len();
        value(&mut self.writer)?;
        let len = u8::try_from(self.writer.len() - begin).ok()?;
        self.writer.overwrite(begin - 1, &[len])
    }
}

const DISCOVERY_CONTROL: u8 = 6;
const DISCOVERY_ADDRESS: u8 = 7;
const BOOT_SERVERS: u8 = 8;
const MENU: u8 = 9;
const PROMPT: u8 = 10;
const ITEM: u8 = 71;
const END: u8 = 255;

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::dhcp::pxe::{DNSMASQ, RASPBERRY_PI};

    #[test]
    fn a_pis_option_43_is_read() {
        let parsed: Vec<_> = sub_options(&DNSMASQ).collect();
        let [
            SubOption::DiscoveryControl(control),
            SubOption::Prompt { timeout_secs: 0, text: b"PXE" },
            SubOption::Menu(menu),
        ] = parsed[..]
        else {
            panic!("{parsed:?}")
        };
        assert!(control.has(DiscoveryControl::NO_BROADCAST | DiscoveryControl::NO_MULTICAST));
        assert!(!control.has(DiscoveryControl::BOOT_FILE));
        assert!(menu.menu().eq([MenuEntry { kind: 0, text: PI_MENU }]));
    }

    #[test]
    fn the_mark_is_found_where_a_pi_finds_it() {
        assert!(is_for_pi(&DNSMASQ) && is_for_pi(&RASPBERRY_PI));
        assert!(is_for_pi(b"\x09\x1a\0\0\x17~~Raspberry Pi Boot~~\n\n"), "rpi-eeprom issue 376; no END");
        assert!(is_for_pi(b"\x09\x1a\0\0\x03x86\0\0\x11Raspberry Pi Boot"), "the second entry");
        assert!(!is_for_pi(PI_MENU), "no sub-option");
        assert!(!is_for_pi(b"\x0a\x12\0Raspberry Pi Boot"), "not the menu");
        assert!(!is_for_pi(b"\x09\x13\0\0\x11Raspberry Pi Boo"), "cut");
        assert!(!is_for_pi(&[]));
    }

    #[test]
    fn boot_servers_and_items_go_both_ways() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut out = [0; 64];
        let mut value = SubOptionEmitter::new(&mut out);
        value.discovery_address(Ipv4Addr::new(224, 0, 1, 2)).unwrap();
        value.boot_servers(&[(1, &[a, b]), (2, &[])]).unwrap();
        value.item(1, 0).unwrap();
        let len = value.finish().unwrap();
        let parsed: Vec<_> = sub_options(&out[..len]).collect();
        let [
            SubOption::DiscoveryAddress(_),
            SubOption::BootServers(servers),
            SubOption::Item { kind: 1, layer: 0 },
        ] = parsed[..]
        else {
            panic!("{parsed:?}")
        };
        let servers: Vec<_> =
            servers.boot_servers().map(|each| (each.kind, each.addresses().collect())).collect();
        assert_eq!(servers, [(1, std::vec![a, b]), (2, std::vec![])]);
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        assert_eq!(SubOptionEmitter::new(&mut [0; 2]).discovery_control(DiscoveryControl(3)), None);
        assert_eq!(SubOptionEmitter::new(&mut []).finish(), None);
        assert_eq!(SubOptionEmitter::new(&mut [0; 300]).prompt(0, &[b'x'; 255]), None, "256 bytes");
    }
}

//! The directory of a Pi's file: the Pi's own, or the one that all Pis share.
//!
//! The bootloader puts a directory before every name: its serial number, its MAC address, or a string of the owner's
//! choice (documented, `TFTP_PREFIX` in raspberrypi/documentation eeprom-bootloader). If it finds no firmware there it
//! drops the prefix for everything. A server that answers a prefixed name from the shared directory too saves it the
//! detour and lets a single tree serve many Pis.
//!
//! Not done: guessing at the owner's string. Such a name is an ordinary path with a directory in it.

use core::fmt;

use crate::BootPath;

/// The directory a Pi puts before every name it asks for. Shown as the directory's canonical name.
///
/// ```
/// use pinetboot_core::pi::Prefix;
///
/// assert_eq!(Prefix::parse("DC-A6-32-01-36-C2").unwrap().to_string(), "dc-a6-32-01-36-c2");
/// assert_eq!(Prefix::Serial(0x00e1_9a98).to_string(), "00e19a98");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a storage has to look for each")]
pub enum Prefix {
    /// The low 32 bits of the serial number: eight hexadecimal digits with leading zeros, `TFTP_PREFIX=0` and the only
    /// form of a Pi 3.
    Serial(u32),
    /// The MAC address: `TFTP_PREFIX=2`.
    Mac([u8; 6]),
}

impl Prefix {
    /// Reads a directory's name, in either case: a Pi writes small letters, people do not always.
    pub fn parse(component: &str) -> Option<Self> {
        if component.len() == 8 {
            return component
                .bytes()
                .try_fold(0, |serial, digit| Some(serial << 4 | nibble(digit)?))
                .map(Self::Serial);
        }
        let mut parts = component.split('-');
        let mut mac = [0; 6];
        for byte in &mut mac {
            let &[high, low] = parts.next()?.as_bytes() else { return None };
            *byte = u8::try_from(nibble(high)? << 4 | nibble(low)?).ok()?;
        }
        parts.next().is_none().then_some(Self::Mac(mac))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Serial(serial) => write!(f, "{serial:08x}"),
            Self::Mac([a, b, c, d, e, g]) => write!(f, "{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{g:02x}"),
        }
    }
}

/// A requested name, split into the Pi's prefix and the rest.
///
/// ```
/// use pinetboot_core::BootPath;
/// use pinetboot_core::pi::{Lookup, Prefix};
///
/// let lookup = Lookup::new(BootPath::parse(b"7bf18f79//overlays/overlay_map.dtb").unwrap());
/// assert_eq!(lookup.prefix(), Some(Prefix::Serial(0x7bf1_8f79)));
/// assert_eq!(lookup.file().to_string(), "overlays/overlay_map.dtb");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lookup<'a> {
    prefix: Option<Prefix>,
    file: BootPath<'a>,
}

impl<'a> Lookup<'a> {
    /// Splits a name. The last component is never a prefix: `7bf18f79` alone is a file.
    pub fn new(path: BootPath<'a>) -> Self {
        let prefixed = path.split_first().and_then(|(first, rest)| Some((Prefix::parse(first)?, rest)));
        match prefixed {
            Some((prefix, file)) => Self { prefix: Some(prefix), file },
            None => Self { prefix: None, file: path },
        }
    }

    /// The prefix, if the name has one.
    pub fn prefix(&self) -> Option<Prefix> {
        self.prefix
    }

    /// The name behind the prefix: what [`BootFile::find`](super::BootFile::find) wants.
    pub fn file(&self) -> BootPath<'a> {
        self.file
    }

    /// The directory of the file. `own` finds the directory of the Pi with this prefix.
    ///
    /// ```
    /// use pinetboot_core::BootPath;
    /// use pinetboot_core::pi::{Lookup, Place};
    ///
    /// let lookup = Lookup::new(BootPath::parse(b"7BF18F79/config.txt").unwrap());
    /// let directories = ["7bf18f79", "overlays"];
    /// let own = lookup.place(|prefix| directories.iter().find(|name| **name == prefix.to_string()));
    /// assert_eq!(own, Place::Own(&"7bf18f79"));
    /// ```
    pub fn place<D>(&self, own: impl FnOnce(Prefix) -> Option<D>) -> Place<D> {
        self.prefix.and_then(own).into()
    }
}

/// The one directory of a Pi's file. A Pi with an own directory gets files from that alone: it must not get the kernel of
/// another system because its own lacks the optional kernel that it asks for first.
///
/// `D` is a storage's handle of a directory. A storage that has to wait for its directories looks for that of
/// [`Lookup::prefix`] first, and converts the `Option` to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a file is in one of the two")]
pub enum Place<D> {
    /// In this directory, the Pi's own.
    Own(D),
    /// In the directory that all Pis share.
    Shared,
}

impl<D> From<Option<D>> for Place<D> {
    /// `own` is the Pi's own directory, if the Pi has one.
    fn from(own: Option<D>) -> Self {
        own.map_or(Self::Shared, Self::Own)
    }
}

fn nibble(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::format;
    use std::string::{String, ToString};

    use super::*;

    /// The path beneath a tree's root, where every Pi has an own directory, or none has.
    fn looked_for(name: &str, has_own: bool) -> String {
        let lookup = Lookup::new(BootPath::parse(name.as_bytes()).unwrap());
        match lookup.place(|prefix| has_own.then_some(prefix)) {
            Place::Own(prefix) => format!("{prefix}/{}", lookup.file()),
            Place::Shared => lookup.file().to_string(),
        }
    }

    #[test]
    fn captured_names_have_a_prefix() {
        for (name, own, shared) in [
            // Pi 5, bootloader 2026-05-26.
            ("7bf18f79/kernel8.img", "7bf18f79/kernel8.img", "kernel8.img"),
            ("7bf18f79//config.txt", "7bf18f79/config.txt", "config.txt"),
            // Pi 4, raballew/pipxe.
            (
                "91cdf03d/overlays/mcp2515-can0.dtbo",
                "91cdf03d/overlays/mcp2515-can0.dtbo",
                "overlays/mcp2515-can0.dtbo",
            ),
            // As documented for TFTP_PREFIX=2.
            ("dc-a6-32-01-36-c2/start4.elf", "dc-a6-32-01-36-c2/start4.elf", "start4.elf"),
            // With os_prefix=current/.
            ("00e19a98/current/vmlinuz", "00e19a98/current/vmlinuz", "current/vmlinuz"),
            // By hand.
            ("/BD989AE1/config.txt", "bd989ae1/config.txt", "config.txt"),
            ("DC-a6-32-01-36-C2/x", "dc-a6-32-01-36-c2/x", "x"),
        ] {
            assert_eq!(looked_for(name, true), own, "{name}");
            assert_eq!(looked_for(name, false), shared, "{name}");
        }
    }

    #[test]
    fn other_names_are_looked_up_as_they_are() {
        for name in [
            "config.txt",
            "7bf18f79",                       // a file
            "dc-a6-32-01-36-c2",              // likewise
            "overlays/README",                // eight letters, not all of them digits
            "7bf18f7/x",                      // leading zeros are always written
            "0c8f7e5cbd989ae1/x",             // the whole serial number: no Pi asks so
            "+bf18f79/x",                     // a number to some parsers
            "pi5-kitchen/config.txt",         // TFTP_PREFIX_STR
            "dc-a6-32-01-36/x",               // five
            "dc-a6-32-01-36-c2-00/x",         // seven
            "dc-a6-32-01-36c-2/x",            // six, but not of two digits
            "dc:a6:32:01:36:c2/x",            // not a Pi's way of writing it
            "x/7bf18f79/config.txt",          // not first
            "\u{664}\u{664}\u{664}\u{664}/x", // eight bytes, digits elsewhere
        ] {
            assert_eq!(looked_for(name, true), name, "{name}");
        }
        assert_eq!(looked_for("/config.txt", true), "config.txt");
        assert_eq!(looked_for("7bf18f79//", true), "7bf18f79");
    }

    proptest! {
        #[test]
        fn a_prefix_is_parsed_as_it_is_shown(serial: u32, mac: [u8; 6]) {
            for prefix in [Prefix::Serial(serial), Prefix::Mac(mac)] {
                prop_assert_eq!(Prefix::parse(&prefix.to_string()), Some(prefix));
                prop_assert_eq!(Prefix::parse(&prefix.to_string().to_uppercase()), Some(prefix));
            }
        }

        #[test]
        fn nothing_of_a_name_is_lost(name in "[0-9a-fx/-]{1,24}") {
            if let Ok(path) = BootPath::parse(name.as_bytes()) {
                // No case is folded but the prefix's, which is made up of small letters here.
                prop_assert_eq!(looked_for(&name, true), path.to_string());
                prop_assert_eq!(looked_for(&name, false), Lookup::new(path).file().to_string());
            }
        }
    }
}

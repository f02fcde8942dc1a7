//! PXE's options: who asks (RFC 4578), and the sub-options of option 43 (PXE 2.1, section 2.2.3 and table 2-1).
//!
//! A Raspberry Pi is not a PXE client, but takes a boot server only from a reply that looks like a PXE server's: option 60
//! is `PXEClient`, and the menu in option 43 has the entry `Raspberry Pi Boot`. [`RASPBERRY_PI`] is such an option 43.
//!
//! Not done: multicast TFTP and its sub-options (1 to 5), which nothing implements any more; credentials (12).

mod sub_option;

use core::fmt;

pub use sub_option::{BootServers, List, MenuEntry, SubOption, SubOptionEmitter, is_for_pi, sub_options};

use super::value::Value;

/// How the vendor class (option 60) of every PXE client begins, and all of that of a PXE server.
pub const CLIENT: &[u8] = b"PXEClient";

/// The vendor class of every Raspberry Pi's boot code (captured; rpi-eeprom issue 58, raspberrypi/documentation boot-net).
pub const PI_CLASS: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";

/// The menu entry by which a Pi knows its boot server (documented, raspberrypi/documentation boot-net).
pub const PI_MENU: &[u8] = b"Raspberry Pi Boot";

/// The option 43 by which Pis are booted everywhere: dnsmasq's, of `pxe-service=0,"Raspberry Pi Boot"` (captured).
pub const DNSMASQ: [u8; 32] = *b"\x06\x01\x03\x0a\x04\0PXE\x09\x14\0\0\x11Raspberry Pi Boot\xff";

/// The option 43 for all Pis: as [`DNSMASQ`]'s, with three spaces after the text, without which some Pi 3B do not boot:
///
/// > The "Raspberry Pi Boot   " string in the DHCP reply requires the extra three spaces due to an error calculating the
/// > string length. (raspberrypi/documentation boot-net)
///
/// Later Pis look for the text within that of the entry (rpi-eeprom issue 376).
pub const RASPBERRY_PI: [u8; 35] = *b"\x06\x01\x03\x0a\x04\0PXE\x09\x17\0\0\x14Raspberry Pi Boot   \xff";

/// The option 43 for other clients: "take the boot file that this message names, and look no further".
pub const BOOT_FILE_ONLY: [u8; 4] = [6, 1, DiscoveryControl::BOOT_FILE, 0xff];

/// What the client says its processor and firmware are: option 93 (RFC 4578, section 2.1; IANA's registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct Architecture(pub u16);

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "x86 BIOS, and every Raspberry Pi",
            6 => "x86 UEFI",
            7 | 9 => "x64 UEFI",
            10 => "ARM UEFI",
            11 => "ARM64 UEFI",
            21 => "ARM U-Boot",
            22 => "ARM64 U-Boot",
            41 => "Raspberry Pi, by DHCPv6",
            _ => return write!(f, "{}", self.0),
        };
        write!(f, "{} ({name})", self.0)
    }
}

/// The client's network interface: option 94 (RFC 4578, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Interface {
    /// 1: UNDI.
    pub kind: u8,
    /// Its version, before the point.
    pub major: u8,
    /// And after it.
    pub minor: u8,
}

impl Interface {
    pub(super) fn parse(value: Value<'_>) -> Option<Self> {
        let mut bytes = value.bytes();
        Some(Self { kind: bytes.next()?, major: bytes.next()?, minor: bytes.next()? })
    }
}

/// How boot servers are to be found: sub-option 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "a set of bits")]
pub struct DiscoveryControl(pub u8);

impl DiscoveryControl {
    /// Do not ask by broadcast.
    pub const NO_BROADCAST: u8 = 1;
    /// Do not ask by multicast.
    pub const NO_MULTICAST: u8 = 2;
    /// Take only servers of the list (sub-option 8).
    pub const LISTED_ONLY: u8 = 4;
    /// Take the boot file that the message names: no prompt, no menu, no search.
    pub const BOOT_FILE: u8 = 8;

    /// Whether all of these bits are set.
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

/// Whether `part` is anywhere in `text`.
pub(super) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

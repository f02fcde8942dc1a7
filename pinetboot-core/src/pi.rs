//! What only a Raspberry Pi does: who it says it is, where it looks for its files, and which files it asks for.
//!
//! Nothing here speaks a protocol; these are the rules a server, a simulator or a doctor lays over DHCP and TFTP. They
//! are pure functions over small values, so the same answer comes out on a Linux box, a microcontroller and in a test.
//!
//! * [`PiIdentity`] is the GUID of DHCP option 97. It already names the board and, by the serial number in it, the
//!   directory the Pi will ask for, before the first TFTP request arrives.
//! * [`Revision`] is the board revision code of `/proc/cpuinfo`, read to a [`Board`], its memory and its [`Processor`].
//! * [`Model`] is the family as far as netboot cares: which boot code asks for files. A CM5 and a Pi 500 are a
//!   [`Model::Pi5`]. [`Model::profile`] is its row: everything in which one model differs from the next.
//! * [`Lookup`] splits `7bf18f79//config.txt` into a [`Prefix`] and a name, and says where a server looks for it: in the
//!   Pi's own directory if it has one, else in the directory that all Pis share ([`Place`]).
//! * [`BootFile`] says for a name which [`Stage`] of the boot it belongs to, and what it means ([`Need`]) if it is
//!   missing: much of what a healthy Pi asks for is not there. [`BOOT_FILES`] is the table behind it.
//! * [`rules`] is the catalogue of failures: symptom, cause and remedy of each under a number that stays.
//! * [`boot`] is the boot machine: how far a Pi's boot is, and which rule a silence or a miss shows.
//!
//! | file | holds |
//! |---|---|
//! | `models.rs` | [`Profile`], a row for each model |
//! | `rules.rs` | [`rules::Rule`], and the rules of each phase of the boot |
//! | `boot.rs` | [`boot::Boot`], states with deadlines, and the verdict of each |
//! | `files.rs` | [`BootFile`], [`Stage`], [`Need`] and their table |
//! | `identity.rs`, `revision.rs` | [`PiIdentity`], [`Revision`] |
//! | `lookup.rs` | [`Lookup`], [`Prefix`] |
//!
//! ```
//! use pinetboot_core::BootPath;
//! use pinetboot_core::pi::{BootFile, Lookup, Model, Need, PiIdentity, Place, Prefix, Stage};
//!
//! // From the DISCOVER of a Pi 5 ...
//! let option_97 = b"\x00RPi5\x70\x41\xd0\x00\xdd\xe8\x27\x1e\xe1\x9a\x98\xbd";
//! let pi = PiIdentity::parse(option_97).unwrap();
//! assert_eq!(pi.to_string(), "Raspberry Pi 5 Model B Rev 1.0 (8 GB), serial bd989ae1");
//! assert_eq!(pi.model(), Some(Model::Pi5));
//!
//! // ... and from a request that follows it.
//! let lookup = Lookup::new(BootPath::parse(b"bd989ae1//config.txt").unwrap());
//! assert_eq!(lookup.prefix(), Some(Prefix::Serial(pi.serial().unwrap())));
//! assert_eq!(lookup.place(|_| None::<&str>), Place::Shared, "the Pi has no own directory");
//!
//! let file = BootFile::find(&lookup.file(), pi.model()).unwrap();
//! assert_eq!((file.stage, file.need), (Stage::Config, Need::Required));
//! ```
//!
//! # Sources
//!
//! The boot code is closed. What is here was documented by Raspberry Pi (raspberrypi/documentation, the release notes of
//! raspberrypi/rpi-eeprom), or captured: request logs and packet captures in the issues of raspberrypi/rpi-eeprom,
//! raspberrypi/firmware and raspberrypi/cmprovision, in the readme of raballew/pipxe (Pi 4), and in a bench record of a
//! Pi 5 with bootloader 2026-05-26. Each item says which. What is only inferred is said to be.
//!
//! # Deliberately not done
//!
//! * A custom `TFTP_PREFIX_STR` (up to 32 characters of anything) cannot be told from a directory, and is not.
//! * `config.txt` is not read, so files that only it names (`kernel=foo.bin`, `include bar.txt`) are not known.
//! * Boards are never recognised by the vendor part of their MAC address: the list of those grows, and a Pi's adapter
//!   may carry any.

/// An enum, and its variants in order as `ALL`, so that none can be forgotten there.
macro_rules! listed {
    ($(#[$attribute:meta])* pub enum $name:ident {
        $($(#[$variant_attribute:meta])* $variant:ident $(= $value:literal)?,)+
    }) => {
        $(#[$attribute])*
        pub enum $name {
            $($(#[$variant_attribute])* $variant $(= $value)?,)+
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }
    };
}

pub mod boot;
pub mod console;
mod files;
mod identity;
mod lookup;
mod models;
mod revision;
pub mod rules;

pub use files::{BOOT_FILES, BootFile, Need, Row, Stage};
pub use identity::PiIdentity;
pub use lookup::{Lookup, Place, Prefix};
pub use models::{
    BootCode, Consequence, Firmware, Firmwares, MachineId, Names, OsCheck, Profile, Requests, Widths,
};
pub use revision::{Board, Manufacturer, Processor, Revision};

use core::fmt;
use core::str::FromStr;

/// The TCP port of NBD, by which a Pi has a disk (registered with IANA).
pub const NBD_PORT: u16 = 10809;

listed! {
    /// A family of boards that boot from the network alike.
    ///
    /// It goes by the processor, because the boot code does: [`Revision::model`]. Parsed and shown as the words of
    /// config.txt's filters (`[pi5]`), in either case when parsed.
    ///
    /// ```
    /// use pinetboot_core::pi::Model;
    ///
    /// assert_eq!("Pi5".parse(), Ok(Model::Pi5));
    /// assert_eq!(Model::Pi5.to_string(), "pi5");
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[cfg_attr(feature = "defmt", derive(defmt::Format))]
    #[non_exhaustive]
    pub enum Model {
        /// BCM2837: Pi 3B and 3B+, Pi 2B since revision 1.2, and what else has this chip. The boot ROM itself fetches
        /// `bootcode.bin` (documented, raspberrypi/documentation boot-net).
        Pi3,
        /// BCM2711: Pi 4B, 400, CM4, CM4S. A bootloader in EEPROM fetches `start4.elf`, which fetches the rest.
        Pi4,
        /// BCM2712: Pi 5, 500, CM5, CM5 Lite. The bootloader in EEPROM fetches everything; there is no `start.elf`
        /// (documented, raspberrypi/documentation bootflow-eeprom).
        Pi5,
    }
}

impl Model {
    /// The family named by the first four bytes of option 97's GUID, in either byte order.
    ///
    /// Both orders are on the wire: `RPi4` (cmprovision issue 5) and `4iPR` (cmprovision issue 16, raballew/pipxe). Prefer
    /// [`PiIdentity::model`], which knows when not to believe it.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        let [a, b, c, d] = fourcc;
        let is_its =
            |model: &Self| model.fourcc().is_some_and(|known| known == fourcc || known == [d, c, b, a]);
        Self::ALL.iter().copied().find(is_its)
    }

    /// What [`Model::from_fourcc`] reads, in text order. `None` for a Pi 3, which sends none.
    pub const fn fourcc(self) -> Option<[u8; 4]> {
        match self.machine_id() {
            MachineId::BootRom => None,
            MachineId::Structured { fourcc, .. } => Some(fourcc),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(word: &str) -> Result<Self, UnknownModel> {
        let is_its = |model: &Self| word.eq_ignore_ascii_case(model.word());
        Self::ALL.iter().copied().find(is_its).ok_or(UnknownModel)
    }
}

/// The word names no [`Model`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct UnknownModel;

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown model, expected ")?;
        for (index, model) in Model::ALL.iter().enumerate() {
            let last = index + 1 == Model::ALL.len();
            f.write_str(if index == 0 {
                ""
            } else if last {
                " or "
            } else {
                ", "
            })?;
            write!(f, "{model}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownModel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_parsed_as_it_is_shown() {
        for model in Model::ALL {
            assert_eq!(std::format!("{model}").parse(), Ok(*model));
        }
        assert_eq!(std::format!("{UnknownModel}"), "unknown model, expected pi3, pi4 or pi5");
        assert_eq!("PI4".parse(), Ok(Model::Pi4));
        for wrong in ["", "pi", "5", "pi6", "pi5 ", "cm5"] {
            assert_eq!(wrong.parse::<Model>(), Err(UnknownModel), "{wrong}");
        }
        assert_eq!(std::format!("[{:>5}]", Model::Pi5), "[  pi5]");
    }

    #[test]
    fn fourccs_are_read_in_both_byte_orders() {
        for model in Model::ALL {
            let Some(mut fourcc) = model.fourcc() else {
                assert_eq!(*model, Model::Pi3);
                continue;
            };
            assert_eq!(Model::from_fourcc(fourcc), Some(*model));
            fourcc.reverse();
            assert_eq!(Model::from_fourcc(fourcc), Some(*model));
        }
        // DHCP_OPTION97's documented defaults are these words, little-endian.
        assert_eq!(Model::from_fourcc(0x3469_5052_u32.to_le_bytes()), Some(Model::Pi4));
        assert_eq!(Model::from_fourcc(0x3569_5052_u32.to_le_bytes()), Some(Model::Pi5));
        assert_eq!(Model::from_fourcc(*b"RPi3"), None);
    }
}

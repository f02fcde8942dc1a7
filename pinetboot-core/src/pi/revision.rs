//! The board revision code: `Revision` in `/proc/cpuinfo`, and the second word of DHCP option 97.
//!
//! Laid out as documented (raspberrypi/documentation, revision-codes). A new-style code is read bit by bit:
//!
//! ```text
//! NOQuuuWuFMMMCCCCPPPPTTTTTTTTRRRR    e.g. 00d04170, a Pi 5 with 8 GB
//!         || |   |   |       '- revision of the board
//!         || |   |   '--------- type
//!         || |   '------------- processor
//!         || '----------------- manufacturer
//!         |'------------------- memory
//!         '-------------------- new-style
//! ```
//!
//! Not done: old-style codes (0002 to 0015, Pi 1) are numbers in a list. No such board boots from the network on its own,
//! so they are shown as what they are and not looked up.

use core::fmt;

use super::Model;

/// A board revision code. Every number is one; whatever of it has no documented meaning reads as `None`.
///
/// ```
/// use pinetboot_core::pi::{Board, Model, Revision};
///
/// let revision = Revision::from_code(0x00e0_4171);
/// assert_eq!(revision.board(), Some(Board::Pi5));
/// assert_eq!(revision.model(), Some(Model::Pi5));
/// assert_eq!(revision.memory_mib(), Some(16 * 1024));
/// assert_eq!(revision.to_string(), "Raspberry Pi 5 Model B Rev 1.1 (16 GB)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Revision(u32);

impl Revision {
    /// Takes the code as a number: `0x00d04170` for `d04170`.
    pub const fn from_code(code: u32) -> Self {
        Self(code)
    }

    /// The code as a number.
    pub const fn code(self) -> u32 {
        self.0
    }

    /// Whether the code is read by its bits. If not, everything below but the code itself is `None`.
    pub const fn is_new_style(self) -> bool {
        self.0 & NEW_STYLE != 0
    }

    /// The type of the board.
    pub fn board(self) -> Option<Board> {
        let code = self.field(4, 8)?;
        TYPES.iter().copied().find(|board| *board as u32 == code)
    }

    /// The processor.
    pub fn processor(self) -> Option<Processor> {
        match self.field(12, 4)? {
            0 => Some(Processor::Bcm2835),
            1 => Some(Processor::Bcm2836),
            2 => Some(Processor::Bcm2837),
            3 => Some(Processor::Bcm2711),
            4 => Some(Processor::Bcm2712),
            _ => None,
        }
    }

    /// Memory in MiB: 256 to 16384, a power of two. `None` also where the code says "other".
    pub fn memory_mib(self) -> Option<u32> {
        self.field(20, 3).filter(|size| *size < 7).map(|size| 256 << size)
    }

    /// Who made the board.
    pub fn manufacturer(self) -> Option<Manufacturer> {
        match self.field(16, 4)? {
            0 => Some(Manufacturer::SonyUk),
            1 => Some(Manufacturer::Egoman),
            2 | 4 => Some(Manufacturer::Embest),
            3 => Some(Manufacturer::SonyJapan),
            5 => Some(Manufacturer::Stadium),
            _ => None,
        }
    }

    /// The x of the board's revision 1.x: 0 to 15.
    pub fn board_revision(self) -> Option<u8> {
        self.field(0, 4).and_then(|revision| u8::try_from(revision).ok())
    }

    /// The family it boots like. It goes by the processor alone, so that it holds for boards that are not yet listed;
    /// `None` for processors without network boot.
    pub fn model(self) -> Option<Model> {
        match self.processor()? {
            Processor::Bcm2835 | Processor::Bcm2836 => None,
            Processor::Bcm2837 => Some(Model::Pi3),
            Processor::Bcm2711 => Some(Model::Pi4),
            Processor::Bcm2712 => Some(Model::Pi5),
        }
    }

    /// Whether this is, beyond doubt, the code of a known board with a bootloader in EEPROM.
    pub(super) fn has_eeprom(self) -> bool {
        let fits = self.processor().is_some_and(|processor| match processor {
            Processor::Bcm2835 | Processor::Bcm2836 | Processor::Bcm2837 => false,
            Processor::Bcm2711 => {
                matches!(self.board(), Some(Board::Pi4B | Board::Pi400 | Board::Cm4 | Board::Cm4S))
            }
            Processor::Bcm2712 => {
                matches!(self.board(), Some(Board::Pi5 | Board::Cm5 | Board::Pi500 | Board::Cm5Lite))
            }
        });
        fits && self.manufacturer().is_some() && self.0 & UPPER_BYTE == 0
    }

    fn field(self, low: u32, bits: u32) -> Option<u32> {
        self.is_new_style().then_some((self.0 >> low) & ((1 << bits) - 1))
    }
}

/// The `Model` line of `/proc/cpuinfo` and the memory: `Raspberry Pi 5 Model B Rev 1.0 (8 GB)`. The code itself where
/// the board is not known.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(board), Some(revision)) = (self.board(), self.board_revision()) else {
            let style = if self.is_new_style() { "unknown" } else { "old-style" };
            return write!(f, "Raspberry Pi ({style} revision {:04x})", self.0);
        };
        write!(f, "{board} Rev 1.{revision}")?;
        match self.memory_mib() {
            Some(mib @ ..1024) => write!(f, " ({mib} MB)"),
            Some(mib) => write!(f, " ({} GB)", mib / 1024),
            None => Ok(()),
        }
    }
}

/// A type of board; the number is its place in the code. Shown as Linux names it: `Raspberry Pi 4 Model B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Board {
    /// Model A.
    A = 0x00,
    /// Model B.
    B = 0x01,
    /// Model A+.
    APlus = 0x02,
    /// Model B+.
    BPlus = 0x03,
    /// 2 Model B, BCM2837 since revision 1.2.
    Pi2B = 0x04,
    /// Compute Module 1.
    Cm1 = 0x06,
    /// 3 Model B.
    Pi3B = 0x08,
    /// Zero.
    Zero = 0x09,
    /// Compute Module 3.
    Cm3 = 0x0a,
    /// Zero W.
    ZeroW = 0x0c,
    /// 3 Model B+.
    Pi3BPlus = 0x0d,
    /// 3 Model A+.
    Pi3APlus = 0x0e,
    /// Compute Module 3+.
    Cm3Plus = 0x10,
    /// 4 Model B.
    Pi4B = 0x11,
    /// Zero 2 W.
    Zero2W = 0x12,
    /// 400.
    Pi400 = 0x13,
    /// Compute Module 4.
    Cm4 = 0x14,
    /// Compute Module 4S.
    Cm4S = 0x15,
    /// 5 Model B.
    Pi5 = 0x17,
    /// Compute Module 5.
    Cm5 = 0x18,
    /// 500, and the 500+, which Linux calls a 500.
    Pi500 = 0x19,
    /// Compute Module 5 without eMMC.
    Cm5Lite = 0x1a,
    /// Compute Module 0.
    Cm0 = 0x1b,
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = BOARDS.iter().find(|(board, _)| board == self).map_or("", |(_, name)| name);
        write!(f, "Raspberry Pi {name}")
    }
}

listed! {
    /// A processor; the number is the code's four bits for it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[cfg_attr(feature = "defmt", derive(defmt::Format))]
    #[non_exhaustive]
    pub enum Processor {
        /// Pi 1, Zero, Zero W.
        Bcm2835 = 0,
        /// Pi 2 up to revision 1.1.
        Bcm2836 = 1,
        /// Pi 2 revision 1.2, Pi 3, Zero 2 W.
        Bcm2837 = 2,
        /// Pi 4 and its kin.
        Bcm2711 = 3,
        /// Pi 5 and its kin.
        Bcm2712 = 4,
    }
}

/// Who made a board, from the code's four bits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Manufacturer {
    /// Sony, UK.
    SonyUk,
    /// Egoman.
    Egoman,
    /// Embest, which has two numbers.
    Embest,
    /// Sony, Japan.
    SonyJapan,
    /// Stadium.
    Stadium,
}

const NEW_STYLE: u32 = 1 << 23;
/// Unused bits, the warranty bit, which is documented never to be set since the Pi 4, and flags for overvoltage and OTP.
/// An owner may set those last in OTP: such a code is read as any other, but proves nothing by itself.
const UPPER_BYTE: u32 = 0xff00_0000;

/// Names as in `/proc/cpuinfo`. Types 0x05, 0x0f and 0x16 never left the house.
const BOARDS: [(Board, &str); 23] = [
    (Board::A, "Model A"),
    (Board::B, "Model B"),
    (Board::APlus, "Model A Plus"),
    (Board::BPlus, "Model B Plus"),
    (Board::Pi2B, "2 Model B"),
    (Board::Cm1, "Compute Module"),
    (Board::Pi3B, "3 Model B"),
    (Board::Zero, "Zero"),
    (Board::Cm3, "Compute Module 3"),
    (Board::ZeroW, "Zero W"),
    (Board::Pi3BPlus, "3 Model B Plus"),
    (Board::Pi3APlus, "3 Model A Plus"),
    (Board::Cm3Plus, "Compute Module 3 Plus"),
    (Board::Pi4B, "4 Model B"),
    (Board::Zero2W, "Zero 2 W"),
    (Board::Pi400, "400"),
    (Board::Cm4, "Compute Module 4"),
    (Board::Cm4S, "Compute Module 4S"),
    (Board::Pi5, "5 Model B"),
    (Board::Cm5, "Compute Module 5"),
    (Board::Pi500, "500"),
    (Board::Cm5Lite, "Compute Module 5 Lite"),
    (Board::Cm0, "Compute Module 0"),
];

/// The same without the names, for a firmware that shows none.
const TYPES: [Board; BOARDS.len()] = {
    let (mut types, mut at) = ([Board::A; BOARDS.len()], 0);
    while at < types.len() {
        types[at] = BOARDS[at].0;
        at += 1;
    }
    types
};

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    /// From the documented list of codes in use, but for CM4S and CM0, composed from its fields; named as the `Model`
    /// line of such boards does.
    const IN_USE: [(u32, &str); 24] = [
        (0x90_0021, "Raspberry Pi Model A Plus Rev 1.1 (512 MB)"),
        (0x90_0032, "Raspberry Pi Model B Plus Rev 1.2 (512 MB)"),
        (0xa0_1041, "Raspberry Pi 2 Model B Rev 1.1 (1 GB)"),
        (0xa2_2042, "Raspberry Pi 2 Model B Rev 1.2 (1 GB)"),
        (0xa0_2082, "Raspberry Pi 3 Model B Rev 1.2 (1 GB)"),
        (0xa0_20a0, "Raspberry Pi Compute Module 3 Rev 1.0 (1 GB)"),
        (0x90_00c1, "Raspberry Pi Zero W Rev 1.1 (512 MB)"),
        (0xa0_20d3, "Raspberry Pi 3 Model B Plus Rev 1.3 (1 GB)"),
        (0x90_20e0, "Raspberry Pi 3 Model A Plus Rev 1.0 (512 MB)"),
        (0xa0_2100, "Raspberry Pi Compute Module 3 Plus Rev 1.0 (1 GB)"),
        (0xa0_3111, "Raspberry Pi 4 Model B Rev 1.1 (1 GB)"),
        (0xd0_3115, "Raspberry Pi 4 Model B Rev 1.5 (8 GB)"),
        (0x90_2120, "Raspberry Pi Zero 2 W Rev 1.0 (512 MB)"),
        (0xc0_3130, "Raspberry Pi 400 Rev 1.0 (4 GB)"),
        (0xb0_3140, "Raspberry Pi Compute Module 4 Rev 1.0 (2 GB)"),
        (0xa0_3150, "Raspberry Pi Compute Module 4S Rev 1.0 (1 GB)"),
        (0xb0_4170, "Raspberry Pi 5 Model B Rev 1.0 (2 GB)"),
        (0xd0_4170, "Raspberry Pi 5 Model B Rev 1.0 (8 GB)"),
        (0xe0_4171, "Raspberry Pi 5 Model B Rev 1.1 (16 GB)"),
        (0xc0_4180, "Raspberry Pi Compute Module 5 Rev 1.0 (4 GB)"),
        (0xd0_4190, "Raspberry Pi 500 Rev 1.0 (8 GB)"),
        (0xe0_4190, "Raspberry Pi 500 Rev 1.0 (16 GB)"),
        (0xb0_41a0, "Raspberry Pi Compute Module 5 Lite Rev 1.0 (2 GB)"),
        (0x90_21b0, "Raspberry Pi Compute Module 0 Rev 1.0 (512 MB)"),
    ];

    #[test]
    fn codes_in_use_are_named_as_linux_does() {
        for (code, name) in IN_USE {
            assert_eq!(Revision::from_code(code).to_string(), name);
        }
    }

    #[test]
    fn the_family_goes_by_the_processor() {
        for (code, name) in IN_USE {
            let revision = Revision::from_code(code);
            let model = match (code >> 12) & 15 {
                2 => Some(Model::Pi3),
                3 => Some(Model::Pi4),
                4 => Some(Model::Pi5),
                _ => None,
            };
            assert_eq!(revision.model(), model, "{name}");
            assert_eq!(revision.has_eeprom(), matches!(model, Some(Model::Pi4 | Model::Pi5)), "{name}");
        }
        // A board to come.
        let unlisted = Revision::from_code(0xe0_4ff3);
        assert_eq!(
            (unlisted.board(), unlisted.model(), unlisted.has_eeprom()),
            (None, Some(Model::Pi5), false)
        );
    }

    #[test]
    fn every_processor_is_read() {
        for processor in Processor::ALL {
            let revision = Revision::from_code(NEW_STYLE | (*processor as u32) << 12);
            assert_eq!(revision.processor(), Some(*processor));
        }
        for &model in Model::ALL {
            let code = NEW_STYLE | (model.profile().processor as u32) << 12;
            assert_eq!(Revision::from_code(code).model(), Some(model));
        }
    }

    #[test]
    fn every_field_is_found() {
        let revision = Revision::from_code(0xa5_2082);
        assert_eq!(revision.board(), Some(Board::Pi3B));
        assert_eq!(revision.processor(), Some(Processor::Bcm2837));
        assert_eq!(revision.manufacturer(), Some(Manufacturer::Stadium));
        assert_eq!(revision.memory_mib(), Some(1024));
        assert_eq!(revision.board_revision(), Some(2));
        // Overvoltage disallowed, warranty void: the same board.
        assert_eq!(Revision::from_code(0x82a5_2082).to_string(), revision.to_string());
    }

    #[test]
    fn what_is_not_documented_is_not_guessed() {
        for (code, shown) in [
            (0x000e, "Raspberry Pi (old-style revision 000e)"),
            (0x0100_000e, "Raspberry Pi (old-style revision 100000e)"),
            (0xf0_41c0, "Raspberry Pi (unknown revision f041c0)"),
            (0xf0_4170, "Raspberry Pi 5 Model B Rev 1.0"),
            (0, "Raspberry Pi (old-style revision 0000)"),
            (u32::MAX, "Raspberry Pi (unknown revision ffffffff)"),
        ] {
            assert_eq!(Revision::from_code(code).to_string(), shown);
        }
        let old = Revision::from_code(0x000e);
        assert_eq!((old.board(), old.processor(), old.memory_mib()), (None, None, None));
        assert_eq!((old.manufacturer(), old.board_revision(), old.model()), (None, None, None));
    }
}

//! The archive's place in a board's flash.

use clap::ValueEnum;

use super::Args;

/// A kind of board, by its boot ROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Board {
    /// RP2040: W5500-EVB-Pico, or a Pico with such a chip
    Rp2040,
    /// RP2350: W5500-EVB-Pico2, or a Pico 2 with such a chip
    Rp2350,
    /// ESP32-C3 or C6, which take no UF2; selected by --esp
    #[value(skip)]
    Esp,
}

impl Board {
    /// The UF2 family whose blocks the boot ROM writes to the addresses in the file.
    pub(super) const fn family(self) -> u32 {
        match self {
            // The RP2040's only family.
            Self::Rp2040 => 0xe48b_ff56,
            // RP2XXX_ABSOLUTE. RP2350 datasheet, 5.9.4: "will be written at the addresses specified in the UF2 without
            // regard to partition locations"; the family DATA would go to the start of flash, over the firmware.
            Self::Rp2350 | Self::Esp => 0xe48b_ff57,
        }
    }

    /// The board with this UF2 family.
    pub(super) fn of_family(family: u32) -> Option<Self> {
        [Self::Rp2040, Self::Rp2350].into_iter().find(|board| board.family() == family)
    }

    /// Flash of the smallest board of this kind, in bytes.
    const fn flash(self) -> u64 {
        match self {
            Self::Rp2040 | Self::Rp2350 => 2 << 20,
            Self::Esp => 4 << 20,
        }
    }

    /// Flash that the chip can map, in bytes.
    const fn most_flash(self) -> u64 {
        16 << 20
    }
}

/// The packed part of the flash: from `offset` to the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlashRegion {
    pub(super) board: Board,
    /// Start of the region, in bytes from the start of flash.
    pub(super) offset: u64,
    /// Size of the whole flash, in bytes.
    pub(super) flash: u64,
}

impl FlashRegion {
    pub(super) fn new(options: &Args) -> Result<Self, String> {
        let board = if options.esp { Board::Esp } else { options.board };
        let offset = options.offset.unwrap_or(if options.esp { ESP_OFFSET } else { 0 });
        let flash = options.flash.unwrap_or(board.flash());
        if flash > board.most_flash() {
            return Err(format!("--flash {flash}: the chip maps at most {} bytes", board.most_flash()));
        }
        if !offset.is_multiple_of(SECTOR) {
            return Err(format!(
                "--offset {offset:#x}: not a multiple of {SECTOR}, the sector size of flash"
            ));
        }
        if options.offset == Some(0) || offset >= flash {
            return Err(format!(
                "--offset {offset:#x}: must be behind the firmware and below {flash:#x}, the end of flash"
            ));
        }
        Ok(Self { board, offset, flash })
    }

    pub(super) const fn len(&self) -> u64 {
        self.flash - self.offset
    }
}

/// Parses a size in bytes: `1048576`, `0x100000`, `1024K` or `1M`.
///
/// # Errors
///
/// If the text is no size.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size in bytes, like 2097152, 0x200000, 2048K or 2M".to_owned();
    let (digits, unit) = match text.as_bytes() {
        [.., b'K' | b'k'] => (&text[..text.len() - 1], 1 << 10),
        [.., b'M' | b'm'] => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    number.ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

/// The offset at which an ESP32's firmware maps the flash, in bytes.
const ESP_OFFSET: u64 = 1 << 20;

/// The sector size of flash chips, in bytes: the unit of erasing.
pub(super) const SECTOR: u64 = 4096;

/// The address at which both chips map their flash.
pub(super) const FLASH_BASE: u32 = 0x1000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for same in ["2097152", "0x200000", "2048K", "2048k", "2M"] {
            assert_eq!(size(same), Ok(2 << 20), "{same}");
        }
        for wrong in ["", "M", "2G", "-1", "2 M", "0x", "99999999999999999999", "17592186044416M"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}

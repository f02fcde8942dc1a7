//! A boot storm: the requests that many Pi 4 make one after the other, without the two big files.
//!
//! The order is that of captures of a Pi 4 with a bootloader of 2021 and Raspberry Pi OS: the bootloader in the EEPROM
//! first, then start4.elf, each with its own habits. Some files are only probed (the client ends the transfer
//! with ERROR 0), about half are missing, and the others are small. start4.elf and the kernel are big, and only probed here:
//! other points measure the transfer of big files.

use super::Plan;
use super::transfer::{Ask, Habit, Want};
use crate::content::Content;

/// Clients that go through [`BOOT`], each in a directory named by its serial number.
pub(crate) struct Storm {
    /// For each client, how many requests it has made.
    made: Vec<usize>,
}

impl Storm {
    pub(crate) fn new(clients: usize) -> Self {
        Self { made: vec![0; clients] }
    }
}

impl Plan for Storm {
    fn next(&mut self, client: usize, _well: bool) -> Option<Ask> {
        let made = &mut self.made[client];
        let (name, kind) = BOOT.get(*made)?;
        *made += 1;
        let want = match kind {
            Kind::Missing => Want::Missing,
            Kind::Probe => Want::Probe,
            Kind::Get => {
                let len = FILES.iter().find(|(file, _)| file == name).map_or(0, |(_, len)| *len);
                Want::File { len, content: Content::of(&format!("{COMMON}/{name}")) }
            }
        };
        let name = format!("{}/{name}", serial(client)).into();
        Some(Ask { name, block_size: 1024, window: 1, want, habit: Habit::Gaps })
    }
}

/// The directory that a client asks in.
pub(crate) fn serial(client: usize) -> String {
    format!("{:08x}", 0xb0a0_0000_u32 + client as u32)
}

/// The purpose of a request.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Missing,
    Probe,
    Get,
}

/// The requests of one boot.
const BOOT: [(&str, Kind); 40] = [
    // The bootloader.
    ("start4.elf", Kind::Probe),
    ("config.txt", Kind::Get),
    ("vl805.sig", Kind::Missing),
    ("pieeprom.sig", Kind::Missing),
    ("recover4.elf", Kind::Missing),
    ("recovery.elf", Kind::Missing),
    ("start4.elf", Kind::Probe),
    ("fixup4.dat", Kind::Get),
    // start4.elf.
    ("recovery.elf", Kind::Missing),
    ("config.txt", Kind::Probe),
    ("config.txt", Kind::Get),
    ("syscfg.txt", Kind::Missing),
    ("usercfg.txt", Kind::Missing),
    ("dt-blob.bin", Kind::Missing),
    ("recovery.elf", Kind::Missing),
    ("config.txt", Kind::Probe),
    ("config.txt", Kind::Get),
    ("bootcfg.txt", Kind::Missing),
    ("initramfs8", Kind::Missing),
    ("bcm2711-rpi-4-b.dtb", Kind::Probe),
    ("bcm2711-rpi-4-b.dtb", Kind::Get),
    ("overlays/overlay_map.dtb", Kind::Probe),
    ("overlays/overlay_map.dtb", Kind::Get),
    ("config.txt", Kind::Probe),
    ("config.txt", Kind::Get),
    ("overlays/vc4-kms-v3d.dtbo", Kind::Probe),
    ("overlays/vc4-kms-v3d.dtbo", Kind::Get),
    ("overlays/disable-bt.dtbo", Kind::Probe),
    ("overlays/disable-bt.dtbo", Kind::Get),
    ("overlays/i2c-rtc.dtbo", Kind::Missing),
    ("cmdline.txt", Kind::Probe),
    ("cmdline.txt", Kind::Get),
    ("recovery8.img", Kind::Missing),
    ("recovery7l.img", Kind::Missing),
    ("recovery7.img", Kind::Missing),
    ("recovery.img", Kind::Missing),
    ("kernel8.img", Kind::Probe),
    ("armstub8-gic.bin", Kind::Missing),
    ("armstub8-32-gic.bin", Kind::Missing),
    ("kernel8.img", Kind::Probe),
];

/// The number of requests of one boot.
pub(crate) const REQUESTS: usize = BOOT.len();

/// The files that exist, and their lengths in bytes.
pub(crate) const FILES: &[(&str, u64)] = &[
    ("start4.elf", 2_300_000),
    ("fixup4.dat", 6_100),
    ("config.txt", 1_247),
    ("bcm2711-rpi-4-b.dtb", 52_000),
    ("overlays/overlay_map.dtb", 5_971),
    ("overlays/vc4-kms-v3d.dtbo", 3_306),
    ("overlays/disable-bt.dtbo", 1_363),
    ("cmdline.txt", 221),
    ("kernel8.img", 9_285_745),
];

/// The directory that holds them; a link for each serial number leads there.
pub(crate) const COMMON: &str = "common";

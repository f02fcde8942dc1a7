//! The Pi 4, 400, CM4 and CM4S.

use super::super::{Board, Model, Processor, Revision};
use super::{
    BootCode, CONFIG_IGNORED, Firmware, Firmwares, IGNORED, MachineId, Names, Profile, Requests, STOPS,
    Widths,
};
use crate::dhcp::BootClient;
use crate::tftp::Options;

pub(super) const PI4: Profile = Profile {
    model: Model::Pi4,
    word: "pi4",
    name: "Raspberry Pi 4",
    processor: Processor::Bcm2711,
    soc: "bcm2711",
    board: Board::Pi4B,
    boot_code: BootCode::StartElf,

    // A Pi 4 with 8 GB, revision 1.4 (captured, raballew/pipxe).
    machine_id: MachineId::Structured { fourcc: *b"RPi4", revision: Revision::from_code(0x00d0_3114) },
    boot_client: BootClient::PiEeprom,

    bootloader: Requests { options: Options::RASPBERRY_PI, size_first: false },
    // A client of its own, with smaller blocks (reported, raspberrypi/rpi-eeprom issue 375).
    loader: Requests {
        options: Options { block_size: Some(1024), ..Options::RASPBERRY_PI },
        size_first: true,
    },
    without_options: CONFIG_IGNORED,

    root_files: &[],
    own_directory: &["start4.elf", "start.elf"],
    loader_root: "",

    filters: &["pi4", "pi400", "cm4", "cm4s"],
    config_limit: 4096,
    config_too_long: IGNORED,
    os_check: None,

    self_update: true,
    firmware: Some(Firmwares {
        plain: Firmware { start: "start4.elf", fixup: "fixup4.dat" },
        cut_down: Firmware { start: "start4cd.elf", fixup: "fixup4cd.dat" },
        debug: Firmware { start: "start4db.elf", fixup: "fixup4db.dat" },
        extended: Firmware { start: "start4x.elf", fixup: "fixup4x.dat" },
    }),
    recovery_firmware: &["recover4.elf", "recovery.elf"],

    kernels: Names {
        unset: &["kernel8.img", "kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"],
        in_32_bits: &["kernel8-32.img", "kernel7l.img", "kernel7.img", "kernel.img"],
        in_64_bits: &["kernel8.img"],
    },
    recovery_kernels: Names {
        unset: &["recovery8.img", "recovery8-32.img", "recovery7l.img", "recovery7.img", "recovery.img"],
        in_32_bits: &["recovery8-32.img", "recovery7l.img", "recovery7.img", "recovery.img"],
        in_64_bits: &["recovery8.img"],
    },
    is_64bit: true,
    assumed_kernel: Widths { in_32_bits: "kernel7l.img", in_64_bits: "kernel8.img" },
    last_resort: None,
    no_kernel: STOPS,
    arm_stub: Widths { in_32_bits: "armstub8-32-gic.bin", in_64_bits: "armstub8-gic.bin" },

    device_tree: "bcm2711-rpi-4-b.dtb",
    other_device_trees: &[("400", "bcm2711-rpi-400.dtb"), ("CM4", "bcm2711-rpi-cm4.dtb")],
    overlay_platform: "bcm2711",
};

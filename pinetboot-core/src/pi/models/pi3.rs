//! The Pi 3, and the boards that boot like one: Pi 2B since revision 1.2, Zero 2 W, CM3, CM0.

use super::super::{Board, Model, Processor};
use super::{
    BootCode, CONFIG_IGNORED, Firmware, Firmwares, IGNORED, MachineId, Names, Profile, Requests, STOPS,
    Widths,
};
use crate::dhcp::BootClient;
use crate::tftp::Options;

pub(super) const PI3: Profile = Profile {
    model: Model::Pi3,
    word: "pi3",
    name: "Raspberry Pi 3",
    processor: Processor::Bcm2837,
    soc: "bcm2837",
    board: Board::Pi3B,
    boot_code: BootCode::BootRom,

    machine_id: MachineId::BootRom,
    boot_client: BootClient::PiBootRom,

    bootloader: Requests { options: NO_OPTIONS, size_first: false },
    loader: Requests { options: Options { block_size: None, ..Options::RASPBERRY_PI }, size_first: false },
    without_options: CONFIG_IGNORED,

    root_files: &["bootcode.bin", "bootsig.bin"],
    own_directory: &["start.elf"],
    loader_root: "",

    filters: &["pi2", "pi3", "pi3+", "pi02", "pi02w", "cm0", "cm3", "cm3+"],
    config_limit: 4096,
    config_too_long: IGNORED,
    os_check: None,

    self_update: false,
    firmware: Some(Firmwares {
        plain: Firmware { start: "start.elf", fixup: "fixup.dat" },
        cut_down: Firmware { start: "start_cd.elf", fixup: "fixup_cd.dat" },
        debug: Firmware { start: "start_db.elf", fixup: "fixup_db.dat" },
        extended: Firmware { start: "start_x.elf", fixup: "fixup_x.dat" },
    }),
    recovery_firmware: &["recovery.elf"],

    kernels: Names {
        unset: &["kernel8-32.img", "kernel7.img", "kernel.img"],
        in_32_bits: &["kernel8-32.img", "kernel7.img", "kernel.img"],
        in_64_bits: &["kernel8.img"],
    },
    recovery_kernels: Names {
        unset: &["recovery8.img", "recovery8-32.img", "recovery7.img", "recovery.img"],
        in_32_bits: &["recovery8.img", "recovery8-32.img", "recovery7.img", "recovery.img"],
        in_64_bits: &["recovery8.img"],
    },
    is_64bit: false,
    assumed_kernel: Widths { in_32_bits: "kernel7.img", in_64_bits: "kernel8.img" },
    last_resort: Some("kernel8.img"),
    no_kernel: STOPS,
    arm_stub: Widths { in_32_bits: "armstub8-32.bin", in_64_bits: "armstub8.bin" },

    device_tree: "bcm2710-rpi-3-b.dtb",
    other_device_trees: &[
        ("3B+", "bcm2710-rpi-3-b-plus.dtb"),
        ("CM3", "bcm2710-rpi-cm3.dtb"),
        ("Zero 2 W", "bcm2710-rpi-zero-2-w.dtb"),
    ],
    overlay_platform: "bcm2835",
};

const NO_OPTIONS: Options = Options { block_size: None, transfer_size: None, ..Options::RASPBERRY_PI };

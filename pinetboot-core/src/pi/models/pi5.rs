//! The Pi 5, 500, CM5 and CM5 Lite.

use super::super::{Board, Model, Processor, Revision, rules};
use super::{BootCode, Consequence, MachineId, Names, OsCheck, Profile, Requests, Widths};
use crate::dhcp::BootClient;
use crate::tftp::Options;

pub(super) const PI5: Profile = Profile {
    model: Model::Pi5,
    word: "pi5",
    name: "Raspberry Pi 5",
    processor: Processor::Bcm2712,
    soc: "bcm2712",
    board: Board::Pi5,
    boot_code: BootCode::Eeprom,

    // A Pi 5 with 8 GB, revision 1.0 (captured, NumberOneGit/rpi5-uefi issue 8).
    machine_id: MachineId::Structured { fourcc: *b"RPi5", revision: Revision::from_code(0x00d0_4170) },
    boot_client: BootClient::PiEeprom,

    bootloader: Requests { options: Options::RASPBERRY_PI, size_first: false },
    loader: Requests { options: Options::RASPBERRY_PI, size_first: false },
    // Captured, bootloader 2026-05-26.
    without_options: Consequence {
        text: "boots nevertheless, in blocks of 512 bytes: about three times as slowly as with blksize",
        rule: None,
    },

    root_files: &[],
    own_directory: &["config.txt"],
    loader_root: "/",

    filters: &["pi5", "pi500", "pi500+", "cm5", "cm5l"],
    config_limit: 16384,
    config_too_long: Consequence {
        text: "was reported not to boot (raspberrypi/firmware#1848)",
        rule: Some(&rules::CONFIG_OVER_16_KIB),
    },
    os_check: Some(OsCheck {
        compatible: "brcm,bcm2712",
        // Captured, siderolabs/talos issue 7978 and NixOS/nixos-hardware issue 1928.
        says: "The installed operating system (OS) does not indicate support for Raspberry Pi 5. Update the OS or set \
               os_check=0 in config.txt to skip this check.",
    }),

    self_update: true,
    firmware: None,
    recovery_firmware: &[],

    kernels: Names { unset: PI5_KERNELS, in_32_bits: PI5_KERNELS, in_64_bits: PI5_KERNELS },
    recovery_kernels: Names { unset: &[], in_32_bits: &[], in_64_bits: &[] },
    is_64bit: true,
    assumed_kernel: Widths { in_32_bits: "kernel_2712.img", in_64_bits: "kernel_2712.img" },
    last_resort: None,
    no_kernel: Consequence {
        text: "says: BOOT ERROR: code 7 - Kernel or device-tree not found or is not compatible",
        rule: Some(&rules::NO_KERNEL_OR_DEVICE_TREE),
    },
    arm_stub: Widths { in_32_bits: "armstub8-2712.bin", in_64_bits: "armstub8-2712.bin" },

    device_tree: "bcm2712-rpi-5-b.dtb",
    other_device_trees: &[("500", "bcm2712-rpi-500.dtb"), ("CM5", "bcm2712-rpi-cm5-cm5io.dtb")],
    overlay_platform: "bcm2712",
};

const PI5_KERNELS: &[&str] = &["kernel_2712.img", "kernel8.img"];

//! The order in which each model asks for its files.
//!
//! As captured: a Pi 5 over TFTP with a bare-metal tree (bootloader 2026-05-26), and in UART logs with Raspberry Pi OS
//! (NumberOneGit/rpi5-uefi issue 8, raspberrypi/linux issue 7319); a Pi 4 in raspberrypi/rpi-eeprom issue 74 and in
//! logs of dnsmasq (bootloaders of 2021); a Pi 3 in raspberrypi/firmware issues 1041 and 1605. That a Pi 5 forgets its
//! prefix when there is no config.txt under it is inferred, and so is when `os_prefix` is tried.
//!
//! Not done: what only some boards ask for (`vl805.bin` of the first Pi 4s, `bcm2712d0.dtbo` of newer Pi 5s), the
//! second fetch of a small kernel, and `TFTP_PREFIX`.

use pinetboot_core::pi::{Model, Stage};
use pinetboot_core::tftp::Options;

use super::boot::{Boot, Over};
use super::config_txt::Config;
use super::loader::{Loader, os_check};
use super::timeline::Miss;

/// Boots.
pub(super) fn boot(boot: &mut Boot<'_>) -> Result<(), Over> {
    match boot.board.model {
        Model::Pi3 => pi3(boot),
        Model::Pi4 => pi4(boot),
        _ => pi5(boot),
    }
}

/// The bootloader in EEPROM loads everything.
fn pi5(boot: &mut Boot<'_>) -> Result<(), Over> {
    boot.options = Options::RASPBERRY_PI;
    boot.use_prefix();
    let mut config = boot.early_config(Miss::Normal("no own files"))?;
    if config.is_none() {
        boot.drop_prefix();
        config = boot.early_config(Miss::Bad)?;
    }
    let Some(config) = config else { return Err(nothing(boot, "config.txt")) };
    if config.boot_ramdisk {
        return boot.boot_image();
    }
    boot.self_update()?;
    if config.os_check {
        os_check(boot, &config)?;
    }
    let mut loader = Loader::new(boot);
    loader.read_config()?;
    loader.read_config()?;
    loader.settle_prefix()?;
    let kernel = loader.find_kernel()?;
    loader.take_initramfs(kernel.as_deref().unwrap_or_default())?;
    if loader.take_device_tree()? {
        loader.take_overlays()?;
    }
    loader.take_command_line()?;
    loader.take_arm_stub(true)?;
    loader.take_kernel(kernel)
}

/// The bootloader in EEPROM loads start4.elf, and that the rest.
fn pi4(boot: &mut Boot<'_>) -> Result<(), Over> {
    boot.options = Options::RASPBERRY_PI;
    boot.use_prefix();
    // > If neither start4.elf nor start.elf are found in the prefixed directory then the prefix is cleared.
    // (raspberrypi/documentation, eeprom-bootloader.adoc)
    if !boot.there(Stage::Firmware, "start4.elf", Miss::Normal("start.elf next"))?
        && !boot.there(Stage::Firmware, "start.elf", Miss::Normal("no own files"))?
    {
        boot.drop_prefix();
    }
    let config = config_or_default(boot)?;
    if config.boot_ramdisk {
        return boot.boot_image();
    }
    boot.self_update()?;
    no_recovery(boot, "recover4.elf")?;
    no_recovery(boot, "recovery.elf")?;
    let (start, fixup) = firmware(&config, "4");
    if boot.take(Stage::Firmware, &start, Miss::Bad)?.is_none() {
        // Asked for, but made for older models.
        boot.take(Stage::Firmware, "start.elf", Miss::Bad)?;
        return Err(nothing(boot, &start));
    }
    take_fixup(boot, &fixup)?;
    // A client of its own, with smaller blocks (reported, raspberrypi/rpi-eeprom issue 375); it looks before it takes.
    boot.options = Options { block_size: Some(1024), ..Options::RASPBERRY_PI };
    boot.looks_first = true;
    load_system(boot)
}

/// The boot ROM loads bootcode.bin, that start.elf, and that the rest.
fn pi3(boot: &mut Boot<'_>) -> Result<(), Over> {
    boot.options = Options::default();
    if boot.take(Stage::Loader, "bootcode.bin", Miss::Bad)?.is_none() {
        return Err(boot.end(
            "bootcode.bin",
            "not found. A Raspberry Pi 3 asks for it by this name only, never in a directory of its own, and stops.",
            "copy it to the top of the served tree, from https://github.com/raspberrypi/firmware, directory boot.",
        ));
    }
    boot.take(Stage::Loader, "bootsig.bin", Miss::Normal("not signed"))?;
    boot.options = Options { block_size: None, ..Options::RASPBERRY_PI };
    boot.use_prefix();
    if !boot.there(Stage::Firmware, "start.elf", Miss::Normal("no own files"))? {
        boot.drop_prefix();
    }
    boot.take(Stage::Config, "autoboot.txt", Miss::Normal("optional"))?;
    let config = config_or_default(boot)?;
    if config.boot_ramdisk {
        return boot.boot_image();
    }
    no_recovery(boot, "recovery.elf")?;
    let (start, fixup) = firmware(&config, "");
    if boot.take(Stage::Firmware, &start, Miss::Bad)?.is_none() {
        return Err(nothing(boot, &start));
    }
    take_fixup(boot, &fixup)?;
    load_system(boot)
}

/// What start.elf and start4.elf do.
fn load_system(boot: &mut Boot<'_>) -> Result<(), Over> {
    no_recovery(boot, "recovery.elf")?;
    let mut loader = Loader::new(boot);
    loader.read_config()?;
    loader.boot.take(Stage::Firmware, "dt-blob.bin", Miss::Normal("optional"))?;
    no_recovery(loader.boot, "recovery.elf")?;
    loader.read_config()?;
    loader.boot.take(Stage::Config, "bootcfg.txt", Miss::Normal("optional"))?;
    loader.settle_prefix()?;
    let expected = loader.expected_kernel();
    loader.take_initramfs(&expected)?;
    if loader.take_device_tree()? {
        loader.take_overlays()?;
    }
    loader.take_command_line()?;
    let kernel = loader.find_kernel_and_stub()?;
    loader.boot.looks_first = false;
    loader.take_kernel(kernel)
}

/// A Pi 3 or 4 does without config.txt.
fn config_or_default(boot: &mut Boot<'_>) -> Result<Config, Over> {
    let config = boot.early_config(Miss::Bad)?;
    if config.is_none() {
        boot.findings.warn("config.txt is not there. The Pi goes by its defaults.");
    }
    Ok(config.unwrap_or_default())
}

fn no_recovery(boot: &mut Boot<'_>, name: &str) -> Result<(), Over> {
    if boot.take(Stage::Firmware, name, Miss::Normal("no recovery"))?.is_some() {
        boot.findings.warn(format!(
            "{name} is there. A {} starts it (it belongs to NOOBS or PINN) instead of the system: take it away.",
            boot.pi()
        ));
    }
    Ok(())
}

fn take_fixup(boot: &mut Boot<'_>, fixup: &str) -> Result<(), Over> {
    if boot.take(Stage::Firmware, fixup, Miss::Bad)?.is_none() {
        boot.findings.warn(format!(
            "{fixup} is not there. Without it the Pi has but a part of its memory. It belongs with the firmware, \
             from the same release."
        ));
    }
    Ok(())
}

/// The names of start.elf and fixup.dat: as config.txt has them, or those of a variant.
///
/// `start_x=1` stands for start_x.elf and fixup_x.dat, on a Pi 4 for start4x.elf and fixup4x.dat, and so on
/// (raspberrypi/documentation, config_txt/boot.adoc).
fn firmware(config: &Config, model: &str) -> (String, String) {
    let underscore = if model.is_empty() { "_" } else { "" };
    let variant = match config {
        Config { cut_down: true, .. } => "cd".to_owned(),
        Config { start_debug: true, .. } => format!("{underscore}db"),
        Config { start_x: true, .. } => format!("{underscore}x"),
        _ => String::new(),
    };
    let start = config.start_file.clone().unwrap_or_else(|| format!("start{model}{variant}.elf"));
    let fixup = config.fixup_file.clone().unwrap_or_else(|| format!("fixup{model}{variant}.dat"));
    (start, fixup)
}

/// The file that makes a directory one to boot from is not there.
fn nothing(boot: &mut Boot<'_>, file: &str) -> Over {
    let own = format!("{:08x}", boot.board.serial);
    let pi = boot.pi();
    boot.end(
        file,
        &format!(
            "not found, neither in {own}/ nor in the directory for all. To a {pi} there is nothing to boot from \
             here, and it goes on to the next entry of its BOOT_ORDER.",
        ),
        &format!(
            "serve the directory that {file} is in. Files for this Pi alone go into a directory {own} of it: the \
             last eight digits of its serial number, in small letters. And see that the server may read them.",
        ),
    )
}

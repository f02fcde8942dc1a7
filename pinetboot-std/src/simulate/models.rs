//! The order in which each kind of boot code asks for its files. What else differs between models is in their profiles.
//!
//! As captured: a Pi 5 over TFTP with a bare-metal tree (bootloader 2026-05-26), and in UART logs with Raspberry Pi OS
//! (NumberOneGit/rpi5-uefi issue 8, raspberrypi/linux issue 7319); a Pi 4 in raspberrypi/rpi-eeprom issue 74 and in
//! logs of dnsmasq (bootloaders of 2021); a Pi 3 in raspberrypi/firmware issues 1041 and 1605. That a Pi 5 forgets its
//! prefix when there is no config.txt under it is inferred, and so is when `os_prefix` is tried.
//!
//! Not done: what only some boards ask for (`vl805.bin` of the first Pi 4s, `bcm2712d0.dtbo` of newer Pi 5s), the
//! second fetch of a small kernel, and `TFTP_PREFIX`.

use pinetboot_core::pi::{BootCode, Firmwares, Stage, rules};

use super::boot::{Boot, Over};
use super::config_txt::Config;
use super::loader::{Loader, os_check};
use super::timeline::Miss;
use crate::finding::Finding;

/// Boots.
pub(super) fn boot(boot: &mut Boot<'_>) -> Result<(), Over> {
    boot.hand_over(boot.profile().bootloader);
    match boot.profile().boot_code {
        BootCode::BootRom => boot_rom(boot),
        BootCode::StartElf => start_elf(boot),
        BootCode::Eeprom => eeprom(boot),
    }
}

/// The bootloader in EEPROM loads everything.
fn eeprom(boot: &mut Boot<'_>) -> Result<(), Over> {
    boot.use_prefix();
    let mut config = boot.early_config(Miss::Normal(NO_OWN))?;
    if config.is_none() {
        boot.drop_prefix();
        config = boot.early_config(Miss::Bad)?;
    }
    let Some(config) = config else { return Err(nothing(boot, "config.txt")) };
    if config.boot_ramdisk {
        return boot.boot_image();
    }
    self_update(boot)?;
    if let Some(check) = boot.profile().os_check.filter(|_| config.os_check) {
        os_check(boot, &config, &check)?;
    }
    boot.hand_over(boot.profile().loader);
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
fn start_elf(boot: &mut Boot<'_>) -> Result<(), Over> {
    settle_directory(boot)?;
    let config = config_or_default(boot)?;
    if config.boot_ramdisk {
        return boot.boot_image();
    }
    self_update(boot)?;
    no_recovery(boot, boot.profile().recovery_firmware)?;
    take_firmware(boot, &config)?;
    boot.hand_over(boot.profile().loader);
    load_system(boot)
}

/// The boot ROM loads bootcode.bin, that start.elf, and that the rest.
fn boot_rom(boot: &mut Boot<'_>) -> Result<(), Over> {
    for (index, name) in boot.profile().root_files.iter().enumerate() {
        let miss = if index == 0 { Miss::Bad } else { Miss::Normal("not signed") };
        if boot.take(Stage::Loader, name, miss)?.is_none() && index == 0 {
            let finding = Finding::problem("not found.").rule(&rules::NO_BOOT_FILES).evidence(format!(
                "A {} asks for it by this name only, never in a directory of its own, and stops.",
                boot.pi()
            ));
            let remedy = "Copy it to the top of the served tree, from https://github.com/raspberrypi/firmware, \
                          directory boot.";
            return Err(boot.end(name, finding.remedy(remedy)));
        }
    }
    boot.hand_over(boot.profile().loader);
    settle_directory(boot)?;
    boot.take(Stage::Config, "autoboot.txt", Miss::Normal("optional"))?;
    let config = config_or_default(boot)?;
    if config.boot_ramdisk {
        return boot.boot_image();
    }
    no_recovery(boot, boot.profile().recovery_firmware)?;
    take_firmware(boot, &config)?;
    load_system(boot)
}

/// Sees whether the Pi has a directory of its own.
///
/// > If neither start4.elf nor start.elf are found in the prefixed directory then the prefix is cleared.
///
/// (raspberrypi/documentation, eeprom-bootloader.adoc)
fn settle_directory(boot: &mut Boot<'_>) -> Result<(), Over> {
    boot.use_prefix();
    let names = boot.profile().own_directory;
    for (index, name) in names.iter().enumerate() {
        let miss = if index + 1 < names.len() { "another follows" } else { NO_OWN };
        if boot.there(Stage::Firmware, name, Miss::Normal(miss))? {
            return Ok(());
        }
    }
    boot.drop_prefix();
    Ok(())
}

/// The Pi looks for a newer bootloader for itself, if it has one.
fn self_update(boot: &mut Boot<'_>) -> Result<(), Over> {
    if boot.profile().self_update { boot.self_update() } else { Ok(()) }
}

/// What start.elf and start4.elf do.
fn load_system(boot: &mut Boot<'_>) -> Result<(), Over> {
    let recovery = boot.profile().recovery_firmware.last();
    no_recovery(boot, recovery)?;
    let mut loader = Loader::new(boot);
    loader.read_config()?;
    loader.boot.take(Stage::Firmware, "dt-blob.bin", Miss::Normal("optional"))?;
    no_recovery(loader.boot, recovery)?;
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
        boot.add(Finding::warning("config.txt is not there.").evidence("The Pi goes by its defaults."));
    }
    Ok(config.unwrap_or_default())
}

/// The Pi looks for recovery systems for its VideoCore.
fn no_recovery<'n>(boot: &mut Boot<'_>, names: impl IntoIterator<Item = &'n &'n str>) -> Result<(), Over> {
    for name in names {
        if boot.take(Stage::Firmware, name, Miss::Normal("no recovery"))?.is_some() {
            let text =
                format!("A {} starts it (it belongs to NOOBS or PINN) instead of the system.", boot.pi());
            boot.add(Finding::warning(format!("{name} is there.")).evidence(text).remedy("Remove it."));
        }
    }
    Ok(())
}

/// Takes start.elf and what belongs to it.
fn take_firmware(boot: &mut Boot<'_>, config: &Config) -> Result<(), Over> {
    let Some(firmwares) = boot.profile().firmware else { return Ok(()) };
    let (start, fixup) = firmware(config, &firmwares);
    if boot.take(Stage::Firmware, &start, Miss::Bad)?.is_none() {
        // Asked for, but made for older models.
        for other in boot.profile().own_directory.iter().filter(|other| **other != firmwares.plain.start) {
            boot.take(Stage::Firmware, other, Miss::Bad)?;
        }
        return Err(nothing(boot, &start));
    }
    if boot.take(Stage::Firmware, &fixup, Miss::Bad)?.is_none() {
        let finding = Finding::warning(format!("{fixup} is not there."));
        boot.add(
            finding
                .evidence("Without it the Pi has but a part of its memory.")
                .remedy("Copy it from the release that the firmware is from."),
        );
    }
    Ok(())
}

/// The names of start.elf and fixup.dat: as config.txt has them, or those of a variant.
///
/// `start_x=1` stands for start_x.elf and fixup_x.dat, on a Pi 4 for start4x.elf and fixup4x.dat, and so on
/// (raspberrypi/documentation, config_txt/boot.adoc).
fn firmware(config: &Config, firmwares: &Firmwares) -> (String, String) {
    let variant = match config {
        Config { cut_down: true, .. } => firmwares.cut_down,
        Config { start_debug: true, .. } => firmwares.debug,
        Config { start_x: true, .. } => firmwares.extended,
        _ => firmwares.plain,
    };
    let start = config.start_file.clone().unwrap_or_else(|| variant.start.into());
    let fixup = config.fixup_file.clone().unwrap_or_else(|| variant.fixup.into());
    (start, fixup)
}

/// The file that makes a directory one to boot from is not there.
fn nothing(boot: &mut Boot<'_>, file: &str) -> Over {
    let own = format!("{:08x}", boot.board.serial);
    let pi = boot.pi();
    let finding = Finding::problem(format!("not found, neither in {own}/ nor in the directory for all."));
    let evidence = format!(
        "To a {pi} there is nothing to boot from here, and it goes on to the next entry of its BOOT_ORDER."
    );
    let remedy = format!(
        "Serve the directory that {file} is in. Files for this Pi alone go into a directory {own} of it: the last \
         eight digits of its serial number, in small letters. And see that the server may read them.",
    );
    boot.end(file, finding.rule(&rules::NO_BOOT_FILES).evidence(evidence).remedy(remedy))
}

/// Why it is normal that a Pi's own directory has no such file.
const NO_OWN: &str = "no own files";

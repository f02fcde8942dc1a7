//! The order of requests for each kind of boot code. All other differences between models are in their profiles.
//!
//! As captured: a Pi 5 over TFTP with a bare-metal tree (bootloader 2026-05-26), and in UART logs with Raspberry Pi OS
//! (NumberOneGit/rpi5-uefi issue 8, raspberrypi/linux issue 7319); a Pi 4 in raspberrypi/rpi-eeprom issue 74 and in
//! logs of dnsmasq (bootloaders of 2021); a Pi 3 in raspberrypi/firmware issues 1041 and 1605. Inferred: a Pi 5 drops its
//! prefix if no config.txt is beneath it, and the time at which it tries `os_prefix`.
//!
//! Not done: files that only some boards request (`vl805.bin` of the first Pi 4s, `bcm2712d0.dtbo` of newer Pi 5s), the
//! second fetch of a small kernel, and `TFTP_PREFIX`.

use pinetboot_core::pi::{BootCode, Firmwares, Stage, rules};

use super::boot::{Over, SimulatedBoot};
use super::config_txt::ConfigTxt;
use super::loader::{Loader, os_check};
use super::timeline::Miss;
use crate::finding::Finding;

/// Runs the boot of the board's model.
pub(super) fn boot(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
    boot.hand_over(boot.profile().bootloader);
    match boot.profile().boot_code {
        BootCode::BootRom => boot_rom(boot),
        BootCode::StartElf => start_elf(boot),
        BootCode::Eeprom => eeprom(boot),
    }
}

/// The bootloader in EEPROM loads everything.
fn eeprom(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
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

/// The bootloader in EEPROM loads start4.elf, which loads the rest.
fn start_elf(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
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

/// The boot ROM loads bootcode.bin, which loads start.elf, which loads the rest.
fn boot_rom(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
    for (index, name) in boot.profile().root_files.iter().enumerate() {
        let miss = if index == 0 { Miss::Bad } else { Miss::Normal("not signed") };
        if boot.take(Stage::Loader, name, miss)?.is_none() && index == 0 {
            let finding = Finding::problem("not found.").rule(&rules::NO_BOOT_FILES).evidence(format!(
                "A {} requests this name only, never in its own directory, and stops.",
                boot.pi()
            ));
            let remedy = "Copy the file to the top of the served tree, from https://github.com/raspberrypi/firmware, \
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

/// Finds out whether the server has a directory for the Pi.
///
/// > If neither start4.elf nor start.elf are found in the prefixed directory then the prefix is cleared.
///
/// (raspberrypi/documentation, eeprom-bootloader.adoc)
fn settle_directory(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
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

/// Looks for an update of the bootloader, if the model has a bootloader in EEPROM.
fn self_update(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
    if boot.profile().self_update { boot.self_update() } else { Ok(()) }
}

/// The part of start.elf and start4.elf.
fn load_system(boot: &mut SimulatedBoot<'_>) -> Result<(), Over> {
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

/// Fetches config.txt; a Pi 3 or 4 boots without it.
fn config_or_default(boot: &mut SimulatedBoot<'_>) -> Result<ConfigTxt, Over> {
    let config = boot.early_config(Miss::Bad)?;
    if config.is_none() {
        boot.add(Finding::warning("config.txt is missing.").evidence("The Pi uses its defaults."));
    }
    Ok(config.unwrap_or_default())
}

/// Looks for recovery systems for the VideoCore.
fn no_recovery<'n>(
    boot: &mut SimulatedBoot<'_>,
    names: impl IntoIterator<Item = &'n &'n str>,
) -> Result<(), Over> {
    for name in names {
        if boot.take(Stage::Firmware, name, Miss::Normal("no recovery"))?.is_some() {
            let text = format!("A {} starts this file of NOOBS or PINN instead of the system.", boot.pi());
            boot.add(
                Finding::warning(format!("the server has {name}.")).evidence(text).remedy("Remove the file."),
            );
        }
    }
    Ok(())
}

/// Fetches start.elf and its fixup file.
fn take_firmware(boot: &mut SimulatedBoot<'_>, config: &ConfigTxt) -> Result<(), Over> {
    let Some(firmwares) = boot.profile().firmware else { return Ok(()) };
    let (start, fixup) = firmware(config, &firmwares);
    if boot.take(Stage::Firmware, &start, Miss::Bad)?.is_none() {
        // The Pi requests these too, but they are for older models.
        for other in boot.profile().own_directory.iter().filter(|other| **other != firmwares.plain.start) {
            boot.take(Stage::Firmware, other, Miss::Bad)?;
        }
        return Err(nothing(boot, &start));
    }
    if boot.take(Stage::Firmware, &fixup, Miss::Bad)?.is_none() {
        let finding = Finding::warning(format!("{fixup} is missing."));
        boot.add(
            finding
                .evidence("Without this file the Pi has only a part of its memory.")
                .remedy("Copy the file from the same release as the firmware."),
        );
    }
    Ok(())
}

/// The names of start.elf and fixup.dat: config.txt's, or those of a variant.
///
/// `start_x=1` stands for start_x.elf and fixup_x.dat, on a Pi 4 for start4x.elf and fixup4x.dat, and so on
/// (raspberrypi/documentation, config_txt/boot.adoc).
fn firmware(config: &ConfigTxt, firmwares: &Firmwares) -> (String, String) {
    let variant = match config {
        ConfigTxt { cut_down: true, .. } => firmwares.cut_down,
        ConfigTxt { start_debug: true, .. } => firmwares.debug,
        ConfigTxt { start_x: true, .. } => firmwares.extended,
        _ => firmwares.plain,
    };
    let start = config.start_file.clone().unwrap_or_else(|| variant.start.into());
    let fixup = config.fixup_file.clone().unwrap_or_else(|| variant.fixup.into());
    (start, fixup)
}

/// Ends the boot without the first file of a boot directory.
fn nothing(boot: &mut SimulatedBoot<'_>, file: &str) -> Over {
    let own = format!("{:08x}", boot.board.serial);
    let pi = boot.pi();
    let finding = Finding::problem(format!("not found, neither in {own}/ nor in the shared directory."));
    let evidence =
        format!("A {pi} finds no boot files here, and continues with the next entry of its BOOT_ORDER.");
    let remedy = format!(
        "Serve the directory that holds {file}. Files for this Pi only go into its directory {own}: the last eight \
         digits of the serial number, in lower case. Check that the server may read the files.",
    );
    boot.end(file, finding.rule(&rules::NO_BOOT_FILES).evidence(evidence).remedy(remedy))
}

/// The reason why a miss in the Pi's own directory is normal.
const NO_OWN: &str = "no own files";

//! The loader of the system, the same on all models: start.elf of a Pi 3, start4.elf of a Pi 4, the bootloader of a Pi 5.
//!
//! The loader reads config.txt, then fetches initramfs, device tree, overlays, command line, ARM stub and kernel as named
//! there. The order is the model's (`models.rs`); `kernel.rs` chooses the kernel.

use pinetboot_core::pi::{OsCheck, Profile, Stage, rules};

use super::boot::{Over, SimulatedBoot};
use super::checks;
use super::config_txt::{ConfigTxt, UPSTREAM};
use super::fdt::Fdt;
use super::fetch::Taken;
use super::overlay_map::{Mapped, look_up};
use super::timeline::Miss;
use crate::finding::Finding;

pub(super) struct Loader<'b, 'a> {
    pub(super) boot: &'b mut SimulatedBoot<'a>,
    pub(super) config: ConfigTxt,
    /// `os_prefix`, once its kernel and device tree are found.
    pub(super) os_prefix: String,
    /// The beginning of some file names: a slash on a Pi 5.
    slash: &'static str,
}

impl<'b, 'a> Loader<'b, 'a> {
    pub(super) fn new(boot: &'b mut SimulatedBoot<'a>) -> Self {
        let slash = boot.profile().loader_root;
        Self { boot, config: ConfigTxt::default(), os_prefix: String::new(), slash }
    }

    /// The profile of the model.
    pub(super) const fn profile(&self) -> &'static Profile {
        self.boot.profile()
    }

    /// Fetches config.txt and its includes.
    pub(super) fn read_config(&mut self) -> Result<(), Over> {
        let Self { boot, slash, .. } = self;
        let Some(taken) = boot.take(Stage::Config, &format!("{slash}config.txt"), Miss::Bad)? else {
            return Ok(());
        };
        checks::config_len(&mut boot.summary.findings, boot.board.profile(), taken.bytes);
        let board = boot.board;
        let mut include = |name: &str| {
            let path = format!("{slash}{}", name.trim_start_matches('/'));
            let included = boot.take(Stage::Config, &path, Miss::Bad)?;
            if included.is_none() {
                boot.add(
                    Finding::warning(format!("config.txt includes {name}, which is missing."))
                        .evidence("The Pi continues without the file."),
                );
            }
            Ok::<_, Over>(included.map(|taken| taken.kept))
        };
        self.config = ConfigTxt::parse_with(&taken.kept, board, &mut include)?;
        for remark in &self.config.remarks {
            self.boot.add(Finding::note(format!("config.txt: {remark}.")));
        }
        Ok(())
    }

    /// Checks `os_prefix`.
    ///
    /// > unless the expected kernel and .dtb can be found at the new location/name, the prefix is ignored (set to "")
    ///
    /// (raspberrypi/documentation, config_txt/boot.adoc)
    pub(super) fn settle_prefix(&mut self) -> Result<(), Over> {
        let prefix = self.config.os_prefix.clone();
        if prefix.is_empty() {
            return Ok(());
        }
        let mut good = false;
        for name in self.kernel_names() {
            good = self.boot.there(Stage::Kernel, &join(&prefix, &name), Miss::Normal("another follows"))?;
            if good {
                break;
            }
        }
        let device_tree = self.device_tree_name();
        if good && !device_tree.is_empty() {
            good = self.boot.there(Stage::DeviceTree, &join(&prefix, &device_tree), Miss::Bad)?;
        }
        if good {
            self.os_prefix = prefix;
        } else {
            let what = format!(
                "os_prefix={prefix} is ignored, because kernel and device tree do not both exist there."
            );
            // Debian's config.txt has upstream_kernel=1, and its files lie at the top (raspi-firmware, z50-raspi-firmware).
            let is_upstream = prefix == UPSTREAM;
            let finding = if is_upstream { Finding::note(what) } else { Finding::warning(what) };
            self.boot.add(match prefix.ends_with('/') {
                true => finding,
                false => finding.remedy(format!("Write os_prefix={prefix}/ if {prefix} is a directory.")),
            });
        }
        Ok(())
    }

    /// Fetches the initramfs that config.txt names, or with `auto_initramfs=1` the kernel's.
    pub(super) fn take_initramfs(&mut self, kernel: &str) -> Result<(), Over> {
        for name in self.config.initramfs.clone() {
            let path = join(&self.os_prefix, &name);
            let setting = format!("initramfs {name}");
            if let Some(taken) = self.boot.take_named(Stage::Initramfs, &path, &setting, None)? {
                self.loaded_initramfs(kernel, &path, &taken);
            }
        }
        if self.config.initramfs.is_empty()
            && self.config.auto_initramfs
            && let Some(name) = initramfs_of(kernel.strip_prefix(self.os_prefix.as_str()).unwrap_or(kernel))
        {
            let path = join(&self.os_prefix, &name);
            if let Some(taken) = self.boot.take(Stage::Initramfs, &path, Miss::Normal("no initramfs"))? {
                self.loaded_initramfs(kernel, &path, &taken);
            }
        }
        Ok(())
    }

    fn loaded_initramfs(&mut self, kernel: &str, path: &str, taken: &Taken) {
        checks::initramfs(&mut self.boot.summary.findings, kernel, path, taken);
        self.boot.summary.loaded.initramfs = Some(path.trim_start_matches('/').to_owned());
        self.boot.loaded(path);
    }

    /// Fetches the device tree; `false` without one, and then the Pi loads no overlays either.
    pub(super) fn take_device_tree(&mut self) -> Result<bool, Over> {
        let name = self.device_tree_name();
        if name.is_empty() {
            let note = "device_tree= selects no device tree, and Linux does not start without one.";
            self.boot.add(Finding::note(note));
            return Ok(false);
        }
        let path = join(&self.os_prefix, &name);
        let optional = self.profile().os_check.is_some() && !self.config.os_check;
        let miss = if optional { Miss::Normal("os_check=0") } else { Miss::Bad };
        if self.boot.take(Stage::DeviceTree, &path, miss)?.is_some() {
            self.boot.loaded(&path);
            return Ok(true);
        }
        let pi = self.boot.pi();
        let rule = rules::NO_KERNEL_OR_DEVICE_TREE.on(self.boot.board.model);
        if optional {
            self.boot.add_for_linux(
                Finding::warning(format!("{name} is missing."))
                    .rule(rule)
                    .evidence(format!(
                        "With os_check=0 a {pi} continues without a device tree: Linux does not start, a bare-metal program \
                         does."
                    ))
                    .remedy(COPY),
            );
        } else {
            let finding = Finding::problem("not found.").rule(rule).evidence(format!(
                "A {pi} continues without a device tree, and Linux does not start without one.{}",
                others(self.profile(), &name)
            ));
            self.boot.problem(&path, finding.remedy(COPY));
        }
        Ok(false)
    }

    /// Fetches the overlays of config.txt, after reading config.txt again.
    pub(super) fn take_overlays(&mut self) -> Result<(), Over> {
        let directory = self.overlay_directory()?;
        let map_path = format!("{directory}overlay_map.dtb");
        let needed = !self.config.overlays.is_empty();
        let miss = if needed { Miss::Bad } else { Miss::Normal("no overlays") };
        let map = self.boot.take(Stage::Overlays, &map_path, miss)?;
        if map.is_none() && needed {
            self.boot.add(
                Finding::warning("overlays/overlay_map.dtb is missing.")
                    .evidence(
                        "Without this map the Pi uses the names in dtoverlay= unchanged, and may load the overlay of \
                         another model.",
                    )
                    .remedy(COPY),
            );
        }
        self.read_config()?;
        for overlay in self.config.overlays.clone() {
            match look_up(map.as_ref().map(|map| map.kept.as_slice()), &overlay, self.profile()) {
                Mapped::Load(name) => {
                    let path = format!("{directory}{name}.dtbo");
                    if self.boot.take(Stage::Overlays, &path, Miss::Bad)?.is_some() {
                        self.boot.summary.loaded.overlays += 1;
                    } else {
                        let path = path.trim_start_matches('/');
                        let finding = Finding::warning(format!(
                            "{path} is missing, although config.txt names the overlay: dtoverlay={overlay}."
                        ));
                        self.boot.add(finding.evidence(
                            "The Pi continues without the overlay and the hardware of the overlay.",
                        ));
                    }
                }
                Mapped::Not(why) => self.boot.add(Finding::warning(format!(
                    "dtoverlay={overlay} has no effect on a {}, by overlay_map.dtb: {why}.",
                    self.boot.pi()
                ))),
            }
        }
        Ok(())
    }

    /// The directory of the overlays: beneath `os_prefix` only if a README is among them (raspberrypi/documentation,
    /// config_txt/boot.adoc).
    fn overlay_directory(&mut self) -> Result<String, Over> {
        let shared = format!("{}{}", self.slash, self.config.overlay_prefix);
        if self.os_prefix.is_empty() {
            return Ok(shared);
        }
        let own = format!("{}{}{}", self.slash, self.os_prefix, self.config.overlay_prefix);
        let readme =
            self.boot.there(Stage::Overlays, &format!("{own}README"), Miss::Normal("shared overlays"))?;
        Ok(if readme { own } else { shared })
    }

    /// Fetches the kernel's command line: from `os_prefix`, else from the shared directory (captured, raspberrypi/linux
    /// issue 7319).
    pub(super) fn take_command_line(&mut self) -> Result<(), Over> {
        let name = self.config.cmdline.trim_start_matches('/').to_owned();
        let shared = format!("{}{name}", self.slash);
        let mut taken = None;
        if !self.os_prefix.is_empty() {
            let own = format!("{}{shared}", self.os_prefix);
            taken = self.boot.take(Stage::CommandLine, &own, Miss::Normal("shared one next"))?;
        }
        if taken.is_none() {
            taken = self.boot.take(Stage::CommandLine, &shared, Miss::Bad)?;
        }
        match taken {
            Some(taken) => {
                let text = String::from_utf8_lossy(&taken.kept).into_owned();
                self.boot.summary.command_line = Some((name, text));
            }
            None => self
                .boot
                .add_for_linux(Finding::warning(format!("{name} is missing.")).evidence(
                    "The kernel starts without a command line, and so without a root file system.",
                )),
        }
        Ok(())
    }

    /// Fetches the ARM stub, which runs before the kernel; a missing one is normal unless config.txt names it.
    pub(super) fn take_arm_stub(&mut self, in_64_bits: bool) -> Result<(), Over> {
        if let Some(name) = self.config.armstub.clone() {
            let setting = format!("armstub={name}");
            if self.boot.take_named(Stage::ArmStub, &name, &setting, None)?.is_some() {
                self.boot.loaded(&name);
            }
            return Ok(());
        }
        let name = self.profile().arm_stub.by(in_64_bits);
        self.boot.take(Stage::ArmStub, name, Miss::Normal("built in"))?;
        Ok(())
    }

    fn device_tree_name(&self) -> String {
        device_tree(&self.config, self.profile())
    }
}

/// The first check of a Pi 5: whether the system is made for it.
///
/// The device tree at `os_prefix`/`device_tree` has to name the Pi's processor (raspberrypi/rpi-eeprom issue 682, and
/// UART logs in NumberOneGit/rpi5-uefi issue 8).
pub(super) fn os_check(
    boot: &mut SimulatedBoot<'_>,
    config: &ConfigTxt,
    check: &OsCheck,
) -> Result<(), Over> {
    let (pi, rule) = (boot.pi(), rules::OS_NOT_FOR_MODEL.on(boot.board.model));
    let name = device_tree(config, boot.profile());
    if name.is_empty() {
        let finding = Finding::warning(format!(
            "device_tree= selects no device tree, and a {pi} requires one unless os_check=0."
        ));
        boot.add(
            finding
                .rule(rule)
                .remedy("Remove device_tree= from config.txt, or set os_check=0 for bare metal."),
        );
        return Ok(());
    }
    let path = join(&config.os_prefix, &name);
    let remedy = format!("{COPY} {BARE_METAL}");
    let Some(taken) = boot.take(Stage::DeviceTree, &path, Miss::Bad)? else {
        let finding = Finding::problem("not found.").rule(rule).evidence(format!(
            "A {pi} says: Device-tree file \"{name}\" not found. {}{}",
            check.says,
            others(boot.profile(), &name)
        ));
        return Err(boot.end(&path, finding.remedy(remedy)));
    };
    let compatible = Fdt::parse(&taken.kept).and_then(|tree| tree.root_property("compatible"));
    let ours = |list: &[u8]| list.split(|byte| *byte == 0).any(|name| name == check.compatible.as_bytes());
    let what = match compatible {
        Some(list) if ours(list) => return Ok(()),
        Some(_) => "the file is the device tree of another board.",
        None => "the file is not a device tree.",
    };
    let finding = Finding::problem(what).rule(rule).evidence(format!("A {pi} says: {}", check.says));
    Err(boot.end(&path, finding.remedy(remedy)))
}

fn device_tree(config: &ConfigTxt, profile: &Profile) -> String {
    config.device_tree.clone().unwrap_or_else(|| profile.device_tree.into())
}

/// The device trees of other boards of the family, as a line; empty if config.txt names a device tree.
fn others(profile: &Profile, device_tree: &str) -> String {
    if device_tree != profile.device_tree {
        return String::new();
    }
    let others = profile.other_device_trees.iter().map(|(board, name)| format!("{name} ({board})"));
    format!("\nOther boards request other device trees: {}.", others.collect::<Vec<_>>().join(", "))
}

/// > Any user-specified OS file can bypass all prefixes by using an absolute path (with respect to the boot partition)
///
/// (raspberrypi/documentation, config_txt/boot.adoc)
pub(super) fn join(prefix: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{prefix}{name}") }
}

/// The initramfs of a kernel, by the names of the files alone: `kernel_2712-x.img` goes with `initramfs_2712-x` (raspberrypi/documentation pull
/// request 4085).
fn initramfs_of(kernel: &str) -> Option<String> {
    let (directory, name) =
        kernel.rsplit_once('/').map_or(("", kernel), |(directory, name)| (directory, name));
    let flavour = name.strip_prefix("kernel")?.strip_suffix(".img")?;
    let slash = if directory.is_empty() { "" } else { "/" };
    Some(format!("{directory}{slash}initramfs{flavour}"))
}

const COPY: &str = "Copy the file from the boot partition of a system for this Pi (/boot/firmware in Raspberry Pi \
                    OS), or from https://github.com/raspberrypi/firmware, directory boot.";

const BARE_METAL: &str = "If the program needs no device tree, as on bare metal, set os_check=0.";

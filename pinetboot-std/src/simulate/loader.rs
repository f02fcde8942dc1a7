//! What loads the system, the same on all models: start.elf of a Pi 3, start4.elf of a Pi 4, the bootloader of a Pi 5.
//!
//! It reads config.txt, and then takes what that names: initramfs, device tree, overlays, command line, ARM stub and
//! kernel. The order in which it does so is the model's, in `models.rs`; which kernel it settles on, in `kernel.rs`.

use pinetboot_core::pi::{Model, Stage};

use super::boot::{Boot, Over};
use super::checks;
use super::config_txt::Config;
use super::fdt::Fdt;
use super::overlay_map::{Mapped, look_up};
use super::timeline::Miss;

pub(super) struct Loader<'b, 'a> {
    pub(super) boot: &'b mut Boot<'a>,
    pub(super) config: Config,
    /// `os_prefix`, once it has proved good.
    pub(super) os_prefix: String,
    /// A Pi 5 asks for some files by a path that begins with a slash (captured, bootloader 2026-05-26).
    slash: &'static str,
}

impl<'b, 'a> Loader<'b, 'a> {
    pub(super) fn new(boot: &'b mut Boot<'a>) -> Self {
        let slash = if boot.board.model == Model::Pi5 { "/" } else { "" };
        Self { boot, config: Config::default(), os_prefix: String::new(), slash }
    }

    /// Takes config.txt and what it includes.
    pub(super) fn read_config(&mut self) -> Result<(), Over> {
        let Self { boot, slash, .. } = self;
        let Some(taken) = boot.take(Stage::Config, &format!("{slash}config.txt"), Miss::Bad)? else {
            return Ok(());
        };
        checks::config_len(&mut boot.findings, boot.board.model, taken.bytes);
        let board = boot.board;
        let mut include = |name: &str| {
            let path = format!("{slash}{}", name.trim_start_matches('/'));
            let included = boot.take(Stage::Config, &path, Miss::Bad)?;
            if included.is_none() {
                boot.findings.warn(format!(
                    "{name} is included by config.txt, and is not there. The Pi goes on without it."
                ));
            }
            Ok::<_, Over>(included.map(|taken| taken.kept))
        };
        self.config = Config::parse_with(&taken.kept, board, &mut include)?;
        for remark in &self.config.remarks {
            self.boot.findings.note(format!("config.txt: {remark}."));
        }
        Ok(())
    }

    /// Sees whether `os_prefix` leads anywhere.
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
            self.boot.findings.warn(format!(
                "os_prefix={prefix} is ignored, because kernel and device tree are not both there. {}",
                if prefix.ends_with('/') { "" } else { "A directory ends in '/' here." }
            ));
        }
        Ok(())
    }

    /// Takes the initramfs that config.txt names, or with `auto_initramfs=1` the one that goes with the kernel.
    pub(super) fn take_initramfs(&mut self, kernel: &str) -> Result<(), Over> {
        for name in self.config.initramfs.clone() {
            let path = join(&self.os_prefix, &name);
            if self.boot.take_named(Stage::Initramfs, &path, &format!("initramfs {name}"))?.is_some() {
                self.boot.loaded(&path);
            }
        }
        if self.config.initramfs.is_empty()
            && self.config.auto_initramfs
            && let Some(name) = initramfs_of(kernel.strip_prefix(self.os_prefix.as_str()).unwrap_or(kernel))
        {
            let path = join(&self.os_prefix, &name);
            if self.boot.take(Stage::Initramfs, &path, Miss::Normal("no initramfs"))?.is_some() {
                self.boot.loaded(&path);
            }
        }
        Ok(())
    }

    /// Takes the device tree. `false` if there is none, and then there are no overlays either.
    pub(super) fn take_device_tree(&mut self) -> Result<bool, Over> {
        let name = self.device_tree_name();
        if name.is_empty() {
            self.boot
                .findings
                .note("device_tree= asks for no device tree. Linux does not start without one.");
            return Ok(false);
        }
        let path = join(&self.os_prefix, &name);
        let optional = self.boot.board.model == Model::Pi5 && !self.config.os_check;
        let miss = if optional { Miss::Normal("os_check=0") } else { Miss::Bad };
        if self.boot.take(Stage::DeviceTree, &path, miss)?.is_some() {
            self.boot.loaded(&path);
            return Ok(true);
        }
        let pi = self.boot.pi();
        if optional {
            self.boot.findings.warn(format!(
                "{name} is not there. With os_check=0 a {pi} goes on without a device tree; Linux does not start \
                 like that, bare metal does."
            ));
        } else {
            let plus = match name.strip_suffix("-3-b.dtb") {
                Some(name) => format!(" A 3B+ asks for {name}-3-b-plus.dtb instead."),
                None => String::new(),
            };
            self.boot.problem(
                &path,
                &format!("not found. A {pi} goes on without a device tree, and Linux does not start like that.{plus}"),
                COPY,
            );
        }
        Ok(false)
    }

    /// Takes the overlays of config.txt, which is read once more for that.
    pub(super) fn take_overlays(&mut self) -> Result<(), Over> {
        let directory = self.overlay_directory()?;
        let map_path = format!("{directory}overlay_map.dtb");
        let needed = !self.config.overlays.is_empty();
        let miss = if needed { Miss::Bad } else { Miss::Normal("no overlays") };
        let map = self.boot.take(Stage::Overlays, &map_path, miss)?;
        if map.is_none() && needed {
            self.boot.findings.warn(
                "overlays/overlay_map.dtb is not there. Without it the Pi takes the names in dtoverlay= as they \
                 stand, and may take the overlay of another model.",
            );
        }
        self.read_config()?;
        let model = self.boot.board.model;
        for overlay in self.config.overlays.clone() {
            match look_up(map.as_ref().map(|map| map.kept.as_slice()), &overlay, model) {
                Mapped::Load(name) => {
                    let path = format!("{directory}{name}.dtbo");
                    if self.boot.take(Stage::Overlays, &path, Miss::Bad)?.is_some() {
                        self.boot.findings.loaded.overlays += 1;
                    } else {
                        let path = path.trim_start_matches('/');
                        self.boot.findings.warn(format!(
                            "{path} is not there, and config.txt asks for it: dtoverlay={overlay}. The Pi goes on \
                             without it, and without the hardware it is for."
                        ));
                    }
                }
                Mapped::Not(why) => self.boot.findings.warn(format!(
                    "dtoverlay={overlay} has no effect on a {}, says overlay_map.dtb: {why}.",
                    self.boot.pi()
                )),
            }
        }
        Ok(())
    }

    /// Overlays are read from under `os_prefix` only if there is a README among them
    /// (raspberrypi/documentation, config_txt/boot.adoc).
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

    /// Takes the kernel's command line. One that is not at `os_prefix` is taken from beside it (captured,
    /// raspberrypi/linux issue 7319).
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
            Some(taken) => checks::command_line(&mut self.boot.findings, &name, &taken.kept),
            None => self.boot.findings.warn(format!(
                "{name} is not there. The kernel starts without a command line: it does not know where its root \
                 file system is."
            )),
        }
        Ok(())
    }

    /// Takes what runs before the kernel; the one that is built in will do unless config.txt names another.
    pub(super) fn take_arm_stub(&mut self, in_64_bits: bool) -> Result<(), Over> {
        if let Some(name) = self.config.armstub.clone() {
            if self.boot.take_named(Stage::ArmStub, &name, &format!("armstub={name}"))?.is_some() {
                self.boot.loaded(&name);
            }
            return Ok(());
        }
        let name = match (self.boot.board.model, in_64_bits) {
            (Model::Pi3, true) => "armstub8.bin",
            (Model::Pi3, false) => "armstub8-32.bin",
            (Model::Pi4, true) => "armstub8-gic.bin",
            (Model::Pi4, false) => "armstub8-32-gic.bin",
            _ => "armstub8-2712.bin",
        };
        self.boot.take(Stage::ArmStub, name, Miss::Normal("built in"))?;
        Ok(())
    }

    fn device_tree_name(&self) -> String {
        device_tree(&self.config, self.boot.board.model)
    }
}

/// What a Pi 5 does before anything else: it sees whether the system is made for it.
///
/// It looks for `os_prefix`/`device_tree`, and that this names its processor (raspberrypi/rpi-eeprom issue 682, and
/// UART logs in NumberOneGit/rpi5-uefi issue 8).
pub(super) fn os_check(boot: &mut Boot<'_>, config: &Config) -> Result<(), Over> {
    let name = device_tree(config, boot.board.model);
    if name.is_empty() {
        boot.findings
            .warn("device_tree= asks for no device tree, and a Raspberry Pi 5 wants one unless os_check=0.");
        return Ok(());
    }
    let path = join(&config.os_prefix, &name);
    let Some(taken) = boot.take(Stage::DeviceTree, &path, Miss::Bad)? else {
        let says = format!(
            "not found.\nA Raspberry Pi 5 says: Device-tree file \"{name}\" not found. {UNSUPPORTED}"
        );
        return Err(boot.end(&path, &says, &format!("{COPY} {BARE_METAL}")));
    };
    let compatible = Fdt::parse(&taken.kept).and_then(|tree| tree.root_property("compatible"));
    let ours = |list: &[u8]| list.split(|byte| *byte == 0).any(|name| name == b"brcm,bcm2712");
    match compatible {
        Some(list) if ours(list) => Ok(()),
        _ => {
            let what = match compatible {
                Some(_) => "it is the device tree of another board.",
                None => "it is no device tree.",
            };
            let says = format!("{what}\nA Raspberry Pi 5 says: {UNSUPPORTED}");
            Err(boot.end(&path, &says, &format!("{COPY} {BARE_METAL}")))
        }
    }
}

fn device_tree(config: &Config, model: Model) -> String {
    let name = match model {
        Model::Pi3 => "bcm2710-rpi-3-b.dtb",
        Model::Pi4 => "bcm2711-rpi-4-b.dtb",
        _ => "bcm2712-rpi-5-b.dtb",
    };
    config.device_tree.clone().unwrap_or_else(|| name.into())
}

/// > Any user-specified OS file can bypass all prefixes by using an absolute path (with respect to the boot partition)
///
/// (raspberrypi/documentation, config_txt/boot.adoc)
pub(super) fn join(prefix: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{prefix}{name}") }
}

/// By the names of the files alone: `kernel_2712-x.img` goes with `initramfs_2712-x` (raspberrypi/documentation pull
/// request 4085).
fn initramfs_of(kernel: &str) -> Option<String> {
    let (directory, name) =
        kernel.rsplit_once('/').map_or(("", kernel), |(directory, name)| (directory, name));
    let flavour = name.strip_prefix("kernel")?.strip_suffix(".img")?;
    let slash = if directory.is_empty() { "" } else { "/" };
    Some(format!("{directory}{slash}initramfs{flavour}"))
}

/// Captured, siderolabs/talos issue 7978 and NixOS/nixos-hardware issue 1928.
const UNSUPPORTED: &str = "The installed operating system (OS) does not indicate support for Raspberry Pi 5. Update \
                           the OS or set os_check=0 in config.txt to skip this check.";

const COPY: &str = "copy it from the boot partition of a system made for this Pi (/boot/firmware in Raspberry Pi \
                    OS), or from https://github.com/raspberrypi/firmware, directory boot.";

const BARE_METAL: &str = "If the system needs no device tree, as on bare metal, set os_check=0.";

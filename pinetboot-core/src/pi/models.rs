//! What differs between the models: a row for each, and no other place where one is told from the next.
//!
//! A program that treats models differently reads a field of [`Model::profile`] instead of matching [`Model`], which will
//! grow. A new model is a variant of [`Model`], a row in a file beside the others and a column in [`BOOT_FILES`](super::BOOT_FILES); the compiler
//! asks for all three. [`BootCode`] is the exception: the order in which files are asked for is code, so new boot code
//! needs a new variant, and every simulator an arm for it.
//!
//! Each row is the plain board of its family (3B, 4B, 5B). Names and values are documented (raspberrypi/documentation,
//! config_txt and eeprom-bootloader) unless the field says otherwise.
//!
//! Not done: what only some boards of a family do (`vl805.bin` of the first Pi 4s, `bcm2712d0.dtbo` of newer Pi 5s).

mod pi3;
mod pi4;
mod pi5;

use super::rules::{self, Rule};
use super::{Board, Model, Processor, Revision};
use crate::dhcp::BootClient;
use crate::tftp::Options;

/// Everything in which a [`Model`] differs from the others.
///
/// ```
/// use pinetboot_core::pi::{BootCode, Model};
///
/// let pi5 = Model::Pi5.profile();
/// assert_eq!((pi5.name, pi5.soc, pi5.boot_code), ("Raspberry Pi 5", "bcm2712", BootCode::Eeprom));
/// assert_eq!(pi5.kernels.by(None), ["kernel_2712.img", "kernel8.img"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The model.
    pub model: Model,
    /// Its word on command lines, which is also the plain board's filter in config.txt: `pi5`.
    pub word: &'static str,
    /// Its name: `Raspberry Pi 5`.
    pub name: &'static str,
    /// Its processor.
    pub processor: Processor,
    /// The processor's name in device trees: `bcm2712`.
    pub soc: &'static str,
    /// The plain board; its number is what `[board-type=]` compares.
    pub board: Board,
    /// Which code asks for the files.
    pub boot_code: BootCode,

    /// What option 97 says.
    pub machine_id: MachineId,
    /// By which rules the first boot code takes a boot server.
    pub boot_client: BootClient,

    /// How the first boot code asks for files.
    pub bootloader: Requests,
    /// How the code that loads kernel and device tree asks for files.
    pub loader: Requests,
    /// What comes of a server that answers no options (RFC 2347).
    pub without_options: Consequence,

    /// Files asked for in the directory of all Pis and nowhere else, the first needed and the others not.
    pub root_files: &'static [&'static str],
    /// A directory with one of these in it is the Pi's own; without any, the directory of all counts from then on. On a
    /// Pi 5 that is inferred from one capture (raspberrypi/rpi-eeprom issue 720).
    pub own_directory: &'static [&'static str],
    /// What the loader puts before config.txt, overlays and command line (captured, bootloader 2026-05-26).
    pub loader_root: &'static str,

    /// The model filters of config.txt that stand for boards of this family.
    pub filters: &'static [&'static str],
    /// The longest config.txt in bytes.
    pub config_limit: u64,
    /// What comes of a longer one.
    pub config_too_long: Consequence,
    /// What the bootloader wants of the device tree before anything else, unless `os_check=0`.
    pub os_check: Option<OsCheck>,

    /// Whether the bootloader looks for a newer one of itself (`pieeprom.sig`).
    pub self_update: bool,
    /// The VideoCore's firmware, if it is not in the EEPROM.
    pub firmware: Option<Firmwares>,
    /// Recovery systems for the VideoCore, looked for before the firmware.
    pub recovery_firmware: &'static [&'static str],

    /// Kernels, best first.
    pub kernels: Names,
    /// Recovery kernels (NOOBS, PINN), looked for before the kernels.
    pub recovery_kernels: Names,
    /// Whether the system is in 64 bits where `arm_64bit` is not set.
    pub is_64bit: bool,
    /// The kernel whose initramfs is taken, where that is decided before a kernel was looked for.
    pub assumed_kernel: Widths,
    /// A kernel that a system in 32 bits looks for after its first choice, and takes only if no other exists.
    pub last_resort: Option<&'static str>,
    /// What comes of no kernel.
    pub no_kernel: Consequence,
    /// The optional program that runs before the kernel.
    pub arm_stub: Widths,

    /// The plain board's device tree.
    pub device_tree: &'static str,
    /// Other boards of the family, as people call them, and their device trees.
    pub other_device_trees: &'static [(&'static str, &'static str)],
    /// The model's property in `overlay_map.dtb`.
    pub overlay_platform: &'static str,
}

/// The code that asks for files. Exhaustive on purpose: who simulates a boot has to know each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a simulation has to follow each")]
pub enum BootCode {
    /// The boot ROM fetches `bootcode.bin`, that `start.elf`, and that the rest.
    BootRom,
    /// A bootloader in EEPROM fetches `start4.elf`, and that the rest.
    StartElf,
    /// A bootloader in EEPROM fetches everything.
    Eeprom,
}

/// The shape of DHCP option 97.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a simulation has to send each")]
pub enum MachineId {
    /// The same sixteen bytes for every board ([`PiIdentity::BOOT_ROM`](super::PiIdentity::BOOT_ROM)).
    BootRom,
    /// Four characters, revision, MAC address and serial number ([`PiIdentity::new`](super::PiIdentity::new)).
    Structured {
        /// The four characters, in text order.
        fourcc: [u8; 4],
        /// A board of this model that is known to be out there, to act as.
        revision: Revision,
    },
}

/// How boot code asks for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requests {
    /// The options of each request.
    pub options: Options,
    /// Whether it asks for a file's size, and ends that transfer, before it takes the file.
    pub size_first: bool,
}

/// What comes of a fault: the rest of a sentence that begins with the Pi, without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consequence {
    /// `ignores it`
    pub text: &'static str,
    /// The rule for it, if there is one.
    pub rule: Option<&'static Rule>,
}

/// What a bootloader wants of a device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OsCheck {
    /// The word that has to be in `compatible`.
    pub compatible: &'static str,
    /// What the Pi says where that is not so.
    pub says: &'static str,
}

/// The VideoCore's firmware, by the settings that choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Firmwares {
    /// Without any.
    pub plain: Firmware,
    /// `gpu_mem=16`
    pub cut_down: Firmware,
    /// `start_debug=1`
    pub debug: Firmware,
    /// `start_x=1`
    pub extended: Firmware,
}

/// A firmware and the file that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Firmware {
    /// `start.elf`
    pub start: &'static str,
    /// `fixup.dat`
    pub fixup: &'static str,
}

/// File names, best first, by `arm_64bit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Names {
    /// Where it is not set.
    pub unset: &'static [&'static str],
    /// `arm_64bit=0`
    pub in_32_bits: &'static [&'static str],
    /// `arm_64bit=1`
    pub in_64_bits: &'static [&'static str],
}

/// A file name for a system in 32 bits and one for a system in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Widths {
    /// In 32 bits.
    pub in_32_bits: &'static str,
    /// In 64 bits.
    pub in_64_bits: &'static str,
}

impl Model {
    /// The model's row.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::Pi3 => &pi3::PI3,
            Self::Pi4 => &pi4::PI4,
            Self::Pi5 => &pi5::PI5,
        }
    }

    /// The word of its row. The row itself would bring all its texts into a firmware.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Pi3 => const { pi3::PI3.word },
            Self::Pi4 => const { pi4::PI4.word },
            Self::Pi5 => const { pi5::PI5.word },
        }
    }

    /// The same for its machine id.
    pub(super) const fn machine_id(self) -> MachineId {
        match self {
            Self::Pi3 => const { pi3::PI3.machine_id },
            Self::Pi4 => const { pi4::PI4.machine_id },
            Self::Pi5 => const { pi5::PI5.machine_id },
        }
    }
}

impl Names {
    /// The names for this `arm_64bit`.
    pub const fn by(&self, arm_64bit: Option<bool>) -> &'static [&'static str] {
        match arm_64bit {
            None => self.unset,
            Some(false) => self.in_32_bits,
            Some(true) => self.in_64_bits,
        }
    }
}

impl Widths {
    /// The name for a system of this width.
    pub const fn by(&self, is_64bit: bool) -> &'static str {
        if is_64bit { self.in_64_bits } else { self.in_32_bits }
    }
}

const STOPS: Consequence = Consequence { text: "stops", rule: None };

/// Reported, raspberrypi/firmware issues 1012 and 1913.
const CONFIG_IGNORED: Consequence = Consequence {
    text: "ignores the contents of config.txt, or takes files for missing, and does not say so",
    rule: Some(&rules::CONFIG_WITHOUT_EFFECT),
};

/// Reported, raspberrypi/firmware issue 1012.
const IGNORED: Consequence = Consequence {
    text: "ignores it when it boots from the network (raspberrypi/firmware#1012)",
    rule: Some(&rules::CONFIG_WITHOUT_EFFECT),
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::super::{BootFile, Stage};
    use super::*;
    use crate::BootPath;

    fn distinct<T: Ord>(what: &str, of: impl Fn(&'static Profile) -> T) {
        let values: BTreeSet<T> = Model::ALL.iter().map(|model| of(model.profile())).collect();
        assert_eq!(values.len(), Model::ALL.len(), "two models share a {what}");
    }

    #[test]
    fn no_two_models_are_alike() {
        distinct("model", |profile| profile.model);
        distinct("word", |profile| profile.word);
        distinct("name", |profile| profile.name);
        distinct("processor", |profile| profile.processor);
        distinct("soc", |profile| profile.soc);
        distinct("board", |profile| profile.board as u32);
        distinct("device tree", |profile| profile.device_tree);
        distinct("overlay platform", |profile| profile.overlay_platform);
        distinct("fourcc", |profile| profile.model.fourcc());
        let filters: Vec<_> = Model::ALL.iter().flat_map(|model| model.profile().filters).collect();
        let different: BTreeSet<_> = filters.iter().collect();
        assert_eq!(different.len(), filters.len());
    }

    #[test]
    fn a_row_agrees_with_itself() {
        for model in Model::ALL {
            let profile = model.profile();
            assert_eq!(profile.model, *model, "a row of another model");
            assert!(profile.filters.contains(&profile.word), "{model}: its word is no filter of its own");
            assert!(profile.name.starts_with("Raspberry Pi "), "{model}: {}", profile.name);
            assert!(profile.config_limit > 0 && !profile.own_directory.is_empty(), "{model}");
            assert!(!profile.kernels.unset.is_empty(), "{model}");
            if let MachineId::Structured { fourcc, revision } = profile.machine_id {
                assert!(fourcc.starts_with(b"RPi"), "{model}: {fourcc:?} is not in text order");
                assert_eq!((revision.model(), revision.processor()), (Some(*model), Some(profile.processor)));
                assert_eq!(revision.board(), Some(profile.board), "{model}");
            }
            // The EEPROM bootloader is what sends a structured identity, looks for a newer self, and needs no bootcode.
            let is_rom = profile.boot_code == BootCode::BootRom;
            assert_eq!(is_rom, profile.machine_id == MachineId::BootRom, "{model}");
            assert_eq!(is_rom, profile.boot_client == BootClient::PiBootRom, "{model}");
            assert_eq!(is_rom, !profile.root_files.is_empty(), "{model}");
            assert_eq!(is_rom, !profile.self_update, "{model}");
            assert_eq!(profile.boot_code == BootCode::Eeprom, profile.firmware.is_none(), "{model}");
            let rules = [profile.without_options, profile.config_too_long, profile.no_kernel];
            for Consequence { text, rule } in rules {
                assert!(!text.is_empty() && !text.ends_with('.'), "{model}: {text:?}");
                assert!(rule.is_none_or(|rule| rule.models.contains(*model)), "{model}: {text}");
            }
        }
    }

    #[test]
    fn every_name_is_in_the_table_of_files() {
        for model in Model::ALL {
            let profile = model.profile();
            let mut names: Vec<(Stage, &str)> = Vec::new();
            let mut add =
                |stage, files: &[&'static str]| names.extend(files.iter().map(|file| (stage, *file)));
            add(Stage::Loader, profile.root_files);
            add(Stage::DeviceTree, &[profile.device_tree]);
            add(Stage::Firmware, profile.recovery_firmware);
            add(Stage::ArmStub, &[profile.arm_stub.in_32_bits, profile.arm_stub.in_64_bits]);
            for bits in [None, Some(false), Some(true)] {
                add(Stage::Kernel, profile.kernels.by(bits));
                add(Stage::Kernel, profile.recovery_kernels.by(bits));
            }
            add(Stage::Kernel, &[profile.assumed_kernel.by(false), profile.assumed_kernel.by(true)]);
            if let Some(firmwares) = profile.firmware {
                for firmware in [firmwares.plain, firmwares.cut_down, firmwares.debug, firmwares.extended] {
                    add(Stage::Firmware, &[firmware.start, firmware.fixup]);
                }
            }
            for (_, device_tree) in profile.other_device_trees {
                add(Stage::DeviceTree, &[device_tree]);
            }
            for (stage, name) in names {
                let path = BootPath::parse(name.as_bytes()).unwrap();
                let file = BootFile::find(&path, Some(*model));
                assert_eq!(file.map(|file| file.stage), Some(stage), "{model} {name}");
            }
        }
    }

    #[test]
    fn names_go_by_the_width() {
        let pi4 = Model::Pi4.profile();
        assert_eq!(pi4.kernels.by(Some(true)), ["kernel8.img"]);
        assert_eq!(pi4.kernels.by(Some(false)).first(), Some(&"kernel8-32.img"));
        assert_eq!(pi4.kernels.by(None).first(), Some(&"kernel8.img"));
        assert_eq!(
            (pi4.arm_stub.by(true), pi4.arm_stub.by(false)),
            ("armstub8-gic.bin", "armstub8-32-gic.bin")
        );
    }
}

//! The files a Pi asks for: which stage of the boot each belongs to, and what it means if one is missing.
//!
//! A healthy boot is full of misses: of the captured requests in the tests below, a Pi 3 is refused more than half and
//! a CM4 two thirds. Without this table a log either cries wolf or hides the one miss that matters.
//!
//! Not done: the order of requests (a simulator's business; [`Stage`] gives the outline), and files only config.txt can
//! name. Rows marked by no capture in the tests are in Raspberry Pi's documentation or firmware tree.

use core::fmt;

use super::Model;
use crate::BootPath;

/// What a requested name is to the boot.
///
/// ```
/// use pinetboot_core::BootPath;
/// use pinetboot_core::pi::{BootFile, Model, Need, Stage};
///
/// let armstub = BootPath::parse(b"armstub8-2712.bin").unwrap();
/// assert_eq!(
///     BootFile::find(&armstub, Some(Model::Pi5)),
///     Some(BootFile::new(Stage::ArmStub, Need::Optional))
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct BootFile {
    /// The part of the boot it belongs to.
    pub stage: Stage,
    /// What its absence means.
    pub need: Need,
}

impl BootFile {
    /// A file of this part of the boot.
    pub const fn new(stage: Stage, need: Need) -> Self {
        Self { stage, need }
    }

    /// Looks a name up in [`BOOT_FILES`]. `path` has no prefix ([`Lookup::file`](super::Lookup::file)) but may have
    /// directories: only the last component counts, so `os_prefix` and `overlay_prefix` do no harm.
    ///
    /// Without a model (no DHCP, or an identity that does not tell) the most lenient reading holds: a miss is as harmless
    /// as on the model that minds it least. `None` for a name that this model's boot code does not ask for unless told.
    pub fn find(path: &BootPath<'_>, model: Option<Model>) -> Option<Self> {
        let name = path.file_name();
        BOOT_FILES.iter().filter(|row| row.matches(name)).find_map(|row| {
            let need = match model {
                Some(model) => row.need(model)?,
                None => Model::ALL.iter().filter_map(|model| row.need(*model)).min()?,
            };
            Some(Self { stage: row.stage, need })
        })
    }
}

listed! {
    /// A part of the boot, in the order in which a Pi 5 first loads each. Shown as a word or two for a log.
    ///
    /// It is an outline, not a rule: `config.txt` is fetched four to six times, kernel and firmware are probed early and
    /// loaded late, and the device tree is read after the initramfs: once more by a Pi 5, only then by a Pi 4.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[cfg_attr(feature = "defmt", derive(defmt::Format))]
    #[non_exhaustive]
    pub enum Stage {
        /// Pi 3: what the boot ROM loads.
        Loader,
        /// What to boot, and how.
        Config,
        /// A newer bootloader for the EEPROM.
        SelfUpdate,
        /// The whole boot partition as one file; what follows then comes out of it and not from the network.
        BootImage,
        /// Pi 3 and 4: the VideoCore's firmware, which loads the rest.
        Firmware,
        /// The hardware's description. A Pi 5 reads it early, to see whether the system supports it (`os_check`).
        DeviceTree,
        /// The first root file system.
        Initramfs,
        /// Changes to the device tree.
        Overlays,
        /// The kernel's command line.
        CommandLine,
        /// What runs before the kernel, and stays behind it.
        ArmStub,
        /// The kernel, loaded last.
        Kernel,
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Loader => "loader",
            Self::Config => "config",
            Self::SelfUpdate => "self-update",
            Self::BootImage => "boot image",
            Self::Firmware => "firmware",
            Self::DeviceTree => "device tree",
            Self::Initramfs => "initramfs",
            Self::Overlays => "overlays",
            Self::CommandLine => "command line",
            Self::ArmStub => "ARM stub",
            Self::Kernel => "kernel",
        })
    }
}

/// What it means that a file which was asked for is missing, most lenient first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_enums, reason = "a caller has to say what each means to it")]
pub enum Need {
    /// Nothing: it is asked for just in case.
    Optional,
    /// Nothing, as long as another file of its stage with this mark exists: `kernel_2712.img` or `kernel8.img`. With
    /// none, expect the boot to end, unless it is an unusual one (UEFI as `armstub` needs no kernel, bare metal with
    /// `os_check=0` no device tree).
    OneOf,
    /// The boot goes on, but hardly as meant: something was asked for by name, or is in every stock tree.
    Wanted,
    /// The boot ends here.
    Required,
}

/// A line of [`BOOT_FILES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Row {
    /// The file's name without directories, exact but for at most one `*`, which stands for any text.
    pub pattern: &'static str,
    /// The part of the boot it belongs to.
    pub stage: Stage,
    needs: Needs,
}

/// A file's [`Need`] on each model. No field has a default: a new model needs an entry in every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Needs {
    pi3: Option<Need>,
    pi4: Option<Need>,
    pi5: Option<Need>,
}

impl Row {
    /// What the file's absence means to a model. `None`: that model's boot code does not ask for it.
    pub const fn need(&self, model: Model) -> Option<Need> {
        match model {
            Model::Pi3 => self.needs.pi3,
            Model::Pi4 => self.needs.pi4,
            Model::Pi5 => self.needs.pi5,
        }
    }

    /// Whether the pattern stands for a single name.
    pub fn is_exact(&self) -> bool {
        !self.pattern.contains('*')
    }

    fn matches(&self, name: &str) -> bool {
        // The first byte rules out most rows.
        let (first, asked) = (self.pattern.bytes().next(), name.bytes().next());
        if first != asked && first != Some(b'*') {
            return false;
        }
        match self.pattern.split_once('*') {
            None => name == self.pattern,
            Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| rest.ends_with(tail)),
        }
    }
}

/// Every file that boot code is known to ask for by itself, and the names distributions commonly give to theirs.
///
/// Stage by stage, exact names before patterns: the first row that matches, and that the model asks for, counts.
pub const BOOT_FILES: &[Row] = &[
    row("bootcode.bin", Stage::Loader, Needs { pi3: REQUIRED, pi4: NO, pi5: NO }),
    row("bootsig.bin", Stage::Loader, Needs { pi3: OPTIONAL, pi4: NO, pi5: NO }),
    // What makes a tree bootable is start.elf up to the Pi 4 and config.txt since (documentation, autoboot.txt).
    row("config.txt", Stage::Config, Needs { pi3: WANTED, pi4: WANTED, pi5: REQUIRED }),
    row("tryboot.txt", Stage::Config, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("autoboot.txt", Stage::Config, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("bootcfg.txt", Stage::Config, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("syscfg.txt", Stage::Config, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("usercfg.txt", Stage::Config, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("extraconfig.txt", Stage::Config, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("distroconfig.txt", Stage::Config, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("pieeprom.sig", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("pieeprom.upd", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("pieeprom.*", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("recovery.bin", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("vl805.sig", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    row("vl805.bin", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    row("vl805.*", Stage::SelfUpdate, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    // Asked for only with boot_ramdisk=1 or signed boot, and then there is nothing else.
    row("boot.img", Stage::BootImage, Needs { pi3: REQUIRED, pi4: REQUIRED, pi5: REQUIRED }),
    row("tryboot.img", Stage::BootImage, Needs { pi3: REQUIRED, pi4: REQUIRED, pi5: REQUIRED }),
    row("boot.sig", Stage::BootImage, Needs { pi3: NO, pi4: WANTED, pi5: WANTED }),
    row("tryboot.sig", Stage::BootImage, Needs { pi3: NO, pi4: WANTED, pi5: WANTED }),
    row("start4.elf", Stage::Firmware, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("start.elf", Stage::Firmware, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: NO }),
    row("start*.elf", Stage::Firmware, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: NO }),
    row("fixup4.dat", Stage::Firmware, Needs { pi3: NO, pi4: WANTED, pi5: NO }),
    row("fixup.dat", Stage::Firmware, Needs { pi3: WANTED, pi4: WANTED, pi5: NO }),
    row("fixup*.dat", Stage::Firmware, Needs { pi3: WANTED, pi4: WANTED, pi5: NO }),
    row("recover4.elf", Stage::Firmware, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    row("recovery.elf", Stage::Firmware, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("dt-blob.bin", Stage::Firmware, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    // The maps lie among the overlays and are no device trees of a board.
    row("overlay_map.dtb", Stage::Overlays, Needs { pi3: OPTIONAL, pi4: WANTED, pi5: WANTED }),
    row("hat_map.dtb", Stage::Overlays, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("README", Stage::Overlays, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("bcm2712d0.dtbo", Stage::Overlays, Needs { pi3: NO, pi4: NO, pi5: WANTED }),
    row("*.dtbo", Stage::Overlays, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("bcm2710-rpi-2-b.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2710-rpi-3-b.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2710-rpi-3-b-plus.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2710-rpi-cm0.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2710-rpi-cm3.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2710-rpi-zero-2.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2710-rpi-zero-2-w.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2837-rpi-3-a-plus.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2837-rpi-3-b.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2837-rpi-3-b-plus.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2837-rpi-cm3-io3.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2837-rpi-zero-2-w.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: NO, pi5: NO }),
    row("bcm2711-rpi-4-b.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("bcm2711-rpi-400.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("bcm2711-rpi-cm4.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("bcm2711-rpi-cm4-io.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("bcm2711-rpi-cm4s.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("bcm2712-rpi-5-b.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712-d-rpi-5-b.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712d0-rpi-5-b.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712-rpi-500.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712-rpi-cm5-cm4io.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712-rpi-cm5-cm5io.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712-rpi-cm5l-cm4io.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("bcm2712-rpi-cm5l-cm5io.dtb", Stage::DeviceTree, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("*.dtb", Stage::DeviceTree, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: ONE_OF }),
    // auto_initramfs=1 takes the file named as the kernel is, if there is one; initrd has to be asked for.
    row("initramfs_2712", Stage::Initramfs, Needs { pi3: NO, pi4: NO, pi5: OPTIONAL }),
    row("initramfs8", Stage::Initramfs, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("initramfs7l", Stage::Initramfs, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    row("initramfs7", Stage::Initramfs, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("initramfs*", Stage::Initramfs, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("initrd*", Stage::Initramfs, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("cmdline.txt", Stage::CommandLine, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("cmdline*.txt", Stage::CommandLine, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("recovery.cmdline", Stage::CommandLine, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("armstub8-2712.bin", Stage::ArmStub, Needs { pi3: NO, pi4: NO, pi5: OPTIONAL }),
    row("armstub8-gic.bin", Stage::ArmStub, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    row("armstub8-32-gic.bin", Stage::ArmStub, Needs { pi3: NO, pi4: OPTIONAL, pi5: NO }),
    row("armstub8.bin", Stage::ArmStub, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("armstub8-32.bin", Stage::ArmStub, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("armstub7.bin", Stage::ArmStub, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("armstub.bin", Stage::ArmStub, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("armstub*.bin", Stage::ArmStub, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: OPTIONAL }),
    row("RPI_EFI.fd", Stage::ArmStub, Needs { pi3: WANTED, pi4: WANTED, pi5: WANTED }),
    row("recovery*.img", Stage::Kernel, Needs { pi3: OPTIONAL, pi4: OPTIONAL, pi5: NO }),
    row("kernel_2712.img", Stage::Kernel, Needs { pi3: NO, pi4: NO, pi5: ONE_OF }),
    row("kernel8.img", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: ONE_OF }),
    row("kernel8-32.img", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: NO }),
    row("kernel7l.img", Stage::Kernel, Needs { pi3: NO, pi4: ONE_OF, pi5: NO }),
    row("kernel7.img", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: NO }),
    row("kernel.img", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: NO }),
    row("kernel*.img", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: ONE_OF }),
    row("vmlinuz*", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: ONE_OF }),
    row("u-boot*.bin", Stage::Kernel, Needs { pi3: ONE_OF, pi4: ONE_OF, pi5: ONE_OF }),
];

const REQUIRED: Option<Need> = Some(Need::Required);
const WANTED: Option<Need> = Some(Need::Wanted);
const ONE_OF: Option<Need> = Some(Need::OneOf);
const OPTIONAL: Option<Need> = Some(Need::Optional);
const NO: Option<Need> = None;

const fn row(pattern: &'static str, stage: Stage, needs: Needs) -> Row {
    Row { pattern, stage, needs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, model: Option<Model>) -> Option<BootFile> {
        BootFile::find(&BootPath::parse(name.as_bytes()).unwrap(), model)
    }

    /// Requests of boots that came through, `-` before what was missing.
    const CAPTURED: [(Model, &str); 4] = [
        // Bare metal with os_check=0, bootloader 2026-05-26.
        (
            Model::Pi5,
            "config.txt -pieeprom.sig /config.txt kernel8.img -bcm2712-rpi-5-b.dtb -/cmdline.txt \
             -armstub8-2712.bin kernel8.img",
        ),
        // Raspberry Pi OS on a 5B of the D0 stepping, from UART logs (rpi5-uefi issue 8, linux issue 7319).
        (
            Model::Pi5,
            "config.txt -pieeprom.sig bcm2712-rpi-5-b.dtb /config.txt kernel_2712.img initramfs_2712 \
             bcm2712-rpi-5-b.dtb /overlays/overlay_map.dtb /overlays/bcm2712d0.dtbo /config.txt \
             /overlays/vc4-kms-v3d-pi5.dtbo /cmdline.txt -armstub8-2712.bin kernel_2712.img",
        ),
        // A CM4 provisioned by cmprovision in a container. The first two names had a prefix.
        (
            Model::Pi4,
            "-start4.elf -start.elf config.txt -pieeprom.sig -recover4.elf -recovery.elf start4.elf fixup4.dat \
             -dt-blob.bin -bootcfg.txt bcm2711-rpi-cm4.dtb -overlays/overlay_map.dtb overlays/dwc2.dtbo cmdline.txt \
             -recovery8.img -recovery8-32.img -recovery7l.img -recovery7.img -recovery.img -kernel8.img \
             -kernel8-32.img -kernel7l.img -kernel7.img kernel.img -armstub8-32-gic.bin",
        ),
        // A Pi 3B: firmware issues 1012, 1362 and 1605.
        (
            Model::Pi3,
            "bootcode.bin -bootsig.bin start.elf -autoboot.txt config.txt -recovery.elf start.elf fixup.dat \
             -dt-blob.bin -bootcfg.txt bcm2710-rpi-3-b.dtb overlays/overlay_map.dtb cmdline.txt -recovery8.img \
             -recovery8-32.img -recovery7.img -recovery.img -kernel8-32.img kernel8.img -armstub8-32.bin kernel7.img",
        ),
    ];

    #[test]
    fn no_miss_of_a_boot_that_came_through_is_fatal() {
        for (model, requests) in CAPTURED {
            for request in requests.split_whitespace() {
                let name = request.trim_start_matches('-');
                let file = find(name, Some(model)).unwrap_or_else(|| panic!("{model} {name}"));
                assert!(!request.starts_with('-') || file.need < Need::Required, "{model} {name}");
                let anyone = find(name, None).unwrap();
                assert!(anyone.stage == file.stage && anyone.need <= file.need, "{name}");
            }
        }
    }

    #[test]
    fn a_pi_5_goes_through_the_stages_in_order() {
        let mut reached = Stage::Loader;
        for request in CAPTURED[1].1.split_whitespace() {
            let stage = find(request.trim_start_matches('-'), Some(Model::Pi5)).unwrap().stage;
            let probe = stage == Stage::Kernel && reached < Stage::ArmStub;
            if !probe {
                assert!(stage >= reached || matches!(stage, Stage::Config | Stage::DeviceTree), "{request}");
                reached = reached.max(stage);
            }
        }
        assert_eq!(reached, Stage::Kernel);
        assert!(Stage::ALL.is_sorted());
        assert_eq!(std::format!("[{:13}]", Stage::CommandLine), "[command line ]");
    }

    #[test]
    fn a_miss_means_what_it_means_to_the_model() {
        use Need::*;
        for (name, [pi3, pi4, pi5, anyone]) in [
            ("config.txt", [Some(Wanted), Some(Wanted), Some(Required), Some(Wanted)]),
            ("bootcode.bin", [Some(Required), None, None, Some(Required)]),
            ("kernel_2712.img", [Some(OneOf); 4]), // kernel*.img to the others
            ("current/bcm2712-rpi-5-b.dtb", [Some(OneOf); 4]),
            ("overlays/README", [Some(Optional); 4]),
            ("overlays/overlay_map.dtb", [Some(Optional), Some(Wanted), Some(Wanted), Some(Optional)]),
            ("start4.elf", [Some(OneOf), Some(OneOf), None, Some(OneOf)]),
            ("current/vmlinuz", [Some(OneOf); 4]),
            ("boot.img", [Some(Required); 4]),
            ("pxelinux.0", [None; 4]),
            ("kernel.bin", [None; 4]),
            ("KERNEL8.IMG", [None; 4]), // a Pi asks for it as written here
            ("config.txt/x", [None; 4]),
        ] {
            for (model, need) in [Some(Model::Pi3), Some(Model::Pi4), Some(Model::Pi5), None]
                .into_iter()
                .zip([pi3, pi4, pi5, anyone])
            {
                assert_eq!(find(name, model).map(|file| file.need), need, "{name} {model:?}");
            }
        }
    }

    #[test]
    fn every_row_can_be_reached() {
        for (index, row) in BOOT_FILES.iter().enumerate() {
            assert!(row.pattern.matches('*').count() <= 1, "{}", row.pattern);
            assert!(Model::ALL.iter().any(|model| row.need(*model).is_some()), "{}", row.pattern);
            let name = row.pattern.replace('*', "_any_");
            let first = BOOT_FILES.iter().position(|row| row.matches(&name)).unwrap();
            assert_eq!(first, index, "{} is hidden by {}", row.pattern, BOOT_FILES[first].pattern);
        }
    }

    #[test]
    fn a_star_is_not_matched_twice() {
        let row = row("ab*ba", Stage::Kernel, Needs { pi3: NO, pi4: NO, pi5: NO });
        assert!(row.matches("abba") && row.matches("ab-ba") && !row.is_exact());
        assert!(!row.matches("aba") && !row.matches("abab"));
    }
}

//! A small card in the layout of Raspberry Pi OS: MBR, FAT with boot files, ext4 with the modules of two kernels.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What tells the cards of systems from each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) config: &'static str,
    pub(crate) command_line: &'static str,
    /// The releases of the kernels.
    pub(crate) kernels: &'static [&'static str],
    /// The program that packs the modules, and the ending of their names.
    packed: Option<(&'static str, &'static str)>,
    /// Modules besides `nbd`, which depends upon them here.
    modules: &'static [&'static str],
    /// /lib is a link to usr/lib.
    is_merged: bool,
    /// The processor of the system's programs: `e_machine` of elf(5).
    pub(crate) machine: u8,
    id: &'static str,
    label: &'static str,
}

/// Makes the image of a card.
pub(crate) fn make(image: &Path) {
    make_as(&SMALL, image);
}

/// Makes the image of a card in the layout of a system.
pub(crate) fn make_as(layout: &Layout, image: &Path) {
    let content = tempfile::tempdir().unwrap();
    let (boot, root) = (content.path().join("boot"), content.path().join("root"));
    fs::create_dir_all(boot.join("overlays")).unwrap();
    for (name, text) in [("config.txt", layout.config), ("cmdline.txt", layout.command_line)] {
        fs::write(boot.join(name), text).unwrap();
    }
    for (name, byte) in [("kernel8.img", 8), ("kernel_2712.img", 27), ("overlays/vc4.dtbo", 4)] {
        fs::write(boot.join(name), vec![byte; 70_000]).unwrap();
    }
    if layout.is_merged {
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    }
    for release in layout.kernels {
        let modules = root.join("lib/modules").join(release);
        fs::create_dir_all(modules.join("kernel")).unwrap();
        let ending = layout.packed.map_or("", |(_, ending)| ending);
        let mut dependencies = format!("kernel/nbd.ko{ending}:");
        for name in ["nbd"].iter().chain(layout.modules) {
            let file = modules.join(format!("kernel/{name}.ko"));
            fs::write(&file, format!("\x7fELF {name} of {release}")).unwrap();
            if let Some((program, _)) = layout.packed {
                run(program, &["-q", file.to_str().unwrap()]);
                let _kept_by_zstd = fs::remove_file(file);
            }
        }
        for name in layout.modules {
            dependencies += &format!(" kernel/{name}.ko{ending}");
        }
        dependencies += "\n";
        for name in layout.modules {
            dependencies += &format!("kernel/{name}.ko{ending}:\n");
        }
        fs::write(modules.join("modules.dep"), dependencies).unwrap();
        let built_in = "kernel/fs/ext4/ext4.ko\nkernel/fs/overlayfs/overlay.ko\n";
        fs::write(modules.join("modules.builtin"), built_in).unwrap();
    }
    for directory in ["etc", "sbin", "lib/systemd"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=raspbian\n").unwrap();
    fs::write(root.join("lib/systemd/systemd"), program(layout.machine, "systemd")).unwrap();
    std::os::unix::fs::symlink("/lib/systemd/systemd", root.join("sbin/init")).unwrap();

    fs::File::create(image).unwrap().set_len(64 << 20).unwrap();
    let place = image.to_str().unwrap();
    let table =
        format!("label: dos\nlabel-id: 0x{}\nstart=2048,size=32768,type=c\nstart=34816,type=83\n", layout.id);
    let script = content.path().join("table");
    fs::write(&script, table).unwrap();
    run("sh", &["-c", &format!("sfdisk -q '{place}' <'{}'", script.display())]);
    run("mkfs.vfat", &["-F", "16", "-n", "BOOTFS", "--offset", "2048", place, "16384"]);
    for entry in fs::read_dir(&boot).unwrap() {
        let entry = entry.unwrap().path();
        run("mcopy", &["-s", "-i", &at_boot(image), entry.to_str().unwrap(), "::"]);
    }
    let offset = format!("offset={}", 34816 * 512);
    let size = format!("{}k", (64 << 10) - 34816 / 2);
    run(
        "mkfs.ext4",
        &["-q", "-F", "-L", layout.label, "-d", root.to_str().unwrap(), "-E", &offset, place, &size],
    );
}

/// The boot partition of an image, as mtools name it.
pub(crate) fn at_boot(image: &Path) -> String {
    format!("{}@@1M", image.display())
}

/// Runs a program, which has to succeed.
/// The beginning of a program for this processor, with a text.
pub(crate) fn program(machine: u8, text: &str) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend([machine, 0]);
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) const ARM: u8 = 40;
pub(crate) const ARM64: u8 = 183;

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    said
}

const SMALL: Layout = Layout {
    config: CONFIG,
    command_line: COMMAND_LINE,
    kernels: &KERNELS,
    packed: None,
    modules: &[],
    is_merged: false,
    machine: ARM64,
    id: "4e639091",
    label: "rootfs",
};

/// Systems for a Pi, as their published images are laid out; made here, with files of a few bytes in the place of kernels and modules.
pub(crate) const SYSTEMS: [(&str, Layout); 4] = [
    (
        "Raspberry Pi OS Bookworm",
        Layout {
            config: "dtparam=audio=on\ncamera_auto_detect=1\nauto_initramfs=1\n[cm4]\notg_mode=1\n[all]\n",
            command_line: "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes \
                           rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n",
            kernels: &["6.6.31+rpt-rpi-2712", "6.6.31+rpt-rpi-v8"],
            packed: Some(("xz", ".xz")),
            is_merged: true,
            ..SMALL
        },
    ),
    (
        "Raspberry Pi OS Trixie",
        Layout {
            config: "auto_initramfs=1\narm_64bit=1\n[pi5]\nkernel=kernel_2712.img\n[all]\n",
            command_line: "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes \
                           rootwait resize quiet ds=nocloud;i=rpi-imager-1 cfg80211.ieee80211_regdom=GB\n",
            kernels: &["6.12.47+rpt-rpi-2712", "6.12.47+rpt-rpi-v8"],
            packed: Some(("xz", ".xz")),
            is_merged: true,
            ..SMALL
        },
    ),
    (
        "Raspberry Pi OS Bookworm, 32 bits",
        Layout {
            config: "auto_initramfs=1\n",
            command_line: "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 rootwait quiet\n",
            // The last one is arm64.
            kernels: &["6.6.31+rpt-rpi-v6", "6.6.31+rpt-rpi-v7", "6.6.31+rpt-rpi-v7l", "6.6.31+rpt-rpi-v8"],
            packed: Some(("xz", ".xz")),
            is_merged: true,
            machine: ARM,
            ..SMALL
        },
    ),
    (
        "Ubuntu 24.04",
        Layout {
            config: "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n[pi4]\nmax_framebuffers=2\n[all]\narm_64bit=1\n",
            command_line: "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable \
                           rootfstype=ext4 panic=10 rootwait fixrtc\n",
            kernels: &["6.8.0-1013-raspi"],
            packed: Some(("zstd", ".zst")),
            modules: &["macb", "genet"],
            is_merged: true,
            label: "writable",
            ..SMALL
        },
    ),
];

pub(crate) const KERNELS: [&str; 2] = ["6.12.1-v8", "6.12.1-2712"];
pub(crate) const CONFIG: &str = "arm_64bit=1\nauto_initramfs=1\n";
pub(crate) const COMMAND_LINE: &str =
    "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 rootwait quiet\n";

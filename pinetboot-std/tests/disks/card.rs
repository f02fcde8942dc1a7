//! A small card in the layout of Raspberry Pi OS: MBR, FAT with boot files, ext4 with the modules of two kernels.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes the image of a card.
pub(crate) fn make(image: &Path) {
    let content = tempfile::tempdir().unwrap();
    let (boot, root) = (content.path().join("boot"), content.path().join("root"));
    fs::create_dir_all(boot.join("overlays")).unwrap();
    for (name, text) in [("config.txt", CONFIG), ("cmdline.txt", COMMAND_LINE)] {
        fs::write(boot.join(name), text).unwrap();
    }
    for (name, byte) in [("kernel8.img", 8), ("kernel_2712.img", 27), ("overlays/vc4.dtbo", 4)] {
        fs::write(boot.join(name), vec![byte; 70_000]).unwrap();
    }
    for release in KERNELS {
        let modules = root.join("lib/modules").join(release);
        fs::create_dir_all(modules.join("kernel")).unwrap();
        fs::write(modules.join("kernel/nbd.ko"), format!("\x7fELF nbd of {release}")).unwrap();
        fs::write(modules.join("modules.dep"), "kernel/nbd.ko:\n").unwrap();
        fs::write(modules.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
    }
    for directory in ["etc", "sbin"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=raspbian\n").unwrap();
    fs::write(root.join("sbin/init"), "").unwrap();

    fs::File::create(image).unwrap().set_len(64 << 20).unwrap();
    let place = image.to_str().unwrap();
    let table = "label: dos\nlabel-id: 0x4e639091\nstart=2048,size=32768,type=c\nstart=34816,type=83\n";
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
    run("mkfs.ext4", &["-q", "-F", "-d", root.to_str().unwrap(), "-E", &offset, place, &size]);
}

/// The boot partition of an image, as mtools name it.
pub(crate) fn at_boot(image: &Path) -> String {
    format!("{}@@1M", image.display())
}

/// Runs a program, which has to succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    said
}

pub(crate) const KERNELS: [&str; 2] = ["6.12.1-v8", "6.12.1-2712"];
pub(crate) const CONFIG: &str = "arm_64bit=1\nauto_initramfs=1\n";
pub(crate) const COMMAND_LINE: &str =
    "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 rootwait quiet\n";

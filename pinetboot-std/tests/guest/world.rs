//! The network and the servers of emulated machines.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::machine::{beside_kernel, lay_boot_files};
use crate::namespace::Namespace;

/// A network with the server's interface `lan`, on which are two machines.
pub(crate) fn network(role: &str) -> Namespace {
    let network = Namespace::new(role);
    network.tap("tap0");
    network.tap("tap1");
    network.bridge("lan", &["tap0", "tap1"]);
    network.address("lan", "10.77.0.1/24");
    network
}

/// A root with BusyBox alone, and its boot files.
pub(crate) fn plant(base_image: &Path) {
    for directory in ["bin", "dev", "etc", "home", "proc", "sbin", "srv/data", "sys"] {
        fs::create_dir_all(base_image.join(directory)).unwrap();
    }
    fs::copy(beside_kernel("busybox"), base_image.join("bin/busybox")).unwrap();
    for command in COMMANDS.split_whitespace() {
        symlink("busybox", base_image.join("bin").join(command)).unwrap();
    }
    let init = base_image.join("sbin/init");
    fs::write(&init, INIT).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(base_image.join("etc/motd"), "base\n").unwrap();
    fs::write(base_image.join("etc/rules"), "none\n").unwrap();
    fs::write(base_image.join("srv/data/file"), "content\n").unwrap();
    // As on an SD card; the server turns it into a root over the network.
    let of_card = "root=PARTUUID=5e9f2a17-02 rootfstype=ext4 fsck.repair=yes rootwait";
    let command_line = format!("console=tty1 console=serial0,115200 {of_card}");
    lay_boot_files(&base_image.join("boot/firmware"), &command_line);
}

/// The machines'.
pub(crate) const SERIALS: [&str; 2] = ["5e9f2a01", "5e9f2a02"];

const COMMANDS: &str = "cat chmod cmp cttyhack echo grep head ln ls md5sum mkdir mknod mount mv poweroff rm seq \
                        setsid sh stat stty sync tee test touch";

/// The root's first program: a shell that does not echo its input.
const INIT: &str = "#!/bin/busybox sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
stty -echo
PS1='guest> ' exec setsid cttyhack sh
";

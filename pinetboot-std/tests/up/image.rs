//! An image that a simulated Pi 5 boots to its first program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::images::{Disk, Sources};

/// Raspberry Pi OS with a first program for arm64.
pub(crate) fn image(sources: &Sources) -> Disk {
    let root = sources.root();
    for directory in ["usr/lib/systemd", "usr/sbin"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    symlink("usr/sbin", root.join("sbin")).unwrap();
    symlink("/usr/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
    let elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 9], &[2, 0, 183, 0]].concat();
    let program = root.join("usr/lib/systemd/systemd");
    fs::write(&program, elf).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(sources.boot().join("config.txt"), "arm_64bit=1\nos_check=0\n").unwrap();
    Disk::small(sources)
}

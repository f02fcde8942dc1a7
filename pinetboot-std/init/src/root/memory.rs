//! A root whose changes stay in memory: overlayfs of a tmpfs over the partition, which any number of machines read
//! (Linux, Documentation/filesystems/overlayfs.rst).

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use pinetboot_core::pi::rules::DISK_DRIVER_MISSING;

use super::mount_partition;
use crate::failure::Failure;
use crate::settings::Root;

/// Mounts the partition, and the overlay at the directory. The mounts beneath it stay in the initramfs.
pub(super) fn lay_over(device: &Path, root: &Root, directory: &str) -> Result<(), Failure> {
    let failed = |what: &str, error: io::Error| {
        Failure::new(
            &DISK_DRIVER_MISSING,
            format!("the root is not laid over by memory: {what}: {error}"),
            "Check that the initramfs has overlay.ko of this kernel, or serve the disk in another mode than ram",
        )
    };
    for place in [LOWER, MEMORY] {
        fs::create_dir_all(place).map_err(|error| failed(place, error))?;
    }
    mount_partition(device, root, LOWER, true)?;
    mount(Some("tmpfs"), MEMORY, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .map_err(|error| failed("tmpfs", error.into()))?;
    for place in [UPPER, WORK] {
        fs::create_dir(place).map_err(|error| failed(place, error))?;
    }
    let options = format!("lowerdir={LOWER},upperdir={UPPER},workdir={WORK}");
    mount(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|error| failed("overlay", error.into()))?;
    let table = format!("{directory}/etc/fstab");
    match fs::read_to_string(&table) {
        Ok(text) => fs::write(&table, without_root(&text)).map_err(|error| failed(&table, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(&table, error)),
    }
}

/// The system's fstab without its root, which is mounted: the options there are of the partition's file system, and
/// systemd-remount-fs(8) would give them to the overlay.
fn without_root(text: &str) -> String {
    let is_root = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        fields.next().is_some_and(|device| !device.starts_with('#')) && fields.next() == Some("/")
    };
    text.lines().map(|line| format!("{}{line}\n", if is_root(line) { "# " } else { "" })).collect()
}

const LOWER: &str = "/lower";
const MEMORY: &str = "/memory";
const UPPER: &str = "/memory/upper";
const WORK: &str = "/memory/work";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_root_alone_becomes_a_comment() {
        let table = "proc /proc proc defaults 0 0\n# a / b\nPARTUUID=5e9f2a17-01  /boot/firmware  vfat  defaults  0  2\n\
                     \tPARTUUID=5e9f2a17-02  /  ext4  defaults,noatime  0  1\n";
        let expected = table.replace("\tPARTUUID", "# \tPARTUUID");
        assert_eq!(without_root(table), expected);
        assert_eq!(without_root("LABEL=writable / ext4"), "# LABEL=writable / ext4\n");
    }
}

//! The root: the partition of `/dev/nbd0` that the command line names, or what lies over it.

mod memory;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use pinetboot_core::pi::rules::DISK_WITHOUT_ROOT;

use crate::failure::Failure;
use crate::settings::{Root, RootName};

/// Mounts the root at a directory.
pub(crate) fn mount_at(root: &Root, directory: &str) -> Result<(), Failure> {
    let device = wait_for(&root.name)?;
    if root.is_in_memory {
        return memory::lay_over(&device, root, directory);
    }
    mount_partition(&device, root, directory, root.is_read_only)
}

fn mount_partition(device: &Path, root: &Root, directory: &str, is_read_only: bool) -> Result<(), Failure> {
    let flags = if is_read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    mount(Some(device), directory, Some(root.kind.as_str()), flags, root.options.as_deref()).map_err(
        |error| {
            let what = format!("{} is not mounted as {}: {error}", device.display(), root.kind);
            Failure::new(
                &DISK_WITHOUT_ROOT,
                what,
                "Check rootfstype= and rootflags=, and the file system by fsck on the server",
            )
        },
    )
}

/// Waits for the partition. The kernel reads the partition table when the disk is opened.
fn wait_for(name: &RootName) -> Result<PathBuf, Failure> {
    let until = Instant::now() + LIMIT;
    loop {
        let seen = find(name);
        if let Ok(Some(path)) = seen {
            return Ok(path);
        }
        if Instant::now() > until {
            let why = seen.err().map_or_else(|| "no partition matches".to_owned(), |error| error.to_string());
            return Err(Failure::new(
                &DISK_WITHOUT_ROOT,
                format!("the disk has no root {name:?}: {why}"),
                "Check root= in cmdline.txt against the image's partition table",
            ));
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

fn find(name: &RootName) -> io::Result<Option<PathBuf>> {
    let disk = File::open(DISK)?;
    for entry in fs::read_dir(PARTITIONS)? {
        let entry = entry?.file_name();
        let Some(entry) = entry.to_str().filter(|entry| entry.starts_with("nbd0p")) else { continue };
        let number = fs::read_to_string(format!("{PARTITIONS}/{entry}/partition"))?;
        let Ok(number) = number.trim().parse() else { continue };
        let path = PathBuf::from(format!("/dev/{entry}"));
        let matches = match name {
            RootName::Number(wanted) => *wanted == number,
            RootName::PartUuid(id) => part_uuid(&disk, number)?.as_ref() == Some(id),
            RootName::PartLabel(label) => {
                let line = format!("PARTNAME={label}");
                fs::read_to_string(format!("{PARTITIONS}/{entry}/uevent"))?.lines().any(|other| other == line)
            }
            RootName::Uuid(id) => superblock(&path)?.is_some_and(|ext| ext.uuid == *id),
            RootName::Label(label) => superblock(&path)?.is_some_and(|ext| ext.label == label.as_bytes()),
        };
        if matches {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The PARTUUID of a partition, in lower case: of a GPT its unique GUID (UEFI 2.10, 5.3), of an MBR the disk's signature and the
/// number (Linux, block/partitions/msdos.c).
fn part_uuid(disk: &impl ReadAt, number: u32) -> io::Result<Option<String>> {
    let mut sector = [0; 512];
    disk.fill(&mut sector, 512)?;
    if sector.starts_with(b"EFI PART") {
        let (first, count, len) = (le(&sector[72..80]), le(&sector[80..84]), le(&sector[84..88]));
        if number == 0 || u64::from(number) > count {
            return Ok(None);
        }
        let at = first.saturating_mul(512).saturating_add(len.saturating_mul(u64::from(number) - 1));
        let mut guid = [0; 16];
        disk.fill(&mut guid, at.saturating_add(16))?;
        guid[..4].reverse();
        guid[4..6].reverse();
        guid[6..8].reverse();
        return Ok(Some(uuid(&guid)));
    }
    disk.fill(&mut sector, 0)?;
    Ok(Some(format!("{:08x}-{number:02x}", le(&sector[440..444]))))
}

struct Ext {
    uuid: String,
    label: Vec<u8>,
}

/// UUID and label of an ext2, ext3 or ext4 (Linux, Documentation/filesystems/ext4/super.rst).
fn superblock(path: &Path) -> io::Result<Option<Ext>> {
    let mut bytes = [0; 0x88];
    File::open(path)?.fill(&mut bytes, 1024)?;
    Ok((bytes[0x38..0x3a] == [0x53, 0xef]).then(|| Ext {
        uuid: uuid(&bytes[0x68..0x78]),
        label: bytes[0x78..0x88].iter().copied().take_while(|byte| *byte != 0).collect(),
    }))
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        text.push_str(if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" });
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A little-endian number of up to eight bytes.
fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Random access, in tests to bytes.
trait ReadAt {
    fn fill(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn fill(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }
}

const DISK: &str = "/dev/nbd0";
const PARTITIONS: &str = "/sys/block/nbd0";
const LIMIT: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    impl ReadAt for Vec<u8> {
        fn fill(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = from.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(self.get(from..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    #[test]
    fn a_partition_of_an_mbr_is_the_disks_number_and_its_own() {
        let mut disk = vec![0; 1024];
        disk[440..444].copy_from_slice(&[0x17, 0x2a, 0x9f, 0x5e]);
        assert_eq!(part_uuid(&disk, 2).ok().flatten().as_deref(), Some("5e9f2a17-02"));
    }

    #[test]
    fn a_partition_of_a_gpt_has_its_guid() {
        let mut disk = vec![0; 2048];
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72] = 2;
        disk[512 + 80] = 4;
        disk[512 + 84] = 128;
        let guid: Vec<u8> = (0..16).collect();
        disk[1024 + 128 + 16..][..16].copy_from_slice(&guid);
        let found = part_uuid(&disk, 2).ok().flatten();
        assert_eq!(found.as_deref(), Some("03020100-0504-0706-0809-0a0b0c0d0e0f"));
        assert_eq!(part_uuid(&disk, 5).ok().flatten(), None);
        disk[512 + 72..512 + 88].fill(0xff); // entries beyond any disk
        assert!(part_uuid(&disk, 2).is_err());
    }
}

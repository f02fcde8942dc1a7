//! Facts about an initramfs: its kind, and from its listing the kernel it is made for and how it mounts NFS.

use std::collections::BTreeSet;

/// The program of an initramfs that mounts NFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NfsClient {
    /// nfsmount of klibc (initramfs-tools).
    Klibc,
    /// mount.nfs of nfs-utils; whether /etc/netconfig is beside it, which it needs for NFSv4.
    MountNfs {
        /// Whether the file exists.
        has_netconfig: bool,
    },
    /// None.
    Nothing,
    /// Not known: the content was not read.
    Unknown,
}

/// The listing of an initramfs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The directories of `lib/modules`.
    pub(crate) versions: BTreeSet<String>,
    has_nfsmount: bool,
    has_mount_nfs: bool,
    has_netconfig: bool,
    /// Whether a driver of a Pi's Ethernet is among the modules.
    pub(crate) has_ethernet: bool,
    /// Whether NFS is among the modules.
    pub(crate) has_nfs: bool,
}

impl Listing {
    /// Lists cpio archives in the format newc, one behind another with zeros between (Documentation/driver-api/early-userspace/buffer-format.rst).
    /// A fault ends the listing.
    pub(crate) fn of(mut archive: &[u8]) -> Self {
        let mut listing = Self::default();
        while let Some(entry) = Entry::parse(archive) {
            listing.add(entry.name);
            archive = entry.rest;
            let zeros = archive.iter().take_while(|byte| **byte == 0).count();
            archive = archive.get(zeros..).unwrap_or_default();
        }
        listing
    }

    /// The program that mounts NFS.
    pub(crate) const fn nfs_client(&self) -> NfsClient {
        match self {
            Self { has_nfsmount: true, .. } => NfsClient::Klibc,
            Self { has_mount_nfs: true, has_netconfig, .. } => {
                NfsClient::MountNfs { has_netconfig: *has_netconfig }
            }
            Self { .. } => NfsClient::Nothing,
        }
    }

    fn add(&mut self, name: &str) {
        let name = name.trim_start_matches("./").trim_start_matches('/');
        let file = name.rsplit('/').next().unwrap_or_default();
        match file {
            "nfsmount" => self.has_nfsmount = true,
            "mount.nfs" | "mount.nfs4" => self.has_mount_nfs = true,
            "netconfig" => self.has_netconfig |= name == "etc/netconfig",
            _ => {}
        }
        let Some(modules) = name.strip_prefix("usr/").unwrap_or(name).strip_prefix("lib/modules/") else {
            return;
        };
        let version = modules.split('/').next().unwrap_or_default();
        if !version.is_empty() && self.versions.len() < 64 {
            self.versions.insert(version.to_owned());
        }
        let module = file.split(".ko").next().filter(|module| *module != file).unwrap_or_default();
        self.has_ethernet |= ETHERNET.contains(&module);
        self.has_nfs |= NFS.contains(&module);
    }
}

struct Entry<'a> {
    name: &'a str,
    rest: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(archive: &'a [u8]) -> Option<Self> {
        let header = archive.get(..HEADER)?;
        if !CPIO.contains(&header.get(..6)?) {
            return None;
        }
        // Fields of eight hexadecimal digits behind the magic; the file's length is the seventh, the name's the twelfth.
        let field = |index: usize| {
            let digits = header.get(6 + 8 * index..14 + 8 * index)?;
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(|value| value as usize)
        };
        let (len, name_len) = (field(6)?, field(11)?);
        let name = archive.get(HEADER..HEADER.checked_add(name_len.checked_sub(1)?)?)?;
        let content = (HEADER + name_len).next_multiple_of(4);
        let end = content.checked_add(len)?.checked_next_multiple_of(4)?;
        // Names that are not UTF-8 are none of those looked for.
        Some(Self {
            name: std::str::from_utf8(name).unwrap_or_default(),
            rest: archive.get(content..)?.get(end - content..).unwrap_or_default(),
        })
    }
}

/// Whether a file begins as an initramfs: a cpio archive, or one compressed in a way that Linux knows (lib/decompress.c).
pub(crate) fn begins(file: &[u8]) -> bool {
    CPIO.iter().chain(COMPRESSED).any(|magic| file.starts_with(magic))
}

const CPIO: &[&[u8]] = &[b"070701", b"070702"];
/// gzip, bzip2, LZMA, xz, LZO, LZ4, zstd.
const COMPRESSED: &[&[u8]] = &[
    &[0x1f, 0x8b],
    &[0x1f, 0x9e],
    b"BZh",
    &[0x5d, 0x00, 0x00],
    &[0xfd, b'7', b'z', b'X', b'Z', 0],
    &[0x89, b'L', b'Z', b'O'],
    &[0x02, 0x21, 0x4c, 0x18],
    &[0x28, 0xb5, 0x2f, 0xfd],
];
const HEADER: usize = 110;
/// Drivers of the Ethernet of a Pi 5 (macb), 4 (genet) and 3 (smsc95xx, lan78xx).
const ETHERNET: &[&str] = &["macb", "genet", "bcmgenet", "smsc95xx", "lan78xx"];
const NFS: &[&str] = &["nfs", "nfsv3"];

/// A cpio archive of empty files, for tests.
#[cfg(test)]
pub(crate) fn archive(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names.iter().chain(&["TRAILER!!!"]) {
        let fields = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() + 1, 0];
        let fields: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        // inode, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check: thirteen in all
        bytes.extend(format!("070701{fields}").bytes());
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_listed() {
        let first = archive(&["kernel/x86/microcode"]);
        let names = [
            "usr/bin/nfsmount",
            "usr/lib/modules/6.12.34+rpt-rpi-2712/kernel/drivers/net/ethernet/cadence/macb.ko.xz",
        ];
        let listing = Listing::of(&[&first[..], &[0; 512], &archive(&names)].concat());
        assert_eq!(listing.nfs_client(), NfsClient::Klibc);
        assert_eq!(listing.versions.iter().collect::<Vec<_>>(), ["6.12.34+rpt-rpi-2712"]);
        assert!(listing.has_ethernet && !listing.has_nfs);
        let listing = Listing::of(&archive(&["sbin/mount.nfs", "lib/modules/x/nfsv3.ko"]));
        assert_eq!(listing.nfs_client(), NfsClient::MountNfs { has_netconfig: false });
        assert!(listing.has_nfs);
        assert_eq!(Listing::of(&archive(&["bin/sh"])).nfs_client(), NfsClient::Nothing);
    }

    #[test]
    fn damage_ends_a_listing() {
        let whole = archive(&["a", "lib/modules/b/nfs.ko", "c"]);
        for len in 0..whole.len() {
            let _listed = Listing::of(&whole[..len]);
        }
        let mut odd = whole.clone();
        for at in 0..odd.len() {
            for byte in [b'f', b'0', 0xff] {
                odd[at] = byte;
                let _listed = Listing::of(&odd);
            }
            odd[at] = whole[at];
        }
        assert!(begins(&whole) && begins(&[0x28, 0xb5, 0x2f, 0xfd]) && !begins(b"random") && !begins(b""));
    }
}

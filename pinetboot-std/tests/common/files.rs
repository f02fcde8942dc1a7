//! Files that differ from each other at every offset, and directories that go away by themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::device_tree::device_tree;

/// `len` bytes that `name` determines: no two blocks are alike, so that a wrong block or a wrong file shows.
pub(crate) fn content(name: &str, len: usize) -> Vec<u8> {
    let mut state =
        name.bytes().fold(len as u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Where two files differ, in a few words; `None` if they do not. (An `assert_eq` would print megabytes.)
pub(crate) fn difference(got: &[u8], expected: &[u8]) -> Option<String> {
    if got == expected {
        return None;
    }
    let at = got.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(got.len().min(expected.len()));
    Some(format!("{} bytes instead of {}, the first difference at {at}", got.len(), expected.len()))
}

/// A directory that goes away with its content when it is dropped.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// With these files in it; directories come with them.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        // For the user that a server becomes.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    /// A tree without warnings: it has a config.txt.
    pub(crate) fn tree(files: &[(&str, &[u8])]) -> Self {
        let folder = Self::new(files);
        folder.write("config.txt", b"[all]\n");
        folder
    }

    /// The same with what a Pi 5 needs.
    pub(crate) fn boots(files: &[(&str, &[u8])]) -> Self {
        let folder = Self::tree(files);
        let mut kernel = vec![0; 5000];
        kernel[56..60].copy_from_slice(b"ARM\x64"); // Linux, Documentation/arch/arm64/booting.rst
        folder.write("kernel_2712.img", &kernel);
        folder.write(
            "cmdline.txt",
            b"console=tty1 root=/dev/nfs nfsroot=192.0.2.1:/pi,vers=3,tcp rw ip=dhcp rootwait\n",
        );
        let compatible = b"raspberrypi,5-model-b\0brcm,bcm2712\0";
        folder.write("bcm2712-rpi-5-b.dtb", &device_tree(&[("compatible", compatible)], &[]));
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.join(name)).unwrap()
    }

    /// The names in the directory, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl AsRef<std::ffi::OsStr> for Folder {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.path().as_ref()
    }
}

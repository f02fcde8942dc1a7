//! What a configuration names: addresses, directories, images.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::Config;
use crate::disk_mode::DiskMode;

impl Config {
    /// The images of all disks, each once.
    pub fn disk_images(&self) -> Vec<PathBuf> {
        let mut images: Vec<_> = self.disk_uses().into_iter().map(|(image, _)| image).collect();
        images.dedup();
        images
    }

    /// The images of all disks with their modes, each pair once.
    pub fn disk_uses(&self) -> Vec<(PathBuf, DiskMode)> {
        self.disk.uses(&self.inventory)
    }

    /// The images that Pis write to.
    pub fn written_images(&self) -> Vec<PathBuf> {
        let uses = self.disk_uses().into_iter();
        uses.filter(|(_, mode)| *mode == DiskMode::Rw).map(|(image, _)| image).collect()
    }

    /// The listening addresses, each once.
    pub fn listen_addresses(&self) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<_> = self.listen.iter().map(|address| *address.ip()).collect();
        addresses.dedup();
        addresses
    }

    /// The directory in the `ready` line: the tree, else the root file system with the boot files.
    pub fn serving(&self) -> &Path {
        let disk = self.disk.image.as_deref();
        self.tree.as_deref().or(disk).or(self.root.nfs.as_deref()).unwrap_or(Path::new("."))
    }
}

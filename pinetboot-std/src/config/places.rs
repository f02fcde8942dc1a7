//! What a configuration names: addresses, directories, images.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::Config;

impl Config {
    /// The images of all disks, each once.
    pub fn disk_images(&self) -> Vec<PathBuf> {
        let of_pis = self.inventory.tables().filter_map(|(_, entry)| entry.disk.clone());
        let mut images: Vec<_> = self.disk.image.clone().into_iter().chain(of_pis).collect();
        images.sort();
        images.dedup();
        images
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

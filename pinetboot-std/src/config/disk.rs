//! Settings and configuration of disks.

use std::path::{Path, PathBuf};

use pinetboot_core::pi::NBD_PORT;

use super::Settings;
use crate::disk_mode::DiskMode;
use crate::exit::{Exit, Failed};
use crate::pis::{Inventory, PiEntry};
use crate::space::Size;

/// Configuration of the disks of Pis.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskConfig {
    /// The image of a card that Pis without another setting boot; `None`: those that the inventory names alone.
    pub image: Option<PathBuf>,
    /// The place of what Pis without another setting write.
    pub mode: DiskMode,
    /// The TCP port of NBD.
    pub port: u16,
    /// The length of a new disk, unless the image is longer.
    pub size: Size,
    /// The first program of a Pi; `None`: the program's own.
    pub init: Option<PathBuf>,
}

impl DiskConfig {
    /// Whether these settings give a Pi a disk.
    pub(super) fn are_in(settings: &Settings) -> bool {
        settings.disk.is_some()
            || settings.tree.as_deref().is_some_and(is_image)
            || settings.pi.values().any(|pi| pi.disk.is_some())
            || settings.group.values().any(|group| group.disk.is_some())
    }

    /// The configuration of these settings.
    ///
    /// # Errors
    ///
    /// If settings contradict each other.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failed> {
        let usage = |message: String| Failed::new(Exit::Usage, message);
        let image = match (&settings.disk, &settings.tree, &settings.nfs) {
            (Some(disk), Some(other), _) | (Some(disk), None, Some(other)) => {
                return Err(usage(format!(
                    "disk {} and {} contradict each other: remove one, or give single Pis a disk in [pi.SERIAL]",
                    disk.display(),
                    other.display()
                )));
            }
            (None, Some(tree), Some(nfs)) if is_image(tree) => {
                return Err(usage(format!(
                    "{} is an image, whose Pis have disks, and --nfs {} is a root: remove one",
                    tree.display(),
                    nfs.display()
                )));
            }
            (Some(disk), None, None) => Some(disk.clone()),
            (None, tree, _) => tree.clone().filter(|tree| is_image(tree)),
        };
        let size = match settings.disk_size {
            Some(size) if !(1 << 20..=MOST_BYTES).contains(&size.bytes()) => {
                return Err(usage("disk-size must be from 1MiB to 16TiB".into()));
            }
            size => size.map_or(Ok(SIZE), |size| Size::try_from(size.bytes().next_multiple_of(SECTOR))),
        };
        Ok(Self {
            image,
            mode: settings.disk_mode.unwrap_or_default(),
            port: settings.disk_port.unwrap_or(NBD_PORT),
            size: size.map_err(usage)?,
            init: settings.init.clone(),
        })
    }

    /// The image of a Pi with these settings, and its mode; `None`: the Pi boots from a tree.
    pub fn of_pi(&self, pi: &PiEntry) -> Option<(PathBuf, DiskMode)> {
        let has_other = pi.image.is_some() || pi.tree.is_some();
        let image = pi.disk.clone().or_else(|| self.image.clone().filter(|_| !has_other))?;
        Some((image, pi.disk_mode.unwrap_or(self.mode)))
    }

    /// All images with their modes, each pair once, sorted.
    pub(super) fn uses(&self, inventory: &Inventory) -> Vec<(PathBuf, DiskMode)> {
        let groups = inventory.tables().filter(|(table, _)| table.starts_with("group."));
        let groups = groups.filter_map(|(_, entry)| self.of_pi(entry));
        let for_all = self.image.clone().map(|image| (image, self.mode));
        let mut uses: Vec<_> = for_all.into_iter().chain(groups).chain(self.of_listed(inventory)).collect();
        uses.sort();
        uses.dedup();
        uses
    }

    fn of_listed(&self, inventory: &Inventory) -> impl Iterator<Item = (PathBuf, DiskMode)> {
        inventory.entries().filter_map(|(pi, _)| self.of_pi(&inventory.settings(pi)))
    }

    /// Refuses an image that one Pi writes to and others use.
    ///
    /// # Errors
    ///
    /// The image.
    pub(super) fn check(&self, inventory: &Inventory) -> Result<(), Failed> {
        let uses = self.uses(inventory);
        for (image, _) in uses.iter().filter(|(_, mode)| *mode == DiskMode::Rw) {
            let writers = self.of_listed(inventory).filter(|of| *of == (image.clone(), DiskMode::Rw)).count();
            if writers > 1 || uses.iter().any(|(other, mode)| other == image && *mode != DiskMode::Rw) {
                let why = format!(
                    "disk-mode rw: one Pi writes to {}, and others have it too. Give that Pi another image",
                    image.display()
                );
                return Err(Failed::new(Exit::Usage, why));
            }
        }
        Ok(())
    }
}

/// Whether a path to serve is an image of a card, and no directory: a file or a block device.
pub(super) fn is_image(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_dir())
}

/// A small card: room for a system's growth, of which the server's disk stores what the Pi writes.
const SIZE: Size = Size::from_bytes(16_000_000_000);
const SECTOR: u64 = 512;
const MOST_BYTES: u64 = 16 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Vec<(PathBuf, DiskMode)>, String> {
        let settings: Settings = toml::from_str(text).unwrap();
        let config = settings.resolve().map_err(|failed| failed.message)?;
        Ok(config.disk_uses())
    }

    #[test]
    fn an_image_that_a_pi_writes_to_is_that_pis_alone() {
        let one = |mode| ("/card.img".into(), mode);
        assert_eq!(check("disk = '/card.img'"), Ok(vec![one(DiskMode::Private)]));
        assert_eq!(check("disk = '/card.img'\ndisk-mode = 'rw'"), Ok(vec![one(DiskMode::Rw)]));
        let by_group =
            "disk = '/card.img'\n[group.a]\nmembers = ['00000001']\ndisk-mode = 'ram'\n[pi.00000001]";
        assert_eq!(check(by_group), Ok(vec![one(DiskMode::Private), one(DiskMode::Ram)]));
        let own = "disk = '/card.img'\n[pi.00000001]\ndisk = '/own.img'\ndisk-mode = 'rw'";
        assert_eq!(check(own), Ok(vec![one(DiskMode::Private), ("/own.img".into(), DiskMode::Rw)]));
        for shared in [
            "disk = '/card.img'\n[pi.00000001]\ndisk-mode = 'rw'",
            "disk = '/card.img'\ndisk-mode = 'ram'\n[group.a]\ndisk-mode = 'rw'",
            "tree = '/t'\n[pi.00000001]\ndisk = '/own.img'\ndisk-mode = 'rw'\n[pi.00000002]\ndisk = '/own.img'\ndisk-mode = 'rw'",
        ] {
            let why = check(shared).unwrap_err();
            assert!(why.starts_with("disk-mode rw: one Pi writes to /"), "{shared}: {why}");
        }
    }
}

//! Settings and configuration of disks.

use std::path::{Path, PathBuf};

use super::Settings;
use crate::exit::{Exit, Failed};
use crate::space::Size;

/// Configuration of the disks of Pis.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskConfig {
    /// The image of a card that Pis without another setting boot; `None`: those that the inventory names alone.
    pub image: Option<PathBuf>,
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
            port: settings.disk_port.unwrap_or(NBD_PORT),
            size: size.map_err(usage)?,
            init: settings.init.clone(),
        })
    }
}

/// Whether a path to serve is an image of a card, and no directory: a file or a block device.
pub(super) fn is_image(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_dir())
}

/// The registered port of NBD.
const NBD_PORT: u16 = 10809;
/// A small card: room for a system's growth, of which the server's disk stores what the Pi writes.
const SIZE: Size = Size::from_bytes(16_000_000_000);
const SECTOR: u64 = 512;
const MOST_BYTES: u64 = 16 << 40;

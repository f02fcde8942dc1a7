//! `disks log`: the log that a Pi's system wrote on its disk.

#[cfg(feature = "web")]
use std::path::Path;

#[cfg(feature = "web")]
use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Access, Disk};
use pinetboot_image::ImageError;

use super::Locked;
#[cfg(feature = "web")]
use super::{Acting, DiskName};
use crate::disks::partitions::{Numbers, Reader};
#[cfg(feature = "web")]
use crate::disks::place::{DiskPlace, Place};
use crate::exit::{Exit, Failed};
use crate::output;
use crate::system_log::{self, Options, SystemLog};

/// Prints the log.
pub(super) fn run(locked: &Locked, options: &Options) -> Result<(), Failed> {
    let log = of(&locked.open(Access::ReadOnly)?, options.boot)?;
    let disk = &locked.disk;
    system_log::print(&log, &disk.pi.to_string(), &disk.image, options, &mut output::stdout())
}

/// The log of the last boot on a Pi's disk, and the name of its image: `image`, or the one that the Pi wrote last. `None` without a disk
/// that this process may see.
#[cfg(feature = "web")]
pub(crate) fn last_log(
    state: &Path,
    pi: Prefix,
    image: Option<&str>,
) -> Option<(String, Result<SystemLog, Failed>)> {
    let place = Place::open(state).ok()?;
    let disk = {
        let _acting = Acting::as_owner_of(&place).ok()?;
        let disks = place.disks().ok()?.into_iter().filter(|disk| disk.pi == pi);
        let written = |disk: &DiskPlace| disk.file().metadata().and_then(|file| file.modified()).ok();
        disks.max_by_key(|disk| (image == Some(disk.image.as_str()), written(disk)))?
    };
    let name = DiskName { pi: pi.to_string(), image: Some(disk.image.clone()) };
    let log = Locked::take(&place, &name).and_then(|locked| of(&locked.open(Access::ReadOnly)?, 0));
    Some((disk.image, log))
}

/// The log of a boot on a disk.
fn of(disk: &dyn Disk, boot: i32) -> Result<SystemLog, Failed> {
    let failed = |error: ImageError| Failed::new(Exit::Failure, error);
    let reader = Reader(disk);
    let (root, is_behind) =
        Numbers::find(disk).and_then(|numbers| numbers.last_root(reader)).map_err(failed)?;
    let mut log = SystemLog::read(&root, boot)?;
    if is_behind {
        log.notes.push(NOT_SHUT_DOWN.into());
    }
    Ok(log)
}

const NOT_SHUT_DOWN: &str = "the system was not shut down, and its ext4 was read without replaying its journal: the last seconds may be missing";

//! A disk as one file: `disks commit`, `disks export`; and its length: `disks resize`.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use indicatif::{DecimalBytes, ProgressBar};
use pinetboot_disk::{Access, Disk};
use pinetboot_image::{Partitions, write_sparse};
use tempfile::Builder;

use super::{DiskName, Locked, failure};
use crate::disks::Place;
use crate::disks::partitions::Reader;
use crate::disks::place::DiskPlace;
use crate::durable;
use crate::exit::{Exit, Failed};
use crate::output;
use crate::space::Size;

/// What the copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Other Pis.
    Pis,
    /// An SD card.
    Card,
}

/// Writes a disk to a new file.
pub(super) fn copy(
    place: &Place,
    of: &DiskName,
    to: &Path,
    what_for: For,
    quiet: bool,
) -> Result<(), Failed> {
    let failed = |error: io::Error| Failed::new(Exit::Failure, format!("{}: {error}", to.display()));
    if to.symlink_metadata().is_ok() {
        let why = format!("{} exists already. Remove it, or name another file", to.display());
        return Err(Failed::new(Exit::Failure, why));
    }
    // A copy that is cut off has another name than the whole one. Made and named as the user who gave the command, before the process acts
    // as the owner of the disks, and after.
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = to.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    let mode = Permissions::from_mode(0o666); // less the umask
    let new = Builder::new().prefix(&prefix).suffix(PART).permissions(mode).tempfile_in(directory);
    let new = new.map_err(failed)?;
    let (disk, bytes) = copy_to(place, of, new.as_file(), quiet)?;
    new.persist_noclobber(to).map_err(|error| failed(error.error))?;
    durable::sync(directory).map_err(failed)?;
    let mut out = output::stdout();
    let (pi, image) = (disk.pi, &disk.image);
    writeln!(out, "{} is {pi}'s disk on {image}, {}", to.display(), DecimalBytes(bytes))?;
    if what_for == For::Pis {
        writeln!(
            out,
            "It has the identity of {pi}. A Pi boots it if its configuration has disk = {:?}",
            to.display().to_string()
        )?;
    }
    Ok(())
}

fn copy_to(place: &Place, of: &DiskName, file: &File, quiet: bool) -> Result<(DiskPlace, u64), Failed> {
    let locked = Locked::take(place, of)?;
    let disk = locked.open(Access::ReadOnly)?;
    let len = used(&disk).map_err(|error| Failed::new(Exit::Failure, error))?;
    let progress = ProgressBar::with_draw_target(Some(len), output::progress(quiet));
    progress.enable_steady_tick(Duration::from_millis(200));
    let written = write(&disk, file, len, &progress);
    progress.finish_and_clear();
    written.map_err(failure)?;
    Ok((locked.disk.clone(), len))
}

/// The bytes up to the end of the last partition; all of a disk with a GPT, which has a copy at its end.
fn used(disk: &dyn Disk) -> Result<u64, pinetboot_image::ImageError> {
    let partitions = Partitions::read(&Reader(disk))?;
    let mut signature = [0; 8];
    disk.read_at(&mut signature, 512).map_err(io::Error::other)?;
    if &signature == b"EFI PART" {
        return Ok(disk.len());
    }
    let ends = partitions.all().iter().map(|part| part.extent.start.saturating_add(part.extent.len));
    Ok(ends.max().unwrap_or(disk.len()).min(disk.len()))
}

fn write(disk: &dyn Disk, file: &File, len: u64, progress: &ProgressBar) -> io::Result<()> {
    let mut buf = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let extent = disk.extent(at, len - at).map_err(io::Error::other)?;
        let piece = if extent.zero { extent.len } else { extent.len.min(PIECE as u64) };
        if !extent.zero {
            let bytes = buf.get_mut(..usize::try_from(piece).unwrap_or(PIECE)).unwrap_or_default();
            disk.read_at(bytes, at).map_err(io::Error::other)?;
            write_sparse(file, bytes, at)?;
        }
        at += piece;
        progress.set_position(at);
    }
    file.set_len(len)?; // the file may end with zeros
    file.sync_all()
}

/// `disks resize`.
pub(super) fn resize(locked: &Locked, size: Size) -> Result<(), Failed> {
    let failed = |error: pinetboot_disk::DiskError| Failed::new(Exit::Failure, error);
    let mut disk = locked.open(Access::ReadWrite)?;
    let (pi, before) = (locked.disk.pi, disk.len());
    let len = size.bytes().next_multiple_of(SECTOR);
    if len < before {
        let why = format!("the disk of {pi} has {}: a disk can be made longer only", DecimalBytes(before));
        return Err(Failed::new(Exit::Usage, why));
    }
    disk.resize(len).map_err(failed)?;
    disk.flush().map_err(failed)?;
    writeln!(
        output::stdout(),
        "{pi}: the disk has {}. Its system grows the partition: on Raspberry Pi OS with 'sudo raspi-config --expand-rootfs'",
        DecimalBytes(len)
    )
}

/// The ending of a copy under way.
const PART: &str = ".part";
const PIECE: usize = 1 << 20;
const SECTOR: u64 = 512;

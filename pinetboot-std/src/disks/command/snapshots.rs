//! Snapshots of a disk, the return to one, and the return to the image: by new names, whatever the size of the disk.
//!
//! A snapshot is the disk's file under another name, and the disk a new overlay on it. A power cut, or a kill, leaves the old disk or the new
//! one: between both the snapshot is another name of the disk, which the next lock of the Pi's disks removes (`DiskPlace::lock`).

use std::fs;
use std::io;
use std::path::Path;

use pinetboot_disk::{Access, Disk, Overlay};

use super::{Locked, failure};
use crate::durable;
use crate::exit::{Exit, Failed};
use crate::output;

/// `disks snapshot`.
pub(super) fn make(locked: &Locked, name: &str) -> Result<(), Failed> {
    let disk = &locked.disk;
    let (file, snapshot) = (disk.file(), disk.snapshot(name));
    // Carries out what a killed server left in the disk's log.
    let len = {
        let overlay = locked.open(Access::ReadWrite)?;
        overlay.flush().map_err(|error| Failed::new(Exit::Failure, error))?;
        overlay.len()
    };
    match fs::hard_link(&file, &snapshot) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failed::new(Exit::Usage, format!("{} has a snapshot {name} already", disk.pi)));
        }
        linked => linked.map_err(failure)?,
    }
    put_on(locked, &snapshot, len).inspect_err(|_| {
        let _removed = fs::remove_file(&snapshot);
    })?;
    writeln!(output::stdout(), "{}: the disk on {} is kept as {name}", disk.pi, disk.image)
}

/// `disks rollback`.
pub(super) fn return_to(locked: &Locked, name: &str) -> Result<(), Failed> {
    let disk = &locked.disk;
    let snapshot = disk.snapshot(name);
    if !snapshot.exists() {
        let all = disk.snapshots().map_err(failure)?.join(", ");
        let all = if all.is_empty() { "none".into() } else { all };
        return Err(Failed::new(Exit::Usage, format!("{} has no snapshot {name}; it has: {all}", disk.pi)));
    }
    let (_, len) = Overlay::look(&snapshot).map_err(|error| Failed::new(Exit::Failure, error))?;
    put_on(locked, &snapshot, len)?;
    writeln!(output::stdout(), "{}: the disk on {} is as it was at {name}", disk.pi, disk.image)
}

/// `disks reset`.
pub(super) fn reset(locked: &Locked, snapshots: bool) -> Result<(), Failed> {
    let disk = &locked.disk;
    let gone = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failure),
    };
    let mut names = disk.snapshots().map_err(failure)?;
    // Before what belongs to it: a cut leaves the whole disk, or none. A log without its disk is void.
    gone(&disk.file())?;
    durable::sync(&disk.directory).map_err(failure)?;
    gone(&log_of(&disk.file()))?;
    if snapshots {
        names.drain(..).try_for_each(|name| gone(&disk.snapshot(&name)))?;
    }
    gone(&disk.directory.join("initramfs"))?;
    match fs::remove_dir_all(disk.directory.join("boot")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.map_err(failure)?,
    }
    durable::sync(&disk.directory).map_err(failure)?;
    let mut out = output::stdout();
    writeln!(out, "{}: what it wrote to its disk on {} is discarded", disk.pi, disk.image)?;
    if !names.is_empty() {
        writeln!(out, "Its snapshots stay: {}. Discard them too with --snapshots", names.join(", "))?;
    }
    Ok(())
}

/// Puts a new overlay on `base`, a file in the directory of the Pi, in the place of the disk.
fn put_on(locked: &Locked, base: &Path, len: u64) -> Result<(), Failed> {
    let (file, new) = (locked.disk.file(), locked.disk.new_file());
    let base = Path::new(base.file_name().unwrap_or_default());
    Overlay::create(&new, base, len).map_err(|error| Failed::new(Exit::Failure, error))?;
    // The log names its disk, and is void for the new one.
    durable::rename(&new, &file).map_err(failure)
}

fn log_of(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".log");
    name.into()
}

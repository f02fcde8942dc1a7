//! Files and names that are on the disk when a function returns.
//!
//! The sync of a file does not save the file's name: "Calling fsync() does not necessarily ensure that the entry in the directory
//! containing the file has also reached disk. For that an explicit fsync() on a file descriptor for the directory is also
//! needed" (fsync(2)). A file that is renamed before its sync may be empty after a power cut.

mod group_sync;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) use group_sync::GroupSync;

/// Writes a file atomically, replacing any file of its name. A power cut leaves the old content or the new.
///
/// # Errors
///
/// The system's.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let staged = stage(path, bytes, mode)?;
    staged.file.sync_all()?;
    staged.put()?;
    sync(parent(path))
}

/// A whole file beside its place. Neither its content nor its name need be on the disk.
#[derive(Debug)]
#[must_use]
pub(crate) struct Staged {
    file: File,
    new: PathBuf,
    place: PathBuf,
}

/// Writes a file beside its place, without a sync.
///
/// # Errors
///
/// The system's.
pub(crate) fn stage(place: &Path, bytes: &[u8], mode: u32) -> io::Result<Staged> {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = parent(place).join(name);
    let mut options = File::options();
    let options = options.write(true).create_new(true).mode(mode);
    let mut file = options.open(&new).or_else(|error| match error.kind() {
        // Left by a process that was killed.
        io::ErrorKind::AlreadyExists => fs::remove_file(&new).and_then(|()| options.open(&new)),
        _ => Err(error),
    })?;
    file.set_permissions(Permissions::from_mode(mode))?; // whatever the umask
    file.write_all(bytes)?;
    Ok(Staged { file, new, place: place.to_owned() })
}

impl Staged {
    /// Renames the file to its place, replacing any file there, without a sync. With its content on the disk before, a power cut leaves
    /// the old content or the new.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn put(&self) -> io::Result<()> {
        fs::rename(&self.new, &self.place)
    }
}

/// Renames a file or directory that is on the disk itself.
///
/// # Errors
///
/// The system's.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(parent(to))?;
    if parent(from) == parent(to) { Ok(()) } else { sync(parent(from)) }
}

/// Creates a directory and its parents, with this mode.
///
/// # Errors
///
/// The system's.
pub(crate) fn create_dir_all(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    create_dir_all(parent(dir), mode)?;
    match DirBuilder::new().mode(mode).create(dir) {
        // Another thread was faster, and syncs the name; here it may be too early to rely on that.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent(dir)),
    }
}

/// Writes a file's content, or the names in a directory, to the disk.
///
/// # Errors
///
/// The system's.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

//! Files and names that are on the disk when a function returns.
//!
//! The sync of a file does not save the file's name: "Calling fsync() does not necessarily ensure that the entry in the directory
//! containing the file has also reached disk. For that an explicit fsync() on a file descriptor for the directory is also
//! needed" (fsync(2)). A file that is renamed before its sync may be empty after a power cut.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file atomically, replacing any file of its name. A power cut leaves the old content or the new.
///
/// # Errors
///
/// The system's.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = parent(path).join(name);
    let _left_from_before = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&new)?;
    file.set_permissions(Permissions::from_mode(mode))?; // whatever the umask
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&new, path)
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

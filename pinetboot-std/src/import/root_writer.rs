//! Writes files with owners, links and devices beneath one directory, and nowhere else.
//!
//! openat2(2) opens each directory by its path from the root, follows no link and does not leave the root; each file is
//! created in such a directory, and must be new. A hostile image with repeated names and links therefore reaches only
//! files that the import itself created.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::libc::dev_t;
use nix::sys::stat::{self, FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{self, Gid, Uid};
use pinetboot_image::ext4::{DeviceNumber, FileKind, Timestamp, Xattr};
use xattr::FileExt;
/// The target of an import.
#[derive(Debug)]
pub struct RootWriter {
    root: OwnedFd,
}

/// A file's attributes, without its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a> {
    /// Permission bits: the low 12 of `st_mode`.
    pub permissions: u32,
    /// Owner and group; `None`: those of the process.
    pub owner: Option<(u32, u32)>,
    /// Modification time; `None`: now.
    pub modified: Option<Timestamp>,
    /// Extended attributes.
    pub xattrs: &'a [Xattr],
}

impl RootWriter {
    /// Opens an empty directory as the target.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: fcntl::open(root, flags, Mode::empty())? })
    }

    /// Opens a directory by its path from the root; the empty path is the root.
    ///
    /// # Errors
    ///
    /// If no directory has that path, or a component is a link.
    pub fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_directory(path, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    /// Opens a directory through symbolic links, which stay inside, as for a process in a `chroot`.
    ///
    /// # Errors
    ///
    /// If no directory has that path.
    pub fn directory_through_links(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_directory(path, ResolveFlag::RESOLVE_IN_ROOT)
    }

    fn open_directory(&self, path: &[u8], resolve: ResolveFlag) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(fcntl::openat2(&self.root, path, how)?)
    }

    /// Makes a hard link `name` in `directory` to the file at `path`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn link(&self, path: &[u8], directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        Ok(unistd::linkat(&self.root, path, directory, name, AtFlags::empty())?)
    }

    /// Waits until the whole file system is on the disk (syncfs(2)).
    ///
    /// # Errors
    ///
    /// The system's, also those of earlier writes.
    pub fn sync(&self) -> io::Result<()> {
        Ok(unistd::syncfs(&self.root)?)
    }
}

/// Makes a directory with mode 0700, until [`finish`] sets the final one.
///
/// # Errors
///
/// If the name exists.
pub(super) fn make_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(stat::mkdirat(parent, name, Mode::S_IRWXU)?)
}

/// Makes a file with mode 0600, until [`finish`] sets the final one.
///
/// # Errors
///
/// If the name exists.
pub(super) fn make_file(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(fcntl::openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
}

/// Opens and truncates an existing file.
///
/// # Errors
///
/// If no file has that name, or the file is a link.
pub(super) fn open_again(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(fcntl::openat(parent, name, flags, Mode::empty())?.into())
}

/// Sets the attributes of a directory or file, after the last write to it.
///
/// # Errors
///
/// The system's; extended attributes that the target's file system does not support are skipped.
pub(super) fn finish(file: BorrowedFd<'_>, attributes: &Attributes<'_>) -> io::Result<()> {
    if let Some((uid, gid)) = attributes.owner {
        unistd::fchown(file, Some(user(uid)?), Some(group(gid)?))?; // takes setuid and capabilities away: first
    }
    stat::fchmod(file, mode(attributes))?;
    for xattr in attributes.xattrs {
        keep(Opened(file).set_xattr(OsStr::from_bytes(&xattr.name), &xattr.value))?;
    }
    if let Some(time) = attributes.modified {
        let time = time_spec(time);
        stat::futimens(file, &time, &time)?;
    }
    Ok(())
}

/// Makes a symbolic link to `target`, a device, a pipe or a socket.
///
/// # Errors
///
/// If the name exists, or the process lacks the privilege.
pub(super) fn make_special(
    parent: &OwnedFd,
    name: &[u8],
    kind: FileKind,
    target: &[u8],
    attributes: &Attributes<'_>,
) -> io::Result<()> {
    let node = |kind, device| stat::mknodat(parent, name, kind, Mode::empty(), device);
    match kind {
        FileKind::Symlink => unistd::symlinkat(target, parent, name)?,
        FileKind::CharacterDevice(device) => node(SFlag::S_IFCHR, number(device))?,
        FileKind::BlockDevice(device) => node(SFlag::S_IFBLK, number(device))?,
        FileKind::Fifo => node(SFlag::S_IFIFO, 0)?,
        FileKind::Socket => node(SFlag::S_IFSOCK, 0)?,
        FileKind::Regular | FileKind::Directory => return Err(io::ErrorKind::InvalidInput.into()),
    }
    if let Some((uid, gid)) = attributes.owner {
        let owner = (Some(user(uid)?), Some(group(gid)?));
        unistd::fchownat(parent, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    if kind != FileKind::Symlink {
        // No other process can enter the directory: the name is still this node.
        stat::fchmodat(parent, name, mode(attributes), FchmodatFlags::FollowSymlink)?;
    }
    if let Some(time) = attributes.modified {
        let time = time_spec(time);
        stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
    }
    Ok(())
}

/// The status of a directory entry, of a link itself; `None` if the name does not exist.
///
/// # Errors
///
/// The system's.
pub(super) fn status(parent: &OwnedFd, name: &[u8]) -> io::Result<Option<FileStat>> {
    match stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Checks that this process may make devices and files of any owner in `directory`.
///
/// # Errors
///
/// The system's, if it may not.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    let place = tempfile::Builder::new().prefix(".probe-").tempdir_in(directory)?;
    let parent = RootWriter::open(place.path())?.root;
    let attributes =
        Attributes { permissions: 0o644, owner: Some((12345, 54321)), modified: None, xattrs: &[] };
    let file = make_file(&parent, b"owner")?;
    finish(file.as_fd(), &attributes)?;
    make_special(
        &parent,
        b"device",
        FileKind::CharacterDevice(DeviceNumber { major: 1, minor: 3 }),
        b"",
        &attributes,
    )
}

fn user(uid: u32) -> io::Result<Uid> {
    if uid == u32::MAX { Err(NO_ID.into()) } else { Ok(Uid::from_raw(uid)) }
}

fn group(gid: u32) -> io::Result<Gid> {
    if gid == u32::MAX { Err(NO_ID.into()) } else { Ok(Gid::from_raw(gid)) }
}

/// chown(2) takes this number for "unchanged".
const NO_ID: io::ErrorKind = io::ErrorKind::InvalidData;

fn number(device: DeviceNumber) -> dev_t {
    stat::makedev(device.major.into(), device.minor.into())
}

fn mode(attributes: &Attributes<'_>) -> Mode {
    Mode::from_bits_truncate(attributes.permissions)
}

fn time_spec(time: Timestamp) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanoseconds.into())
}

/// An open file or directory, for the crate `xattr`, which implements its trait for `File` alone.
struct Opened<'a>(BorrowedFd<'a>);

impl AsRawFd for Opened<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl FileExt for Opened<'_> {}

/// Ignores errors of attributes that the file system or the kernel does not support.
fn keep(done: io::Result<()>) -> io::Result<()> {
    let errno = done.as_ref().err().and_then(io::Error::raw_os_error).map(Errno::from_raw);
    match errno {
        Some(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::EPERM | Errno::EACCES) => Ok(()),
        Some(Errno::ENOSPC | Errno::E2BIG | Errno::ERANGE) => Ok(()), // too large for the file system
        _ => done,
    }
}

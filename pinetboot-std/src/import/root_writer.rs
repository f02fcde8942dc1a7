//! The tree that is written: files with owners, links and devices, beneath one directory and nowhere else.
//!
//! Every directory is opened by its path from the root with `openat2`, which follows no link and does not leave the tree;
//! every file is made anew in such a directory. So whatever names, links and repetitions an image has, what it reaches
//! is what it made itself.

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
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{self, Gid, Uid};
use pinetboot_image::ext4::{DeviceNumber, FileKind, Timestamp, Xattr};
use xattr::FileExt;
/// A tree being written.
#[derive(Debug)]
pub struct RootWriter {
    root: OwnedFd,
}

/// What a file has besides its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a> {
    /// Low 12 bits.
    pub permissions: u32,
    /// Who owns it; `None`: whoever writes it.
    pub owner: Option<(u32, u32)>,
    /// When it was changed last.
    pub modified: Option<Timestamp>,
    /// Extended attributes.
    pub xattrs: &'a [Xattr],
}

impl RootWriter {
    /// The tree beneath an empty directory.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: fcntl::open(root, flags, Mode::empty())? })
    }

    /// Opens a directory of it; the empty path is its root.
    ///
    /// # Errors
    ///
    /// If there is none, or a link is on the way.
    pub fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_directory(path, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    /// Opens a directory of it as a process whose root it is would: links count, and stay inside.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn directory_through_links(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_directory(path, ResolveFlag::RESOLVE_IN_ROOT)
    }

    fn open_directory(&self, path: &[u8], resolve: ResolveFlag) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(fcntl::openat2(&self.root, path, how)?)
    }

    /// Makes a name for a file that has one already, by its path from the root.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn link(&self, path: &[u8], directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        Ok(unistd::linkat(&self.root, path, directory, name, AtFlags::empty())?)
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    ///
    /// The system's, also of writes before.
    pub fn sync(&self) -> io::Result<()> {
        Ok(unistd::syncfs(&self.root)?)
    }
}

/// Makes a directory, for its maker alone until [`finish`].
///
/// # Errors
///
/// If there is something of that name.
pub(super) fn make_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(stat::mkdirat(parent, name, Mode::S_IRWXU)?)
}

/// Makes a file, for its maker alone until [`finish`].
///
/// # Errors
///
/// If there is something of that name.
pub(super) fn make_file(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(fcntl::openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
}

/// Opens a file that is there, to write it anew.
///
/// # Errors
///
/// If there is none, or it is a link.
pub(super) fn open_again(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(fcntl::openat(parent, name, flags, Mode::empty())?.into())
}

/// Gives a directory or file its attributes, once nothing more is written to it.
///
/// # Errors
///
/// The system's; attributes that the target's file system does not keep are none.
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

/// Makes what is neither a directory nor a file with content: a link to `target`, a device, a pipe or a socket.
///
/// # Errors
///
/// If there is something of that name, or the system does not let one.
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
        // Made a moment ago in a directory that is only ours: the name is still this node.
        stat::fchmodat(parent, name, mode(attributes), FchmodatFlags::FollowSymlink)?;
    }
    if let Some(time) = attributes.modified {
        let time = time_spec(time);
        stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
    }
    Ok(())
}

/// What is of that name itself, not what a link leads to; `None` if nothing is.
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

/// Whether this process may make files in `directory` as an OS image has them: of any owner, and devices.
///
/// # Errors
///
/// What is missing.
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

/// Free bytes where `directory` is, for this process.
///
/// # Errors
///
/// The system's.
pub(super) fn free_space(directory: &Path) -> io::Result<u64> {
    let space = statvfs(directory)?;
    let blocks = if Uid::effective().is_root() { space.blocks_free() } else { space.blocks_available() };
    Ok(space.fragment_size().saturating_mul(blocks))
}

fn user(uid: u32) -> io::Result<Uid> {
    if uid == u32::MAX { Err(NOBODY.into()) } else { Ok(Uid::from_raw(uid)) }
}

fn group(gid: u32) -> io::Result<Gid> {
    if gid == u32::MAX { Err(NOBODY.into()) } else { Ok(Gid::from_raw(gid)) }
}

/// This number stands for no one.
const NOBODY: io::ErrorKind = io::ErrorKind::InvalidData;

fn number(device: DeviceNumber) -> dev_t {
    stat::makedev(device.major.into(), device.minor.into())
}

fn mode(attributes: &Attributes<'_>) -> Mode {
    Mode::from_bits_truncate(attributes.permissions)
}

fn time_spec(time: Timestamp) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanoseconds.into())
}

/// What the crate `xattr` sets attributes of: its own is for files alone, and not for directories.
struct Opened<'a>(BorrowedFd<'a>);

impl AsRawFd for Opened<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl FileExt for Opened<'_> {}

/// Attributes that a file system or the system does not have are left out.
fn keep(done: io::Result<()>) -> io::Result<()> {
    let errno = done.as_ref().err().and_then(io::Error::raw_os_error).map(Errno::from_raw);
    match errno {
        Some(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::EPERM | Errno::EACCES) => Ok(()),
        Some(Errno::ENOSPC | Errno::E2BIG | Errno::ERANGE) => Ok(()), // no room for one so large
        _ => done,
    }
}

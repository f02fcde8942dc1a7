//! The tree that is written: files with owners, links and devices, beneath one directory and nowhere else.
//!
//! Every directory is opened by its path from the root with `openat2`, which follows no link and does not leave the tree;
//! every file is made anew in such a directory. So whatever names, links and repetitions an image has, what it reaches
//! is what it made itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use pinetboot_image::ext4::{DeviceNumber, FileKind, Timestamp, Xattr};
use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

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
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// Opens a directory of it; the empty path is its root.
    ///
    /// # Errors
    ///
    /// If there is none, or a link is on the way.
    pub fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_directory(path, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens a directory of it as a process whose root it is would: links count, and stay inside.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn directory_through_links(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_directory(path, ResolveFlags::IN_ROOT)
    }

    fn open_directory(&self, path: &[u8], resolve: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    /// Makes a name for a file that has one already, by its path from the root.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn link(&self, path: &[u8], directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.root, path, directory, name, AtFlags::empty())?)
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    ///
    /// The system's, also of writes before.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }
}

/// Makes a directory, for its maker alone until [`finish`].
///
/// # Errors
///
/// If there is something of that name.
pub(super) fn make_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
}

/// Makes a file, for its maker alone until [`finish`].
///
/// # Errors
///
/// If there is something of that name.
pub(super) fn make_file(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Opens a file that is there, to write it anew.
///
/// # Errors
///
/// If there is none, or it is a link.
pub(super) fn open_again(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// Gives a directory or file its attributes, once nothing more is written to it.
///
/// # Errors
///
/// The system's; attributes that the target's file system does not keep are none.
pub(super) fn finish(file: BorrowedFd<'_>, attributes: &Attributes<'_>) -> io::Result<()> {
    if let Some((uid, gid)) = attributes.owner {
        rustix::fs::fchown(file, Some(user(uid)?), Some(group(gid)?))?; // takes setuid and capabilities away: first
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(attributes.permissions & 0o7777))?;
    for xattr in attributes.xattrs {
        keep(rustix::fs::fsetxattr(file, xattr.name.as_slice(), &xattr.value, XattrFlags::empty()))?;
    }
    if let Some(time) = attributes.modified {
        rustix::fs::futimens(file, &timestamps(time))?;
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
    let node = |kind, device| rustix::fs::mknodat(parent, name, kind, Mode::empty(), device);
    match kind {
        FileKind::Symlink => rustix::fs::symlinkat(target, parent, name)?,
        FileKind::CharacterDevice(device) => node(FileType::CharacterDevice, number(device))?,
        FileKind::BlockDevice(device) => node(FileType::BlockDevice, number(device))?,
        FileKind::Fifo => node(FileType::Fifo, 0)?,
        FileKind::Socket => node(FileType::Socket, 0)?,
        FileKind::Regular | FileKind::Directory => return Err(io::ErrorKind::InvalidInput.into()),
    }
    if let Some((uid, gid)) = attributes.owner {
        let owner = (Some(user(uid)?), Some(group(gid)?));
        rustix::fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if kind != FileKind::Symlink {
        // Made a moment ago in a directory that is only ours: the name is still this node.
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from_raw_mode(attributes.permissions & 0o7777),
            AtFlags::empty(),
        )?;
    }
    if let Some(time) = attributes.modified {
        rustix::fs::utimensat(parent, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// What is of that name itself, not what a link leads to; `None` if nothing is.
///
/// # Errors
///
/// The system's.
pub(super) fn status(parent: &OwnedFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
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
    let space = rustix::fs::statvfs(directory)?;
    let root = rustix::process::geteuid().is_root();
    Ok(space.f_frsize.saturating_mul(if root { space.f_bfree } else { space.f_bavail }))
}

fn user(uid: u32) -> io::Result<Uid> {
    if uid == u32::MAX { Err(NOBODY.into()) } else { Ok(Uid::from_raw(uid)) }
}

fn group(gid: u32) -> io::Result<Gid> {
    if gid == u32::MAX { Err(NOBODY.into()) } else { Ok(Gid::from_raw(gid)) }
}

/// This number stands for no one.
const NOBODY: io::ErrorKind = io::ErrorKind::InvalidData;

fn number(device: DeviceNumber) -> Dev {
    rustix::fs::makedev(device.major, device.minor)
}

fn timestamps(time: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Attributes that a file system or the system does not have are left out.
fn keep(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Err(Errno::NOTSUP | Errno::INVAL | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) => Ok(()), // no room for one so large
        done => Ok(done?),
    }
}

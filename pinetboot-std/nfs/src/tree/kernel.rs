//! System calls that no library wraps: file handles (name_to_handle_at(2), open_by_handle_at(2)), access(2) of an open file,
//! project quotas (ioctl_fsgetxattr(2), quotactl(2)), and the scheduler (sched_setattr(2)).
//!
//! The only `unsafe` of the NFS server: calls of the C library.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
use rustix::fs::{Access, OFlags};
use rustix::io::{self, Errno};

use crate::file_system::FileId;

/// The id of the file behind `fd`: the type of the kernel's handle, then the handle.
pub(super) fn of_file(fd: BorrowedFd<'_>) -> io::Result<FileId> {
    of_file_in_mount(fd).map(|(id, _)| id)
}

/// The id of the file of this name; of a symbolic link itself.
pub(super) fn of_name(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<FileId> {
    of_path(dir, name, 0).map(|(id, _)| id)
}

/// The id and the mount of the file of this name.
pub(super) fn of_name_in_mount(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<(FileId, MountId)> {
    of_path(dir, name, 0)
}

/// The id and the mount of the file behind `fd`.
pub(super) fn of_file_in_mount(fd: BorrowedFd<'_>) -> io::Result<(FileId, MountId)> {
    of_path(fd, c"", libc::AT_EMPTY_PATH)
}

/// Opens a file by its id. Requires CAP_DAC_READ_SEARCH. `mount` is any open file of the same mount.
pub(super) fn open(mount: BorrowedFd<'_>, id: &FileId, flags: OFlags) -> io::Result<OwnedFd> {
    let (&kind, bytes) = id.as_bytes().split_first().ok_or(Errno::STALE)?;
    let mut handle = Handle::default();
    handle.bytes.get_mut(..bytes.len()).ok_or(Errno::STALE)?.copy_from_slice(bytes);
    handle.len = u32::try_from(bytes.len()).map_err(|_| Errno::STALE)?;
    handle.kind = kind.into();
    let flags = (flags | OFlags::CLOEXEC).bits().cast_signed();
    // SAFETY: `handle` is laid out like the C library's `file_handle`, has room for `len` bytes behind its head, and lives
    // longer than the call, which only reads it.
    let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the call has just made this descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether this thread, with its current identity, may access the file behind `fd` in all these ways.
pub(super) fn allows(fd: BorrowedFd<'_>, access: Access) -> bool {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the arguments are what faccessat2(2) takes, and the empty path is a constant that ends with a NUL. Not the C
    // library's faccessat: some make up the answer from uids that are not this thread's.
    let result =
        unsafe { libc::syscall(libc::SYS_faccessat2, fd.as_raw_fd(), c"".as_ptr(), access.bits(), flags) };
    result == 0
}

/// The project of a directory, and whether what is made in it inherits the project.
pub(crate) fn project(directory: BorrowedFd<'_>) -> io::Result<(u32, bool)> {
    let attributes = project_attributes(directory)?;
    Ok((attributes.project, attributes.flags & INHERIT != 0))
}

/// Puts a directory, and what is made in it from now on, into a project.
pub(crate) fn set_project(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = project_attributes(directory)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: `attributes` is laid out like the kernel's `fsxattr`, and lives longer than the call, which only reads it.
    match unsafe { libc::ioctl(directory.as_raw_fd(), SET_ATTRIBUTES as _, &raw const attributes) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// Sets the limit of a project in units of 1024 bytes, 0 for none, on the file system of `file`. Requires CAP_SYS_ADMIN, and Linux
/// 5.14.
pub(crate) fn limit_project(file: BorrowedFd<'_>, project: u32, kibibytes: u64) -> io::Result<()> {
    let limits = Limits { hard: kibibytes, soft: kibibytes, valid: BLOCK_LIMITS, ..Limits::default() };
    // SAFETY: `limits` is laid out like the kernel's `if_dqblk`, and lives longer than the call, which only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), SET_LIMITS, project, &raw const limits)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Asks the scheduler for these turns of this thread. The niceness stays, and so does a policy that is no usual one.
pub(crate) fn schedule(turns: Turns) -> io::Result<()> {
    let mut attributes = Scheduling::default();
    let len = size_of::<Scheduling>();
    // SAFETY: `attributes` is laid out like the kernel's `sched_attr` of this length, and lives longer than the call, which fills it.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, len, 0) };
    if got != 0 {
        return Err(last_error());
    }
    if ![libc::SCHED_OTHER, libc::SCHED_BATCH].map(i32::cast_unsigned).contains(&attributes.policy) {
        return Ok(());
    }
    let (policy, runtime) = match turns {
        Turns::Soon => (libc::SCHED_OTHER, SHORT_TURN),
        Turns::Long => (libc::SCHED_BATCH, 0),
    };
    (attributes.policy, attributes.runtime) = (policy.cast_unsigned(), runtime);
    // SAFETY: as above; the call only reads.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// The turns of a thread on its processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turns {
    /// Short ones, as soon as there is work, before threads with longer turns (Linux 6.12; before, as any thread's).
    Soon,
    /// Long ones, which interrupt no other thread (sched(7), SCHED_BATCH).
    Long,
}

fn project_attributes(directory: BorrowedFd<'_>) -> io::Result<ProjectAttributes> {
    let mut attributes = ProjectAttributes::default();
    // SAFETY: `attributes` is laid out like the kernel's `fsxattr`, and lives longer than the call, which fills it.
    match unsafe { libc::ioctl(directory.as_raw_fd(), GET_ATTRIBUTES as _, &raw mut attributes) } {
        0 => Ok(attributes),
        _ => Err(last_error()),
    }
}

fn of_path(dir: impl AsFd, name: &CStr, flags: i32) -> io::Result<(FileId, MountId)> {
    let mut handle = Handle { len: MOST, ..Handle::default() };
    let mut mount = 0;
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: `handle` is laid out like the C library's `file_handle` and says truly how much room is behind its head;
    // `name` ends with a NUL; all three live longer than the call.
    let result = unsafe {
        libc::name_to_handle_at(dir, name.as_ptr(), (&raw mut handle).cast(), &raw mut mount, flags)
    };
    if result < 0 {
        return Err(last_error());
    }
    let len = usize::try_from(handle.len).map_err(|_| Errno::OVERFLOW)?;
    let mut id = [0; FileId::MAX_LEN];
    // The kernel's file systems number their handle types in a byte, although the field is wider.
    id[0] = u8::try_from(handle.kind).map_err(|_| Errno::OVERFLOW)?;
    id.get_mut(1..=len).ok_or(Errno::OVERFLOW)?.copy_from_slice(handle.bytes.get(..len).unwrap_or_default());
    let id = FileId::new(id.get(..=len).unwrap_or_default()).ok_or(Errno::OVERFLOW)?;
    Ok((id, MountId(mount)))
}

/// The kernel's `sched_attr` in its first version (linux/sched/types.h).
#[repr(C)]
#[derive(Default)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// The shortest turn that the kernel grants, in nanoseconds.
const SHORT_TURN: u64 = 100_000;

/// The number of a mount, valid while it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MountId(i32);

/// The C library's `file_handle`, with space for the handle.
#[repr(C)]
struct Handle {
    len: u32,
    kind: i32,
    bytes: [u8; MOST as usize],
}

impl Default for Handle {
    fn default() -> Self {
        Self { len: 0, kind: 0, bytes: [0; MOST as usize] }
    }
}

/// The kernel's `fsxattr` (linux/fs.h).
#[repr(C)]
#[derive(Default)]
struct ProjectAttributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// The kernel's `if_dqblk` (linux/quota.h).
#[repr(C)]
#[derive(Default)]
struct Limits {
    hard: u64,
    soft: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_grace: u64,
    inode_grace: u64,
    valid: u32,
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Most bytes of a kernel handle: a [`FileId`] without the type. ext4 uses 8, XFS 12, btrfs 20; overlayfs adds 24.
const MOST: u32 = FileId::MAX_LEN as u32 - 1;

// linux/fs.h: FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_XFLAG_PROJINHERIT.
const GET_ATTRIBUTES: u32 = 0x801c_581f;
const SET_ATTRIBUTES: u32 = 0x401c_5820;
const INHERIT: u32 = 0x200;
// linux/quota.h: QCMD(Q_SETQUOTA, PRJQUOTA), QIF_BLIMITS.
const SET_LIMITS: u32 = (0x80_0008 << 8) | 2;
const BLOCK_LIMITS: u32 = 1;

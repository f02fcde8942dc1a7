//! Limits that the file system of a directory enforces: project quotas of ext4 and XFS (quotactl(2)).
//!
//! A file system has them if it was made for them (`mkfs.ext4 -O quota,project -E quotatype=prjquota`) and is mounted with the option
//! `prjquota`. A project is a number: ours is the directory's inode with the highest bit set, which numbers of `/etc/projid` do not
//! have. So no table of projects is kept.

use std::fs::read_dir;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, fstatvfs, open};

use super::tree::kernel;

/// Limits what is below the directory `top` and the directory `beside` it, on the same file system, to this many bytes; `None`: no
/// limit. Returns whether the file system enforces the limit. Requires CAP_SYS_ADMIN and CAP_FOWNER; a process with CAP_SYS_RESOURCE
/// may exceed a limit.
///
/// The directories have to be empty at the first call: what is there already belongs to no project, and could not be renamed.
///
/// # Errors
///
/// If a directory cannot be opened. A file system without project quotas is not an error.
pub fn limit(top: &Path, beside: &Path, bytes: Option<u64>) -> io::Result<bool> {
    let is_empty = |directory| read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    let are_empty = || is_empty(top) && is_empty(beside);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (top_fd, beside_fd) = (open(top, flags, Mode::empty())?, open(beside, flags, Mode::empty())?);
    let both = [top_fd.as_fd(), beside_fd.as_fd()];
    let top_fd = top_fd.as_fd();
    let Some(project) = u32::try_from(fstat(top_fd)?.st_ino).ok().filter(|inode| *inode < OURS) else {
        return Ok(false);
    };
    let project = project | OURS;
    let has_project = both.into_iter().all(|directory| kernel::project(directory) == Ok((project, true)));
    let Some(bytes) = bytes else {
        if has_project {
            kernel::limit_project(top_fd, project, 0)?;
        }
        return Ok(false);
    };
    let join = || both.into_iter().all(|directory| kernel::set_project(directory, project).is_ok());
    if !(has_project || are_empty() && join()) {
        return Ok(false);
    }
    // At least one unit: 0 is no limit.
    if kernel::limit_project(top_fd, project, (bytes / UNIT).max(1)).is_err() {
        return Ok(false);
    }
    // Quotas that are counted and not enforced accept a limit, too. Those that are enforced show the limit as the size of the file
    // system (ext4_statfs_project, xfs_qm_statvfs).
    let shown = fstatvfs(top_fd)?;
    Ok(shown.f_blocks.saturating_mul(shown.f_frsize) <= bytes.max(shown.f_frsize))
}

/// The numbers of our projects begin here.
const OURS: u32 = 1 << 31;
/// Bytes of a unit in a quota.
const UNIT: u64 = 1024;

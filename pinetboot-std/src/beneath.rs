//! Opens files of untrusted trees.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Opens the file at `place` beneath `root`. Symbolic links are followed as long as they stay beneath `root`.
///
/// # Errors
///
/// The kernel's (openat2(2)); `EXDEV` for a link that leaves `root`.
pub(crate) fn beneath(root: &OwnedFd, place: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    beneath_by(root, place, flags, ResolveFlag::empty())
}

/// The same, with further rules for the path.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn beneath_by(
    root: &OwnedFd,
    place: &Path,
    flags: OFlag,
    rules: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let resolve = rules | ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, place, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}

/// Opens the file at `place` as a process in a `chroot` to `root` does: absolute links start at `root` too.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn within(root: &OwnedFd, place: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, place, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}

//! Opens files of trees that are not to be trusted.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Opens what is at `place` beneath `root`: links that stay beneath it are followed, those that leave it are not.
///
/// # Errors
///
/// The kernel's (openat2(2)); `EXDEV` for a link that leaves `root`.
pub(crate) fn beneath(root: &OwnedFd, place: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, place, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}

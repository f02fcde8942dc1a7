//! Mounts of overlayfs, in a namespace of this process.
//!
//! `index=on,nfs_export=on,redirect_dir=on` (Documentation/filesystems/overlayfs.rst): file handles and inode numbers
//! stay the same when a file is copied up or renamed, or the overlay mounted again, and directories of the base image can be
//! renamed. With a base image and a layer on two file systems, inode numbers take `xino=on` too: without, directories get new ones
//! when the kernel needs memory, and with each mount.
//!
//! The process has its own mount namespace. The mounts end with the process, however that ends: no mount is left for a restart
//! to find, for a backup to walk into, or to fill `df` with a thousand Pis. To inspect a mount: `nsenter --mount --target PID`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat};
#[cfg(feature = "nfs")]
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};
use rustix::thread::CapabilitySet;

use crate::sandbox::lacking;

/// Moves this process into its own mount namespace. Call this while the process has one thread: only later threads are in the
/// namespace too. Mounts made outside stay visible.
///
/// # Errors
///
/// The missing requirement, as text.
pub fn own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(in_words)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(|errno| match errno {
        Errno::EINVAL => io::Error::new(
            io::ErrorKind::InvalidInput,
            "the directory / is not a mount point, as in a chroot: bind-mount the new root onto itself before chroot",
        ),
        errno => in_words(errno),
    })
}

/// Mounts an overlay on a base image.
///
/// # Errors
///
/// The missing requirement, as text.
pub(super) fn mount_overlay(base_image: &Path, upper: &Path, work: &Path, at: &Path) -> io::Result<()> {
    // By descriptor: no character of a path needs quoting, and no path is too long for the options.
    let (lower, upper, work) = (directory(base_image)?, directory(upper)?, directory(work)?);
    let xino = if device(&lower)? == device(&upper)? { "" } else { ",xino=on" };
    let options =
        format!("lowerdir={},upperdir={},workdir={},{OPTIONS}{xino}", fd(&lower), fd(&upper), fd(&work));
    let begun = Instant::now();
    loop {
        match mount(Some("pinetboot"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str())) {
            // A layer that is detached is free a moment later, when the kernel has closed its last file. The lock of the layer
            // keeps other processes of this server out.
            Err(Errno::EBUSY) if begun.elapsed() < DETACHES => thread::sleep(DETACHES / 100),
            mounted => return mounted.map_err(in_words),
        }
    }
}

/// Whether the kernel gives two files of a layer and its base image one number, or a directory several, in spite of `xino`: subvolumes of
/// btrfs number their files alike, and are one file system to overlayfs; a number of 32 bits has no space for `xino`.
///
/// # Errors
///
/// The system's.
#[cfg(feature = "nfs")]
pub(super) fn numbers_repeat(base_image: &Path, upper: &Path) -> io::Result<bool> {
    let (lower, upper) = (directory(base_image)?, directory(upper)?);
    if device(&lower)? == device(&upper)? {
        return Ok(false);
    }
    let has_32_bits = !nix::sys::utsname::uname()?.machine().to_string_lossy().contains("64");
    Ok(has_32_bits || fstatfs(&lower)?.filesystem_type() == BTRFS_SUPER_MAGIC)
}

/// Whether a mount failed as the layer was made on other inodes.
pub(super) fn is_stale(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StaleNetworkFileHandle
}

/// Mounts a Pi's root read-only: its changes over the base image.
///
/// # Errors
///
/// The missing requirement, as text.
pub(super) fn mount_to_read(base_image: &Path, upper: &Path, at: &Path) -> io::Result<()> {
    let (lower, upper) = (directory(base_image)?, directory(upper)?);
    // A server may have the layer mounted, at rest; overlayfs would refuse a second mount with an index.
    let options = format!("lowerdir={}:{},redirect_dir=follow,index=off", fd(&upper), fd(&lower));
    mount(Some("pinetboot"), at, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
        .map_err(in_words)
}

/// Detaches a mount at once; files that are open in it stay usable.
pub(super) fn detach(at: &Path) {
    // A mount that cannot be detached ends with the process's namespace.
    let _ends_with_the_namespace = umount2(at, MntFlags::MNT_DETACH);
}

pub(super) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("{}: {}", path.display(), errno.desc()))
    })
}

fn device(directory: &OwnedFd) -> io::Result<u64> {
    Ok(fstat(directory)?.st_dev)
}

fn fd(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

fn in_words(errno: Errno) -> io::Error {
    let kind = io::Error::from(errno).kind();
    let lacking = matches!(errno, Errno::EPERM | Errno::EACCES).then(|| lacking(CapabilitySet::SYS_ADMIN));
    if let Some(lacking) = lacking.flatten() {
        return io::Error::new(kind, format!("mounting overlays requires {lacking}"));
    }
    let why = match errno {
        Errno::EPERM => {
            "the kernel refuses the mount although the process has CAP_SYS_ADMIN, as it does in a rootless container (user \
             namespace): run the container as root of the host"
        }
        Errno::EACCES => {
            "a security module refuses the mount although the process has CAP_SYS_ADMIN; in a container: \
             'security_opt: [\"apparmor=unconfined\"]', with SELinux 'security_opt: [\"label=disable\"]'"
        }
        Errno::ENODEV => "this kernel has no overlayfs: try 'modprobe overlay'",
        Errno::EINVAL => {
            "the file system of the state directory cannot hold overlayfs layers: use a local one such as ext4, xfs or \
             btrfs, not an overlay (a container's own root is one), NFS or FAT"
        }
        Errno::ESTALE => "the layer was made on another base image",
        Errno::EBUSY => "another process has this layer mounted",
        errno => return errno.into(),
    };
    io::Error::new(kind, why)
}

/// Time within which the kernel ends a detached mount.
const DETACHES: Duration = Duration::from_secs(1);
const OPTIONS: &str = "index=on,nfs_export=on,redirect_dir=on";

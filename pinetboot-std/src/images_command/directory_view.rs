//! An imported image's files, as the running system sees them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use pinetboot_image::ImageError;

use crate::import::changes::View;

/// A root file system on the disk. Links are followed and stay inside, as for a process in a `chroot`.
#[derive(Debug)]
pub(super) struct DirectoryView(OwnedFd);

impl DirectoryView {
    /// Opens the directory.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self(open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    fn file(&self, path: &str, flags: OFlag) -> io::Result<Option<OwnedFd>> {
        let path = if path.is_empty() { "." } else { path };
        // No file of an image is waited for, such as a named pipe.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        match openat2(&self.0, path, OpenHow::new().flags(flags).resolve(resolve)) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl View for DirectoryView {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(file) = self.file(path, OFlag::O_RDONLY)? else { return Ok(None) };
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(MAX_LEN).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, ImageError> {
        let Some(directory) = self.file(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }
}

/// The longest file that is read, in bytes; a kernel is longer, and its first bytes are enough.
const MAX_LEN: u64 = 1 << 20;

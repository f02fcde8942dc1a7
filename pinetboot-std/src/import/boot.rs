//! The boot partition: copied from FAT to the target directory.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use pinetboot_image::ext4::Timestamp;
use pinetboot_image::fat::Visit;

use super::error::ImportError;
use super::root_writer::{self, Attributes, RootWriter};
use super::stop::Stop;

/// Copies every file and directory of a walk.
pub struct BootCopy<'a> {
    /// The target.
    pub to: &'a RootWriter,
    /// The directory in the target, relative to its root.
    pub place: &'a str,
    /// Owner and group of the files; `None`: those of the process.
    pub owner: Option<(u32, u32)>,
    /// Ends the walk when set.
    pub stop: &'a Stop,
}

/// Sums up the file lengths of a walk.
#[derive(Debug, Default)]
pub struct BootSize {
    /// The sum, in bytes.
    pub bytes: u64,
}

impl BootCopy<'_> {
    fn split<'p>(&self, path: &'p [String]) -> (String, &'p str) {
        let (name, parents) =
            path.split_last().map_or(("", path), |(name, parents)| (name.as_str(), parents));
        let place = [self.place].into_iter().chain(parents.iter().map(String::as_str)).collect::<Vec<_>>();
        (place.join("/"), name)
    }

    fn make(
        &self,
        path: &[String],
        make: impl FnOnce(&std::os::fd::OwnedFd, &str) -> io::Result<()>,
    ) -> Result<(), ImportError> {
        let (parent, name) = self.split(path);
        self.stop
            .check()
            .and_then(|()| self.to.directory(parent.as_bytes()))
            .and_then(|parent| make(&parent, name))
            .map_err(|error| ImportError::write(format!("{parent}/{name}").as_bytes(), error))
    }
}

impl Visit for BootCopy<'_> {
    type Error = ImportError;

    fn directory(&mut self, path: &[String]) -> Result<(), ImportError> {
        self.make(path, |parent, name| {
            root_writer::make_directory(parent, name.as_bytes())?;
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let place = openat(parent, name, flags, Mode::empty())?;
            root_writer::finish(
                place.as_fd(),
                &Attributes { permissions: 0o755, owner: self.owner, modified: None, xattrs: &[] },
            )
        })
    }

    fn file(
        &mut self,
        path: &[String],
        len: u64,
        modified: Option<i64>,
        content: &mut dyn Read,
    ) -> Result<(), ImportError> {
        self.make(path, |parent, name| {
            let mut file = root_writer::make_file(parent, name.as_bytes())?;
            let copied = io::copy(&mut content.take(len), &mut file)?;
            if copied != len {
                return Err(io::Error::other(format!(
                    "its directory entry says {len} bytes, but the image holds {copied}"
                )));
            }
            file.flush()?;
            let modified = modified.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
            root_writer::finish(
                file.as_fd(),
                &Attributes { permissions: 0o755, owner: self.owner, modified, xattrs: &[] },
            )
        })
    }
}

impl Visit for BootSize {
    type Error = ImportError;

    fn directory(&mut self, _: &[String]) -> Result<(), ImportError> {
        Ok(())
    }

    fn file(&mut self, _: &[String], len: u64, _: Option<i64>, _: &mut dyn Read) -> Result<(), ImportError> {
        self.bytes = self.bytes.saturating_add(len);
        Ok(())
    }
}

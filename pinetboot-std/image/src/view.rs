//! The system's files as the running system sees them: the root with the boot partition mounted in it.

use crate::ext4::{Ext4, FileKind};
use crate::{Fat, ImageError, ReadAt};

/// The root file system with the boot partition mounted at one of its directories.
///
/// Paths start at the root, without a leading slash. In the root, symbolic links are followed and stay inside, as for a
/// process in a `chroot`; in the boot partition, names are found without regard to case.
#[derive(Debug)]
pub struct SystemView<'a, R: ReadAt, B: ReadAt> {
    root: Option<&'a Ext4<R>>,
    boot: Option<&'a Fat<B>>,
    boot_dir: String,
}

impl<'a, R: ReadAt, B: ReadAt> SystemView<'a, R, B> {
    /// Joins two file systems, either of which may be missing. `boot_dir` is the mount point, like `boot/firmware`; an empty
    /// one mounts nothing.
    pub fn new(root: Option<&'a Ext4<R>>, boot: Option<&'a Fat<B>>, boot_dir: impl Into<String>) -> Self {
        Self { root, boot, boot_dir: boot_dir.into() }
    }

    /// The mount point of the boot partition.
    pub fn boot_dir(&self) -> &str {
        &self.boot_dir
    }

    /// A file's content, cut off at `limit` bytes; `None` if no regular file has that path.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        if let Some((boot, path)) = self.in_boot(path) {
            return boot.read(path, limit);
        }
        let Some(root) = self.root else { return Ok(None) };
        match root.find(path)?.filter(|inode| inode.kind == FileKind::Regular) {
            Some(inode) => Ok(Some(root.read(&inode, limit)?)),
            None => Ok(None),
        }
    }

    /// A regular file's length in bytes; `None` if no regular file has that path.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn len(&self, path: &str) -> Result<Option<u64>, ImageError> {
        if let Some((boot, path)) = self.in_boot(path) {
            return boot.len(path);
        }
        let Some(root) = self.root else { return Ok(None) };
        Ok(root.find(path)?.filter(|inode| inode.kind == FileKind::Regular).map(|inode| inode.size))
    }

    /// The names in a directory, sorted, without those that are not UTF-8; empty if no directory has that path.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn list(&self, directory: &str) -> Result<Vec<String>, ImageError> {
        if let Some((boot, directory)) = self.in_boot(directory) {
            return boot.list(directory);
        }
        let Some(root) = self.root else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        if let Some(inode) = root.find(directory)?.filter(|inode| inode.kind == FileKind::Directory) {
            root.entries(&inode, &mut root.budget(), |entry, _| {
                names.extend(String::from_utf8(entry.name.to_vec()));
                Ok::<_, ImageError>(())
            })?;
        }
        names.sort();
        Ok(names)
    }

    /// The boot partition, and the rest of a path that leads into it.
    fn in_boot<'p>(&self, path: &'p str) -> Option<(&'a Fat<B>, &'p str)> {
        let rest = path.strip_prefix(self.boot_dir.as_str()).filter(|_| !self.boot_dir.is_empty())?;
        let rest = if rest.is_empty() { "" } else { rest.strip_prefix('/')? };
        Some((self.boot?, rest))
    }
}

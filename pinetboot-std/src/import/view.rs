//! The system as it is in the image: the root with the boot partition where it belongs.

use super::changes::{View, boot_place};
use super::ext4::{Ext4, Kind};
use super::fat::Fat;
use super::source::{ImageError, ReadAt};

/// An image's file systems as one.
pub(super) struct ImageView<'a, R: ReadAt, B: ReadAt> {
    root: Option<&'a Ext4<R>>,
    boot: Option<&'a Fat<B>>,
    boot_place: String,
}

impl<'a, R: ReadAt, B: ReadAt> ImageView<'a, R, B> {
    pub(super) fn new(root: Option<&'a Ext4<R>>, boot: Option<&'a Fat<B>>) -> Result<Self, ImageError> {
        let mut view = Self { root, boot, boot_place: String::new() };
        let fstab = view.text("etc/fstab")?.unwrap_or_default();
        view.boot_place = boot_place(&fstab).unwrap_or_else(|| DEFAULT_PLACE.into());
        Ok(view)
    }

    /// Where the boot partition belongs, by the image's own fstab.
    pub(super) fn boot_place(&self) -> &str {
        &self.boot_place
    }

    /// A path beneath the boot partition's place, and that.
    fn in_boot<'p>(&self, path: &'p str) -> Option<(&'a Fat<B>, &'p str)> {
        let rest = path.strip_prefix(self.boot_place.as_str()).filter(|_| !self.boot_place.is_empty())?;
        let rest = if rest.is_empty() { "" } else { rest.strip_prefix('/')? };
        Some((self.boot?, rest))
    }
}

impl<R: ReadAt, B: ReadAt> View for ImageView<'_, R, B> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        if let Some((boot, path)) = self.in_boot(path) {
            return boot.read(path, MAX_LEN);
        }
        let Some(root) = self.root else { return Ok(None) };
        match root.find(path)?.filter(|inode| inode.kind == Kind::File) {
            Some(inode) => Ok(Some(root.read(&inode, MAX_LEN)?)),
            None => Ok(None),
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, ImageError> {
        if let Some((boot, directory)) = self.in_boot(directory) {
            return boot.list(directory);
        }
        let Some(root) = self.root else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        if let Some(inode) = root.find(directory)?.filter(|inode| inode.kind == Kind::Directory) {
            root.entries(&inode, &mut root.budget(), |entry, _| {
                names.extend(String::from_utf8(entry.name.to_vec()));
                Ok::<_, ImageError>(())
            })?;
        }
        names.sort();
        Ok(names)
    }
}

const DEFAULT_PLACE: &str = "boot/firmware";
/// The longest file that a step reads is a kernel's configuration, of 300 KB.
const MAX_LEN: u64 = 1 << 20;

//! An OS image as a source: its root with the boot partition at its place.

use std::io;
use std::path::Path;

use pinetboot_image::ext4::Ext4;
use pinetboot_image::{
    Choice, Fat, ImageError, ImageFile, Layout, Part, Partition, Partitions, ReadAt, SystemView,
};

use super::tree::Source;
use crate::exit::{Exit, Failed};

/// An opened image.
pub(super) struct OpenedImage<'a, R: ReadAt, B: ReadAt> {
    view: SystemView<'a, R, B>,
    has_root: bool,
}

/// A source that may have no root.
pub(super) trait ImageSource: Source {
    fn has_root(&self) -> bool;
}

/// Opens an image, and calls `then` with it and the place of its boot files.
///
/// # Errors
///
/// If the image cannot be read, and those of `then`.
pub(super) fn with<T>(
    path: &Path,
    then: impl FnOnce(&dyn ImageSource, &str) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let failed = |error: ImageError| Failed::new(Exit::Tree, format!("{}: {error}", path.display()));
    let image =
        ImageFile::open(path, &std::env::temp_dir(), |_| Ok(())).map_err(|error| failed(error.into()))?;
    let partitions = Partitions::read(&image).map_err(failed)?;
    let layout = Layout::find(&image, &partitions, Choice::default()).map_err(failed)?;
    let part = |partition: &Partition| Part::new(&image, partition.extent.start, partition.extent.len);
    let boot = layout.boot.as_ref().map(|boot| Fat::open(part(boot))).transpose().map_err(failed)?;
    let root = layout
        .root
        .as_ref()
        .map(|root| Ext4::open(part(root), root.extent.len))
        .transpose()
        .map_err(failed)?;
    let plain = SystemView::new(root.as_ref(), boot.as_ref(), "");
    let fstab = plain.read("etc/fstab", 1 << 20).map_err(failed)?.unwrap_or_default();
    let place = boot_place(&String::from_utf8_lossy(&fstab)).unwrap_or_else(|| DEFAULT.to_owned());
    let view = SystemView::new(root.as_ref(), boot.as_ref(), &*place);
    then(&OpenedImage { view, has_root: root.is_some() }, &place)
}

impl<R: ReadAt, B: ReadAt> Source for OpenedImage<'_, R, B> {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        // FAT finds a name in any case; TFTP does not.
        if !self.has(path)? {
            return Ok(None);
        }
        self.view.read(path, limit).map_err(io::Error::other)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.view.list(path).map_err(io::Error::other)
    }

    fn len(&self, path: &str) -> io::Result<Option<u64>> {
        if !self.has(path)? {
            return Ok(None);
        }
        self.view.len(path).map_err(io::Error::other)
    }

    fn has_capability(&self, _: &str) -> io::Result<bool> {
        Ok(false) // the import lists them
    }
}

impl<R: ReadAt, B: ReadAt> ImageSource for OpenedImage<'_, R, B> {
    fn has_root(&self) -> bool {
        self.has_root
    }
}

impl<R: ReadAt, B: ReadAt> OpenedImage<'_, R, B> {
    fn has(&self, path: &str) -> io::Result<bool> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.list(directory)?.iter().any(|entry| entry == name))
    }
}

/// The mount point of the boot partition: that of the line with vfat in fstab.
fn boot_place(fstab: &str) -> Option<String> {
    fstab.lines().find_map(|line| {
        let mut fields = line.split_whitespace().filter(|_| !line.trim_start().starts_with('#'));
        let (_, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let place = place.strip_prefix('/').filter(|place| *place == "boot" || place.starts_with("boot/"))?;
        (kind == "vfat").then(|| place.to_owned())
    })
}

const DEFAULT: &str = "boot/firmware";

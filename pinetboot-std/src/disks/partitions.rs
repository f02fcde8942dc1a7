//! The file systems of a card, in an image or on a disk.

use std::io;

use pinetboot_disk::{Disk, DiskError};
use pinetboot_image::ext4::Ext4;
use pinetboot_image::{Choice, Fat, ImageError, Layout, Part, Partitions, ReadAt};

/// A disk, for the readers of file systems.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a dyn Disk);

impl ReadAt for Reader<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset).map_err(|error| match error {
            DiskError::OutOfRange => io::ErrorKind::UnexpectedEof.into(),
            error => io::Error::other(error),
        })
    }
}

/// The numbers of the partitions that a Pi boots from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// The boot partition: FAT.
    boot: u32,
    /// The root: ext4.
    root: u32,
}

impl Numbers {
    /// Finds the partitions.
    ///
    /// # Errors
    ///
    /// If there is none of a kind, or the image cannot be read.
    pub(super) fn find(disk: &dyn Disk) -> Result<Self, ImageError> {
        let reader = Reader(disk);
        let partitions = Partitions::read(&reader)?;
        let layout = Layout::find(&reader, &partitions, Choice::default())?;
        match (layout.boot, layout.root) {
            (Some(boot), Some(root)) => Ok(Self { boot: boot.number, root: root.number }),
            _ => Err(ImageError::Layout(format!(
                "the image of a card has a FAT boot partition and an ext4 root, and this one has not: {partitions}"
            ))),
        }
    }

    /// The boot partition's file system.
    pub(super) fn boot<'a>(&self, disk: Reader<'a>) -> Result<Fat<Reader<'a>>, ImageError> {
        Fat::open(self.part(disk, self.boot)?)
    }

    /// The root's file system; an error if it was not shut down.
    pub(super) fn root<'a>(&self, disk: Reader<'a>) -> Result<Ext4<Part<Reader<'a>>>, ImageError> {
        let part = self.part(disk, self.root)?;
        let len = part.len();
        Ext4::open(part, len)
    }

    /// The root's file system, without the changes of the last seconds if it was not shut down; whether that is so.
    pub(super) fn last_root<'a>(
        &self,
        disk: Reader<'a>,
    ) -> Result<(Ext4<Part<Reader<'a>>>, bool), ImageError> {
        match self.root(disk) {
            Err(ImageError::NotShutDown) => {
                let part = self.part(disk, self.root)?;
                let len = part.len();
                Ok((Ext4::open_without_journal(part, len)?, true))
            }
            root => Ok((root?, false)),
        }
    }

    fn part<'a>(&self, disk: Reader<'a>, number: u32) -> Result<Part<Reader<'a>>, ImageError> {
        let partitions = Partitions::read(&disk)?;
        let partition =
            partitions.get(number).ok_or(ImageError::Corrupt("its partition table lost a partition"))?;
        Ok(Part::new(disk, partition.extent.start, partition.extent.len))
    }
}

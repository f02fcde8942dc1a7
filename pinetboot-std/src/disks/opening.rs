//! The disk of a Pi, opened: a copy-on-write disk, or the image itself.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Access, Disk, Image};

use super::Disks;
use super::card::Card;
use super::place::PiLock;
use crate::space::Space;

/// A disk with the lock of its Pi.
pub(super) type Opened = (Arc<dyn Disk>, PiLock);

impl Card {
    /// The image, for a Pi that writes to its memory.
    ///
    /// # Errors
    ///
    /// The system's, as text.
    pub(super) fn read(&self) -> Result<Image, String> {
        Image::open(&self.path, Access::ReadOnly).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                format!("the image {} is in use: another program writes to it", self.name)
            }
            _ => format!("cannot open the image {}: {error}", self.name),
        })
    }
}

impl Disks {
    /// Opens the copy-on-write disk of a Pi; makes it, if `may_make` allows, and tells that by `made`.
    ///
    /// # Errors
    ///
    /// The reason.
    pub(super) fn open_private(
        &self,
        pi: Prefix,
        card: &Card,
        may_make: impl FnOnce() -> Result<(), String>,
        made: impl FnOnce(),
    ) -> Result<Opened, String> {
        let disk = self.place.disk(pi, &card.name);
        if !disk.file().exists() {
            may_make()?;
        }
        let locked = disk.lock().map_err(|why| why.to_string())?;
        if !disk.file().exists() {
            disk.create(&card.base_for_disks, self.size())?;
            made();
        }
        Ok((Arc::new(disk.open(&card.base_for_disks, Access::ReadWrite)?), locked))
    }

    /// Opens the image itself for its one writer, which the first Pi becomes: a second one would damage the file system of the first,
    /// which may only wait for this server's restart.
    ///
    /// # Errors
    ///
    /// The reason.
    pub(super) fn open_written(&self, pi: Prefix, card: &Card) -> Result<Opened, String> {
        let (disk, name) = (self.place.disk(pi, &card.name), &card.name);
        let locked = disk.lock().map_err(|why| why.to_string())?;
        let image = Image::open(&card.path, Access::ReadWrite).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => format!("the image {name} is in use: a disk has one writer"),
            io::ErrorKind::PermissionDenied => format!(
                "the server may not write to the image {name}, which disk-mode rw does: give the file to the server's user with chown"
            ),
            _ => format!("cannot open the image {name}: {error}"),
        })?;
        // No other process and no other Pi has the image from here on.
        let failed = |error: io::Error| format!("the writer of {name} is not known: {error}");
        if let Some(other) = self.place.has_disk_on(name).map_err(failed)? {
            return Err(format!(
                "{other} has a disk on the image {name}, which a change of the image makes unreadable. Serve a copy of the image, or \
                 discard that disk with 'pinetboot disks reset {other} --image {name} --snapshots'"
            ));
        }
        match self.place.writer(name).map_err(failed)? {
            Some(writer) if writer == pi => {}
            Some(writer) => {
                return Err(format!(
                    "{writer} has the image {name} read-write, and disk-mode rw is for one Pi. Once {writer} is off for good: 'pinetboot \
                     disks release {writer}'"
                ));
            }
            None => disk.become_writer().map_err(failed)?,
        }
        Ok((Arc::new(image), locked))
    }

    /// The space of the file system that an image is on.
    pub(super) fn space_beside(&self, card: &Card) -> io::Result<Space> {
        Space::of(card.path.parent().unwrap_or(Path::new("/")), self.reserve)
    }
}

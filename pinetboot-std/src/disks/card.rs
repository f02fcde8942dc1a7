//! The image of a card: what the disks of Pis stand on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pinetboot_disk::{Access, Image, unpack};
use pinetboot_image::{Container, Partitions};

use super::boot_files::{self, make_directory};
use super::init::FirstPrograms;
use super::partitions::Numbers;
use super::{BootFiles, Place};
use crate::bus::Bus;
use crate::disk_mode::DiskMode;
use crate::events;

/// An image, ready for disks.
#[derive(Debug)]
pub(super) struct Card {
    /// The file's name without its endings; the disks are named so.
    pub(super) name: String,
    /// The path of the image, unpacked, as a disk in the directory of a Pi names it.
    pub(super) base_for_disks: PathBuf,
    /// The image's own path, unpacked.
    pub(super) path: PathBuf,
    /// The partitions.
    pub(super) numbers: Numbers,
    /// The boot files and the initramfs of a new disk.
    pub(super) tree: PathBuf,
    /// A kernel without overlayfs, which cannot lay a Pi's memory over the image.
    pub(super) lacks_overlayfs: Option<String>,
    /// A Pi writes to the image.
    is_written: bool,
    stamp: Stamp,
}

impl Card {
    /// Opens an image; unpacks one that is compressed, and its boot files. `is_written`: a Pi writes to the image.
    ///
    /// # Errors
    ///
    /// The fault.
    pub(super) fn open(
        path: &Path,
        is_written: bool,
        place: &Place,
        init: &FirstPrograms,
        bus: &Bus,
    ) -> Result<Self, String> {
        let (name, stamp) = (name_of(path), Stamp::of(path).map_err(|error| error.to_string())?);
        let in_words = |error: io::Error| error.to_string();
        let unpacked = unpacked(path, place, bus).map_err(in_words)?;
        let image = Image::open(&unpacked, Access::ReadOnly).map_err(in_words)?;
        let numbers = Numbers::find(&image).map_err(|error| error.to_string())?;
        // A disk is in the directory of its Pi, beside that of the images.
        let base_for_disks = match unpacked.strip_prefix(place.at()) {
            Ok(_) if is_written => return Err(PACKED.into()),
            Ok(beneath) => Path::new("..").join(beneath),
            Err(_) => unpacked.canonicalize().map_err(in_words)?,
        };
        let tree = place.tree(&name);
        make_directory(&place.at().join("trees")).map_err(in_words)?;
        let lacks_overlayfs = match boot_files::of_image(&image, numbers, &tree, init) {
            Ok(lacks) => lacks,
            // Its Pi is up, or lost its power: the files are those of before.
            Err(_) if is_written && tree.join(boot_files::INITRAMFS).exists() => None,
            Err(why) => return Err(why),
        };
        Ok(Self { name, base_for_disks, path: unpacked, numbers, tree, lacks_overlayfs, is_written, stamp })
    }

    /// Whether the image at this path is the one that was opened, for the same use.
    pub(super) fn is_of(&self, path: &Path, is_written: bool) -> bool {
        is_written == self.is_written
            && Stamp::of(path).is_ok_and(|stamp| {
                if is_written { stamp.file == self.stamp.file } else { stamp == self.stamp }
            })
    }

    /// What tells the disk of a Pi in this mode from its disk on another image or in another mode.
    pub(super) fn key(&self, mode: DiskMode) -> (DiskMode, PathBuf) {
        (mode, self.base_for_disks.clone())
    }

    /// The boot files of a new disk.
    ///
    /// # Errors
    ///
    /// The system's, as text.
    pub(super) fn boot_files(&self) -> Result<BootFiles, String> {
        BootFiles::open(&self.tree)
    }
}

/// What tells a file from one that replaces it.
#[derive(Debug, PartialEq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            file: (file.dev(), file.ino()),
            len: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}

/// Checks an image without any effect: a compressed one for its kind alone.
///
/// # Errors
///
/// The fault.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let kind = if path.is_dir() { "a directory, and no image" } else { "not a directory, and not the image" };
    let wrong =
        |why: &dyn core::fmt::Display| format!("cannot serve {}: {kind} of a card: {why}", path.display());
    let mut file = File::open(path).map_err(|error| wrong(&error))?;
    if Container::recognise(&mut file).map_err(|error| wrong(&error))? != Container::Raw {
        return Ok(());
    }
    // Of the file itself: a disk ends at its last whole sector, and a short file would be an empty one.
    Partitions::read(&file).map_err(|error| wrong(&error))?;
    let image = match Image::open(path, Access::ReadOnly) {
        // A Pi writes to it (mode rw): it was checked when the server of that Pi started.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        image => image.map_err(|error| wrong(&error))?,
    };
    Numbers::find(&image).map(drop).map_err(|error| wrong(&error))
}

/// The image, unpacked; tells how far this is.
fn unpacked(path: &Path, place: &Place, bus: &Bus) -> io::Result<PathBuf> {
    let packed = fs::metadata(path)?.len().max(1);
    make_directory(&place.images())?;
    let mut told = None;
    unpack(path, &place.images(), MOST_BYTES, |read| {
        let tenth = read * 10 / packed;
        if told != Some(tenth) {
            told = Some(tenth);
            bus.emit(
                None,
                events::Server::Unpacking { image: path.display().to_string(), percent: tenth * 10 },
            );
        }
        Ok(())
    })
}

/// The name of an image: that of its file up to `.img`, of letters, digits and `._+-`.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = file.split(".img").next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '_' };
    let name: String = stem.chars().map(plain).take(MOST_NAME).collect();
    if name.trim_matches('.').is_empty() { "image".into() } else { name }
}

/// Bytes of an unpacked image.
const MOST_BYTES: u64 = 4 << 40;
const MOST_NAME: usize = 100;
const PACKED: &str =
    "disk-mode rw writes to the image itself, and the file is packed. Unpack it, and name the result";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_image_is_a_file_name() {
        for (path, name) in [
            ("/srv/2025-10-01-raspios-trixie-arm64-lite.img.xz", "2025-10-01-raspios-trixie-arm64-lite"),
            ("card.img", "card"),
            ("/dev/sda", "sda"),
            ("my card@1.zip", "my_card_1.zip"),
            (".img", "image"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}

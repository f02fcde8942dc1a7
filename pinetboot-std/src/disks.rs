//! Disks: each Pi boots the unchanged image of a card from a copy-on-write disk of its own, over NBD.
//!
//! ```text
//! image (Card) -> disk of a Pi (qcow2 overlay) -> boot files by TFTP, as they are at the beginning of a boot
//!                                              -> NBD, for the client that is that Pi
//! ```
//!
//! Other modes than `private` put the image itself in the place of the overlay: read-only for many Pis (`ram`), or for one writer (`rw`).
//!
//! | file | holds |
//! |---|---|
//! | `place` | the directory of all disks, which the server and the command `disks` share |
//! | `card` | an image, and the boot files of Pis that have no disk yet |
//! | `boot_files` | the boot partition of a disk as a directory, with the initramfs |
//! | `opening` | the disk of a Pi in each mode, opened |
//! | `slot` | the disk of a Pi while it is in use: one writer |
//! | `exports` | who may: the registry's evidence, and the secret of the boot |
//! | `command` | `pinetboot disks` |
//!
//! A disk is made when its Pi connects for the first time: requests for boot files make none.

mod boot_files;
mod card;
pub mod command;
mod exports;
mod init;
mod opening;
mod partitions;
mod place;
mod slot;
mod usage;

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Access, Disk, Image};

use crate::bus::Bus;
use crate::config::{Config, DiskConfig};
use crate::disk_mode::DiskMode;
use crate::events;
use crate::pis::{PiEntry, Token};
use crate::roots::Tokens;
use crate::space::{Reserve, Space};

pub(crate) use boot_files::INITRAMFS;
use card::Card;
pub(crate) use card::check;
#[cfg(feature = "web")]
pub(crate) use command::last_log;
pub(crate) use exports::{DiskExports, DiskObserver};
pub(crate) use init::FirstPrograms;
pub(crate) use place::Place;
use slot::Slots;
pub(crate) use usage::DiskUsage;

/// The disks of a running server.
#[derive(Debug)]
pub struct Disks {
    place: Place,
    tokens: Tokens,
    /// The port of NBD.
    port: u16,
    /// The most Pis with a disk, besides those of the inventory.
    most: usize,
    init: FirstPrograms,
    settings: Mutex<DiskConfig>,
    cards: Mutex<HashMap<PathBuf, Arc<Card>>>,
    slots: Slots,
    space: Space,
    reserve: Reserve,
    bus: Bus,
}

/// The boot files of a Pi: an open directory and its path.
#[derive(Debug)]
pub struct BootFiles {
    /// The directory.
    pub directory: OwnedFd,
    /// Its path.
    pub path: PathBuf,
}

impl Disks {
    /// The disks of a configuration, in their directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn new(
        config: &Config,
        place: Place,
        port: u16,
        init: FirstPrograms,
        bus: Bus,
    ) -> io::Result<Self> {
        Ok(Self {
            tokens: Tokens::load(&place.at())?,
            space: Space::of(&place.at(), config.disk_reserve)?,
            reserve: config.disk_reserve,
            place,
            port,
            most: config.root.limits.max_pis,
            init,
            settings: Mutex::new(config.disk.clone()),
            cards: Mutex::default(),
            slots: Slots::default(),
            bus,
        })
    }

    /// Opens all images of a configuration, unpacks those that are compressed, and puts the configuration in force.
    ///
    /// # Errors
    ///
    /// The image and the fault.
    pub(crate) fn configure(&self, config: &Config) -> Result<(), String> {
        for (image, mode) in config.disk_uses() {
            let card = self.card(&image, mode)?;
            if let Some(release) = card.lacks_overlayfs.as_deref().filter(|_| mode == DiskMode::Ram) {
                return Err(format!(
                    "disk-mode ram: the kernel {release} of {} has no overlayfs, neither built in nor as a module. Use another kernel or mode",
                    image.display()
                ));
            }
        }
        *lock(&self.settings) = config.disk.clone();
        Ok(())
    }

    /// The image of a Pi with these settings, and its mode; `None`: the Pi boots from a tree.
    pub fn of_pi(&self, pi: &PiEntry) -> Option<(PathBuf, DiskMode)> {
        lock(&self.settings).of_pi(pi)
    }

    /// The boot files of a client that is no known Pi: those of the image for all.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn boot_files_for_anyone(&self) -> Result<BootFiles, String> {
        let of = lock(&self.settings).of_pi(&PiEntry::default());
        let (image, mode) = of.ok_or("only Pis of the inventory have a disk")?;
        self.card(&image, mode)?.boot_files()
    }

    /// The boot files of a Pi as they are now on its disk. `is_there`: the Pi is not up at another address, so that they may be read anew.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn boot_files(
        &self,
        pi: Prefix,
        (image, mode): &(PathBuf, DiskMode),
        is_there: bool,
    ) -> Result<BootFiles, String> {
        let card = self.card(image, *mode)?;
        let disk = self.place.disk(pi, &card.name);
        let has_written = match mode {
            DiskMode::Private => disk.file().exists(),
            DiskMode::Ram => false,
            DiskMode::Rw => disk.is_writer(),
        };
        if !is_there || !has_written {
            return card.boot_files();
        }
        let slot = self.slots.of(pi);
        let slot = slot.lock();
        let read = |opened: &dyn Disk| {
            let made = boot_files::of_disk(opened, (card.numbers, &card.tree), &disk, &self.init)?;
            if let Some(why) = made.old_initramfs {
                self.bus.emit(None, events::Root::DiskUnclean { pi, why });
            }
            Ok(made.files)
        };
        if let Some(opened) = slot.disk(&card.key(*mode)) {
            return read(&*opened);
        }
        let _locked = disk.lock().map_err(|error| error.to_string())?;
        if *mode == DiskMode::Rw {
            return read(&Image::open(&card.path, Access::ReadOnly).map_err(|error| error.to_string())?);
        }
        read(&disk.open(&card.base_for_disks, Access::ReadOnly)?)
    }

    /// The address of a Pi's disk for one boot, with the secret of the boot, as the Pi's first program takes it.
    pub fn address(&self, server: Ipv4Addr, name: &str) -> String {
        format!("nbd://{server}:{}/{name}", self.port)
    }

    /// The name of a Pi's disk in one boot, with the secret, which is valid for this boot and this client's address.
    pub fn name_for(&self, pi: Prefix, boot: u32, address: Ipv4Addr) -> String {
        self.tokens.name(pi, boot, address)
    }

    fn parse_name(&self, name: &str, addresses: &[Ipv4Addr]) -> Option<(Prefix, Option<Token>)> {
        self.tokens.parse(name, addresses)
    }

    /// The card of an image.
    fn card(&self, image: &Path, mode: DiskMode) -> Result<Arc<Card>, String> {
        let is_written = mode == DiskMode::Rw;
        if let Some(card) = lock(&self.cards).get(image).filter(|card| card.is_of(image, is_written)) {
            return Ok(card.clone());
        }
        // Without the lock, as it may take minutes; two at once wait for each other where the image is unpacked.
        let card = Card::open(image, is_written, &self.place, &self.init, &self.bus)
            .map_err(|why| format!("cannot serve the image {}: {why}", image.display()))?;
        let card = Arc::new(card);
        lock(&self.cards).insert(image.to_owned(), card.clone());
        Ok(card)
    }

    /// The directory of all disks.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// The length of a new disk in bytes.
    fn size(&self) -> u64 {
        lock(&self.settings).size.bytes()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Disks: each Pi boots the unchanged image of a card from a copy-on-write disk of its own, over NBD.
//!
//! ```text
//! image (Card) -> disk of a Pi (qcow2 overlay) -> boot files by TFTP, as they are at the beginning of a boot
//!                                              -> NBD, for the client that is that Pi
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `place` | the directory of all disks, which the server and the command `disks` share |
//! | `card` | an image, and the boot files of Pis that have no disk yet |
//! | `boot_files` | the boot partition of a disk as a directory, with the initramfs |
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
mod partitions;
mod place;
mod slot;

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinetboot_core::pi::Prefix;
use pinetboot_disk::{Access, Overlay};

use crate::bus::Bus;
use crate::config::{Config, DiskConfig};
use crate::events;
use crate::pis::{PiEntry, Token};
use crate::roots::Tokens;
use crate::space::Space;

pub(crate) use boot_files::INITRAMFS;
use card::Card;
pub(crate) use card::check;
#[cfg(feature = "web")]
pub(crate) use command::last_log;
pub(crate) use exports::{DiskExports, DiskObserver};
pub(crate) use init::init;
use place::InUse;
pub(crate) use place::Place;
use slot::Slots;

/// The disks of a running server.
#[derive(Debug)]
pub struct Disks {
    place: Place,
    tokens: Tokens,
    /// The port of NBD.
    port: u16,
    /// The most Pis with a disk, besides those of the inventory.
    most: usize,
    init: Vec<u8>,
    settings: Mutex<DiskConfig>,
    cards: Mutex<HashMap<PathBuf, Arc<Card>>>,
    slots: Slots,
    space: Space,
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
    pub(crate) fn new(config: &Config, place: Place, port: u16, init: Vec<u8>, bus: Bus) -> io::Result<Self> {
        Ok(Self {
            tokens: Tokens::load(&place.at())?,
            space: Space::of(&place.at(), config.disk_reserve)?,
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
        config.disk_images().iter().try_for_each(|image| self.card(image).map(drop))?;
        *lock(&self.settings) = config.disk.clone();
        Ok(())
    }

    /// The image of a Pi with these settings; `None`: the Pi boots from a tree.
    pub fn image_of(&self, pi: &PiEntry) -> Option<PathBuf> {
        let has_other = pi.image.is_some() || pi.tree.is_some();
        pi.disk.clone().or_else(|| lock(&self.settings).image.clone().filter(|_| !has_other))
    }

    /// The boot files of a client that is no known Pi: those of the image for all.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn boot_files_for_anyone(&self) -> Result<BootFiles, String> {
        let image = lock(&self.settings).image.clone();
        self.card(&image.ok_or("only Pis of the inventory have a disk")?)?.boot_files()
    }

    /// The boot files of a Pi as they are now on its disk. `is_there`: the Pi is not up at another address, so that they may be read anew.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn boot_files(&self, pi: Prefix, image: &Path, is_there: bool) -> Result<BootFiles, String> {
        let card = self.card(image)?;
        let disk = self.place.disk(pi, &card.name);
        if !is_there || !disk.file().exists() {
            return card.boot_files();
        }
        let slot = self.slots.of(pi);
        let slot = slot.lock();
        let read = |overlay: &Overlay| {
            let made = boot_files::of_disk(overlay, (card.numbers, &card.tree), &disk, &self.init)?;
            if let Some(why) = made.old_initramfs {
                self.bus.emit(None, events::Root::DiskUnclean { pi, why });
            }
            Ok(made.files)
        };
        if let Some(overlay) = slot.overlay() {
            return read(&overlay);
        }
        let in_use = |error: InUse| error.to_string();
        let _locked = disk.lock().map_err(in_use)?;
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
    fn card(&self, image: &Path) -> Result<Arc<Card>, String> {
        if let Some(card) = lock(&self.cards).get(image).filter(|card| card.is_of(image)) {
            return Ok(card.clone());
        }
        // Without the lock, as it may take minutes; two at once wait for each other where the image is unpacked.
        let card = Card::open(image, &self.place, &self.init, &self.bus)
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

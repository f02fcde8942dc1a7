//! A layer: the changes of one Pi to one base image, on disk.
//!
//! ```text
//! STATE/version                        the version of this layout
//! STATE/pis/bd989ae1/pi.toml           address and name at the last mount; the file's time is that of the mount
//! STATE/pis/bd989ae1/identity/         the Pi's identity on all images: machine-id, SSH host keys
//! STATE/pis/bd989ae1/IMAGE/layer.toml  the base image, and the number of the export
//! STATE/pis/bd989ae1/IMAGE/upper/      the changes, in overlayfs's format
//! STATE/pis/bd989ae1/IMAGE/work/       overlayfs's work directory
//! STATE/pis/bd989ae1/IMAGE/merged/     the mount point of the merged root, visible to the running server only
//! STATE/pis/bd989ae1/IMAGE/reset       marks the layer for removal at the Pi's next boot
//! STATE/pis/bd989ae1/IMAGE/new         the content of upper/ when the layer was made, until the layer is in use; empty: half made
//! ```
//!
//! A layer belongs to its base image: on another image the Pi gets another layer, and finds the old layer again on the old
//! image.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use pinetboot_core::pi::Prefix;

use super::base_image::BaseImage;
use super::facts::{LayerFacts, PiFacts};
use super::version;
use crate::durable::{self, GroupSync, Staged};
use crate::pis;

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The Pi.
    pub pi: Prefix,
    /// The name of the base image.
    pub image: String,
    /// The layer's directory.
    pub place: PathBuf,
    /// Its `layer.toml`.
    pub facts: LayerFacts,
}

/// The state directory, with the layers of all Pis.
#[derive(Debug, Clone)]
pub struct State {
    dir: PathBuf,
    disk: Arc<GroupSync>,
}

impl State {
    /// The state in this directory, which need not exist.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), disk: Arc::new(GroupSync::at(&dir.join(PIS))) }
    }

    /// The disk of the layers.
    pub(super) fn disk(&self) -> &GroupSync {
        &self.disk
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the directory, readable by root only: it holds passwords and keys of all Pis.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn make(&self) -> io::Result<()> {
        private_dir(&self.dir.join(PIS))?;
        version::upgrade(&self.dir)
    }

    /// Checks that this program knows the layout of the directory.
    ///
    /// # Errors
    ///
    /// The reason and the remedy.
    pub fn check(&self) -> io::Result<()> {
        version::check(&self.dir).map(drop)
    }

    /// The directory of a Pi.
    pub fn pi_dir(&self, pi: Prefix) -> PathBuf {
        self.dir.join(PIS).join(pi.to_string())
    }

    /// All layers, sorted by Pi and image. Other directories are skipped.
    pub fn layers(&self) -> Vec<Layer> {
        let mut layers: Vec<_> = self.pis().into_iter().flat_map(|pi| self.layers_of(pi)).collect();
        layers.sort_by_key(|layer| (layer.pi.to_string(), layer.image.clone()));
        layers
    }

    /// The Pis and images of all layers, also of those whose `layer.toml` cannot be read.
    ///
    /// # Errors
    ///
    /// The directory that cannot be read, and the system's.
    pub fn layer_names(&self) -> Result<Vec<(Prefix, String)>, (PathBuf, io::Error)> {
        let mut layers = Vec::new();
        for (place, name) in subdirectories(self.dir.join(PIS))? {
            let Some(pi) = Prefix::parse(&name) else { continue };
            let images = subdirectories(place)?.into_iter().filter(|(place, _)| place.join(UPPER).is_dir());
            layers.extend(
                images.map(|(_, image)| (pi, image)).filter(|(_, image)| crate::images::is_name(image)),
            );
        }
        layers.sort_by_key(|(pi, image)| (pi.to_string(), image.clone()));
        Ok(layers)
    }

    /// All layers of one Pi.
    pub fn layers_of(&self, pi: Prefix) -> Vec<Layer> {
        let names = fs::read_dir(self.pi_dir(pi)).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut layers: Vec<_> = names.filter_map(|image| self.layer(pi, &image)).collect();
        layers.sort_by(|a, b| a.image.cmp(&b.image));
        layers
    }

    /// The layer of a Pi on an image.
    pub fn layer(&self, pi: Prefix, image: &str) -> Option<Layer> {
        if !crate::images::is_name(image) {
            return None;
        }
        let place = self.pi_dir(pi).join(image);
        let facts = LayerFacts::read(&place.join(LAYER), &self.dir, image)?;
        Some(Layer { pi, image: image.to_owned(), place, facts })
    }

    /// Creates an empty layer, half made until its content is recorded: a power cut may come while its
    /// first files are written. Its name may not be on the disk yet.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn make_layer(&self, pi: Prefix, base_image: &BaseImage, export: u32) -> io::Result<Layer> {
        let facts = LayerFacts::new(export, base_image);
        let dir = self.pi_dir(pi);
        let new = dir.join(format!("{HALF_MADE}{}", base_image.name));
        remove_tree(&new)?;
        unsynced_dir(&new)?;
        let _not_a_leftover = lock_directory(&new)?;
        for part in [UPPER, WORK, MERGED] {
            unsynced_dir(&new.join(part))?;
        }
        // The merged root has the owner and mode of this directory.
        let root = fs::metadata(&base_image.root)?;
        fs::set_permissions(new.join(UPPER), root.permissions())?;
        std::os::unix::fs::chown(new.join(UPPER), Some(root.uid()), Some(root.gid()))?;
        facts.stage(&new.join(LAYER), &self.dir)?.put()?;
        durable::stage(&new.join(NEW), b"", 0o644)?.put()?;
        self.disk.settle()?;
        let place = dir.join(&base_image.name);
        fs::rename(&new, &place)?;
        Ok(Layer { pi, image: base_image.name.clone(), place, facts })
    }

    /// The facts about a Pi.
    pub fn pi(&self, pi: Prefix) -> PiFacts {
        let text = fs::read_to_string(self.pi_dir(pi).join(PI)).unwrap_or_default();
        toml::from_str(&text).unwrap_or_default()
    }

    /// The time of a Pi's last mount.
    pub fn last_use(&self, pi: Prefix) -> Option<SystemTime> {
        fs::metadata(self.pi_dir(pi).join(PI)).ok()?.modified().ok()
    }

    /// Records a Pi's mount, now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_pi(&self, pi: Prefix, facts: &PiFacts) -> io::Result<()> {
        let dir = self.pi_dir(pi);
        unsynced_dir(&dir)?;
        let text = toml::to_string(facts).map_err(io::Error::other)?;
        let record = durable::stage(&dir.join(PI), text.as_bytes(), 0o644)?;
        self.disk.settle()?;
        record.put()?;
        self.disk.settle()
    }

    /// Forgets a Pi's last mount.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn forget_pi(&self, pi: Prefix) -> io::Result<()> {
        fs::remove_file(self.pi_dir(pi).join(PI))
    }

    /// All Pis with a directory.
    pub fn pis(&self) -> Vec<Prefix> {
        let names = fs::read_dir(self.dir.join(PIS)).into_iter().flatten().flatten();
        names.filter_map(|entry| pis::pi(&entry.file_name().into_string().ok()?)).collect()
    }
}

impl Layer {
    /// The directory of the Pi's changes.
    pub fn upper(&self) -> PathBuf {
        self.place.join(UPPER)
    }

    /// overlayfs's work directory.
    pub fn work(&self) -> PathBuf {
        self.place.join(WORK)
    }

    /// The mount point of the merged root.
    pub fn merged(&self) -> PathBuf {
        self.place.join(MERGED)
    }

    /// Locks the layer for this process, while the file is open; `None` if another process has the lock, as a running server.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn lock(&self) -> io::Result<Option<File>> {
        let file = File::options().create(true).append(true).open(self.place.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether this file is still the layer's lock: the layer was not removed since.
    pub(super) fn has_lock(&self, lock: &File) -> bool {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let there = fs::metadata(self.place.join(LOCK)).map(id).ok();
        there.is_some() && there == lock.metadata().map(id).ok()
    }

    /// The content of `upper` when the layer was made; `None` once the layer is in use.
    pub(super) fn new_content(&self) -> Option<String> {
        fs::read_to_string(self.place.join(NEW)).ok()
    }

    /// Stages the record of the content of `upper` as that of a new layer.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn stage_new_content(&self, content: &str) -> io::Result<Staged> {
        durable::stage(&self.place.join(NEW), content.as_bytes(), 0o644)
    }

    /// Removes the record of a new layer's content, without a sync: the layer is in use.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn remove_new_content(&self) -> io::Result<()> {
        match fs::remove_file(self.place.join(NEW)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the process that made the layer was killed, or its machine lost power, before the layer had an identity.
    pub(super) fn is_half_made(&self) -> bool {
        fs::metadata(self.place.join(NEW)).is_ok_and(|file| file.len() == 0)
    }

    /// Replaces the facts; `keep_time`: the layer counts as made when it was.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn set_facts(&mut self, facts: LayerFacts, keep_time: bool) -> io::Result<()> {
        // STATE/pis/PI/IMAGE
        let state = self.place.ancestors().nth(3).unwrap_or(&self.place);
        facts.write(&self.place.join(LAYER), state, keep_time)?;
        self.facts = facts;
        Ok(())
    }

    /// The time at which the layer was made or adopted: the files of the base image were changed before.
    pub fn made(&self) -> SystemTime {
        fs::metadata(self.place.join(LAYER))
            .and_then(|file| file.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether the layer is marked for removal at the Pi's next boot.
    pub fn is_marked(&self) -> bool {
        self.place.join(RESET).exists()
    }

    /// Takes the mark away; returns whether there was one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn unmark(&self) -> io::Result<bool> {
        match fs::remove_file(self.place.join(RESET)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.and_then(|()| durable::sync(&self.place)).map(|()| true),
        }
    }

    /// Marks the layer for removal at the Pi's next boot.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn mark(&self) -> io::Result<()> {
        durable::replace(&self.place.join(RESET), b"", 0o644)
    }

    /// Whether the layer changes the directory of the boot files.
    pub fn changes_boot(&self) -> bool {
        let top = self.facts.boot.components().next();
        top.is_some_and(|top| fs::symlink_metadata(self.upper().join(top)).is_ok())
    }

    /// Moves the layer aside, atomically; the caller removes the returned directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn put_aside(&self) -> io::Result<PathBuf> {
        let dir = self.place.parent().unwrap_or(&self.place);
        let unused = (0..).map(|number| dir.join(format!("{ASIDE}{number}"))).find(|place| !place.exists());
        let aside = unused.unwrap_or_else(|| dir.join(ASIDE));
        durable::rename(&self.place, &aside)?;
        Ok(aside)
    }
}

/// Removes a directory with its content; a missing directory is not an error.
///
/// # Errors
///
/// The system's.
pub(super) fn remove_tree(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Locks a directory, while the file is open.
///
/// # Errors
///
/// The system's, `WouldBlock` if another process has the lock.
pub(super) fn lock_directory(place: &Path) -> io::Result<File> {
    let directory = File::open(place)?;
    directory.try_lock()?;
    Ok(directory)
}

/// Creates a directory that only its owner may read, and its parents.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    durable::create_dir_all(dir, 0o700)
}

/// The same, without a sync.
pub(super) fn unsynced_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

const PIS: &str = "pis";
const PI: &str = "pi.toml";
const LAYER: &str = "layer.toml";
const UPPER: &str = "upper";
const WORK: &str = "work";
const MERGED: &str = "merged";
const LOCK: &str = "lock";
const RESET: &str = "reset";
const NEW: &str = "new";
/// Begins the name of a layer that is being made, and of one that is being removed.
pub(super) const HALF_MADE: &str = ".new-";
pub(super) const ASIDE: &str = ".gone-";
/// Begins the name of the directory in which a mount is tried.
pub(super) const TRIED: &str = ".try-";

/// The directories in one, with their names; none if it does not exist.
fn subdirectories(place: PathBuf) -> Result<Vec<(PathBuf, String)>, (PathBuf, io::Error)> {
    let entries = match place.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.map_err(|error| (place, error))?;
    let named =
        entries.into_iter().filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)));
    Ok(named.filter(|(path, _)| path.is_dir()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI1: Prefix = Prefix::Serial(0xbd98_9ae1);

    fn base_image(dir: &Path) -> BaseImage {
        let root = dir.join("root");
        fs::create_dir_all(root.join("boot/firmware")).unwrap();
        BaseImage::at(&root).unwrap()
    }

    #[test]
    fn layers_are_made_found_and_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let base_image = base_image(directory.path());
        let state = State::at(&directory.path().join("state"));
        assert_eq!(state.layers(), []);
        let layer = state.make_layer(PI1, &base_image, 7).unwrap();
        assert_eq!(state.disk().count(), 1, "one sync for all of its files, shared with other layers");
        assert_eq!(state.layers(), std::slice::from_ref(&layer));
        assert_eq!(state.layer(PI1, &base_image.name), Some(layer.clone()));
        assert_eq!(state.layer(PI1, "../x"), None);
        assert_eq!(layer.facts.export, 7);
        assert!(!layer.changes_boot());
        fs::create_dir(layer.upper().join("boot")).unwrap();
        assert!(layer.changes_boot());

        let lock = layer.lock().unwrap();
        assert!(lock.is_some());
        assert!(layer.lock().unwrap().is_none(), "the first file holds the lock");
        drop(lock);
        assert!(layer.lock().unwrap().is_some());

        // A damaged record is no layer to serve, and still one to keep.
        assert_eq!(state.layer_names().unwrap(), [(PI1, layer.image.clone())]);
        let record = fs::read(layer.place.join(LAYER)).unwrap();
        fs::write(layer.place.join(LAYER), "cut").unwrap();
        assert_eq!((state.layers(), state.layer_names().unwrap().len()), (Vec::new(), 1));
        fs::write(layer.place.join(LAYER), record).unwrap();

        layer.mark().unwrap();
        assert!(layer.is_marked());
        let aside = layer.put_aside().unwrap();
        assert_eq!(state.layers(), []);
        remove_tree(&aside).unwrap();
        remove_tree(&aside).unwrap();
    }

    #[test]
    fn a_pi_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::at(directory.path());
        assert_eq!(state.pi(PI1), PiFacts::default());
        let facts = PiFacts { name: "kitchen".into(), ..PiFacts::default() };
        state.set_pi(PI1, &facts).unwrap();
        assert_eq!(state.pi(PI1), facts);
        assert_eq!(state.pis(), [PI1]);
        assert!(state.last_use(PI1).is_some());
    }
}

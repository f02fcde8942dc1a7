//! Layers that were copied: restored from a backup, or moved to another disk.
//!
//! overlayfs records the inodes of the base image and of the layer itself: in the attributes `trusted.overlay.origin`, `impure` and `nlink`, and
//! in an index beneath work/. The kernel refuses a layer whose records name other inodes (ESTALE). A copy has other inodes. Only
//! names, whiteouts and the attributes `opaque` and `redirect` decide about content, so a copied layer over a base image of the
//! same content is *adopted*: the records of inodes are removed, and the next mount makes new ones
//! (Documentation/filesystems/overlayfs.rst, "Sharing and copying layers").

use std::fs;
use std::io;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::syncfs;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::base_image::BaseImage;
use super::facts::LayerFacts;
use super::layer::{Layer, State};
use super::overlayfs::{is_stale, mount_overlay};
use crate::durable;

/// The directories of a mount.
pub(super) struct Parts<'a> {
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
    pub(super) merged: &'a Path,
}

/// The way in which a layer was mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mounted {
    /// In its place.
    InPlace,
    /// A copy, which was adopted.
    Adopted,
}

impl State {
    /// Gives the layers of a tree that was moved the tree's new name, which its path makes. Returns those layers.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn follow(&self, base_image: &BaseImage) -> io::Result<Vec<Layer>> {
        let content = base_image.content();
        let mut followed = Vec::new();
        for pi in self.pis() {
            // A path relative to the state leads to the tree again if both were moved.
            let was_here = |layer: &Layer| {
                let root = &layer.facts.root;
                *root == base_image.root || !root.is_dir() && layer.facts.content.fits(&content)
            };
            let mut layers = self.layers_of(pi).into_iter().filter(was_here);
            let place = self.pi_dir(pi).join(&base_image.name);
            let (Some(layer), None, false) = (layers.next(), layers.next(), place.exists()) else { continue };
            // A process that copies the layer ends with an error, and keeps the lock until then.
            durable::rename(&layer.place, &place)?;
            followed.push(Layer { image: base_image.name.clone(), place, ..layer });
        }
        Ok(followed)
    }
}

/// Mounts a layer over its base image, and adopts a copy.
///
/// # Errors
///
/// The reason and the remedy.
pub(super) fn mount(base_image: &BaseImage, facts: &LayerFacts, parts: &Parts<'_>) -> io::Result<Mounted> {
    let Parts { upper, work, merged } = parts;
    check_attributes(upper)?;
    match mount_overlay(&base_image.root, upper, work, merged) {
        Err(error) if is_stale(&error) => {}
        mounted => return mounted.map(|()| Mounted::InPlace),
    }
    if !facts.content.fits(&base_image.content()) {
        return Err(io::Error::other(NOT_THE_BASE));
    }
    untie(upper, work)?;
    mount_overlay(&base_image.root, upper, work, merged)?;
    Ok(Mounted::Adopted)
}

/// Checks that a layer has the attributes that overlayfs gave it, and marks it.
///
/// # Errors
///
/// If the layer is a copy without them.
pub(super) fn check_attributes(upper: &Path) -> io::Result<()> {
    if xattr::get_deref(upper, MARK)?.is_some() {
        return Ok(());
    }
    // The kernel gives each layer an origin when it is first mounted.
    let is_whole = xattr::get_deref(upper, ORIGIN)?.is_some() || fs::read_dir(upper)?.next().is_none();
    if !is_whole {
        return Err(io::Error::other(ATTRIBUTES_LOST));
    }
    mark(upper)
}

/// Marks a layer that has its attributes. A file system without trusted attributes holds no layer that could be mounted.
///
/// # Errors
///
/// The system's.
pub(super) fn mark(upper: &Path) -> io::Result<()> {
    xattr::set_deref(upper, MARK, b"1")
}

/// Takes the mark away from a copy of a merged root.
///
/// # Errors
///
/// The system's.
pub(super) fn unmark(root: &Path) -> io::Result<()> {
    if xattr::get(root, MARK)?.is_some() { xattr::remove(root, MARK) } else { Ok(()) }
}

/// Removes the records of inodes from a layer that is not mounted. The top directory's are the last: until then the kernel refuses the mount, and
/// the next try begins anew.
///
/// # Errors
///
/// The system's.
pub(super) fn untie(upper: &Path, work: &Path) -> io::Result<()> {
    // Directories before their content: the crate loses directories the other way round if `upper` is a link, as /proc/self/fd/N is. The
    // kernel hides the base image's part of a directory with an old record, without an error.
    for entry in WalkDir::new(upper).min_depth(1).follow_links(false) {
        let entry = entry?;
        for name in xattr::list(entry.path())?.filter(|name| RECORDS.iter().any(|record| name == record)) {
            xattr::remove(entry.path(), name)?;
        }
    }
    for entry in fs::read_dir(work)? {
        super::layer::remove_tree(&entry?.path())?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = open(upper, flags, Mode::empty())?;
    syncfs(&top)?;
    for name in xattr::list_deref(upper)?.filter(|name| RECORDS.iter().any(|record| name == record)) {
        xattr::remove_deref(upper, name)?;
    }
    syncfs(&top)?;
    Ok(())
}

/// Marks a layer whose attributes were there: a copy without this one has lost the others too.
pub(super) const MARK: &str = "trusted.pinetboot.layer";
const ORIGIN: &str = "trusted.overlay.origin";
/// Attributes that name inodes.
const RECORDS: [&str; 5] = [
    ORIGIN,
    "trusted.overlay.impure",
    "trusted.overlay.nlink",
    "trusted.overlay.upper",
    "trusted.overlay.uuid",
];

const NOT_THE_BASE: &str = "the layer is a copy, and the base image is not the one on which the layer was made. Put that image back; or, \
                            if the content is the same, run 'pinetboot roots adopt PI'; or 'pinetboot roots reset PI' discards the \
                            Pi's changes";
const ATTRIBUTES_LOST: &str = "the layer is a copy without its extended attributes (trusted.overlay), and would show files that the \
                               Pi deleted. Copy the layer again, as root, with rsync -aHX, cp -a, or tar --xattrs \
                               --xattrs-include=*; or 'pinetboot roots reset PI' discards the Pi's changes";

//! Commits a layer: copies a Pi's merged root, without its identity, to a new image.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::syncfs;

use super::layer::{Layer, remove_tree};
use super::overlayfs::{detach, mount_to_read};
use super::{adopt, identity};
use crate::durable;
use crate::images::{self, FACTS, FILES, ImageFacts, Images, ROOT, manifest};
use crate::time;

/// Copies the merged root of a layer to a new image. The process must have its own mount namespace, and the layer's lock.
///
/// # Errors
///
/// The system's.
pub(super) fn commit(layer: &Layer, images: &Images, name: &str) -> io::Result<()> {
    adopt::check_attributes(&layer.upper())?;
    // A name that no image has: what a failed or interrupted commit leaves blocks no other.
    let place = images.place(&format!(".{name}.commit"));
    remove_tree(&place)?;
    let copied = copy_to(layer, images, &place).and_then(|()| durable::rename(&place, &images.place(name)));
    if copied.is_err() {
        let _removed_by_the_next_commit = remove_tree(&place);
    }
    copied
}

fn copy_to(layer: &Layer, images: &Images, place: &Path) -> io::Result<()> {
    let root = place.join(ROOT);
    durable::create_dir_all(place, images::MODE)?;
    durable::create_dir_all(&root, 0o755)?;

    let merged = layer.merged();
    mount_to_read(&layer.facts.root, &layer.upper(), &merged)?;
    let copied = copy(&merged, &root);
    detach(&merged);
    copied?;

    let top = open(&root, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    adopt::unmark(&root)?;
    identity::anonymise(&top, host_name(&layer.facts.root)?.as_deref())?;
    syncfs(&top)?;
    manifest::write(&root, &place.join(FILES), |_| Ok(()))?;

    let before = images.find(&layer.image).ok().flatten();
    let mut facts = before.map_or_else(|| facts_of(layer), |image| image.facts);
    // The file of the first image is not the content of this one.
    facts.sha256 = String::new();
    facts.changes.push(format!("changes of {} to {}", layer.pi, layer.image));
    facts.imported = time::now();
    durable::replace(&place.join(FACTS), toml::to_string(&facts).map_err(io::Error::other)?.as_bytes(), 0o644)
}

/// Copies a tree with owners, modes, times, links, devices, holes and attributes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto", "--sparse=auto", "--"]).arg(from.join(".")).arg(to);
    let status = copy.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp ended with {status}"))) }
}

fn host_name(root: &Path) -> io::Result<Option<String>> {
    let root: OwnedFd = open(root, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let Some(etc) = identity::find(&root, "etc")? else { return Ok(None) };
    let name = identity::read(&etc, "hostname")?;
    Ok(name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()))
}

/// The facts of a tree that was not imported.
fn facts_of(layer: &Layer) -> ImageFacts {
    ImageFacts {
        release: "unknown".into(),
        source: layer.facts.root.display().to_string(),
        boot: layer.facts.boot.clone(),
        has_root: true,
        kernel_mounts_root: layer.facts.kernel_mounts_root,
        ..ImageFacts::default()
    }
}

//! The root file systems of the configuration, and whether this machine can serve them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::bus::Bus;
use crate::config::{Config, NfsMode};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::images::IMAGES;
use crate::roots::configured::{self, base_image, base_images, cannot_serve, images};
use crate::roots::{BaseImage, BaseImages, own_namespace};
use crate::sandbox::lacking;
use crate::storage::{Base, BootTree, TreeError};

/// The place of the boot files.
///
/// # Errors
///
/// If the boot files cannot be opened.
pub(super) fn base(config: &Config) -> Result<Base, Failed> {
    let base_images = match (&config.tree, &config.root.nfs) {
        (Some(tree), _) => images(config)?.map(BaseImages::Images).ok_or(tree),
        (None, Some(nfs)) => {
            let base_image = base_image(nfs)?;
            if !base_image.boot_dir().is_dir() {
                let (boot, nfs) = (base_image.boot_dir(), nfs.display());
                let why = format!(
                    "{} has no boot files: name their directory, as in 'pinetboot serve BOOT-FILES --nfs {nfs}'",
                    boot.display()
                );
                return Err(Failed::new(Exit::Tree, why));
            }
            Ok(BaseImages::One(base_image))
        }
        (None, None) if config.disk.image.is_some() => return Ok(Base::Disks),
        (None, None) => return Err(Failed::new(Exit::Usage, "nothing to serve: give TREE or --nfs")),
    };
    match base_images {
        Ok(base_images) => Ok(Base::Roots(base_images)),
        Err(tree) => {
            let opened =
                BootTree::open_at(tree).map_err(|error| Failed::new(Exit::Tree, with_remedy(&error, tree)));
            Ok(Base::Directory(Arc::new(opened?)))
        }
    }
}

/// What is wrong with the tree, and how to fill one that has nothing: the configuration of the packages names such a tree.
fn with_remedy(error: &TreeError, tree: &Path) -> String {
    // A first import that was interrupted leaves the directory of images.
    let what = match error.has_nothing() {
        true => error.to_string(),
        false if is_empty(&tree.join(IMAGES)) => format!("{} holds no image", tree.display()),
        false => return error.to_string(),
    };
    let tree = tree.display();
    format!(
        "{what}. To begin with an image: 'sudo pinetboot up', which asks for each choice, or 'sudo pinetboot import IMAGE --to {tree}'"
    )
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// The base images to serve; `None` if NFS is off or no root is configured.
///
/// Call this while the process has one thread: it may enter a new mount namespace, that of the layers.
///
/// # Errors
///
/// The missing requirement.
pub(super) fn prepare(config: &Config, bus: &Bus) -> Result<Option<BaseImages>, Failed> {
    let mode = config.root.mode;
    if mode == NfsMode::Off {
        return Ok(None);
    }
    let Some(base_images) = base_images(config)? else { return Ok(None) };
    let all = base_images.all().map_err(|error| Failed::new(Exit::Tree, error))?;
    if all.is_empty() {
        bus.emit(None, events::Server::NoRoots);
        return Ok(None);
    }
    if !cfg!(feature = "nfs") {
        return Err(cannot_serve(mode, "this pinetboot was built without NFS"));
    }
    if let Some(lacking) = lacking(configured::capabilities(mode)) {
        return Err(cannot_serve(mode, &format!("this requires {lacking}")));
    }
    if mode == NfsMode::Overlay {
        own_namespace().map_err(|error| cannot_serve(mode, &error.to_string()))?;
    }
    tell(mode, &all, config, bus);
    Ok(Some(base_images))
}

/// Emits the notices about the way in which roots are shared.
fn tell(mode: NfsMode, base_images: &[BaseImage], config: &Config, bus: &Bus) {
    match mode {
        NfsMode::SharedRo => {
            for base_image in
                base_images.iter().filter(|base_image| !base_image.root.join(OVERLAYROOT).exists())
            {
                let root = base_image.root.display().to_string();
                bus.emit(None, events::Server::NoOverlayRoot { root });
            }
        }
        NfsMode::Rw => bus.emit(None, events::Server::WritableRoot),
        _ => {}
    }
    if config.tree.is_some() && config.root.nfs.is_some() {
        let tree = config.serving().display().to_string();
        bus.emit(None, events::Server::BootFilesElsewhere { tree });
    }
}

/// The script that Debian's package overlayroot adds to the initramfs.
const OVERLAYROOT: &str = "usr/share/initramfs-tools/scripts/init-bottom/overlayroot";

//! The base images and the state of a configuration.

use std::path::Path;

use rustix::thread::CapabilitySet;

use super::base_image::{BaseImage, BaseImages};
use super::layer::State;
use crate::config::{Config, NfsMode};
use crate::exit::{Exit, Failed};
use crate::images::Images;

/// The base images; `None` if the configuration has none.
///
/// # Errors
///
/// If they cannot be read.
pub(crate) fn base_images(config: &Config) -> Result<Option<BaseImages>, Failed> {
    Ok(match (&config.root.nfs, images(config)?) {
        (Some(nfs), _) => Some(BaseImages::One(base_image(nfs)?)),
        (None, Some(images)) => Some(BaseImages::Images(images)),
        (None, None) => None,
    })
}

/// The images in the tree; `None` if it holds boot files.
///
/// # Errors
///
/// If they cannot be read.
pub(crate) fn images(config: &Config) -> Result<Option<Images>, Failed> {
    let tree = config.tree.as_deref();
    Ok(tree.map(Images::open).transpose().map_err(|error| Failed::new(Exit::Tree, error))?.flatten())
}

/// The base image in a directory.
///
/// # Errors
///
/// If the directory cannot be read.
pub(crate) fn base_image(root: &Path) -> Result<BaseImage, Failed> {
    BaseImage::at(root).map_err(|error| {
        Failed::new(Exit::Tree, format!("cannot serve the root file system {}: {error}", root.display()))
    })
}

/// The state directory.
pub(crate) fn state(config: &Config) -> State {
    let default = || super::default_state(config.tree.as_deref());
    config.root.state.as_deref().map_or_else(default, State::at)
}

/// The capabilities that a mode requires, ports below 1024 aside. Without one of them the server would start, and calls of Pis would fail: as
/// docs/container.md says of each.
pub(crate) const fn capabilities(mode: NfsMode) -> CapabilitySet {
    // Files by handle, as the Pi's user.
    let read = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SETGID).union(CapabilitySet::SETUID);
    // What the Pi's root may do to the files of its users.
    let write = read
        .union(CapabilitySet::CHOWN)
        .union(CapabilitySet::DAC_OVERRIDE)
        .union(CapabilitySet::FOWNER)
        .union(CapabilitySet::FSETID);
    match mode {
        NfsMode::Off => CapabilitySet::empty(),
        NfsMode::SharedRo => read,
        NfsMode::Rw => write,
        // Mounts, and files with capabilities (setcap) that are copied into a layer.
        NfsMode::Overlay => write.union(CapabilitySet::SETFCAP).union(CapabilitySet::SYS_ADMIN),
    }
}

/// The failure because of a missing requirement, with the alternatives.
pub(crate) fn cannot_serve(mode: NfsMode, what: &str) -> Failed {
    let message = match mode {
        NfsMode::Overlay => format!(
            "cannot serve a copy-on-write root for each Pi: {what}. Alternatives: --nfs-mode shared-ro (all Pis read one tree, and \
             write to their memory) or --nfs-mode rw (one Pi), both as root; or --nfs-mode off (boot files only)"
        ),
        _ => format!("cannot serve a root by NFS: {what}. Alternative: --nfs-mode off (boot files only)"),
    };
    Failed::new(Exit::Tree, message)
}

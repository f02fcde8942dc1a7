//! The root file systems of the configuration, and whether this machine can serve them.

use std::sync::Arc;

use crate::bus::Bus;
use crate::config::{Config, NfsMode, RootLimits};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::roots::{BaseImage, BaseImages, Mounts, Roots, State, default_state, own_namespace};
use crate::storage::{Base, BootTree};

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
        (None, None) => return Err(Failed::new(Exit::Usage, "nothing to serve: give TREE or --nfs")),
    };
    match base_images {
        Ok(base_images) => Ok(Base::Roots(base_images)),
        Err(tree) => {
            let tree = BootTree::open_at(tree).map_err(|error| Failed::new(Exit::Tree, error))?;
            Ok(Base::Directory(Arc::new(tree)))
        }
    }
}

/// The root file systems; `None` if NFS is off or no root is configured. All requirements are checked here, before the first
/// service starts.
///
/// Call this while the process has one thread: it may enter a new mount namespace.
///
/// # Errors
///
/// The missing requirement.
pub(super) fn prepare(config: &Config, max_pis: usize, bus: &Bus) -> Result<Option<Arc<Roots>>, Failed> {
    let mode = config.root.mode;
    if mode == NfsMode::Off {
        return Ok(None);
    }
    let base_images = match (&config.root.nfs, images(config)?) {
        (Some(nfs), _) => BaseImages::One(base_image(nfs)?),
        (None, Some(images)) => BaseImages::Images(images),
        (None, None) => return Ok(None),
    };
    let all = base_images.all().map_err(|error| Failed::new(Exit::Tree, error))?;
    let Some(first) = all.first() else {
        bus.emit(None, events::Server::NoRoots);
        return Ok(None);
    };
    if !cfg!(feature = "nfs") {
        return Err(missing(mode, "this pinetboot was built without NFS"));
    }
    if mode == NfsMode::Overlay {
        own_namespace().map_err(|error| {
            missing(
                mode,
                &format!(
                    "mounting overlays requires the capability CAP_SYS_ADMIN ({error}). Run pinetboot as root"
                ),
            )
        })?;
    }
    let state = config.root.state.as_deref().map_or_else(|| default_state(config.tree.as_deref()), State::at);
    let place = state.dir().display().to_string();
    let limits = RootLimits { max_pis, ..config.root.limits };
    let roots = Roots::new(mode, base_images, state, limits, bus.clone()).map_err(|error| {
        missing(
            mode,
            &format!("cannot keep state in {place}: {error}. Name another directory with --state DIR"),
        )
    })?;
    let roots = roots.with_short_numbers(config.root.nfs_short_numbers);
    let roots = if mode == NfsMode::Overlay {
        roots.try_overlay(first).map_err(|error| missing(mode, &error.to_string()))?;
        let mounts = Mounts::start(roots.state(), roots.base_images());
        roots.with_mounts(
            mounts
                .map_err(|error| missing(mode, &format!("cannot start the process that mounts: {error}")))?,
        )
    } else {
        roots
    };
    tell(mode, &all, config, bus);
    Ok(Some(Arc::new(roots)))
}

fn images(config: &Config) -> Result<Option<Images>, Failed> {
    let tree = config.tree.as_deref();
    Ok(tree.map(Images::open).transpose().map_err(|error| Failed::new(Exit::Tree, error))?.flatten())
}

fn base_image(root: &std::path::Path) -> Result<BaseImage, Failed> {
    BaseImage::at(root).map_err(|error| {
        Failed::new(Exit::Tree, format!("cannot serve the root file system {}: {error}", root.display()))
    })
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

fn missing(mode: NfsMode, what: &str) -> Failed {
    let message = match mode {
        NfsMode::Overlay => format!(
            "cannot serve a copy-on-write root for each Pi: {what}. Alternatives: --nfs-mode shared-ro (all Pis read one tree, and \
             write to their memory) or --nfs-mode rw (one Pi), both as root; or --nfs-mode off (boot files only)"
        ),
        _ => format!("cannot serve a root by NFS: {what}. Alternative: --nfs-mode off (boot files only)"),
    };
    Failed::new(Exit::Tree, message)
}

/// The script that Debian's package overlayroot adds to the initramfs.
const OVERLAYROOT: &str = "usr/share/initramfs-tools/scripts/init-bottom/overlayroot";

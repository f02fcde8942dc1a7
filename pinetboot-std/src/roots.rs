//! Root file systems for Pis: the base image of each Pi, and in mode `overlay` its layer.
//!
//! A base image is a root file system that no Pi changes. In mode `overlay` each Pi has a layer ([`Layer`]) with its changes. The
//! layer of a new Pi is made with an identity (`identity`), and mounted over the base image at its first use (`overlay`).
//!
//! Only Pis may mount, each only its own layer, by the ranked evidence of [`pis`](crate::pis). A Pi mounts the path
//! `/SERIAL-TOKEN` of its rendered command line (`token`); `/` stands for its own root too. In mode `rw` the first Pi that mounts
//! has the tree until the server stops, and every other Pi is refused: two systems on one writable root destroy the root.
//!
//! A base image must not change under its layers: overlayfs does not define what layers show then. A new version is a new base
//! image with new layers. A changed base image is noticed when a layer on it is mounted.

pub(crate) mod actions;
mod adopt;
mod archive;
mod base_image;
#[cfg(feature = "nfs")]
mod boot_layers;
mod boot_roots;
#[cfg(feature = "nfs")]
mod bounded_tree;
#[cfg(feature = "nfs")]
mod bounds;
pub mod command;
mod commit;
pub(crate) mod configured;
mod diff;
#[cfg(feature = "nfs")]
mod disk;
#[cfg(feature = "nfs")]
mod exports;
mod facts;
mod host_key;
mod identity;
mod keep;
mod layer;
mod leftovers;
pub(crate) mod lines;
mod made;
mod making;
pub(crate) mod messages;
pub mod mounter;
mod mounts;
mod new_layers;
mod overlay;
mod overlayfs;
pub(crate) mod packets;
mod pi_locks;
mod quota;
#[cfg(feature = "import")]
mod reading;
pub(crate) mod registry;
mod rest;
#[cfg(feature = "nfs")]
mod token;
mod version;
mod which;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinetboot_core::pi::Prefix;

pub use base_image::{BaseImage, BaseImages, Content, NoBaseImage};
pub use boot_roots::{BOOT_DIRECTORY_VALID, BootDirectory, BootRoots};
#[cfg(feature = "nfs")]
pub use exports::RootExports;
#[cfg(feature = "nfs")]
use exports::try_serving;
pub use facts::{LayerFacts, PiFacts};
pub(crate) use identity::machine_id_of;
pub use layer::{Layer, State};
pub use messages::Report;
pub use mounts::Mounts;
pub use overlay::Overlay;
pub use overlayfs::own_namespace;
pub use registry::Registry;
#[cfg(feature = "disk")]
pub(crate) use token::Tokens;

use crate::config::{NfsMode, RootLimits};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::images::Images;
use crate::pis::Known;
use crate::space::Size;
#[cfg(feature = "nfs")]
use crate::supervisor::task;
use made::Made;
use new_layers::NewLayers;
use pi_locks::{Held, PiLocks};

/// The root file systems of all Pis, shared by all workers and services.
pub struct Roots {
    mode: NfsMode,
    base_images: BaseImages,
    state: State,
    limits: RootLimits,
    mounts: Arc<Mounts>,
    #[cfg(feature = "nfs")]
    short_numbers: bool,
    registry: Registry,
    /// The disk of the state, and those of the trees of mode `rw`.
    #[cfg(feature = "nfs")]
    disks: Mutex<Vec<Arc<disk::Disk>>>,
    #[cfg(feature = "nfs")]
    tokens: token::Tokens,
    /// Held while a layer is made, mounted or removed. A disk makes many layers in the time of one: it writes their records together.
    locks: PiLocks,
    made: Mutex<Made>,
    /// Held for moments, also while the lock of a Pi is.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    overlays: HashMap<(Prefix, String), Arc<Overlay>>,
    /// Layers with a changed base image, each reported once.
    changed: HashSet<(Prefix, String)>,
    new: NewLayers,
}

impl Roots {
    /// Roots from these trees. In mode `overlay` the process must have its [own namespace](own_namespace).
    ///
    /// # Errors
    ///
    /// If the state cannot be kept.
    pub fn new(
        mode: NfsMode,
        base_images: BaseImages,
        state: State,
        limits: RootLimits,
        registry: impl Into<Registry>,
    ) -> io::Result<Self> {
        let registry = registry.into();
        state.make()?;
        let number = state.remove_leftovers();
        if number > 0 {
            let place = state.dir().display().to_string();
            registry.emit(None, Report::LeftoversRemoved { place, number });
        }
        if let BaseImages::One(base_image) = &base_images {
            for Layer { pi, image, .. } in state.follow(base_image)? {
                registry.emit(None, events::Root::LayerAdopted { pi, image });
            }
        }
        for pi in state.pis() {
            let facts = state.pi(pi);
            let (address, mac, boots) = (facts.address, facts.mac(), facts.boots);
            registry.emit(address, events::Root::Remembered { pi, address, mac, boots });
        }
        Ok(Self {
            mode,
            base_images,
            #[cfg(feature = "nfs")]
            disks: Mutex::new(vec![Arc::new(disk::Disk::of(state.dir(), limits.reserve)?)]),
            #[cfg(feature = "nfs")]
            tokens: token::Tokens::load(state.dir())?,
            locks: PiLocks::default(),
            made: Mutex::new(Made::load(&state)),
            inner: Mutex::new(Inner { new: NewLayers::load(&state), ..Inner::default() }),
            state,
            limits,
            mounts: Arc::default(),
            #[cfg(feature = "nfs")]
            short_numbers: false,
            registry,
        })
    }

    /// These roots with mounts made by another process.
    #[must_use]
    pub fn with_mounts(self, mounts: Mounts) -> Self {
        Self { mounts: Arc::new(mounts), ..self }
    }

    /// These roots with file numbers of 32 bits, or of 64.
    #[cfg(feature = "nfs")]
    #[must_use]
    pub fn with_short_numbers(self, short_numbers: bool) -> Self {
        Self { short_numbers, ..self }
    }

    /// The mounts of layers.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// The way in which Pis share a base image.
    pub const fn mode(&self) -> NfsMode {
        self.mode
    }

    /// The base images.
    pub const fn base_images(&self) -> &BaseImages {
        &self.base_images
    }

    /// The state directory.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The Pi and the token in a root's name, for a client that has or had these addresses.
    #[cfg(feature = "nfs")]
    fn parse_name(&self, name: &str, addresses: &[Ipv4Addr]) -> Option<(Prefix, Option<crate::pis::Token>)> {
        self.tokens.parse(name, addresses)
    }

    /// Tests with a base image whether this machine can mount layers.
    ///
    /// # Errors
    ///
    /// The missing requirement.
    pub fn try_overlay(&self, base_image: &BaseImage) -> io::Result<()> {
        let place =
            tempfile::Builder::new().prefix(layer::TRIED).rand_bytes(6).tempdir_in(self.state.dir())?;
        let _not_a_leftover = layer::lock_directory(place.path())?;
        let [upper, work, merged] = ["upper", "work", "merged"].map(|part| place.path().join(part));
        for part in [&upper, &work, &merged] {
            std::fs::create_dir(part)?;
        }
        overlayfs::mount_overlay(&base_image.root, &upper, &work, &merged)?;
        let tried = try_serving(&merged);
        overlayfs::detach(&merged);
        tried
    }

    /// Finds out whether the file system enforces the limits of new layers, and tells.
    pub fn try_quota(&self) {
        let by_file_system = quota::is_there(self.state.dir()).unwrap_or(false);
        self.registry.emit(None, events::Root::Limits { by_file_system });
    }

    /// The base image of a Pi.
    ///
    /// # Errors
    ///
    /// If the Pi has none.
    pub fn base_image_for(&self, known: &Known) -> Result<BaseImage, String> {
        self.base_images.base_image_for(known.image()).map_err(|error| error.to_string())
    }

    /// The layer of a Pi, if the layer changes the boot files: they are then served from the layer.
    ///
    /// A layer that is marked for a reset is left out, if the Pi `is_there` and not up at another address. The layer is removed when the
    /// Pi mounts its root: requests for boot files do not prove that its system is down.
    pub fn overlay_for_boot(&self, pi: Prefix, image: &str, is_there: bool) -> Option<Arc<Overlay>> {
        if self.mode != NfsMode::Overlay {
            return None;
        }
        let layer = self.state.layer(pi, image)?;
        if !layer.is_marked() && !layer.changes_boot() {
            return None; // the usual case, without taking the lock
        }
        self.locks.with(pi, |held| {
            if is_there && layer.is_marked() {
                return None;
            }
            self.mounted(held, layer, None)
                .inspect_err(|error| {
                    let (image, operation, error) = (image.to_owned(), "mount".into(), error.to_string());
                    self.registry.emit(None, events::Root::LayerFailed { pi, image, operation, error });
                })
                .ok()
        })
    }

    /// The mounted layer of a Pi that mounts its root; makes the layer of a new Pi.
    ///
    /// # Errors
    ///
    /// The reason why the layer cannot be made or mounted.
    pub fn overlay_for_root(
        &self,
        pi: Prefix,
        known: &Known,
        base_image: &BaseImage,
        address: Ipv4Addr,
    ) -> io::Result<Arc<Overlay>> {
        self.locks.with(pi, |held| {
            let there = self.state.layer(pi, &base_image.name);
            let there = there.filter(|layer| {
                !(layer.is_marked() && self.is_first_of_boot(layer) && self.reset(held, layer))
            });
            if let Some(layer) = there {
                return self.mounted(held, layer, Some(known));
            }
            self.may_make(pi, known, address)?;
            let made = self.make(held, pi, known, base_image, address);
            self.made().done(pi);
            made
        })
    }

    /// Records a Pi's mount, for the time after a restart.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remember(&self, pi: Prefix, address: Ipv4Addr, mac: Option<events::Mac>) -> io::Result<()> {
        let known = self.registry.known(pi)?;
        let mac = mac.map(|mac| Prefix::Mac(mac).to_string()).or_else(|| self.state.pi(pi).mac);
        let (name, max_root_size) = (known.host_name(pi), self.max_root_size(&known));
        let image = self.base_images.base_image_for(known.image()).ok().map(|base_image| base_image.name);
        let boots = known.boots;
        let facts = PiFacts { address: Some(address), mac, name, max_root_size, image, boots };
        self.set_record(pi, &facts)
    }

    /// Replaces the record of a Pi.
    fn set_record(&self, pi: Prefix, facts: &PiFacts) -> io::Result<()> {
        self.locks.with(pi, |_one_at_a_time| self.state.set_pi(pi, facts))
    }

    /// Mounts an existing layer, as after a restart.
    ///
    /// # Errors
    ///
    /// The reason why the layer cannot be mounted.
    pub fn overlay_again(&self, pi: Prefix, image: &str) -> io::Result<Arc<Overlay>> {
        self.locks.with(pi, |held| {
            let layer = self.state.layer(pi, image).ok_or(io::ErrorKind::NotFound)?;
            self.mounted(held, layer, None)
        })
    }

    /// The limit of a Pi's layers.
    fn max_root_size(&self, known: &Known) -> Option<Size> {
        known.settings.max_root_size.or(self.limits.max_root_size)
    }

    /// The limit of a Pi's layers; the registry is asked unless the knowledge about the Pi is at hand.
    fn limit_of(&self, pi: Prefix, known: Option<&Known>) -> io::Result<Option<Size>> {
        match known {
            Some(known) => Ok(self.max_root_size(known)),
            None => Ok(self.max_root_size(&self.registry.known(pi)?)),
        }
    }

    /// The bounds of a Pi's changes.
    #[cfg(feature = "nfs")]
    fn bounds(&self, overlay: &Overlay, known: Option<&Known>) -> io::Result<bounds::Bounds> {
        let layer = overlay.layer();
        let limit = |size| bounds::Limit::new(layer.upper(), size, overlay.has_quota());
        let limit = self.limit_of(layer.pi, known)?.map(limit);
        let (disk, registry) = (self.disk_of(self.state.dir())?, self.registry.clone());
        Ok(bounds::Bounds::new(Some(layer.pi), disk, limit, registry))
    }

    /// The file numbers of a layer, or of a shared tree.
    #[cfg(feature = "nfs")]
    fn file_numbers(&self, layer: Option<&Layer>) -> io::Result<pinetboot_nfs::FileNumbers> {
        let repeat = |layer: &Layer| overlayfs::numbers_repeat(&layer.facts.root, &layer.upper());
        let from_handles = layer.map(repeat).transpose()?.unwrap_or(false);
        Ok(pinetboot_nfs::FileNumbers { from_handles, short: self.short_numbers })
    }

    /// The bounds of the changes of a tree without layers.
    #[cfg(feature = "nfs")]
    fn bounds_of_tree(&self, root: &Path) -> io::Result<bounds::Bounds> {
        Ok(bounds::Bounds::new(None, self.disk_of(root)?, None, self.registry.clone()))
    }

    /// The disk of a directory that Pis write to.
    #[cfg(feature = "nfs")]
    fn disk_of(&self, directory: &Path) -> io::Result<Arc<disk::Disk>> {
        let found = disk::Disk::of(directory, self.limits.reserve)?;
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = disks.iter().find(|disk| disk.number() == found.number()) {
            return Ok(known.clone());
        }
        let found = Arc::new(found);
        disks.push(found.clone());
        Ok(found)
    }

    /// Warns of disks that became nearly full.
    #[cfg(feature = "nfs")]
    fn watch_disk(&self) {
        let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for disk in disks.into_iter().filter(|disk| disk.became_full()) {
            let (state, registry) = (self.state.clone(), self.registry.clone());
            let _without_the_warning =
                task(&self.registry, "watch disk", move || disk.warn(&state, &registry));
        }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roots")
            .field("mode", &self.mode)
            .field("base_images", &self.base_images)
            .finish_non_exhaustive()
    }
}

/// The default state directory: that of the images in `tree`, else the system's.
pub fn default_state(tree: Option<&Path>) -> State {
    let images = tree.and_then(|tree| crate::images::Images::open(tree).ok().flatten());
    State::at(&images.map_or_else(|| DEFAULT_STATE.into(), |images| images.state()))
}

/// The places in which a command looks for a server's state: a directory, that of its images, and the system's default for `.`, which
/// stands for no directory named.
///
/// # Errors
///
/// If the directory cannot be opened.
pub(crate) fn state_places(dir: &Path) -> Result<Vec<PathBuf>, Failed> {
    if let Err(error) = dir.read_dir()
        && error.kind() != io::ErrorKind::PermissionDenied
    {
        let why = format!("--dir {}: {error}. Name the --state directory of serve", dir.display());
        return Err(Failed::new(Exit::Tree, why));
    }
    let mut places = vec![dir.to_owned(), Images::at(dir).state()];
    if dir == Path::new(".") {
        places.push(DEFAULT_STATE.into());
    }
    Ok(places)
}

#[cfg(not(feature = "nfs"))]
fn try_serving(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

const IDENTITY: &str = "identity";
/// The system's directory for persistent state of programs (hier(7)).
const DEFAULT_STATE: &str = "/var/lib/pinetboot";

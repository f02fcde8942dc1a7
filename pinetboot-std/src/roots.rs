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

mod base_image;
pub mod command;
mod commit;
mod diff;
#[cfg(feature = "nfs")]
mod exports;
mod host_key;
mod identity;
mod layer;
mod overlay;
#[cfg(feature = "nfs")]
mod token;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinetboot_core::pi::Prefix;

pub use base_image::{BaseImage, BaseImages, NoBaseImage};
#[cfg(feature = "nfs")]
pub use exports::RootExports;
#[cfg(feature = "nfs")]
use exports::try_serving;
pub(crate) use identity::machine_id_of;
pub use layer::{Layer, LayerFacts, PiFacts, State};
pub use overlay::{Overlay, own_namespace};

use crate::bus::Bus;
use crate::config::NfsMode;
use crate::events;

/// The root file systems of all Pis, shared by all workers and services.
pub struct Roots {
    mode: NfsMode,
    base_images: BaseImages,
    state: State,
    bus: Bus,
    #[cfg(feature = "nfs")]
    tokens: token::Tokens,
    /// Locks mounting and detaching: one layer at a time, each takes milliseconds.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    overlays: HashMap<(Prefix, String), Arc<Overlay>>,
    /// Layers with a changed base image, each reported once.
    changed: HashSet<(Prefix, String)>,
}

impl Roots {
    /// Roots from these trees. In mode `overlay` the process must have its [own namespace](own_namespace).
    ///
    /// # Errors
    ///
    /// If the state cannot be kept.
    pub fn new(mode: NfsMode, base_images: BaseImages, state: State, bus: Bus) -> io::Result<Self> {
        state.make()?;
        for pi in state.pis() {
            let facts = state.pi(pi);
            let (address, mac, boots) = (facts.address, facts.mac(), facts.boots);
            bus.emit(address, events::Root::Remembered { pi, address, mac, boots });
        }
        Ok(Self {
            mode,
            base_images,
            #[cfg(feature = "nfs")]
            tokens: token::Tokens::load(state.dir())?,
            state,
            bus,
            inner: Mutex::default(),
        })
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

    /// The name of a Pi's root in one boot, with a token that is valid for this boot and this client's address.
    pub fn name_for(&self, pi: Prefix, boot: u32, address: Ipv4Addr) -> String {
        #[cfg(feature = "nfs")]
        return self.tokens.name(pi, boot, address);
        #[cfg(not(feature = "nfs"))]
        {
            let _no_root_is_served = (boot, address);
            pi.to_string()
        }
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
        let place = tempfile::Builder::new().prefix(".try-").tempdir_in(self.state.dir())?;
        let [upper, work, merged] = ["upper", "work", "merged"].map(|part| place.path().join(part));
        for part in [&upper, &work, &merged] {
            std::fs::create_dir(part)?;
        }
        overlay::mount_overlay(&base_image.root, &upper, &work, &merged)?;
        let tried = try_serving(&merged);
        overlay::detach(&merged);
        tried
    }

    /// The base image of a Pi.
    ///
    /// # Errors
    ///
    /// If the Pi has none.
    pub fn base_image_for(&self, pi: Option<Prefix>) -> Result<BaseImage, NoBaseImage> {
        self.base_images.base_image_for(pi, &self.bus.pis().inventory())
    }

    /// The layer of a Pi, if the layer changes the boot files: they are then served from the layer.
    ///
    /// Boot files are requested at the beginning of a boot, so a layer marked for a reset is removed here, if the Pi `is_there`
    /// and not up at another address.
    pub fn overlay_for_boot(
        &self,
        pi: Prefix,
        base_image: &BaseImage,
        is_there: bool,
    ) -> Option<Arc<Overlay>> {
        if self.mode != NfsMode::Overlay {
            return None;
        }
        let layer = self.state.layer(pi, &base_image.name)?;
        if !layer.is_marked() && !layer.changes_boot() {
            return None; // the usual case, without taking the lock
        }
        let mut inner = self.lock();
        if is_there && self.reset_if_marked(&mut inner, &layer) {
            return None;
        }
        self.mounted(&mut inner, layer)
            .inspect_err(|error| {
                let (image, error) = (base_image.name.clone(), error.to_string());
                self.bus.emit(None, events::Root::LayerFailed { pi, image, operation: "mount", error });
            })
            .ok()
    }

    /// The mounted layer of a Pi that mounts its root; makes the layer of a new Pi.
    ///
    /// # Errors
    ///
    /// The reason why the layer cannot be made or mounted.
    pub fn overlay_for_root(
        &self,
        pi: Prefix,
        base_image: &BaseImage,
        address: Ipv4Addr,
    ) -> io::Result<Arc<Overlay>> {
        let mut inner = self.lock();
        let name = self.bus.pis().inventory().host_name(pi);
        let there = self.state.layer(pi, &base_image.name);
        let there = there.filter(|layer| !self.reset_if_marked(&mut inner, layer));
        let overlay = match there {
            Some(layer) => self.mounted(&mut inner, layer)?,
            None => {
                self.may_make(address)?;
                let layer = self.state.make_layer(pi, base_image, self.unused_export())?;
                let overlay = self.mounted(&mut inner, layer)?;
                let kept = self.state.pi_dir(pi).join(IDENTITY);
                if let Err(error) = identity::enrol(overlay.root(), &kept, &name) {
                    // A layer with half an identity is removed: the next mount makes a new one.
                    inner.overlays.remove(&(pi, base_image.name.clone()));
                    let aside = overlay.layer().put_aside()?;
                    layer::remove_tree(&aside)?;
                    return Err(error);
                }
                overlay.layer().unmark()?;
                let image = base_image.name.clone();
                self.bus.emit(address, events::Root::LayerMade { pi, image, host_name: name });
                overlay
            }
        };
        Ok(overlay)
    }

    /// Records a Pi's mount, for the time after a restart.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remember(&self, pi: Prefix, address: Ipv4Addr, mac: Option<events::Mac>) -> io::Result<()> {
        let pis = self.bus.pis();
        let mac = mac.map(|mac| Prefix::Mac(mac).to_string()).or_else(|| self.state.pi(pi).mac);
        let (name, boots) = (pis.inventory().host_name(pi), pis.boots(pi));
        self.state.set_pi(pi, &PiFacts { address: Some(address), mac, name, boots })
    }

    /// Bounds the number of layers: a client may make up names.
    fn may_make(&self, address: Ipv4Addr) -> io::Result<()> {
        if self.bus.pis().lock().layers_made(address) >= MOST_LAYERS_OF_AN_ADDRESS {
            return Err(io::Error::other(format!(
                "{address} got {MOST_LAYERS_OF_AN_ADDRESS} new layers since the server started, the limit. Restart the server to allow more"
            )));
        }
        if self.state.layers().len() >= MOST_LAYERS {
            return Err(io::Error::other(format!(
                "the limit of {MOST_LAYERS} layers is reached. 'pinetboot roots list' shows unused layers, 'pinetboot roots reset' removes one"
            )));
        }
        Ok(())
    }

    /// Mounts an existing layer, as after a restart.
    ///
    /// # Errors
    ///
    /// The reason why the layer cannot be mounted.
    pub fn overlay_again(&self, pi: Prefix, image: &str) -> io::Result<Arc<Overlay>> {
        let mut inner = self.lock();
        let layer = self.state.layer(pi, image).ok_or(io::ErrorKind::NotFound)?;
        self.mounted(&mut inner, layer)
    }

    /// Releases the locks of layers that were unused for a time: their Pis are off, and other processes may copy or remove the
    /// layers. A Pi that calls again wakes its layer.
    pub fn rest_after(&self, unused: Duration) {
        let mut inner = self.lock();
        for overlay in inner.overlays.values() {
            overlay.rest_after(unused);
        }
        inner.overlays.retain(|_, overlay| !overlay.is_detached());
    }

    fn mounted(&self, inner: &mut Inner, layer: Layer) -> io::Result<Arc<Overlay>> {
        let key = (layer.pi, layer.image.clone());
        if let Some(overlay) = inner.overlays.get(&key)
            && overlay.layer() == &layer
        {
            match overlay.wake() {
                Ok(()) => return Ok(overlay.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let base_image = BaseImage {
            name: layer.image.clone(),
            root: layer.facts.root.clone(),
            boot: layer.facts.boot.clone(),
            kernel_mounts_root: layer.facts.kernel_mounts_root,
        };
        if base_image.fingerprint() != layer.facts.fingerprint {
            let root = base_image.root.display().to_string();
            if inner.changed.len() < MOST_LAYERS && inner.changed.insert((layer.pi, root.clone())) {
                self.bus.emit(None, events::Root::BaseChanged { pi: layer.pi, root });
            }
        }
        let overlay = Arc::new(Overlay::mount(layer)?);
        inner.overlays.insert(key, overlay.clone());
        Ok(overlay)
    }

    /// Removes a layer that is marked for a reset; returns whether it did.
    fn reset_if_marked(&self, inner: &mut Inner, layer: &Layer) -> bool {
        if !layer.is_marked() {
            return false;
        }
        if let Some(overlay) = inner.overlays.remove(&(layer.pi, layer.image.clone())) {
            overlay.detach();
        }
        let (pi, image) = (layer.pi, layer.image.clone());
        match layer.put_aside() {
            Ok(aside) => {
                self.bus.emit(None, events::Root::LayerReset { pi, image });
                std::thread::spawn(move || layer::remove_tree(&aside));
                true
            }
            Err(error) => {
                let (operation, error) = ("reset", error.to_string());
                self.bus.emit(None, events::Root::LayerFailed { pi, image, operation, error });
                false
            }
        }
    }

    fn unused_export(&self) -> u32 {
        let used: HashSet<u32> = self.state.layers().iter().map(|layer| layer.facts.export).collect();
        let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u32);
        // Odd numbers belong to base images.
        (0..).map(|step| seed.wrapping_add(step) & !1).find(|id| *id != 0 && !used.contains(id)).unwrap_or(2)
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

#[cfg(not(feature = "nfs"))]
fn try_serving(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

const IDENTITY: &str = "identity";
/// The system's directory for persistent state of programs (hier(7)).
const DEFAULT_STATE: &str = "/var/lib/pinetboot";
/// Limit of layers, equal to the limit of known Pis.
const MOST_LAYERS: usize = 4096;
/// Limit of new layers of an address: Pis behind NAT, or images that one Pi tries.
const MOST_LAYERS_OF_AN_ADDRESS: u32 = 16;

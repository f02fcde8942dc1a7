//! Root file systems for Pis: which tree each gets, and in mode `overlay` a layer of its own on it.
//!
//! A base image is never changed by a Pi. In mode `overlay` each Pi has a layer ([`Layer`]) that holds what it changed,
//! mounted over the base image (`overlay`) when it is first asked for; made, with an identity of its own (`identity`),
//! when the Pi is new.
//!
//! Who may mount: only Pis, each only its own layer, by the ranked evidence of [`pis`](crate::pis). A Pi asks for
//! `/SERIAL-TOKEN`, which the command line that it got by TFTP names (`token`); `/` means its own, too. In mode `rw` the first
//! Pi that mounts has the tree until the server ends, and another is refused: two systems on one writable root destroy it.
//!
//! A base image must not change under its layers: overlayfs leaves open what they show then. A new version is a new
//! tree, and Pis get layers on it; that a tree was changed all the same is noticed when a layer on it is mounted.

mod base_image;
pub mod command;
mod commit;
mod diff;
#[cfg(feature = "nfs")]
mod exports;
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

/// The root file systems of all Pis. Shared by the loops.
pub struct Roots {
    mode: NfsMode,
    base_images: BaseImages,
    state: State,
    bus: Bus,
    #[cfg(feature = "nfs")]
    tokens: token::Tokens,
    /// One at a time is mounted or taken away; each takes milliseconds.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    overlays: HashMap<(Prefix, String), Arc<Overlay>>,
    /// Layers whose base image was found changed, which is told once.
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

    /// How Pis share a tree.
    pub const fn mode(&self) -> NfsMode {
        self.mode
    }

    /// Where the trees come from.
    pub const fn base_images(&self) -> &BaseImages {
        &self.base_images
    }

    /// Where layers are kept.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The name of a Pi's root in one boot, for the client at an address: with a token that is good for both.
    pub fn name_for(&self, pi: Prefix, boot: u32, address: Ipv4Addr) -> String {
        #[cfg(feature = "nfs")]
        return self.tokens.name(pi, boot, address);
        #[cfg(not(feature = "nfs"))]
        {
            let _no_root_is_served = (boot, address);
            pi.to_string()
        }
    }

    /// The Pi and the token that a root's name means, for a client that has or had these addresses.
    #[cfg(feature = "nfs")]
    fn parse_name(&self, name: &str, addresses: &[Ipv4Addr]) -> Option<(Prefix, Option<crate::pis::Token>)> {
        self.tokens.parse(name, addresses)
    }

    /// Tries out, with a base image, whether layers can be mounted here.
    ///
    /// # Errors
    ///
    /// What is missing.
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

    /// The tree that a Pi gets.
    ///
    /// # Errors
    ///
    /// If there is none for it.
    pub fn base_image_for(&self, pi: Option<Prefix>) -> Result<BaseImage, NoBaseImage> {
        self.base_images.base_image_for(pi, &self.bus.pis().inventory())
    }

    /// The layer of a Pi, if it has one and that changes its boot files: they are then to be had from there.
    ///
    /// A Pi asks for them at the beginning of a boot, so this is where a layer goes that is to be reset, if the Pi `is_there`
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
            return None; // as most often, and then nobody waits for anybody
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

    /// The layer of a Pi that mounts its root, mounted; made first if there is none.
    ///
    /// # Errors
    ///
    /// What keeps it from being made or mounted.
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
                    // Half of an identity is worse than none: begin anew next time.
                    inner.overlays.remove(&(pi, base_image.name.clone()));
                    let aside = overlay.layer().put_aside()?;
                    layer::remove_tree(&aside)?;
                    return Err(error);
                }
                let image = base_image.name.clone();
                self.bus.emit(address, events::Root::LayerMade { pi, image, host_name: name });
                overlay
            }
        };
        Ok(overlay)
    }

    /// Keeps for a restart what a Pi proved by mounting its root.
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

    /// Layers are for Pis, not for all names that a client makes up.
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

    /// Mounts a layer that is there already, after a restart say.
    ///
    /// # Errors
    ///
    /// What keeps it from being mounted.
    pub fn overlay_again(&self, pi: Prefix, image: &str) -> io::Result<Arc<Overlay>> {
        let mut inner = self.lock();
        let layer = self.state.layer(pi, image).ok_or(io::ErrorKind::NotFound)?;
        self.mounted(&mut inner, layer)
    }

    /// Has layers rest whose Pis have not been heard of for so long: they are off, and others may copy or remove what they
    /// have. One that is not off finds its root when it asks.
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

    /// Takes a layer away that is marked for it. Whether it was.
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
        // Odd ones are those of base images.
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

/// Where images are, if a directory has some: what `serve`, and the commands about layers, find by themselves.
pub fn default_state(tree: Option<&Path>) -> State {
    let images = tree.and_then(|tree| crate::images::Images::open(tree).ok().flatten());
    State::at(&images.map_or_else(|| DEFAULT_STATE.into(), |images| images.state()))
}

#[cfg(not(feature = "nfs"))]
fn try_serving(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

const IDENTITY: &str = "identity";
/// Where programs keep what they would not like to lose (hier(7)).
const DEFAULT_STATE: &str = "/var/lib/pinetboot";
/// As many as Pis are known at a time.
const MOST_LAYERS: usize = 4096;
/// Pis behind one address (NAT), or images that one Pi tries.
const MOST_LAYERS_OF_AN_ADDRESS: u32 = 16;

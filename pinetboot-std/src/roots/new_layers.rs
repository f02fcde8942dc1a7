//! New layers: how many there may be, and their removal if nothing but a name stands behind them.
//!
//! Any host can make up names and fetch the files of a boot, and each name gets a layer and keys. A layer is *in use* once its Pi wrote
//! to it, or used it for two minutes; such a layer stays. A new layer that is idle before that is removed, with its keys. So the SSH host
//! keys of a Pi change at its second boot only if its first one lasted less than two minutes and wrote nothing. The layers of Pis in
//! the inventory, and of Pis that have an identity from before, as after `roots reset`, are never new.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pinetboot_core::pi::Prefix;
use walkdir::WalkDir;

use super::layer::{Layer, State, remove_tree};
use super::overlay::Overlay;
use super::{Held, IDENTITY, Inner, Roots};
use crate::events;
use crate::pis::Known;

/// The new layers, with the time at which each was made or found at the start.
#[derive(Debug, Default)]
pub(super) struct NewLayers(HashMap<(Prefix, String), Instant>);

impl NewLayers {
    /// Those of an earlier server.
    pub(super) fn load(state: &State) -> Self {
        let new = state.layers().into_iter().filter(|layer| layer.new_content().is_some());
        Self(new.map(|layer| ((layer.pi, layer.image), Instant::now())).collect())
    }

    fn forget(&mut self, layer: &Layer) {
        self.0.remove(&(layer.pi, layer.image.clone()));
    }

    /// Whether an overlay's layer is a new one, and the overlay was in use for long enough.
    pub(super) fn is_in_use(&self, overlay: &Overlay) -> bool {
        let layer = overlay.layer();
        overlay.in_use_for() >= IN_USE && self.0.contains_key(&(layer.pi, layer.image.clone()))
    }
}

impl Roots {
    /// Records that layers are in use. A failure is tried again when the layer rests.
    pub(super) fn keep(&self, layers: Vec<Layer>) {
        let kept: Vec<_> = layers.into_iter().filter(|layer| layer.remove_new_content().is_ok()).collect();
        if !kept.is_empty() && self.state.disk().settle().is_ok() {
            let mut inner = self.lock();
            kept.iter().for_each(|layer| inner.new.forget(layer));
        }
    }

    /// Adds a layer that has its identity to the new ones.
    pub(super) fn add_new(&self, layer: &Layer) {
        self.lock().new.0.insert((layer.pi, layer.image.clone()), Instant::now());
    }

    /// Bounds the number of layers: a client may make up names. Pis of the inventory pass. The calls that an address has under way, eight,
    /// may go beyond its bound.
    pub(super) fn may_make(&self, pi: Prefix, known: &Known, address: Ipv4Addr) -> io::Result<()> {
        if known.is_listed {
            self.made().begin(pi);
            return Ok(());
        }
        let remedy =
            format!("Write [pi.{pi}] into the configuration file to give this Pi a root in any case");
        if self.registry.layers_made(address) >= MOST_OF_AN_ADDRESS {
            return Err(io::Error::other(format!(
                "{address} got {MOST_OF_AN_ADDRESS} new layers since the server started, the limit. {remedy}"
            )));
        }
        let most = self.limits.max_pis;
        if !self.made().admit(pi, most, &self.state) {
            return Err(io::Error::other(format!(
                "{most} Pis have layers, the limit. {remedy}, raise --max-pis, or remove unused layers ('pinetboot roots list', \
                 'pinetboot roots reset')"
            )));
        }
        Ok(())
    }

    /// Removes new layers that are idle for this time; returns their exports.
    pub(super) fn remove_unused(&self, idle: Duration) -> Vec<u32> {
        let inner = self.lock();
        let Inner { overlays, new, .. } = &*inner;
        let old = new.0.iter().filter(|(key, since)| since.elapsed() >= idle && !overlays.contains_key(*key));
        let old: Vec<_> = old.map(|((pi, image), _)| (*pi, image.clone())).collect();
        drop(inner);
        let (mut removed, mut exports) = (Vec::new(), Vec::new());
        for (pi, image) in old {
            // A Pi that mounts now uses its layer.
            let gone = self.locks.try_with(pi, |held| self.remove_if_unused(held, pi, &image));
            if let Some((export, address)) = gone.flatten() {
                exports.push(export);
                removed.push((pi, address));
            }
        }
        if !removed.is_empty() {
            self.registry.emit(None, events::Root::UnusedRemoved { layers: removed });
        }
        exports
    }

    /// Removes a new layer that nothing uses and no Pi changed; returns its export, and the address of its Pi.
    fn remove_if_unused(&self, held: &Held, pi: Prefix, image: &str) -> Option<(u32, Option<Ipv4Addr>)> {
        let key = (pi, image.to_owned());
        if self.lock().overlays.contains_key(&key) {
            return None;
        }
        let Some(layer) = self.state.layer(pi, image) else {
            self.lock().new.0.remove(&key);
            return None;
        };
        // Another process may be copying or removing the layer.
        let _lock = layer.lock().ok()??;
        let unchanged = layer.new_content().is_some_and(|before| before == content(&layer.upper()));
        if self.registry.known(pi).ok()?.is_listed || !unchanged {
            self.keep(vec![layer]);
            return None;
        }
        self.remove(&layer).ok()?;
        self.lock().new.forget(&layer);
        let address = self.state.pi(pi).address;
        self.forget_pi(held, pi);
        Some((layer.facts.export, address))
    }

    fn remove(&self, layer: &Layer) -> io::Result<()> {
        remove_tree(&layer.put_aside()?)
    }

    /// Removes the keys and the record of a Pi without a layer.
    fn forget_pi(&self, _: &Held, pi: Prefix) {
        if !self.state.layers_of(pi).is_empty() {
            return;
        }
        self.made().forget(pi);
        // Anything else in the directory keeps it.
        let dir = self.state.pi_dir(pi);
        let _identity = remove_tree(&dir.join(IDENTITY));
        let _record = self.state.forget_pi(pi);
        let _empty = fs::remove_dir(dir);
    }
}

/// All files of a directory, each with the time of its last change and its size, as text.
pub(super) fn content(directory: &Path) -> String {
    let mut text = String::new();
    let files = WalkDir::new(directory).follow_links(false).sort_by_file_name();
    for file in files.into_iter().take(MOST_FILES).flatten() {
        let Ok(metadata) = file.metadata() else { continue };
        let path = file.path().strip_prefix(directory).unwrap_or(file.path());
        let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
        let _infallible = writeln!(text, "{path:?} {seconds}.{nanoseconds:09} {}", metadata.size());
    }
    text
}

/// Time of use after which a layer counts as in use. A Pi's system is up by then: its clients know its host keys no earlier.
const IN_USE: Duration = Duration::from_secs(120);
/// Limit of new layers of an address: Pis behind NAT, or images that one Pi tries.
const MOST_OF_AN_ADDRESS: u32 = 16;
/// Files of a new layer, about ten, and more than that in one that is not.
const MOST_FILES: usize = 256;

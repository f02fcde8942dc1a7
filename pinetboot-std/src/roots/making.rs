//! The layer of a Pi that mounts: found and mounted, reset at the first mount of a boot, or made with an identity.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use pinetboot_core::pi::Prefix;

use super::adopt::Mounted;
use super::base_image::BaseImage;
use super::layer::{self, Layer};
use super::new_layers::content;
use super::overlay::Overlay;
use super::pi_locks::Held;
use super::{IDENTITY, Roots, identity};
use crate::events;
use crate::pis::Known;
use crate::space::Size;
use crate::supervisor::task;

impl Roots {
    /// Makes the layer of a new Pi, with its identity, and mounts it.
    pub(super) fn make(
        &self,
        held: &Held,
        pi: Prefix,
        known: &Known,
        base_image: &BaseImage,
        address: Ipv4Addr,
    ) -> io::Result<Arc<Overlay>> {
        let name = known.host_name(pi);
        let export = self.made().unused_export();
        let layer = self.state.make_layer(pi, base_image, export)?;
        let overlay = self.mounted(held, layer, Some(known))?;
        let identity = self.state.pi_dir(pi).join(IDENTITY);
        let is_known = identity.exists();
        let enrol = || {
            let layer = overlay.layer();
            let taken = self.kept(held, known, &overlay)?;
            let taken = taken.map(|kept| self.take_over(kept, &overlay)).transpose()?;
            let new = identity::enrol(&overlay.open_root()?, &identity, &name)?;
            let content =
                (!is_known).then(|| layer.stage_new_content(&content(&layer.upper()))).transpose()?;
            // The whole layer is on the disk before its record says that, and the record before the Pi has the root.
            self.state.disk().settle()?;
            new.put()?;
            match content {
                Some(content) => content.put()?,
                None => layer.remove_new_content()?,
            }
            self.state.disk().settle()?;
            Ok::<_, io::Error>(taken)
        };
        let kept = match enrol() {
            Ok(kept) => kept,
            Err(error) => {
                // A layer with half an identity is removed: the next mount makes a new one.
                self.lock().overlays.remove(&(pi, base_image.name.clone()));
                overlay.detach();
                let aside = overlay.layer().put_aside()?;
                layer::remove_tree(&aside)?;
                return Err(error);
            }
        };
        if !is_known {
            self.add_new(overlay.layer());
        }
        let image = base_image.name.clone();
        self.registry.emit(address, events::Root::LayerMade { pi, image, host_name: name, kept });
        Ok(overlay)
    }

    /// The mounted layer.
    pub(super) fn mounted(&self, _: &Held, layer: Layer, known: Option<&Known>) -> io::Result<Arc<Overlay>> {
        let key = (layer.pi, layer.image.clone());
        let there = self.lock().overlays.get(&key).cloned();
        if let Some(overlay) = there
            && overlay.layer() == &layer
        {
            match overlay.wake() {
                Ok(()) => return Ok(overlay),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let base_image = self
            .base_images
            .named(&layer.image)
            .ok_or_else(|| io::Error::other(format!("this server has no base image {}", layer.image)))?;
        let limit = self.limit_of(layer.pi, known)?.map(Size::bytes);
        let (overlay, mounted) = Overlay::mount(layer, &base_image, self.mounts.clone(), limit)?;
        let overlay = Arc::new(overlay);
        let Layer { pi, image, facts, .. } = overlay.layer();
        if mounted == Mounted::Adopted {
            self.registry.emit(None, events::Root::LayerAdopted { pi: *pi, image: image.clone() });
        }
        if facts.content.tree != base_image.content().tree {
            let root = base_image.root.display().to_string();
            let mut inner = self.lock();
            if inner.changed.len() < MOST_CHANGED && inner.changed.insert((*pi, root.clone())) {
                drop(inner);
                self.registry.emit(None, events::Root::BaseChanged { pi: *pi, root });
            }
        }
        self.lock().overlays.insert(key, overlay.clone());
        Ok(overlay)
    }

    /// Whether a mount is the first of a boot, and the Pi has not used the layer since the boot began: its system is down.
    pub(super) fn is_first_of_boot(&self, layer: &Layer) -> bool {
        let known = self.registry.known(layer.pi);
        let Some(boots_for) = known.ok().and_then(|known| known.boots_for) else { return false };
        let key = (layer.pi, layer.image.clone());
        self.lock().overlays.get(&key).is_none_or(|overlay| overlay.unused_for() >= boots_for)
    }

    /// Removes a layer; returns whether that succeeded.
    pub(super) fn reset(&self, _: &Held, layer: &Layer) -> bool {
        let mounted = self.lock().overlays.remove(&(layer.pi, layer.image.clone()));
        if let Some(overlay) = mounted {
            overlay.detach();
        }
        let (pi, image) = (layer.pi, layer.image.clone());
        match layer.put_aside() {
            Ok(aside) => {
                self.registry.emit(None, events::Root::LayerReset { pi, image });
                // What is left is removed at the next start.
                let _next_time =
                    task(&self.registry, "remove layer", move || drop(layer::remove_tree(&aside)));
                true
            }
            Err(error) => {
                let (operation, error) = ("reset".into(), error.to_string());
                self.registry.emit(None, events::Root::LayerFailed { pi, image, operation, error });
                false
            }
        }
    }
}

/// Limit of layers that are reported to have a changed base image.
const MOST_CHANGED: usize = 4096;

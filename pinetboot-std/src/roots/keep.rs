//! Directories that a new layer takes over from the Pi's layer on the image before: `keep` in the inventory.
//!
//! They are copied from one mounted root to the other when the new layer is made, before its first mount is answered: content,
//! owners, modes, times, holes, links, devices and extended attributes. The new layer counts as half made until then, so an
//! interrupted copy is begun again. A copy that fails refuses the mount.

mod copy;

use std::io;
use std::path::Path;

use pinetboot_core::pi::Prefix;

use super::layer::Layer;
use super::overlay::Overlay;
use super::{Held, Roots};
use crate::pis::Known;
use crate::space::Space;
use copy::Copy;

impl Roots {
    /// Copies the kept directories of a Pi to its new layer; returns the image they come from, if any were copied.
    ///
    /// # Errors
    ///
    /// The directory, and the reason why it cannot be copied.
    pub(super) fn keep(&self, held: &Held, new: &Overlay) -> io::Result<Option<String>> {
        let pi = new.layer().pi;
        let known = self.registry.known(pi)?;
        let Some(places) = &known.settings.keep else { return Ok(None) };
        let Some(before) = self.layer_before(pi, &new.layer().image) else { return Ok(None) };
        let image = before.image.clone();
        let failed = |place: &str, error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot take over {place} from {pi}'s layer on {image}: {error}"),
            )
        };
        let overlay = self.mounted(held, before).map_err(|error| failed("anything", error))?;
        let mut copy = Copy::new(overlay.open_root()?, new.open_root()?);
        let mut need = 0_u64;
        for place in places {
            let size = copy.size(Path::new(place)).map_err(|error| failed(place, error))?;
            need = need.saturating_add(size);
        }
        self.has_space(&known, need).map_err(|error| failed(&places.join(" and "), error))?;
        for place in places {
            copy.run(Path::new(place)).map_err(|error| failed(place, error))?;
        }
        copy.finish()?;
        Ok(Some(image))
    }

    /// The layer that the Pi used before: the one of its last mount, else the newest.
    fn layer_before(&self, pi: Prefix, new: &str) -> Option<Layer> {
        let layers = self.state.layers_of(pi).into_iter();
        let mut others: Vec<_> = layers
            .filter(|layer| layer.image != new && !layer.is_marked() && !layer.is_half_made())
            .collect();
        let last = self.state.pi(pi).image;
        others.sort_by_key(|layer| (Some(&layer.image) == last.as_ref(), layer.made()));
        others.pop()
    }

    fn has_space(&self, known: &Known, need: u64) -> io::Result<()> {
        let free = Space::of(self.state.dir(), self.limits.reserve)?.measure()?.for_clients;
        let limit = self.max_root_size(known).map_or(u64::MAX, |limit| limit.bytes());
        if need <= free.min(limit) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{need} bytes are needed, and {free} are free beside the reserve (--disk-reserve), {limit} allowed (max-root-size)"
        )))
    }
}

//! Directories that a new layer takes over from the Pi's layer on the image before: `keep` in the inventory.
//!
//! They are copied from one mounted root to the other when the new layer is made, before its first mount is answered: content,
//! owners, modes, times, holes, links, devices and extended attributes. The new layer counts as half made until then, so an
//! interrupted copy is begun again. A copy that fails refuses the mount. Other Pis mount meanwhile.

mod copy;

use std::io;
use std::path::Path;
use std::sync::Arc;

use pinetboot_core::pi::Prefix;

use super::layer::Layer;
use super::overlay::Overlay;
use super::{Held, Roots};
use crate::pis::Known;
use crate::space::Space;
use copy::Copy;

/// What a new layer takes over.
pub(super) struct Kept {
    known: Known,
    /// The mounted layer before.
    before: Arc<Overlay>,
}

impl Roots {
    /// What the new layer of a Pi takes over from the layer before, which is then mounted; `None`: nothing.
    ///
    /// # Errors
    ///
    /// The reason why the layer before cannot be mounted.
    pub(super) fn kept(&self, held: &Held, known: &Known, new: &Overlay) -> io::Result<Option<Kept>> {
        let pi = new.layer().pi;
        if known.settings.keep.is_none() {
            return Ok(None);
        }
        let Some(before) = self.layer_before(pi, &new.layer().image) else { return Ok(None) };
        let image = before.image.clone();
        let before = self.mounted(held, before, Some(known));
        let before = before.map_err(|error| cannot_keep("anything", pi, &image, error))?;
        Ok(Some(Kept { known: known.clone(), before }))
    }

    /// Copies the kept directories to the new layer; returns the image they come from. Both layers stay awake meanwhile.
    ///
    /// # Errors
    ///
    /// The directory, and the reason why it cannot be copied.
    pub(super) fn take_over(&self, Kept { known, before }: Kept, new: &Overlay) -> io::Result<String> {
        let (pi, image) = (new.layer().pi, before.layer().image.clone());
        let failed = |place: &str, error| cannot_keep(place, pi, &image, error);
        let places = known.settings.keep.as_deref().unwrap_or_default();
        let stay_awake = || before.wake().and_then(|()| new.wake());
        let mut copy = Copy::new(before.open_root()?, new.open_root()?, &stay_awake);
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
        Ok(image)
    }

    /// The layer that the Pi used before: the one of its last mount, else the newest.
    fn layer_before(&self, pi: Prefix, new: &str) -> Option<Layer> {
        let layers = self.state.layers_of(pi).into_iter();
        let last = self.state.pi(pi).image;
        layers
            .filter(|layer| layer.image != new && !layer.is_marked() && !layer.is_half_made())
            .max_by_key(|layer| (Some(&layer.image) == last.as_ref(), layer.made()))
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

fn cannot_keep(place: &str, pi: Prefix, image: &str, error: io::Error) -> io::Error {
    let why = format!("cannot take over {place} from {pi}'s layer on {image}: {error}");
    io::Error::new(error.kind(), why)
}

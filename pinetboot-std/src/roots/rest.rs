//! Rest: layers without calls are unmounted.
//!
//! A mount and its descriptors cost a thousand Pis that are off more than the few milliseconds of a mount cost the Pi that wakes up.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Layer, Overlay, Roots};

impl Roots {
    /// Releases the locks of layers that were unused for a time: their Pis are off, and other processes may copy or remove the
    /// layers. A Pi that calls again wakes its layer. Returns the layers that rest.
    pub fn rest_after(&self, unused: Duration) -> Vec<Arc<Overlay>> {
        let mut inner = self.lock();
        inner.overlays.retain(|_, overlay| !overlay.is_detached());
        let Inner { overlays, new, .. } = &*inner;
        let in_use = overlays.values().filter(|overlay| new.is_in_use(overlay));
        let in_use: Vec<_> = in_use.map(|overlay| overlay.layer().clone()).collect();
        let resting = overlays.values().filter(|overlay| overlay.rest_after(unused)).cloned().collect();
        drop(inner);
        // The disk may take long: Pis mount meanwhile.
        self.keep(in_use);
        resting
    }

    /// Unmounts resting layers which nothing else uses, and removes new layers that were idle for this time. Returns the exports of
    /// those.
    pub fn unmount(&self, resting: Vec<Arc<Overlay>>, idle: Duration) -> Vec<u32> {
        for overlay in resting {
            let Layer { pi, image, .. } = overlay.layer();
            let key = (*pi, image.clone());
            // A Pi that mounts now uses its layer.
            let _unmounted = self.locks.try_with(*pi, |_held| {
                let mut inner = self.lock();
                let same = inner.overlays.get(&key).is_some_and(|there| Arc::ptr_eq(there, &overlay));
                // Two holders: the table, and this function.
                let removed = same && Arc::strong_count(&overlay) == 2;
                let there = if removed { inner.overlays.remove(&key) } else { None };
                drop(inner);
                drop(there);
                if removed {
                    // Unmounting writes the disk's buffers: other Pis mount meanwhile.
                    overlay.detach();
                }
            });
        }
        self.remove_unused(idle)
    }
}

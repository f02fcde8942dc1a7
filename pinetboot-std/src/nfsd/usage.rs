//! Tells the calls of NFS, and the space of the Pis' layers, for metrics.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pinetboot_core::pi::Prefix;
use pinetboot_nfs::CallCounts;

use crate::events::{Served, Usage};
use crate::roots::{Registry, State};
use crate::space::used_by;

/// Tells the calls as long as the process lives: at most every [`EVERY`], and only what is new.
pub(super) fn calls(counts: &Arc<CallCounts>, registry: &Registry) {
    let mut told = Served::default();
    loop {
        thread::sleep(EVERY);
        let calls = counts.calls().map(|(name, calls)| (name.into(), calls)).collect();
        let now = Served { calls, read: counts.read_bytes(), written: counts.written_bytes() };
        if now != told {
            registry.emit(None, Usage::Nfs(now.clone()));
            told = now;
        }
    }
}

/// Measures one layer after the other, as long as the process lives. A layer has as many files as its Pi likes: after each the thread
/// rests for twenty times as long as the layer took, and for a second at least.
pub(super) fn layers(state: &State, registry: &Registry) {
    let mut told: HashMap<(Prefix, String), u64> = HashMap::new();
    loop {
        let layers = state.layers();
        let is_gone =
            |key: &(Prefix, String)| !layers.iter().any(|layer| (layer.pi, &layer.image) == (key.0, &key.1));
        let gone: Vec<_> = told.keys().filter(|key| is_gone(key)).cloned().collect();
        for (pi, image) in gone {
            told.remove(&(pi, image.clone()));
            registry.emit(None, Usage::Space { pi, image, is_disk: false, bytes: 0 });
        }
        for layer in layers {
            let began = Instant::now();
            let bytes = used_by(&layer.upper());
            let took = began.elapsed();
            if told.insert((layer.pi, layer.image.clone()), bytes) != Some(bytes) {
                registry.emit(None, Usage::Space { pi: layer.pi, image: layer.image, is_disk: false, bytes });
            }
            thread::sleep((took * 20).max(REST));
        }
        thread::sleep(REST);
    }
}

const EVERY: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(1);

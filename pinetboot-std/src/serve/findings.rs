//! Static rules over what is served, at the start and at each reload: each finding is told once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::bus::Bus;
use crate::check::{self, Assumptions};
use crate::config::{Config, NfsMode};
use crate::events;
use crate::roots::BaseImages;
use crate::storage::{Base, Trees};

/// The findings that were told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashSet<String>>);

impl Told {
    /// Checks the boot files and the root that a Pi without settings of its own gets, for half a second at most.
    pub(super) fn check(&self, config: &Config, trees: &Trees, bus: &Bus) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sources = trees.sources();
        let Some((boot, root)) = places(config, &sources.base) else { return };
        let serves_roots = sources.roots.is_some();
        let assumed = Assumptions {
            server_adds_root: serves_roots && sources.rewrite,
            own_identity: serves_roots && config.root.mode == NfsMode::Overlay,
            servers: check::own_addresses().filter(|_| serves_roots),
            ..Assumptions::default()
        };
        let root = root.filter(|_| serves_roots);
        for finding in check::quick(&boot, root.as_deref(), &assumed).iter() {
            if told.len() < MOST && told.insert(finding.to_string()) {
                bus.emit(None, events::Server::Finding(finding.clone()));
            }
        }
    }
}

/// The boot files, and the root with them.
fn places(config: &Config, base: &Base) -> Option<(PathBuf, Option<PathBuf>)> {
    match base {
        Base::Directory(_) => Some((config.tree.clone()?, config.root.nfs.clone())),
        // The files of a card go through no hands but the owner's.
        Base::Disks => None,
        Base::Roots(BaseImages::One(image)) => Some((image.boot_dir(), Some(image.root.clone()))),
        Base::Roots(BaseImages::Images(images)) => {
            let image = images.current().ok()??;
            Some((image.boot, image.facts.has_root.then_some(image.root)))
        }
    }
}

/// Findings that are remembered.
const MOST: usize = 1000;

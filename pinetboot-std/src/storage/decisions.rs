//! The decisions for one boot of one client, in force until the boot is over.
//!
//! A Pi requests config.txt up to six times in a boot, and its length before that. The Pi must see one version of config.txt,
//! one tree and one root in a boot, even if another image becomes current meanwhile. New decisions are made for another boot of
//! the client by the registry, and for a request after a pause without an open transfer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pinetboot_core::BootPath;
use pinetboot_core::pi::boot::RootLine;

use super::{BootTree, Found, FoundContent, Miss, Reach};
use crate::events;
use crate::pis::BootId;
use crate::render::{CMDLINE, Recipe, cmdline};
use crate::roots::BaseImage;

/// The decisions for a boot.
#[derive(Debug)]
pub(super) struct BootDecisions {
    /// The boot.
    pub(super) boot: BootId,
    /// The tree of its files.
    pub(super) tree: Arc<BootTree>,
    /// The base image of its root.
    pub(super) base_image: Option<BaseImage>,
    /// The boot files are those of the Pi's disk.
    #[cfg_attr(not(feature = "disk"), expect(dead_code, reason = "no disks"))]
    pub(super) is_disk: bool,
    /// The rendering of its files; made for the first rendered file.
    recipe: OnceLock<Recipe>,
    /// Rendered files; `None`: the file is sent unchanged.
    made: Mutex<HashMap<String, Option<Arc<[u8]>>>>,
    /// Number of open files.
    open: Arc<AtomicU32>,
    /// The end of the decisions, if the tree is in the Pi's layer.
    until: Option<Instant>,
}

impl BootDecisions {
    /// Decisions for a boot that begins now.
    pub(super) fn new(boot: BootId, tree: Arc<BootTree>, base_image: Option<BaseImage>) -> Self {
        let (recipe, made, open) = (OnceLock::new(), Mutex::default(), Arc::default());
        Self { boot, tree, base_image, is_disk: false, recipe, made, open, until: None }
    }

    /// The same, in force for this time at most.
    pub(super) fn valid_for(self, time: Duration) -> Self {
        Self { until: Instant::now().checked_add(time), ..self }
    }

    /// The same, with boot files of a disk.
    #[cfg(feature = "disk")]
    pub(super) fn of_disk(self) -> Self {
        Self { is_disk: true, ..self }
    }

    /// Whether the decisions apply to a request of that boot.
    pub(super) fn holds_for(&self, boot: BootId) -> bool {
        let same_boot = (self.boot.pi, self.boot.number) == (boot.pi, boot.number);
        let has_ended = self.until.is_some_and(|until| Instant::now() >= until);
        !has_ended && (self.boot == boot || same_boot && self.is_sending())
    }

    /// Whether a transfer is open.
    pub(super) fn is_sending(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Opens a file on disk.
    pub(super) fn open(&self, path: &BootPath<'_>, reach: Reach) -> Result<Found, Miss> {
        Ok(self.found(self.tree.open(path, reach)?))
    }

    /// Opens a file, rendered if necessary. `recipe` makes the rendering if none exists yet, `tell` receives the facts, and `file`
    /// is the name without the Pi's prefix.
    pub(super) fn open_made(
        &self,
        path: &BootPath<'_>,
        file: &BootPath<'_>,
        reach: Reach,
        tell: impl Fn(events::Boot),
        recipe: impl FnOnce(&Self) -> Recipe,
    ) -> Result<Found, Miss> {
        let name = file.to_string();
        let made = self.made().get(&name).cloned();
        if let Some(made) = made {
            return self.send(made, path, reach);
        }
        let Some(on_disk) = self.tree.read(path, LARGEST, reach)? else {
            tell(events::Boot::NotRendered { file: name, limit: LARGEST });
            return self.open(path, reach);
        };
        let recipe = self.recipe.get_or_init(|| recipe(self));
        let pi = self.boot.pi;
        let made = recipe.apply(file, &on_disk).map(|rendered| {
            let token =
                recipe.token.as_ref().is_some_and(|token| contains(&rendered.bytes, token.as_bytes()));
            let (changes, unknown) = (rendered.changes, rendered.unknown);
            tell(events::Boot::Rendered { pi, token, file: name.clone(), changes, unknown });
            Arc::<[u8]>::from(rendered.bytes)
        });
        if file.file_name() == CMDLINE {
            let text = String::from_utf8_lossy(made.as_deref().unwrap_or(&on_disk));
            let server = recipe.root.as_ref().and_then(|root| root.source.split(':').next());
            let names_disk = recipe.disk.as_ref().is_some_and(|disk| text.contains(&disk.address));
            let root = if names_disk { RootLine::Disk } else { cmdline::place(&text, server) };
            tell(events::Boot::CommandLine { root });
        }
        let mut all = self.made();
        if all.len() < MOST_MADE {
            all.insert(name, made.clone());
        }
        drop(all);
        self.send(made, path, reach)
    }

    /// A file, rendered or unchanged.
    fn send(&self, made: Option<Arc<[u8]>>, path: &BootPath<'_>, reach: Reach) -> Result<Found, Miss> {
        match made {
            Some(bytes) => Ok(self.found(FoundContent::Made(bytes))),
            None => self.open(path, reach),
        }
    }

    fn found(&self, content: FoundContent) -> Found {
        Found { content, busy: Some(Busy::new(&self.open)) }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Option<Arc<[u8]>>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Counts an open file of a boot.
#[derive(Debug)]
pub(super) struct Busy(Arc<AtomicU32>);

impl Busy {
    fn new(open: &Arc<AtomicU32>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Limit in bytes of a rendered file.
const LARGEST: u64 = 64 << 10;
const MOST_MADE: usize = 32;

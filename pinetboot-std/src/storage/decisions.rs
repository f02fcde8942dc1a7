//! The decisions for one boot of one client, in force until the boot is over.
//!
//! A Pi requests config.txt up to six times in a boot, and its length before that. The Pi must see one version of config.txt,
//! one tree and one root in a boot, even if another image becomes current meanwhile. New decisions are made for another boot of
//! the client by the registry, and for a request after a pause without an open transfer.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use pinetboot_core::BootPath;

use super::{BootTree, Content, Miss, Opened};
use crate::events;
use crate::pis::BootId;
use crate::render::Recipe;
use crate::roots::{BaseImage, Overlay};

/// The decisions for a boot.
#[derive(Debug)]
pub(super) struct BootDecisions {
    /// The boot.
    pub(super) boot: BootId,
    /// The tree of its files.
    pub(super) tree: Rc<BootTree>,
    /// The base image of its root.
    pub(super) base_image: Option<BaseImage>,
    /// The rendering of its files; made for the first rendered file.
    recipe: Option<Recipe>,
    /// Rendered files; `None`: the file is sent unchanged.
    made: HashMap<String, Option<Rc<[u8]>>>,
    /// Number of open files.
    open: Rc<Cell<u32>>,
    /// The Pi's layer, if the tree is in it: mounted as long as the decisions are in force.
    _overlay: Option<Arc<Overlay>>,
}

impl BootDecisions {
    /// Decisions for a boot that begins now.
    pub(super) fn new(boot: BootId, tree: Rc<BootTree>, base_image: Option<BaseImage>) -> Self {
        let open = Rc::default();
        Self { boot, tree, base_image, recipe: None, made: HashMap::new(), open, _overlay: None }
    }

    /// The same with the layer of the tree.
    pub(super) fn within(self, overlay: Arc<Overlay>) -> Self {
        Self { _overlay: Some(overlay), ..self }
    }

    /// Whether the decisions apply to a request of that boot.
    pub(super) fn holds_for(&self, boot: BootId) -> bool {
        let same_boot = (self.boot.pi, self.boot.number) == (boot.pi, boot.number);
        self.boot == boot || same_boot && self.is_sending()
    }

    /// Whether a transfer is open.
    pub(super) fn is_sending(&self) -> bool {
        self.open.get() > 0
    }

    /// Opens a file on disk.
    pub(super) fn open(&self, path: &BootPath<'_>) -> Result<Opened, Miss> {
        Ok(self.opened(Content::OnDisk(self.tree.open(path)?)))
    }

    /// Opens a file, rendered if necessary. `recipe` makes the rendering if none exists yet, `tell` receives the facts, and `file`
    /// is the name without the Pi's prefix.
    pub(super) fn open_made(
        &mut self,
        path: &BootPath<'_>,
        file: &BootPath<'_>,
        tell: impl FnOnce(events::Boot),
        recipe: impl FnOnce(&Self) -> Recipe,
    ) -> Result<Opened, Miss> {
        let name = file.to_string();
        if let Some(made) = self.made.get(&name) {
            return match made.clone() {
                Some(bytes) => Ok(self.opened(Content::Made(bytes))),
                None => self.open(path),
            };
        }
        let Some(on_disk) = self.tree.read(path, LARGEST)? else {
            tell(events::Boot::NotRendered { file: name, limit: LARGEST });
            return self.open(path);
        };
        let recipe = match self.recipe.take() {
            Some(recipe) => recipe,
            None => recipe(self),
        };
        let pi = self.boot.pi;
        let made = recipe.apply(file, &on_disk).map(|rendered| {
            let token =
                recipe.token.as_ref().is_some_and(|token| contains(&rendered.bytes, token.as_bytes()));
            let (changes, unknown) = (rendered.changes, rendered.unknown);
            tell(events::Boot::Rendered { pi, token, file: name.clone(), changes, unknown });
            Rc::<[u8]>::from(rendered.bytes)
        });
        self.recipe = Some(recipe);
        if self.made.len() < MOST_MADE {
            self.made.insert(name, made.clone());
        }
        match made {
            Some(bytes) => Ok(self.opened(Content::Made(bytes))),
            None => self.open(path),
        }
    }

    fn opened(&self, content: Content) -> Opened {
        Opened { content, _busy: Some(Busy::new(&self.open)) }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Counts an open file of a boot.
#[derive(Debug)]
pub(super) struct Busy(Rc<Cell<u32>>);

impl Busy {
    fn new(open: &Rc<Cell<u32>>) -> Self {
        open.set(open.get() + 1);
        Self(open.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Limit in bytes of a rendered file.
const LARGEST: u64 = 64 << 10;
const MOST_MADE: usize = 32;

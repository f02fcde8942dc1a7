//! What was decided for one boot of one client: holds until that is over.
//!
//! A Pi asks for config.txt up to six times in a boot, and for its length before that. It must see one version of it, of
//! the kernel's tree and of the root that its command line names, also if another
//! image is put in use in the middle. BootDecisions are made anew when the registry has another boot for the client, and when the
//! client comes back after a pause in which nothing was being sent to it.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use pinetboot_core::BootPath;

use super::{BootTree, Content, Miss, Opened};
use crate::events;
use crate::pis::BootId;
use crate::render::Recipe;
use crate::roots::BaseImage;

/// What holds for a boot.
#[derive(Debug)]
pub(super) struct BootDecisions {
    /// Of which boot.
    pub(super) boot: BootId,
    /// Where its files are.
    pub(super) tree: Rc<BootTree>,
    /// On which its root is.
    pub(super) base_image: Option<BaseImage>,
    /// What is done to its files; made when the first one needs it.
    recipe: Option<Recipe>,
    /// Files that were made for it; `None`: it gets them as they are on the disk.
    made: HashMap<String, Option<Rc<[u8]>>>,
    /// Files that are open for it.
    open: Rc<Cell<u32>>,
}

impl BootDecisions {
    /// For a boot that begins now.
    pub(super) fn new(boot: BootId, tree: Rc<BootTree>, base_image: Option<BaseImage>) -> Self {
        Self { boot, tree, base_image, recipe: None, made: HashMap::new(), open: Rc::default() }
    }

    /// Whether this holds for a request of that boot.
    pub(super) fn holds_for(&self, boot: BootId) -> bool {
        let same_boot = (self.boot.pi, self.boot.number) == (boot.pi, boot.number);
        self.boot == boot || same_boot && self.is_sending()
    }

    /// Whether something is being sent.
    pub(super) fn is_sending(&self) -> bool {
        self.open.get() > 0
    }

    /// Opens a file for it as it is on the disk.
    pub(super) fn open(&self, path: &BootPath<'_>) -> Result<Opened, Miss> {
        Ok(self.opened(Content::OnDisk(self.tree.open(path)?)))
    }

    /// Opens a file that may have to be made for this Pi; `recipe` says how, if that is not known yet, and `tell` is told
    /// what was done. `file` is its name without the Pi's prefix.
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

/// As long as this is there, the boot goes on.
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

/// A file that is longer is not looked into.
const LARGEST: u64 = 64 << 10;
const MOST_MADE: usize = 32;

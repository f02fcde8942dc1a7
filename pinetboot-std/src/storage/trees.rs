//! Which tree a client's requests go to, and what is made of its files there.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use pinetboot_core::pi::{Lookup, Prefix};
use pinetboot_core::{OpenError, OpenRequest};
use tracing::warn;

use super::boot::Boot;
use super::{Budget, Content, Miss, Opened, Tree};
use crate::config::{Inventory, NfsMode};
use crate::pis::Pis;
use crate::render::{self, Recipe, Root, Values, cmdline};
use crate::roots::{Golden, Goldens, Roots, machine_id_of};

/// All trees, and the boots under way.
#[derive(Debug)]
pub struct Trees {
    sources: RefCell<Sources>,
    pis: Pis,
    boots: RefCell<HashMap<Ipv4Addr, Boot>>,
    /// Those that several Pis share, by device and inode: a directory that was replaced is another.
    open: RefCell<HashMap<(u64, u64), Rc<Tree>>>,
    budget: Budget,
}

/// Where boot files come from, and what is known about making them fit.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Where they are.
    pub base: Base,
    /// The root file systems that go with them.
    pub roots: Option<Arc<Roots>>,
    /// What is known of single Pis.
    pub inventory: Arc<Inventory>,
    /// Which files are templates.
    pub templates: Vec<String>,
    /// Whether command lines are made to name the root that is served.
    pub rewrite: bool,
    /// What Pis are to know this server by, where that is not the address that they ask.
    pub server: Option<Ipv4Addr>,
}

/// Where boot files are.
#[derive(Debug, Clone)]
pub enum Base {
    /// In one directory, and those beneath it that are named after single Pis. Open: another directory in its place is
    /// served when someone says so.
    Directory(Rc<Tree>),
    /// In the root file system of each Pi, where its system has them mounted.
    Roots(Goldens),
}

impl Trees {
    /// Trees of these sources.
    pub fn new(sources: Sources, pis: Pis, budget: Budget) -> Self {
        Self {
            sources: RefCell::new(sources),
            pis,
            boots: RefCell::default(),
            open: RefCell::default(),
            budget,
        }
    }

    /// The root file systems.
    pub fn roots(&self) -> Option<Arc<Roots>> {
        self.sources().roots.clone()
    }

    /// The memory that all trees share.
    pub fn budget(&self) -> Budget {
        self.budget.clone()
    }

    /// From here on these are the sources. A Pi that is just being sent something keeps what its boot began with.
    pub fn set_sources(&self, sources: Sources) {
        self.sources.replace(sources);
        self.boots.borrow_mut().retain(|_, boot| boot.pi.is_some() && boot.is_sending());
    }

    /// The tree that a Pi of which nothing is known would get: what is there at all.
    ///
    /// # Errors
    ///
    /// What keeps it from being served.
    pub fn tree_for_anyone(&self) -> Result<Rc<Tree>, String> {
        self.tree_for(&self.sources(), None)
    }

    /// Opens a file for a client.
    ///
    /// # Errors
    ///
    /// Why not, and where the file was looked for.
    pub fn open(&self, request: &OpenRequest<'_>) -> Result<Opened, Miss> {
        let OpenRequest { path, peer, asked, .. } = *request;
        let lookup = Lookup::new(path);
        let mut boots = self.boots.borrow_mut();
        let now = Instant::now();
        let known = boots.get(peer.ip()).filter(|boot| boot.is_under_way(now));
        // Who asks without a prefix in the middle of a boot has dropped it, as a Pi 4 does that finds no start4.elf with it.
        let goes_on = known.is_some_and(|boot| lookup.prefix().is_none() || lookup.prefix() == boot.pi);
        if !goes_on {
            let pi = lookup.prefix().or_else(|| self.pis.name_at(*peer.ip()));
            let boot = self.begin(pi, peer).map_err(|why| {
                warn!(client = %peer.ip(), "nothing to serve to {}: {why}", name(pi, peer));
                OpenError::Failed
            })?;
            if boots.len() >= MOST_BOOTS {
                boots.retain(|_, boot| boot.is_under_way(now));
            }
            if boots.len() >= MOST_BOOTS {
                // Flooded: the file all the same, but as it is.
                let file = boot.tree.open(&path)?;
                return Ok(Opened { content: Content::OnDisk(file), _busy: None });
            }
            boots.insert(*peer.ip(), boot);
        }
        let Some(boot) = boots.get_mut(peer.ip()) else { return Err(OpenError::Failed.into()) };
        let file = lookup.file();
        let sources = self.sources();
        if render::concerns(&file, &sources.templates) {
            let client = name(boot.pi, peer);
            boot.open_made(&path, &file, &client, |boot| self.recipe(&sources, boot, peer, asked))
        } else {
            boot.open(&path)
        }
    }

    /// The tree that a client's requests go to at the moment, to look into.
    pub fn tree_of(&self, client: Ipv4Addr) -> Option<Rc<Tree>> {
        match self.boots.borrow().get(&client) {
            Some(boot) => Some(boot.tree.clone()),
            None => self.tree_for_anyone().ok(),
        }
    }

    fn sources(&self) -> Ref<'_, Sources> {
        self.sources.borrow()
    }

    /// Decides all that holds for one boot.
    fn begin(&self, pi: Option<Prefix>, peer: SocketAddrV4) -> Result<Boot, String> {
        let sources = self.sources();
        let golden = sources.golden_for(pi);
        let tree = match (&sources.base, &sources.roots, &golden, pi) {
            (Base::Roots(_), Some(roots), Some(Ok(golden)), Some(pi)) => match roots
                .overlay_for_boot(pi, golden)
            {
                Some(overlay) => {
                    let path = overlay.layer().merged().join(&golden.boot);
                    let tree = Tree::open_within(overlay.root(), &golden.boot, &path, self.budget.clone());
                    Rc::new(tree.map_err(|error| error.to_string())?)
                }
                None => self.tree_for(&sources, Some(pi))?,
            },
            _ => self.tree_for(&sources, pi)?,
        };
        let golden = golden.and_then(|golden| {
            golden.inspect_err(|why| warn!("{} gets no root: {why}", name(pi, peer))).ok()
        });
        Ok(Boot::new(pi, tree, golden))
    }

    fn recipe(&self, sources: &Sources, boot: &Boot, peer: SocketAddrV4, asked: Option<Ipv4Addr>) -> Recipe {
        let (client, pi, golden) = (*peer.ip(), boot.pi, boot.golden.as_ref());
        let server = sources.server.or(asked);
        let entry = pi.and_then(|pi| sources.inventory.entry(pi));
        let serial = match pi {
            Some(Prefix::Serial(serial)) => Some(serial),
            _ => self.pis.identity_at(client).and_then(|identity| identity.serial()),
        };
        let mac = match pi {
            Some(Prefix::Mac(mac)) => Some(mac),
            _ => self.pis.mac_at(client),
        };
        let hostname = pi.map(|pi| sources.inventory.host_name(pi));
        let root = sources.roots.as_ref().zip(golden).zip(server).map(|((roots, golden), server)| {
            let mode = roots.mode();
            let path = match pi {
                Some(pi) if mode == NfsMode::Overlay => format!("/{pi}"),
                _ => "/".into(),
            };
            let mut words = Vec::new();
            if mode == NfsMode::SharedRo
                && let Some((pi, hostname)) = pi.zip(hostname.as_ref())
            {
                words = vec![
                    format!("systemd.hostname={hostname}"),
                    format!("systemd.machine_id={}", machine_id_of(pi)),
                ];
            }
            Root {
                source: format!("{server}:{path}"),
                in_memory: mode == NfsMode::SharedRo,
                by_kernel: golden.kernel_mounts_root,
                words,
            }
        });
        Recipe {
            values: Values {
                server: server.map(|server| server.to_string()),
                serial: serial.map(|serial| format!("{serial:08x}")),
                mac: mac.map(|[a, b, c, d, e, f]| format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")),
                nfsroot: root.as_ref().map(|root| cmdline::nfsroot(&root.source)),
                hostname,
            },
            root: root.filter(|_| sources.rewrite),
            words: entry.and_then(|entry| entry.words.clone()).unwrap_or_default(),
        }
    }

    /// The tree with a Pi's boot files, but for what it has changed of them itself.
    fn tree_for(&self, sources: &Sources, pi: Option<Prefix>) -> Result<Rc<Tree>, String> {
        if let Some(directory) = pi.and_then(|pi| sources.inventory.entry(pi)?.tree.as_deref()) {
            return self.shared_tree(directory);
        }
        match &sources.base {
            Base::Directory(tree) => Ok(tree.clone()),
            Base::Roots(goldens) => {
                let directory =
                    goldens.boot_dir(pi, &sources.inventory).map_err(|error| error.to_string())?;
                self.shared_tree(&directory)
            }
        }
    }

    fn shared_tree(&self, place: &Path) -> Result<Rc<Tree>, String> {
        let cannot =
            |error: &dyn std::fmt::Display| format!("cannot open the tree {}: {error}", place.display());
        let metadata = fs::metadata(place).map_err(|error| cannot(&error))?;
        let key = (metadata.dev(), metadata.ino());
        let mut open = self.open.borrow_mut();
        if let Some(tree) = open.get(&key).filter(|tree| tree.path() == place) {
            return Ok(tree.clone());
        }
        if open.len() >= MOST_TREES {
            open.retain(|_, tree| Rc::strong_count(tree) > 1);
        }
        let tree = Tree::open_at(place, self.budget.clone()).map_err(|error| error.to_string())?;
        let tree = Rc::new(tree);
        open.insert(key, tree.clone());
        Ok(tree)
    }
}

impl Sources {
    /// One directory, served as it is.
    pub fn directory(tree: Tree) -> Self {
        Self {
            base: Base::Directory(Rc::new(tree)),
            roots: None,
            inventory: Arc::default(),
            templates: Vec::new(),
            rewrite: false,
            server: None,
        }
    }

    fn golden_for(&self, pi: Option<Prefix>) -> Option<Result<Golden, String>> {
        Some(self.roots.as_ref()?.golden_for(pi).map_err(|error| error.to_string()))
    }
}

fn name(pi: Option<Prefix>, peer: SocketAddrV4) -> String {
    pi.map_or_else(|| peer.ip().to_string(), |pi| format!("{pi} ({})", peer.ip()))
}

/// Clients that boot at the same time, each with what was decided for it.
const MOST_BOOTS: usize = 4096;
const MOST_TREES: usize = 64;

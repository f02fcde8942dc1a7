//! The choice of a client's tree, and the rendering of its files.
//!
//! The registry knows the Pi and the boot of a request; this module decides the files. No lock is held while a disk is read.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::{Lookup, Prefix};
use pinetboot_core::{BootPath, OpenError, OpenRequest};

use super::decisions::BootDecisions;
use super::replaced::{Look, Looks};
use super::{BootTree, Found, Miss, Prefixes, Reach};
use crate::bus::Bus;
use crate::config::NfsMode;
#[cfg(feature = "disk")]
use crate::disk_mode::DiskMode;
#[cfg(feature = "disk")]
use crate::disks::{BootFiles, Disks, INITRAMFS};
use crate::events;
use crate::net::neighbour;
use crate::pis::{BootId, Claim, NotThatPi};
use crate::render::{self, DiskLine, Recipe, Root, Values, cmdline};
use crate::roots::{BOOT_DIRECTORY_VALID, BaseImages, BootDirectory, BootRoots, NoBaseImage, machine_id_of};

/// All trees, and the decisions for the boots under way.
#[derive(Debug)]
pub struct Trees {
    sources: Mutex<Arc<Sources>>,
    bus: Bus,
    decisions: Mutex<HashMap<Ipv4Addr, Arc<BootDecisions>>>,
    /// Shared trees, by device and inode: a replaced directory is another tree.
    open: Mutex<HashMap<(u64, u64), Arc<BootTree>>>,
    looks: Looks,
}

/// The sources of boot files, and the settings of their rendering.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The place of the boot files.
    pub base: Base,
    /// The root file systems.
    pub roots: Option<Arc<BootRoots>>,
    /// The disks of Pis.
    #[cfg(feature = "disk")]
    pub disks: Option<Arc<Disks>>,
    /// Template names.
    pub templates: Vec<String>,
    /// Whether command lines are rewritten to name the served root.
    pub rewrite: bool,
    /// Paths that clients may put before a name.
    pub prefixes: Prefixes,
    /// The server's address for rendered files; `None`: the address that the Pi requests from.
    pub server: Option<Ipv4Addr>,
}

/// The place of boot files.
#[derive(Debug, Clone)]
pub enum Base {
    /// One directory, with directories named after Pis. A directory that replaces it is served instead.
    Directory(Arc<BootTree>),
    /// The root file system of each Pi.
    Roots(BaseImages),
    /// The disk of each Pi.
    Disks,
}

impl Trees {
    /// Trees of these sources.
    pub fn new(sources: Sources, bus: Bus) -> Self {
        let sources = Mutex::new(Arc::new(sources));
        Self { sources, bus, decisions: Mutex::default(), open: Mutex::default(), looks: Looks::new() }
    }

    /// The root file systems.
    pub fn roots(&self) -> Option<Arc<BootRoots>> {
        self.sources().roots.clone()
    }

    /// Replaces the sources. A Pi with an open transfer keeps the decisions of its boot.
    pub fn set_sources(&self, sources: Sources) {
        *lock(&self.sources) = Arc::new(sources);
        lock(&self.decisions).retain(|_, decided| decided.boot.pi.is_some() && decided.is_sending());
    }

    /// A name without the path that a client put before it.
    pub fn strip<'a>(&self, name: BootPath<'a>) -> BootPath<'a> {
        self.sources().prefixes.strip(name)
    }

    /// The tree of an unknown client.
    ///
    /// # Errors
    ///
    /// The reason why the tree cannot be opened.
    pub fn tree_for_anyone(&self) -> Result<Arc<BootTree>, String> {
        self.tree_for(&self.sources(), None)
    }

    /// Opens a file for a client.
    ///
    /// # Errors
    ///
    /// The reason, and the path of the look-up; [`OpenError::Later`]: not known within this reach.
    pub fn open(&self, request: &OpenRequest<'_>, reach: Reach) -> Result<Found, Miss> {
        let OpenRequest { path, peer, asked, .. } = *request;
        let lookup = Lookup::new(path);
        let boot = self.bus.pis().boot_of(*peer.ip(), lookup.prefix());
        let file = lookup.file();
        let sources = self.current_sources(reach)?;
        let made = render::concerns(&file, &sources.templates);
        if made
            && let Some(why) = self.is_elsewhere(boot, peer)
            && !why.may_be_booting()
        {
            return Err(Miss::withheld(why));
        }
        let decided = match self.decided(boot, *peer.ip()) {
            Some(decided) => decided,
            None if reach == Reach::Memory && !self.decides_without_disk(&sources, boot.pi) => {
                return Err(OpenError::Later.into());
            }
            None => {
                let decided = self.decide(&sources, boot, peer).map_err(|why| {
                    self.bus.emit(*peer.ip(), events::Boot::NothingToServe { why });
                    Miss::from(OpenError::Failed)
                })?;
                match self.keep(*peer.ip(), Arc::new(decided)) {
                    Ok(decided) => decided,
                    Err(decided) => {
                        // Too many boots: the file is sent, but unchanged.
                        return Ok(Found { content: decided.tree.open(&path, reach)?, busy: None });
                    }
                }
            }
        };
        if made {
            let tell = |fact| self.bus.emit(*peer.ip(), fact);
            let recipe = |decided: &BootDecisions| self.recipe(&sources, decided, peer, asked);
            decided.open_made(&path, &file, reach, tell, recipe)
        } else {
            decided.open(&path, reach)
        }
    }

    /// The decisions in force for a boot.
    fn decided(&self, boot: BootId, client: Ipv4Addr) -> Option<Arc<BootDecisions>> {
        lock(&self.decisions).get(&client).filter(|decided| decided.holds_for(boot)).cloned()
    }

    /// Puts decisions in force, unless another request of the boot was first; gives them back if there are too many.
    fn keep(
        &self,
        client: Ipv4Addr,
        new: Arc<BootDecisions>,
    ) -> Result<Arc<BootDecisions>, Arc<BootDecisions>> {
        let mut decisions = lock(&self.decisions);
        if let Some(decided) = decisions.get(&client).filter(|decided| decided.holds_for(new.boot)) {
            return Ok(Arc::clone(decided));
        }
        if decisions.len() >= MOST_BOOTS {
            decisions.retain(|_, decided| decided.is_sending());
        }
        if decisions.len() >= MOST_BOOTS {
            return Err(new);
        }
        decisions.insert(client, Arc::clone(&new));
        Ok(new)
    }

    /// The sources in force.
    pub fn sources(&self) -> Arc<Sources> {
        Arc::clone(&lock(&self.sources))
    }

    /// The sources, with the directory that their path leads to now.
    fn current_sources(&self, reach: Reach) -> Result<Arc<Sources>, OpenError> {
        let sources = self.sources();
        let Base::Directory(tree) = &sources.base else { return Ok(sources) };
        if !self.looks.are_due() {
            return Ok(sources);
        }
        if reach == Reach::Memory {
            return self.looks.finds_in_memory(tree).then_some(sources.clone()).ok_or(OpenError::Later);
        }
        let place = tree.path().display().to_string();
        match self.looks.look(tree) {
            Look::Same => {}
            Look::Missing(error) => {
                self.bus.emit(None, events::Server::TreeMissing { tree: place, error: error.to_string() });
            }
            Look::Replaced(new) => {
                self.set_sources(Sources {
                    base: Base::Directory(Arc::new(new)),
                    ..Sources::clone(&sources)
                });
                self.bus.emit(None, events::Server::TreeReplaced { tree: place });
                return Ok(self.sources());
            }
        }
        Ok(sources)
    }

    /// Whether the tree of a Pi is open already, whatever the disk says.
    fn decides_without_disk(&self, sources: &Sources, pi: Option<Prefix>) -> bool {
        #[cfg(feature = "disk")]
        let no_disks = sources.disks.is_none();
        #[cfg(not(feature = "disk"))]
        let no_disks = true;
        matches!(sources.base, Base::Directory(_))
            && sources.roots.is_none()
            && no_disks
            && pi.and_then(|pi| self.bus.pis().inventory().settings(pi).tree).is_none()
    }

    /// The reason why a client gets no file rendered for a Pi: the Pi is up at another address.
    fn is_elsewhere(&self, boot: BootId, peer: SocketAddrV4) -> Option<NotThatPi> {
        let (pis, address) = (self.bus.pis(), *peer.ip());
        let claim = Claim { pi: boot.pi?, address, mac: None, handle: false, token: None };
        pis.is_elsewhere(&claim)?;
        // The neighbour table is read only for clients whose MAC address matters.
        pis.is_elsewhere(&Claim { mac: neighbour(address), ..claim })
    }

    /// Makes the decisions for a boot.
    fn decide(&self, sources: &Sources, boot: BootId, peer: SocketAddrV4) -> Result<BootDecisions, String> {
        #[cfg(feature = "disk")]
        if let Some(decided) = self.decide_disk(sources, boot, peer)? {
            return Ok(decided);
        }
        let inventory = self.bus.pis().inventory();
        let image = boot.pi.and_then(|pi| inventory.settings(pi).image);
        let base_image = sources.roots.as_ref().map(|roots| roots.base_image_for(image.as_deref()));
        let base_image = base_image.and_then(|base_image| {
            let tell =
                |why: &NoBaseImage| self.bus.emit(*peer.ip(), events::Boot::NoRoot { why: why.to_string() });
            base_image.inspect_err(tell).ok()
        });
        let in_layer = match (&sources.base, &sources.roots, &base_image, boot.pi) {
            (Base::Roots(_), Some(roots), Some(base_image), Some(pi)) => {
                let is_there = self.is_elsewhere(boot, peer).is_none();
                roots.boot_directory(pi, base_image, is_there)?
            }
            _ => None,
        };
        let Some(BootDirectory { directory, path }) = in_layer else {
            return Ok(BootDecisions::new(boot, self.tree_for(sources, boot.pi)?, base_image));
        };
        let tree = BootTree::of(directory, &path).map_err(|error| error.to_string())?;
        Ok(BootDecisions::new(boot, Arc::new(tree), base_image).valid_for(BOOT_DIRECTORY_VALID))
    }

    /// The decisions for the boot of a Pi that has a disk.
    #[cfg(feature = "disk")]
    fn decide_disk(
        &self,
        sources: &Sources,
        boot: BootId,
        peer: SocketAddrV4,
    ) -> Result<Option<BootDecisions>, String> {
        let Some((disks, pi)) = sources.disks.as_ref().zip(boot.pi) else { return Ok(None) };
        let Some(of) = disks.of_pi(&self.bus.pis().inventory().settings(pi)) else { return Ok(None) };
        let is_there = self.is_elsewhere(boot, peer).is_none();
        let BootFiles { directory, path } = disks.boot_files(pi, &of, is_there)?;
        let tree = BootTree::of(directory, &path).map_err(|error| error.to_string())?;
        Ok(Some(BootDecisions::new(boot, Arc::new(tree), None).of_disk()))
    }

    /// The disk of a Pi, as its boot files name it, and the name with the secret of the boot.
    #[cfg(feature = "disk")]
    fn disk_line(
        &self,
        sources: &Sources,
        decided: &BootDecisions,
        client: Ipv4Addr,
        server: Option<Ipv4Addr>,
    ) -> Option<(DiskLine, String)> {
        let disks = sources.disks.as_ref().filter(|_| decided.is_disk && sources.rewrite)?;
        let (pi, server) = (decided.boot.pi?, server?);
        let name = disks.name_for(pi, self.bus.pis().nonce(pi).unwrap_or_default(), client);
        let inventory = self.bus.pis().inventory();
        let is_in_memory =
            disks.of_pi(&inventory.settings(pi)).is_some_and(|(_, mode)| mode == DiskMode::Ram);
        let arguments = if is_in_memory {
            render::disk::in_memory(&inventory.host_name(pi), &machine_id_of(pi))
        } else {
            Vec::new()
        };
        Some((DiskLine { address: disks.address(server, &name), initramfs: INITRAMFS, arguments }, name))
    }

    #[cfg(not(feature = "disk"))]
    fn disk_line(
        &self,
        _: &Sources,
        _: &BootDecisions,
        _: Ipv4Addr,
        _: Option<Ipv4Addr>,
    ) -> Option<(DiskLine, String)> {
        None
    }

    fn recipe(
        &self,
        sources: &Sources,
        decided: &BootDecisions,
        peer: SocketAddrV4,
        asked: Option<Ipv4Addr>,
    ) -> Recipe {
        let (client, pi, base_image) = (*peer.ip(), decided.boot.pi, decided.base_image.as_ref());
        let (pis, server) = (self.bus.pis(), sources.server.or(asked));
        let inventory = pis.inventory();
        let settings = pi.map(|pi| inventory.settings(pi)).unwrap_or_default();
        let serial = match pi {
            Some(Prefix::Serial(serial)) => Some(serial),
            _ => pis.identity_at(client).and_then(|identity| identity.serial()),
        };
        let mac = match pi {
            Some(Prefix::Mac(mac)) => Some(mac),
            _ => pis.mac_at(client),
        };
        let hostname = pi.map(|pi| inventory.host_name(pi));
        let served = sources.roots.as_ref().zip(base_image).zip(server);
        let name = match (served, pi) {
            (Some(((roots, _), _)), Some(pi)) if roots.mode() == NfsMode::Overlay => {
                Some(roots.name_for(pi, pis.nonce(pi).unwrap_or_default(), client))
            }
            _ => None,
        };
        let root = served.map(|((roots, base_image), server)| {
            let mode = roots.mode();
            let mut arguments = Vec::new();
            if mode == NfsMode::SharedRo
                && let Some((pi, hostname)) = pi.zip(hostname.as_ref())
            {
                arguments = vec![
                    format!("systemd.hostname={hostname}"),
                    format!("systemd.machine_id={}", machine_id_of(pi)),
                ];
            }
            Root {
                source: format!("{server}:/{}", name.as_deref().unwrap_or_default()),
                in_memory: mode == NfsMode::SharedRo,
                by_kernel: base_image.kernel_mounts_root,
                arguments,
            }
        });
        let (disk, name) = match self.disk_line(sources, decided, client, server) {
            Some((disk, name)) => (Some(disk), Some(name)),
            None => (None, name),
        };
        Recipe {
            disk,
            values: Values {
                server: server.map(|server| server.to_string()),
                serial: serial.map(|serial| format!("{serial:08x}")),
                mac: mac.map(|mac| HardwareAddress::ethernet(mac).to_string()),
                nfsroot: root.as_ref().map(|root| cmdline::nfsroot(&root.source)),
                hostname,
                vars: settings.vars,
            },
            root: root.filter(|_| sources.rewrite),
            cmdline_extra: settings.cmdline_extra.unwrap_or_default(),
            token: name,
        }
    }

    /// The tree of a Pi's boot files, without the changes in its layer.
    fn tree_for(&self, sources: &Sources, pi: Option<Prefix>) -> Result<Arc<BootTree>, String> {
        let inventory = self.bus.pis().inventory();
        if let Some(directory) = pi.and_then(|pi| inventory.settings(pi).tree) {
            return self.shared_tree(&directory);
        }
        match &sources.base {
            Base::Directory(tree) => Ok(tree.clone()),
            #[cfg(feature = "disk")]
            Base::Disks => {
                let disks = sources.disks.as_ref().ok_or("disks are not served")?;
                let BootFiles { directory, path } = disks.boot_files_for_anyone()?;
                BootTree::of(directory, &path).map(Arc::new).map_err(|error| error.to_string())
            }
            #[cfg(not(feature = "disk"))]
            Base::Disks => Err("this pinetboot was built without disks".into()),
            Base::Roots(base_images) => {
                let image = pi.and_then(|pi| inventory.settings(pi).image);
                let directory = base_images.boot_dir(image.as_deref()).map_err(|error| error.to_string())?;
                self.shared_tree(&directory)
            }
        }
    }

    fn shared_tree(&self, place: &Path) -> Result<Arc<BootTree>, String> {
        let cannot =
            |error: &dyn std::fmt::Display| format!("cannot open the tree {}: {error}", place.display());
        let metadata = fs::metadata(place).map_err(|error| cannot(&error))?;
        let key = (metadata.dev(), metadata.ino());
        if let Some(tree) = lock(&self.open).get(&key).filter(|tree| tree.path() == place) {
            return Ok(tree.clone());
        }
        let tree = Arc::new(BootTree::open_at(place).map_err(|error| error.to_string())?);
        let mut open = lock(&self.open);
        if open.len() >= MOST_TREES {
            open.retain(|_, tree| Arc::strong_count(tree) > 1);
        }
        open.insert(key, tree.clone());
        Ok(tree)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sources {
    /// One directory, served unchanged.
    pub fn directory(tree: BootTree) -> Self {
        Self {
            base: Base::Directory(Arc::new(tree)),
            roots: None,
            #[cfg(feature = "disk")]
            disks: None,
            templates: Vec::new(),
            rewrite: false,
            prefixes: Prefixes::default(),
            server: None,
        }
    }
}

/// Limit of clients with decisions.
const MOST_BOOTS: usize = 4096;
const MOST_TREES: usize = 64;

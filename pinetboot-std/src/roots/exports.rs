//! Roots as NFS exports: grants or refuses the mounts and calls of clients.
//!
//! The registry decides by its evidence whether a client is a Pi ([`Claim`](crate::pis::Claim)); this module applies the decision to mounts and
//! calls. A handle of an existing layer is never answered with NFS3ERR_STALE: NFS3ERR_JUKEBOX while the client's identity is in
//! doubt, NFS3ERR_ACCES if the client is not the Pi.
//!
//! Locks, in the order in which they may be taken: `ready`, `waiting`, `owners`; `permitted` and `granted` are held alone, and
//! the registry's lock below all of them.

mod active_client;
mod permits;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pinetboot_core::pi::Prefix;
use pinetboot_nfs::{
    Absent, DirectoryTree, Export, Exports, FileSystem, MountError, MountErrorKind, Permission,
};

use active_client::ActiveClient;

use super::bounded_tree::BoundedTree;
use super::facts::PiFacts;
use super::overlay::Overlay;
use super::{BaseImage, Layer, Registry, Roots};
use crate::config::{NfsMode, NfsSync};
use crate::events::{self, Evidence, Mac};
use crate::net::arp::Asker;
use crate::pis::{Known, NotThatPi, Token};
use crate::supervisor::task;
use crate::text::without_secrets;

/// The roots of all Pis as exports.
#[derive(Debug, Clone)]
pub struct RootExports(Arc<ExportTable>);

struct ExportTable {
    roots: Arc<Roots>,
    registry: Registry,
    /// `None` without the right to open such a socket.
    asker: Option<Asker>,
    /// Changes of names and attributes are on stable storage when they are answered.
    sync: bool,
    ready: RwLock<HashMap<u32, Ready>>,
    /// Layers of which Pis hold handles, not mounted: from before a restart, or at rest.
    waiting: Mutex<HashMap<u32, Waiting>>,
    /// A layer stopped waiting.
    served: Condvar,
    /// In mode `rw`, the Pi that has each tree.
    owners: Mutex<HashMap<u32, Prefix>>,
    /// Clients that may use a shared tree, with the time of the check.
    permitted: Mutex<HashMap<(u32, Ipv4Addr), Instant>>,
    /// Granted mounts that are not reported yet: the NFS server has to look up the path in the export first.
    granted: Mutex<HashMap<(u32, Ipv4Addr), Grant>>,
    /// The last mounts of clients, which may be taken back.
    last: Mutex<HashMap<Ipv4Addr, LastMount>>,
}

/// The last mount of a client, and the record of its Pi before.
struct LastMount {
    export: u32,
    pi: Prefix,
    path: PathBuf,
    at: Instant,
    record: PiFacts,
}

/// The evidence of a granted mount.
#[derive(Debug, Clone, Copy)]
struct Grant {
    pi: Prefix,
    evidence: Evidence,
    mac: Option<Mac>,
}

/// An export that is ready to serve.
#[derive(Clone)]
struct Ready {
    export: Arc<Export>,
    /// The Pi's layer; `None` for a shared tree.
    layer: Option<Own>,
}

/// A layer of one Pi.
#[derive(Clone)]
struct Own {
    pi: Prefix,
    overlay: Arc<Overlay>,
    active: Arc<ActiveClient>,
}

enum Waiting {
    /// For the Pi's next call.
    For {
        layer: Layer,
        /// Since the start of the server, not since a rest.
        restarted: bool,
    },
    /// A thread mounts the layer.
    UnderWay,
}

impl RootExports {
    /// The exports of these roots, with the layers from before a restart.
    ///
    /// # Errors
    ///
    /// If a tree cannot be served.
    pub fn new(roots: Arc<Roots>, registry: impl Into<Registry>, sync: NfsSync) -> Result<Self, String> {
        let shared = ExportTable {
            registry: registry.into(),
            asker: Asker::open().ok(),
            sync: sync == NfsSync::On,
            ready: RwLock::default(),
            waiting: Mutex::default(),
            served: Condvar::new(),
            owners: Mutex::default(),
            permitted: Mutex::default(),
            granted: Mutex::default(),
            last: Mutex::default(),
            roots,
        };
        if shared.roots.mode() == NfsMode::Overlay {
            let layers = shared.roots.state().layers();
            let waiting = layers.into_iter().map(|layer| (layer.facts.export, layer));
            let waiting = waiting.map(|(id, layer)| (id, Waiting::For { layer, restarted: true }));
            lock(&shared.waiting).extend(waiting);
        } else {
            for base_image in shared.roots.base_images().all().map_err(|error| error.to_string())? {
                shared
                    .shared(&base_image, Path::new("/"))
                    .map_err(|error| format!("cannot serve {} by NFS: {error}", base_image.root.display()))?;
            }
        }
        Ok(Self(Arc::new(shared)))
    }

    /// Lets layers rest that were unused for this time: closes their files, unmounts them, and removes new ones that are not in use.
    /// A Pi that calls again wakes its layer.
    pub fn rest_after(&self, unused: Duration) {
        let shared = &self.0;
        let resting = shared.roots.rest_after(unused);
        for overlay in &resting {
            let layer = overlay.layer().clone();
            let id = layer.facts.export;
            // Waits first: no call finds the layer in neither table.
            lock(&shared.waiting).entry(id).or_insert(Waiting::For { layer, restarted: false });
            let mut table = shared.ready.write().unwrap_or_else(PoisonError::into_inner);
            let rested = table.remove(&id);
            // Closing files frees blocks, which is slow: after the lock is released.
            drop(table);
            drop(rested);
        }
        let removed = shared.roots.unmount(resting, unused);
        lock(&shared.waiting).retain(|id, _| !removed.contains(id));
        let mut table = shared.ready.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, ready| ready.layer.as_ref().is_none_or(|own| !own.overlay.is_detached()));
    }

    /// Records that MOUNT sent a client the handle of this path.
    pub(crate) fn mounted(&self, export: u32, client: Ipv4Addr, path: &Path) {
        self.0.mounted(export, client, path);
    }

    /// Takes back the last mount of a client, if that was of this path and within the last minute: address and MAC address of the mount
    /// then prove nothing. A Pi's kernel never unmounts its root.
    pub(crate) fn unmounted(&self, client: Ipv4Addr, path: &Path) {
        self.0.unmounted(client, path);
    }

    /// The Pi of a path, as a client names it.
    pub(crate) fn pi_of(&self, path: &Path, client: Ipv4Addr) -> Option<Prefix> {
        self.0.named(path, client).map(|(pi, ..)| pi)
    }
}

impl ExportTable {
    fn layer_of(
        &self,
        pi: Prefix,
        known: &Known,
        path: &Path,
        client: Ipv4Addr,
    ) -> Result<Arc<Export>, String> {
        let base_image = self.roots.base_image_for(known)?;
        let overlay = self.roots.overlay_for_root(pi, known, &base_image, client).map_err(|error| {
            let (name, root) = (&known.name, base_image.root.display());
            format!("cannot give {name} a layer on {root}: {error}")
        })?;
        self.export_layer(overlay, path, Some(known))
    }

    fn export_layer(
        &self,
        overlay: Arc<Overlay>,
        path: &Path,
        known: Option<&Known>,
    ) -> Result<Arc<Export>, String> {
        let (pi, id) = (overlay.layer().pi, overlay.layer().facts.export);
        let same =
            |ready: &Ready| ready.layer.as_ref().is_some_and(|own| Arc::ptr_eq(&own.overlay, &overlay));
        let there = self.table().get(&id).filter(|ready| same(ready)).cloned();
        let (tree, active) = match there {
            Some(ready) if ready.export.path == path => return Ok(ready.export),
            Some(Ready { export, layer: Some(own) }) => (export.tree.clone(), own.active),
            _ => {
                let layer = overlay.layer();
                let tree = self.open(&layer.merged(), OPEN_FILES, Some(layer))?;
                let bounds = self.roots.bounds(&overlay, known).map_err(|error| error.to_string())?;
                let tree = BoundedTree::new(tree, bounds, layer.made().into());
                (Arc::new(tree) as Arc<dyn FileSystem>, Arc::default())
            }
        };
        let path = path.to_owned();
        let export = Arc::new(Export { id, path, tree, read_only: false, root_squash: false });
        self.put(Ready { export: export.clone(), layer: Some(Own { pi, overlay, active }) });
        lock(&self.waiting).remove(&id);
        self.served.notify_all();
        Ok(export)
    }

    fn open(
        &self,
        directory: &Path,
        most_open: usize,
        layer: Option<&Layer>,
    ) -> Result<DirectoryTree, String> {
        let numbers = self.roots.file_numbers(layer).map_err(|error| error.to_string())?;
        let tree = DirectoryTree::open(directory, most_open).map_err(|error| error.to_string())?;
        Ok(tree.with_sync(self.sync).with_numbers(numbers))
    }

    fn open_shared(&self, root: &Path, read_only: bool) -> Result<Arc<dyn FileSystem>, String> {
        let tree = self.open(root, OPEN_FILES_SHARED, None)?;
        if read_only {
            return Ok(Arc::new(tree));
        }
        let bounds = self.roots.bounds_of_tree(root).map_err(|error| error.to_string())?;
        Ok(Arc::new(BoundedTree::new(tree, bounds, SystemTime::UNIX_EPOCH.into())))
    }

    fn shared(&self, base_image: &BaseImage, path: &Path) -> Result<Arc<Export>, String> {
        let id = base_image.id();
        let there = self.table().get(&id).map(|ready| ready.export.clone());
        if let Some(export) = there.as_ref().filter(|export| export.path == path) {
            return Ok(export.clone());
        }
        let read_only = self.roots.mode() != NfsMode::Rw;
        let tree = match there {
            Some(export) => export.tree.clone(),
            None => self.open_shared(&base_image.root, read_only)?,
        };
        let export = Arc::new(Export { id, path: path.to_owned(), tree, read_only, root_squash: false });
        self.put(Ready { export: export.clone(), layer: None });
        Ok(export)
    }

    fn put(&self, ready: Ready) {
        let mut table = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(ready.export.id, ready);
    }

    fn table(&self) -> std::sync::RwLockReadGuard<'_, HashMap<u32, Ready>> {
        self.ready.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Pi and the token in a path; a path without a Pi's name stands for the client's own root.
    fn named(&self, path: &Path, client: Ipv4Addr) -> Option<(Prefix, Option<Token>, PathBuf)> {
        let named = first_name(path).and_then(|name| {
            // The token is sealed for the address that fetched the command line: the client's, or the Pi's former one.
            let (pi, token) = self.roots.parse_name(name, &[client])?;
            let (pi, token) = match token {
                Some(Token::Wrong) => {
                    let before = self.registry.known(pi).ok().and_then(|known| known.rendered_to);
                    let addresses: Vec<_> = [client].into_iter().chain(before).collect();
                    self.roots.parse_name(name, &addresses)?
                }
                token => (pi, token),
            };
            Some((pi, token, Path::new("/").join(name)))
        });
        named.or_else(|| Some((self.registry.name_at(client)?, None, PathBuf::from("/"))))
    }

    fn mount(&self, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        let Some((pi, token, export_path)) = self.named(path, client) else {
            return Err(denied(NotThatPi::Unknown));
        };
        // Asked once for the whole mount: the registry may be in another process.
        let known = self.registry.known(pi).map_err(failed)?;
        let checked = self.check(pi, &known, client, token, false);
        let (evidence, mac) = checked.map_err(|refusal| denied(refusal.why))?;
        let mac = mac.filter(|_| !known.is_bridged);
        self.registry.emit(client, events::Root::Granted { pi });
        let export = if self.roots.mode() == NfsMode::Overlay {
            self.layer_of(pi, &known, &export_path, client).map_err(failed)?
        } else {
            let base_image = self.roots.base_image_for(&known).map_err(failed)?;
            self.claim_tree(&base_image, pi).map_err(denied)?;
            self.shared(&base_image, &export_path).map_err(failed)?
        };
        let mut granted = lock(&self.granted);
        if granted.len() >= MOST {
            granted.clear();
        }
        granted.insert((export.id, client), Grant { pi, evidence, mac });
        Ok(export)
    }

    fn mounted(&self, export: u32, client: Ipv4Addr, path: &Path) {
        let Some(Grant { pi, evidence, mac }) = lock(&self.granted).remove(&(export, client)) else { return };
        if let Some(own) = self.table().get(&export).and_then(|ready| ready.layer.as_ref()) {
            own.active.take(client);
        }
        if self.roots.mode() == NfsMode::Overlay {
            let record = self.roots.state().pi(pi);
            let mount = LastMount { export, pi, path: path.to_owned(), at: Instant::now(), record };
            let mut last = lock(&self.last);
            if last.len() >= MOST {
                last.clear();
            }
            last.insert(client, mount);
        }
        let path = without_secrets(&path.display().to_string());
        self.registry.emit(client, events::Root::Mounted { pi, path, mac, evidence });
        if self.roots.mode() == NfsMode::Overlay
            && let Err(error) = self.roots.remember(pi, client, mac)
        {
            let (image, operation, error) = (String::new(), "keep the record of".into(), error.to_string());
            self.registry.emit(client, events::Root::LayerFailed { pi, image, operation, error });
        }
    }

    fn unmounted(&self, client: Ipv4Addr, path: &Path) {
        let mut last = lock(&self.last);
        let is_trial = |mount: &LastMount| mount.path == path && mount.at.elapsed() < TRIAL;
        let Some(mount) = last.get(&client).filter(|mount| is_trial(mount)) else { return };
        let LastMount { export, pi, .. } = *mount;
        let Some(LastMount { record, .. }) = last.remove(&client) else { return };
        drop(last);
        if let Some(own) = self.table().get(&export).and_then(|ready| ready.layer.as_ref()) {
            own.active.release(client);
        }
        self.registry.emit(client, events::Root::Unmounted { pi });
        let now = PiFacts { address: record.address, mac: record.mac, ..self.roots.state().pi(pi) };
        if let Err(error) = self.roots.set_record(pi, &now) {
            let (image, operation, error) = (String::new(), "keep the record of".into(), error.to_string());
            self.registry.emit(client, events::Root::LayerFailed { pi, image, operation, error });
        }
    }

    /// Mounts the layer of a Pi that kept running while the server restarted or the layer rested.
    fn go_on(&self, layer: &Layer, restarted: bool) {
        let path = PathBuf::from(format!("/{}", layer.pi));
        let overlay = self.roots.overlay_again(layer.pi, &layer.image).map_err(|error| error.to_string());
        match overlay.and_then(|overlay| self.export_layer(overlay, &path, None)) {
            Ok(_) => self.registry.emit(None, events::Root::Resumed { pi: layer.pi, restarted }),
            Err(error) => {
                let (pi, image, operation) = (layer.pi, layer.image.clone(), "serve again".into());
                self.registry.emit(None, events::Root::LayerFailed { pi, image, operation, error });
                // Another process may be copying the layer. The Pi repeats its call meanwhile.
                thread::sleep(TRY_AGAIN);
                self.restore(layer, restarted);
            }
        }
    }

    /// The export that is ready.
    fn find_ready(&self, id: u32) -> Option<Result<Arc<Export>, Absent>> {
        let table = self.table();
        let ready = table.get(&id)?;
        Some(match ready.layer.as_ref().map(|own| own.overlay.wake()) {
            None | Some(Ok(())) => Ok(ready.export.clone()),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(Absent::Unknown),
            Some(Err(_)) => Err(Absent::NotYet),
        })
    }

    /// Lets a layer wait for the Pi's next call, or forgets a removed layer.
    fn restore(&self, layer: &Layer, restarted: bool) {
        let id = layer.facts.export;
        match self.roots.state().layer(layer.pi, &layer.image).filter(|now| now.facts.export == id) {
            Some(layer) => lock(&self.waiting).insert(id, Waiting::For { layer, restarted }),
            None => lock(&self.waiting).remove(&id),
        };
    }
}

impl Exports for RootExports {
    fn mount(&self, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        self.0.mount(path, client)
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        let shared = &self.0;
        if let Some(found) = shared.find_ready(id) {
            return found;
        }
        let mut waiting = lock(&shared.waiting);
        let Some(place) = waiting.get_mut(&id) else {
            drop(waiting);
            // Another call may have woken the layer meanwhile.
            return shared.find_ready(id).unwrap_or(Err(Absent::Unknown));
        };
        if let Waiting::For { layer, restarted } = std::mem::replace(place, Waiting::UnderWay) {
            let (resumed, again) = (shared.clone(), Waiting::For { layer: layer.clone(), restarted });
            let started = task(&shared.registry, "resume root", move || resumed.go_on(&layer, restarted));
            if started.is_err() {
                *place = again;
            }
        }
        // A client repeats an unanswered call after seconds (Linux: NFS_JUKEBOX_RETRY_TIME, 5 s); a mount takes milliseconds.
        let under_way =
            |waiting: &mut HashMap<u32, Waiting>| matches!(waiting.get(&id), Some(Waiting::UnderWay));
        let waited = shared.served.wait_timeout_while(waiting, WAKES, under_way);
        drop(waited);
        shared.find_ready(id).unwrap_or(Err(Absent::NotYet))
    }

    fn permits(&self, export: &Export, client: Ipv4Addr) -> Permission {
        let Some(layer) = self.0.table().get(&export.id).map(|ready| ready.layer.clone()) else {
            return Permission::Later;
        };
        match layer {
            Some(own) => self.0.permit_layer(&own, client),
            None => self.0.permit_shared(export, client),
        }
    }

    /// Lists the client's own root only; a shared tree is listed for all.
    fn list(&self, client: Ipv4Addr) -> Vec<PathBuf> {
        match self.0.roots.mode() {
            NfsMode::Overlay => {
                let own = self.0.registry.name_at(client);
                own.into_iter().map(|pi| PathBuf::from(format!("/{pi}"))).collect()
            }
            _ => vec!["/".into()],
        }
    }

    fn maintain(&self) {
        let trees: Vec<_> = self.0.table().values().map(|ready| ready.export.tree.clone()).collect();
        for tree in trees {
            tree.maintain();
        }
        self.rest_after(IDLE);
        self.0.roots.watch_disk();
    }
}

impl fmt::Debug for ExportTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportTable").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// Tests whether the files in a directory have handles, which NFS needs.
pub(super) fn try_serving(directory: &Path) -> std::io::Result<()> {
    DirectoryTree::open(directory, 1).map(drop).map_err(std::io::Error::other)
}

fn denied(why: impl fmt::Display) -> MountError {
    MountError::new(MountErrorKind::Denied, why.to_string())
}

fn failed(why: impl fmt::Display) -> MountError {
    MountError::new(MountErrorKind::Failed, why.to_string())
}

fn first_name(path: &Path) -> Option<&str> {
    path.components().find_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cached open files of one Pi's root.
const OPEN_FILES: usize = 128;
/// Cached open files of a shared tree.
const OPEN_FILES_SHARED: usize = 1024;
/// Time without a call after which a layer rests: a running system calls more often, if only for its journal.
const IDLE: Duration = Duration::from_secs(300);
/// Time for which a call waits for its layer to be mounted.
const WAKES: Duration = Duration::from_millis(30);
/// Time after a mount within which UMNT takes the mount back.
const TRIAL: Duration = Duration::from_secs(60);
/// Time between two tries to mount a layer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MOST: usize = 4096;

//! Roots as NFS exports: who gets which, and who is turned away.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use pinetboot_core::pi::Prefix;
use tracing::{debug, error, info, warn};

use super::overlay::Overlay;
use super::{Golden, Layer, PiFacts, Roots};
use crate::config::{self, NfsMode};
use crate::nfs::{Absent, DirectoryTree, Export, Exports, MountError, MountErrorKind, Permission};
use crate::pis::{Pis, Stranger};

/// The roots of all Pis as exports.
#[derive(Debug)]
pub struct RootExports(Arc<Shared>);

struct Shared {
    roots: Arc<Roots>,
    pis: Pis,
    ready: RwLock<HashMap<u32, Ready>>,
    /// From before a restart: layers that Pis have handles of, not mounted yet.
    waiting: Mutex<HashMap<u32, Waiting>>,
    /// In mode `rw`, whose a tree is.
    owners: Mutex<HashMap<u32, Prefix>>,
    /// Who was found to be permitted what, and when.
    permitted: Mutex<HashMap<(u32, Ipv4Addr), Instant>>,
    /// What was refused, and when that was said.
    refused: Mutex<HashMap<(Ipv4Addr, PathBuf), Instant>>,
}

/// What can be served at once.
struct Ready {
    export: Arc<Export>,
    /// Whose layer it is; a tree that is shared has none.
    layer: Option<(Prefix, Arc<Overlay>)>,
}

enum Waiting {
    For(Layer),
    UnderWay,
}

impl RootExports {
    /// The exports of these roots; those from before a restart are found again.
    ///
    /// # Errors
    ///
    /// If a tree cannot be served.
    pub fn new(roots: Arc<Roots>, pis: Pis) -> Result<Self, String> {
        let shared = Shared {
            pis,
            ready: RwLock::default(),
            waiting: Mutex::default(),
            owners: Mutex::default(),
            permitted: Mutex::default(),
            refused: Mutex::default(),
            roots,
        };
        if shared.roots.mode() == NfsMode::Overlay {
            let layers = shared.roots.state().layers();
            let waiting = layers.into_iter().map(|layer| (layer.facts.export, Waiting::For(layer)));
            lock(&shared.waiting).extend(waiting);
        } else {
            for golden in shared.roots.goldens().all().map_err(|error| error.to_string())? {
                shared
                    .shared(&golden, Path::new("/"))
                    .map_err(|error| format!("cannot serve {} by NFS: {error}", golden.root.display()))?;
            }
        }
        Ok(Self(Arc::new(shared)))
    }
}

impl Shared {
    fn layer_of(&self, pi: Prefix, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, String> {
        let golden = self.roots.golden_for(Some(pi)).map_err(|error| error.to_string())?;
        let overlay = self
            .roots
            .overlay_for_root(pi, &golden, client)
            .map_err(|error| format!("cannot give {pi} a layer on {}: {error}", golden.root.display()))?;
        self.export_layer(overlay, path)
    }

    fn export_layer(&self, overlay: Arc<Overlay>, path: &Path) -> Result<Arc<Export>, String> {
        let (pi, id) = (overlay.layer().pi, overlay.layer().facts.export);
        let same =
            |ready: &Ready| ready.layer.as_ref().is_some_and(|(_, other)| Arc::ptr_eq(other, &overlay));
        if let Some(ready) = self.table().get(&id).filter(|ready| same(ready) && ready.export.path == path) {
            return Ok(ready.export.clone());
        }
        let tree = match self.table().get(&id).filter(|ready| same(ready)) {
            Some(ready) => ready.export.tree.clone(),
            None => Arc::new(
                DirectoryTree::open(&overlay.layer().merged(), OPEN_FILES)
                    .map_err(|error| error.to_string())?,
            ),
        };
        let export =
            Arc::new(Export { id, path: path.to_owned(), tree, read_only: false, root_squash: false });
        self.put(Ready { export: export.clone(), layer: Some((pi, overlay)) });
        Ok(export)
    }

    fn shared(&self, golden: &Golden, path: &Path) -> Result<Arc<Export>, String> {
        let id = golden.id();
        let there = self.table().get(&id).map(|ready| ready.export.clone());
        if let Some(export) = there.as_ref().filter(|export| export.path == path) {
            return Ok(export.clone());
        }
        let tree = match there {
            Some(export) => export.tree.clone(),
            None => Arc::new(
                DirectoryTree::open(&golden.root, OPEN_FILES_SHARED).map_err(|error| error.to_string())?,
            ),
        };
        let read_only = self.roots.mode() != NfsMode::Rw;
        let export = Arc::new(Export { id, path: path.to_owned(), tree, read_only, root_squash: false });
        self.put(Ready { export: export.clone(), layer: None });
        Ok(export)
    }

    /// Why this Pi may not have a tree that others have.
    fn claim(&self, golden: &Golden, pi: Prefix) -> Result<(), String> {
        if self.roots.mode() != NfsMode::Rw {
            return Ok(());
        }
        match *lock(&self.owners).entry(golden.id()).or_insert(pi) {
            owner if owner == pi => Ok(()),
            owner => Err(format!(
                "--nfs-mode rw is one tree for one Pi, and {owner} has it until this server ends; for several use overlay"
            )),
        }
    }

    fn put(&self, ready: Ready) {
        let mut table = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(ready.export.id, ready);
    }

    fn table(&self) -> std::sync::RwLockReadGuard<'_, HashMap<u32, Ready>> {
        self.ready.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, client: Ipv4Addr, path: &Path, why: &str, kind: MountErrorKind) -> MountError {
        let mut refused = lock(&self.refused);
        let now = Instant::now();
        refused.retain(|_, said| now.duration_since(*said) < SAY_AGAIN);
        let path_shown = path.display();
        if refused.len() >= MOST || refused.insert((client, path.to_owned()), now).is_some() {
            debug!(%client, path = %path_shown, "{client} does not get {path_shown}: {why}");
        } else {
            warn!(%client, path = %path_shown, "{client} does not get {path_shown}: {why}");
        }
        MountError::new(kind, why)
    }

    fn may(&self, export: &Export, client: Ipv4Addr) -> bool {
        let layer = self.table().get(&export.id).map(|ready| ready.layer.as_ref().map(|(pi, _)| *pi));
        match (layer, self.roots.mode()) {
            (None, _) => false,
            (Some(Some(pi)), _) => self.pis.is(pi, client).is_ok(),
            (Some(None), NfsMode::Rw) => {
                let Some(pi) = self.pis.name_at(client) else { return false };
                *lock(&self.owners).entry(export.id).or_insert(pi) == pi
            }
            (Some(None), _) => self.pis.name_at(client).is_some(),
        }
    }

    fn mount(&self, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        let refuse = |why: &str, kind| Err(self.refuse(client, path, why, kind));
        let named = first_name(path).and_then(|name| Some((config::pi(name)?, Path::new("/").join(name))));
        // Without a Pi's name in front, it is the root of whoever asks.
        let own = || Some((self.pis.name_at(client)?, PathBuf::from("/")));
        let Some((pi, export_path)) = named.or_else(own) else {
            return refuse(&Stranger::Unknown.to_string(), MountErrorKind::Denied);
        };
        if let Err(stranger) = self.pis.is(pi, client) {
            return refuse(&stranger.to_string(), MountErrorKind::Denied);
        }
        let export = if self.roots.mode() == NfsMode::Overlay {
            self.layer_of(pi, &export_path, client)
        } else {
            let golden = match self.roots.golden_for(Some(pi)) {
                Ok(golden) => golden,
                Err(error) => return refuse(&error.to_string(), MountErrorKind::Failed),
            };
            if let Err(why) = self.claim(&golden, pi) {
                return refuse(&why, MountErrorKind::Denied);
            }
            self.shared(&golden, &export_path)
        };
        match export {
            Ok(export) => {
                let name = self.roots.inventory().host_name(pi);
                let kept = self.roots.state().set_pi(pi, &PiFacts { address: Some(client), name });
                if let Err(error) = kept {
                    warn!("cannot keep for a restart that {pi} is at {client}: {error}");
                }
                info!(%client, pi = %pi, "{pi} ({client}) mounts its root");
                Ok(export)
            }
            Err(why) => {
                error!(%client, "{client} does not get {}: {why}", path.display());
                Err(MountError::new(MountErrorKind::Failed, why))
            }
        }
    }

    /// Makes a layer ready for a Pi that ran while the server was started anew.
    fn go_on(&self, layer: &Layer) {
        let path = PathBuf::from(format!("/{}", layer.pi));
        let overlay = self.roots.overlay_again(layer.pi, &layer.image).map_err(|error| error.to_string());
        match overlay.and_then(|overlay| self.export_layer(overlay, &path)) {
            Ok(export) => {
                info!(pi = %layer.pi, "{} goes on with its root", layer.pi);
                lock(&self.waiting).remove(&export.id);
            }
            Err(error) => {
                error!("cannot serve the layer of {} again: {error}", layer.pi);
                // Someone may be keeping a copy of it. The Pi asks again and again, and waits.
                thread::sleep(TRY_AGAIN);
                self.restore(layer);
            }
        }
    }

    /// Has a layer wait for its Pi to ask again; or forgets it, if it is gone.
    fn restore(&self, layer: &Layer) {
        let id = layer.facts.export;
        match self.roots.state().layer(layer.pi, &layer.image).filter(|now| now.facts.export == id) {
            Some(layer) => lock(&self.waiting).insert(id, Waiting::For(layer)),
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
        if let Some(ready) = shared.table().get(&id) {
            return match ready.layer.as_ref().map(|(_, overlay)| overlay.wake()) {
                None | Some(Ok(())) => Ok(ready.export.clone()),
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(Absent::Unknown),
                Some(Err(_)) => Err(Absent::NotYet),
            };
        }
        let mut waiting = lock(&shared.waiting);
        let Some(place) = waiting.get_mut(&id) else { return Err(Absent::Unknown) };
        if let Waiting::For(layer) = std::mem::replace(place, Waiting::UnderWay) {
            let shared = shared.clone();
            thread::spawn(move || shared.go_on(&layer));
        }
        Err(Absent::NotYet)
    }

    fn permits(&self, export: &Export, client: Ipv4Addr) -> Permission {
        let key = (export.id, client);
        let now = Instant::now();
        let shared = &self.0;
        if lock(&shared.permitted).get(&key).is_some_and(|then| now.duration_since(*then) < LOOK_AGAIN) {
            return Permission::Granted;
        }
        if !shared.may(export, client) {
            let why = "it has a handle of another's root, or is not known any more";
            shared.refuse(client, &export.path, why, MountErrorKind::Denied);
            return Permission::Denied;
        }
        let mut permitted = lock(&shared.permitted);
        if permitted.len() >= MOST {
            permitted.retain(|_, then| now.duration_since(*then) < LOOK_AGAIN);
        }
        permitted.insert(key, now);
        Permission::Granted
    }

    /// A Pi's own root, by its name; a tree for all is no secret.
    fn list(&self, client: Ipv4Addr) -> Vec<PathBuf> {
        match self.0.roots.mode() {
            NfsMode::Overlay => {
                let own = self.0.pis.name_at(client);
                own.into_iter().map(|pi| PathBuf::from(format!("/{pi}"))).collect()
            }
            _ => vec!["/".into()],
        }
    }

    fn tidy(&self) {
        let trees: Vec<_> = self.0.table().values().map(|ready| ready.export.tree.clone()).collect();
        for tree in trees {
            tree.tidy();
        }
        self.0.roots.rest_after(IDLE);
        let mut table = self.0.ready.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, ready| ready.layer.as_ref().is_none_or(|(_, overlay)| !overlay.is_detached()));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// Tries out whether files in a directory have handles, by which NFS knows them.
pub(super) fn try_serving(directory: &Path) -> std::io::Result<()> {
    DirectoryTree::open(directory, 1).map(drop).map_err(std::io::Error::other)
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

/// Open files of one Pi's root that are kept at hand.
const OPEN_FILES: usize = 128;
/// The same of a tree that many share.
const OPEN_FILES_SHARED: usize = 1024;
/// A nfsmount that is refused asks every second; that is said once a minute.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// For so long whoever was permitted is, without another look at who has which address.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A system that runs asks for something more often: its journal alone sees to that.
const IDLE: Duration = Duration::from_secs(300);
/// Until what could not be mounted is tried once more.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MOST: usize = 4096;

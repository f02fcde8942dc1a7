//! A server, and clients of it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nfs3_types::nfs3::nfs_fh3;
use nfs3_types::xdr_codec::Opaque;
use pinetboot_nfs::{
    Absent, Event, Export, Exports, FileId, Handles, MemoryTree, MountError, MountErrorKind, NfsConfig,
    Observer, OneExport, Permission, Portmap, Running,
};

use crate::nfs_client::Client;

pub(crate) const KEY: [u8; 16] = [7; 16];
pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) fn export(id: u32, path: &str) -> Export {
    Export {
        id,
        path: PathBuf::from(path),
        tree: Arc::new(MemoryTree::new(64 * MIB)),
        read_only: false,
        root_squash: false,
    }
}

/// For clients without privileges.
pub(crate) fn config() -> NfsConfig {
    let (listen, portmap) = (vec![Ipv4Addr::LOCALHOST], Portmap::Port(0));
    NfsConfig { listen, port: 0, portmap, insecure: true, ..NfsConfig::new(Handles::new(KEY)) }
}

pub(crate) fn serve(exports: impl Exports + 'static) -> Running {
    pinetboot_nfs::start(config(), Arc::new(exports)).unwrap()
}

/// A server of one export, a client of it, and its root.
pub(crate) fn world() -> (Running, Client, nfs_fh3) {
    let running = serve(OneExport::new(export(1, "/")));
    let mut client = Client::connect(running.port());
    let root = client.mount("/").unwrap();
    (running, client, root)
}

/// A handle as a server with this key makes it.
pub(crate) fn sealed(key: [u8; 16], export: u32, file: &FileId) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(Handles::new(key).seal(export, file)) }
}

/// All that a server told.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    /// Events of this kind, as `Debug` has them.
    pub(crate) fn of(&self, kind: &str) -> Vec<String> {
        let told = self.0.lock().unwrap();
        let inner =
            told.iter().filter_map(|event| event.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')'));
        inner.map(str::to_owned).collect()
    }
}

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

/// Waits until the condition holds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Two exports; the second is permitted only to a client that mounts `/own`, and not ready at first.
pub(crate) struct Two(
    pub(crate) Arc<Export>,
    pub(crate) Arc<Export>,
    pub(crate) std::sync::atomic::AtomicBool,
);

impl Exports for Two {
    fn mount(&self, path: &std::path::Path, _: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        match path.starts_with("/own") {
            true => Ok(self.1.clone()),
            false if path == std::path::Path::new("/secret") => {
                Err(MountError::new(MountErrorKind::Denied, "it is a secret"))
            }
            false => Ok(self.0.clone()),
        }
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        match id {
            1 => Ok(self.0.clone()),
            2 if self.2.load(std::sync::atomic::Ordering::SeqCst) => Ok(self.1.clone()),
            2 => Err(Absent::NotYet),
            _ => Err(Absent::Unknown),
        }
    }

    fn permits(&self, export: &Export, _: Ipv4Addr) -> Permission {
        match export.path.to_str() {
            Some("/closed") => Permission::Denied,
            Some("/later") => Permission::Later,
            _ => Permission::Granted,
        }
    }

    fn list(&self, _: Ipv4Addr) -> Vec<PathBuf> {
        vec![self.0.path.clone(), self.1.path.clone()]
    }
}

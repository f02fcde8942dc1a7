//! Served directories of this machine, for tests as root.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use pinetboot_nfs::{DirectoryTree, Export, Handles, NfsConfig, OneExport, Portmap, Running};

use crate::nfs_client::Client;

pub fn serve(directory: &Path, root_squash: bool) -> Running {
    serve_export(Export { root_squash, ..export(1, "/", directory, true) })
}

pub fn serve_export(export: Export) -> Running {
    pinetboot_nfs::start(config(), Arc::new(OneExport::new(export))).unwrap()
}

pub fn config() -> NfsConfig {
    let (listen, portmap) = (vec![Ipv4Addr::LOCALHOST], Portmap::Off);
    NfsConfig { listen, port: 0, portmap, ..NfsConfig::new(Handles::new([7; 16])) }
}

/// An export of a directory; `sync`: its changes are on stable storage when answered.
pub fn export(id: u32, path: &str, directory: &Path, sync: bool) -> Export {
    let tree =
        DirectoryTree::open(directory, 64).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let tree = Arc::new(tree.with_sync(sync));
    Export { id, path: path.into(), tree, read_only: false, root_squash: false }
}

/// Connects as a kernel does: from a source port below 1024, which the server requires by default.
pub fn connect(port: u16) -> Client {
    Client::connect_reserved(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// From here on the test has a private mount namespace.
pub fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    run("mount", &["--make-rprivate", "/"]);
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

//! The NFS server over loopback, on a tree in memory: what the protocols say, and what a hostile client gets. Takes no
//! privileges. What the kernel's files do behind it is in `nfs_directory.rs`.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod nfs_client;

#[path = "nfs/calls.rs"]
mod calls;
#[path = "nfs/files.rs"]
mod files;
#[path = "nfs/hostile.rs"]
mod hostile;
#[path = "nfs/mount.rs"]
mod mount;
#[path = "nfs/ports.rs"]
mod ports;
#[path = "nfs/told.rs"]
mod told;
#[path = "nfs/world.rs"]
mod world;

//! The NFS server over loopback, on a tree in memory: the protocols' replies, and the answers to a hostile client. Needs no
//! privileges. The behaviour of the kernel's files behind the server is in `nfs_directory.rs`.
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
#[path = "nfs/mounting.rs"]
mod mounting;
#[path = "nfs/ports.rs"]
mod ports;
#[path = "nfs/shares.rs"]
mod shares;
#[path = "nfs/told.rs"]
mod told;
#[path = "nfs/world.rs"]
mod world;

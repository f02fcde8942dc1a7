//! `pinetboot serve` under attack: hosts that forge, flood or hang the server, and a Pi that boots meanwhile. Counts of packets, bytes
//! and boots are compared, rather than times.
//!
//! Elsewhere: a stranger that wants the root of a Pi (`roots.rs`), floods of DISCOVERs and made-up Pis (`dhcp.rs`), calls, handles and
//! connections of NFS (`pinetboot-nfs`, `tests/nfs/hostile.rs`), boot files on a disk that hangs (`sick_disk.rs`).
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;
mod namespace;

#[path = "hostile/bounds.rs"]
mod bounds;
#[path = "hostile/crowds.rs"]
mod crowds;
#[path = "hostile/hung.rs"]
mod hung;
#[path = "hostile/world.rs"]
mod world;

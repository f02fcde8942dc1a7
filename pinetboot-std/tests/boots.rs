//! Boots that fail, and boots that do not, as packets of a simulated Pi to a real server in network namespaces: the log names the
//! rule of each failure, no other rule, and none in a healthy boot.
//!
//! `.ci/run boots` runs them: they need root and network namespaces. The server's clock of boots runs [`pi::RATE`] times as fast.

#![cfg(feature = "nfs")]
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "boots/four.rs"]
mod four;
#[path = "boots/frames.rs"]
mod frames;
#[path = "boots/healthy.rs"]
mod healthy;
#[path = "boots/late.rs"]
mod late;
#[path = "boots/lines.rs"]
mod lines;
#[cfg(feature = "web")]
#[path = "boots/live.rs"]
mod live;
mod namespace;
#[path = "../nfs/tests/nfs_client/mod.rs"]
mod nfs_client;
#[path = "boots/overheard.rs"]
mod overheard;
#[path = "boots/pi.rs"]
mod pi;
#[path = "boots/root.rs"]
mod root;
#[path = "boots/router.rs"]
mod router;
#[path = "boots/staged.rs"]
mod staged;
#[path = "boots/world.rs"]
mod world;

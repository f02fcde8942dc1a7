//! The core's traits on other crates' types, each adapter in a file and behind a feature.
//!
//! | module | feature | holds |
//! |---|---|---|
//! | `std` | `std` | a [`Net`](crate::Net) on a blocking UDP socket, a [`Storage`](crate::Storage) on a directory |
//! | `smoltcp_v0_14` | `smoltcp-v0.14` | a [`Net`](crate::Net) on a polled smoltcp interface |
//! | `edge_nal_v0_7` | `edge-nal-v0.7` | a [`Net`](crate::Net) on the UDP traits of edge-nal |
//! | `embedded_io_async_v0_7` | `embedded-io-async-v0.7` | a [`File`](crate::File) on what reads and seeks |
//! | `embedded_storage_async_v0_4` | `embedded-storage-async-v0.4` | a [`File`](crate::File) and an [`Upload`](crate::Upload) on a part of a NOR flash |
//!
//! The types of those crates are part of their adapter's API. A feature and a module therefore name the version: the next
//! version gets an adapter beside the old one, and programs that use neither notice nothing.

#[cfg(feature = "edge-nal-v0.7")]
pub mod edge_nal_v0_7;
#[cfg(feature = "embedded-io-async-v0.7")]
pub mod embedded_io_async_v0_7;
#[cfg(feature = "embedded-storage-async-v0.4")]
pub mod embedded_storage_async_v0_4;
#[cfg(feature = "smoltcp-v0.14")]
pub mod smoltcp_v0_14;
#[cfg(feature = "std")]
pub mod std;

//! An NBD server for disk images, with a private copy-on-write disk for each client.
//!
//! ```text
//! socket -> negotiation -> Exports -> transmission -> Disk: Image      a raw image, in place
//!                                                           Overlay    a base image, and what one machine changed (qcow2)
//! ```
//!
//! [`Server::start`] serves some [`Exports`] on listening sockets; the simplest are [`OneExport`]. An [`Image`] or an [`Overlay`] is a
//! [`Disk`], as is any other type that passes the suite `conformance` (feature `testing`). The server reports to an [`Observer`]
//! only.
//!
//! [`unpack`] makes a compressed image one of these. [`Initramfs`] lets the system of an image start from its served disk.
//!
//! The protocol, after `doc/proto.md` of the project NetworkBlockDevice/nbd: fixed newstyle; EXPORT_NAME, GO, INFO and LIST, which show a
//! client its own disks alone; simple and structured replies; READ, WRITE, FLUSH, FUA, TRIM, WRITE_ZEROES, CACHE, and BLOCK_STATUS with
//! `base:allocation`. MULTI_CONN is announced, because it holds: all connections to a disk share one `Disk`, which keeps no write
//! in memory of its own, and whose flush covers the writes of all. A flush returns once the data is on the storage device
//! (`fdatasync`).
//!
//! A client is bounded: its connections, the requests under way of each (8), and 256 KiB of memory for each of those, whatever
//! length it asks for. An idle connection has no thread.
//!
//! With the feature `tls`, `Server::start_with_tls` encrypts the connections of clients that ask for it, or refuses all others; a client's
//! certificate says that the client may connect, and [`Exports`] which disk it has.
//!
//! Not done: pre-shared keys; extended headers; resizing a disk while a client has it.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod boot;
mod channel;
#[cfg(feature = "testing")]
pub mod conformance;
mod counts;
mod disk;
mod exports;
mod fingerprint;
mod image;
mod initramfs;
#[cfg(feature = "testing")]
mod memory;
mod negotiation;
mod observe;
mod output;
mod overlay;
mod server;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
mod tls;
mod transmission;
mod trim;
mod unpack;
mod wire;

pub use counts::RequestCounts;
pub use disk::{Disk, DiskError, Extent, FileRange};
pub use exports::{Export, Exports, OneExport, Refused};
pub use fingerprint::Fingerprint;
pub use image::{Access, Image};
pub use initramfs::{Initramfs, InitramfsError, kernels};
pub use observe::{Event, Observer};
pub use overlay::{OpenError, Overlay};
pub use server::{Limits, Server};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
pub use unpack::unpack;

// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

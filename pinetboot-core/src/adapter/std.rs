//! The standard library's UDP sockets and files: enough for a tool or a test on any desktop system.
//!
//! ```no_run
//! use pinetboot_core::adapter::std::{Directory, UdpPort};
//! use pinetboot_core::block_on;
//! use pinetboot_core::tftp::{Limits, Server};
//!
//! let net = UdpPort::bind("0.0.0.0:69".parse().unwrap())?;
//! let mut places = [const { None }; 16];
//! let mut server = Server::<_, _, _, 16>::new(net, Directory::open("/srv/tftp")?, (), Limits::default(), &mut places);
//! match block_on(server.run())? {}
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! `Vec<u8>` is a [`File`](crate::File) and an [`Upload`](crate::Upload) too.
//!
//! Not done: a port for each transfer, batches of datagrams, uploads to a disk. The program `pinetboot` has them, on Linux.

mod directory;
mod memory;
mod udp;

pub use directory::{Directory, OpenFile};
pub use udp::UdpPort;

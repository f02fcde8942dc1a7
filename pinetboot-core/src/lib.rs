//! TFTP, DHCP and the Raspberry Pi's netboot rules: the engine of pinetboot, for servers, tools and firmware.
//!
//! The crate has no `std`, no allocation and no `unsafe`. Sockets, clock and files are the caller's, behind two small traits.
//!
//! # One way
//!
//! ```text
//! datagram -> Packet::parse -> machine.handle(now, ..) -> machine.poll(now) -> Step -> the caller's input and output
//! ```
//!
//! The machines, [`tftp::Sender`] and [`tftp::Receiver`], are values: the time is an argument, and the file's bytes never
//! pass through them. A DATA packet is "block n: `len` bytes at `offset`", read straight into the datagram:
//!
//! ```
//! use pinetboot_core::Instant;
//! use pinetboot_core::tftp::{Limits, Options, Packet, Sender, Step};
//!
//! fn serve(file: &[u8], asked: &Options, mut exchange: impl FnMut(&[u8]) -> Option<(Instant, Vec<u8>)>) {
//!     let mut sender = Sender::serve(&Limits::default().within(1472), asked, file.len() as u64);
//!     let (mut now, mut out) = (Instant::ZERO, [0; 1472]);
//!     loop {
//!         let len = match sender.poll(now) {
//!             Step::Send(packet) => packet.emit(&mut out).unwrap(),
//!             Step::SendData { block, offset, len } => {
//!                 let payload = &file[offset as usize..][..len as usize];
//!                 Packet::Data { block, payload }.emit(&mut out).unwrap()
//!             }
//!             Step::Wait { .. } | Step::Request(_) => 0,
//!             Step::Done(outcome) => return println!("{outcome:?}"),
//!         };
//!         let Some((at, datagram)) = exchange(&out[..len]) else { continue };
//!         now = at;
//!         if let Ok(packet) = Packet::parse(&datagram) {
//!             sender.handle(now, &packet);
//!         }
//!     }
//! }
//! # let mut acks = [0u8, 1].into_iter();
//! # serve(b"hello", &Options::RASPBERRY_PI, |_| {
//! #     acks.next().map(|n| (Instant::from_millis(n.into()), vec![0, 4, 0, n]))
//! # });
//! ```
//!
//! Few programs need that loop. [`tftp::Server`] runs it for many clients over a [`Net`] (the network) and a
//! [`Storage`] (the files), [`tftp::Client`] for one transfer from the other side; `examples/` has both on std sockets in
//! twenty lines each.
//!
//! # Modules
//!
//! | module | holds |
//! |---|---|
//! | [`tftp`] | packets, options, the two machines; [`tftp::Server`] and [`tftp::Client`], the loops around them |
//! | [`dhcp`] | messages, options, PXE; a proxy, a small server and a client, all pure; [`dhcp::Responder`], the loop around the first two |
//! | [`Net`], [`Storage`], [`Observer`] | the caller's parts: network and clock, files, and an observer of events |
//! | [`event`] | the events that an observer receives |
//! | [`adapter`] | the network and file traits on std, smoltcp, edge-nal, embedded-io and embedded-storage |
//! | [`pi`] | the Raspberry Pi's own rules: identity, models, prefixes and files, and the catalogue of failures |
//! | [`BootPath`] | a requested name, proven harmless |
//!
//! # Standards
//!
//! RFC 1350 (TFTP, revision 2), 1123 section 4.2 (its correction), 2347 (options), 2348 (`blksize`), 2349 (`timeout`,
//! `tsize`), 7440 (`windowsize`); 2131 and 2132 (DHCP), 3396 (long options), 4578 and PXE 2.1 (network boot).
//!
//! # Features
//!
//! `log`, `defmt` (log decisions, and `defmt::Format` for the public types), `std` and the adapters'
//! (see [`adapter`]), `testing` (the suites of `conformance`, which every network and every storage should pass). None is on by
//! default.
//!
//! The minimum Rust version is 1.88, and 1.91 with `smoltcp-v0.14`.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations, clippy::exhaustive_enums, clippy::exhaustive_structs)]

#[cfg(any(test, feature = "std"))]
extern crate std;

#[macro_use]
mod fmt;

pub mod adapter;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod dhcp;
pub mod event;
mod net;
mod observe;
mod path;
pub mod pi;
mod quota;
mod storage;
pub mod tftp;
mod time;

pub use net::{Datagram, ETHERNET_MAX_PAYLOAD, Net, block_on};
pub use observe::{Event, Observer};
pub use path::{BootPath, PathError};
pub use quota::Quota;
pub use storage::{
    File, NoUpload, OneOf, OpenError, OpenRequest, OutOfBounds, Refusal, Storage, Then, Upload,
};
pub use time::Instant;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

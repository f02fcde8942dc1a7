//! A netboot appliance for Raspberry Pis on a microcontroller: the part that is the same on every board.
//!
//! ```text
//! board (pins, clocks) -> W5500 -> w5500::Udp                 \
//! board (.., Ethernet driver) -> embassy-net Stack -> net::Pool -> Appliance: the core's Server and Responder
//! ```
//!
//! A board with an embassy-net stack calls `run` once the stack is up. Or a board gives each loop of an [`Appliance`] a task, which is
//! faster: a task is not polled when another one wakes. The protocol loops are those of `pinetboot-core`, on the core's network trait:
//! `net::Pool` has it on embassy-net, [`w5500::Udp`] on the sockets of that chip. `examples/tap.rs` runs the same on Linux.
//!
//! | module | holds |
//! |---|---|
//! | `net` | the pool of UDP sockets of embassy-net (feature `embassy-net`) |
//! | [`w5500`] | the Ethernet chip and its UDP sockets (feature `w5500`) |
//! | `interface`, `own_address` | the board's address and cable; the address by DHCP |
//! | [`archive`] | boot files in flash |
//! | [`config`], `configuration` | the settings, and the file that they are read from |
//! | [`card`], `fat` | boot files on a microSD card (feature `card`) |
//! | [`storage`] | the card before the flash |
//! | `status`, `board` | log lines and counters, the LED's patterns |
//! | `report`, `status_file`, `console` | what a board says of itself: as text, as a file, on a console |
//! | `page`, `mdns` | the report for a browser, the name `pinetboot.local` |
//! | `kept` | what survives a reset |
//! | `receive`, `update` | new boot files, received into flash |
//! | `search` | another DHCP server, looked for before addresses are leased |
//! | `boots` | boots that do not go on |
//! | `liveness` | the liveness of the loops, for the watchdog |
//! | `capacity` | the number of transfers |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod fmt;

mod answer;
mod appliance;
pub mod archive;
mod board;
mod boots;
#[cfg(test)]
mod cable;
mod capacity;
#[cfg(feature = "card")]
pub mod card;
mod configuration;
mod console;
#[cfg(any(feature = "card", feature = "w5500"))]
mod doorbell;
#[cfg(feature = "card")]
mod fat;
mod interface;
mod kept;
mod liveness;
#[cfg(any(feature = "embassy-net", feature = "w5500"))]
mod mdns;
#[cfg(feature = "embassy-net")]
pub mod net;
mod own_address;
#[cfg(any(feature = "embassy-net", feature = "w5500"))]
mod page;
mod port;
mod receive;
mod report;
mod search;
#[cfg(feature = "embassy-net")]
mod stack;
mod status;
mod status_file;
pub mod storage;
mod trees;
mod update;
#[cfg(feature = "w5500")]
pub mod w5500;
#[cfg(test)]
mod year;

pub use appliance::Appliance;
pub use board::Board;
pub use capacity::TRANSFERS;
pub use configuration::Text;
pub use console::{Action, Console};
#[cfg(any(feature = "card", feature = "w5500"))]
pub use doorbell::Doorbell;
pub use interface::Interface;
pub use kept::{Kept, KeptBytes};
pub use liveness::Liveness;
#[cfg(feature = "embassy-net")]
pub use net::SOCKETS;
pub use pinetboot_config as config;
pub use port::Port;
pub use receive::{NoFlash, Updates};
pub use report::{CardState, Start};
#[cfg(feature = "embassy-net")]
pub use stack::{Memory, run};
pub use update::{NewArchive, Region, UpdateError};

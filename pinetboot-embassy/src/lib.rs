//! A netboot appliance for Raspberry Pis on a microcontroller: the part that is the same on every board.
//!
//! ```text
//! board (pins, clocks, Ethernet driver) -> embassy-net Stack -> run(): Pool -> the core's Server and Responder
//! ```
//!
//! A board calls [`run`] once its network stack is up. Or the board gives each loop of an [`Appliance`] a task, which is
//! faster: a task is not polled when another one wakes. The protocol loops are those of `pinetboot-core`, on [`net::Pool`],
//! the core's network trait on embassy-net. `examples/tap.rs` runs the same on Linux.
//!
//! | module | holds |
//! |---|---|
//! | [`net`] | the pool of UDP sockets |
//! | [`w5500`], [`frames`] | the Ethernet chip, and frames on their way to it and from it (feature `w5500`) |
//! | [`archive`] | boot files in flash |
//! | [`config`], `configuration` | the settings, and the file that they are read from |
//! | [`card`], `fat` | boot files on a microSD card (feature `card`) |
//! | [`storage`] | the card before the flash |
//! | `status`, `board` | log lines and counters, the LED's patterns |
//! | `report`, `status_file`, `console` | what a board says of itself: as text, as a file, on a console |
//! | `kept` | what survives a reset |
//! | `receive`, `update` | new boot files, received into flash |
//! | `search` | another DHCP server, looked for before addresses are leased |
//! | `boots` | boots that do not go on |
//! | `liveness` | the liveness of the loops, for the watchdog |
//! | `capacity` | the numbers of transfers and sockets |
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
mod capacity;
#[cfg(feature = "card")]
pub mod card;
mod configuration;
mod console;
#[cfg(feature = "card")]
mod fat;
#[cfg(feature = "w5500")]
pub mod frames;
mod kept;
mod liveness;
pub mod net;
mod receive;
mod report;
#[expect(dead_code, reason = "until the network of port 68 is there")]
mod search;
mod status;
mod status_file;
pub mod storage;
mod trees;
mod update;
#[cfg(feature = "w5500")]
pub mod w5500;
#[cfg(test)]
mod year;

pub use appliance::{Appliance, Memory, run};
pub use board::Board;
pub use capacity::{SOCKETS, TRANSFERS};
pub use configuration::Text;
pub use console::{Action, Console};
pub use kept::{Kept, KeptBytes};
pub use liveness::Liveness;
pub use pinetboot_config as config;
pub use receive::{NoFlash, Updates};
pub use report::{CardState, Start};
pub use update::{NewArchive, Region, UpdateError};

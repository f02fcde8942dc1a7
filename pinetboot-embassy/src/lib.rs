//! A netboot appliance for Raspberry Pis on a microcontroller: all of it that is the same on every board.
//!
//! ```text
//! board (pins, clocks, Ethernet driver) -> embassy-net Stack -> run(): Pool -> the core's Server and Responder
//! ```
//!
//! [`run`] is what a board calls once its network stack is there. Or it gives each loop of an [`Appliance`] a task of its
//! own: then none of them is looked at when another is woken, which is quicker. There is no protocol loop here: those of
//! `pinetboot-core` run on [`net::Pool`], the core's network trait on embassy-net. `examples/tap.rs` runs the same on Linux.
//!
//! | module | holds |
//! |---|---|
//! | [`net`] | the pool of UDP sockets |
//! | [`w5500`], [`frames`] | the Ethernet chip, and frames on their way to it and from it (feature `w5500`) |
//! | [`archive`] | boot files in flash |
//! | [`config`], `configuration` | what can be configured, and where that is read |
//! | [`card`], `fat` | boot files on a microSD card (feature `card`) |
//! | [`storage`] | the one before the other |
//! | `status`, `board` | what the logs and the LED say |
//! | `liveness` | what the watchdog is fed by |
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
mod capacity;
#[cfg(feature = "card")]
pub mod card;
mod configuration;
#[cfg(feature = "card")]
mod fat;
#[cfg(feature = "w5500")]
pub mod frames;
mod liveness;
pub mod net;
mod status;
pub mod storage;
mod trees;
#[cfg(feature = "w5500")]
pub mod w5500;

pub use appliance::{Appliance, Memory, run};
pub use board::Board;
pub use capacity::{SOCKETS, TRANSFERS};
pub use configuration::Text;
pub use liveness::Liveness;
pub use pinetboot_config as config;

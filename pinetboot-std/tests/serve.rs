//! `pinetboot serve` and `pinetboot get` as processes: their output, their end, and their refusals.
//!
//! Needs nothing but Rust and Linux: ports are free ones of 127.0.0.0/8, and nothing sleeps: a test waits for the line
//! or the packet that it is about.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod common;

#[path = "serve/crowd.rs"]
mod crowd;
#[path = "serve/files.rs"]
mod files;
#[path = "serve/fleet.rs"]
mod fleet;
#[path = "serve/get.rs"]
mod get;
#[path = "serve/log.rs"]
mod log;
#[path = "serve/peers.rs"]
mod peers;
#[path = "serve/process.rs"]
mod process;
#[path = "serve/render.rs"]
mod render;
#[path = "serve/supervision.rs"]
mod supervision;
#[path = "serve/threads.rs"]
mod threads;
#[path = "serve/uploads.rs"]
mod uploads;
#[path = "serve/wire.rs"]
mod wire;

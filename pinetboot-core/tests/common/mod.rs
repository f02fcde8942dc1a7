//! What the tests share: packets as text, scripts that read like a capture, files in memory.
#![allow(dead_code, unused_imports, reason = "every test uses its own part")]

pub(crate) mod keeping;
pub(crate) mod lab;
pub(crate) mod memory;
pub(crate) mod rng;
pub(crate) mod script;
pub(crate) mod tape;
pub(crate) mod watch;
pub(crate) mod wire;
pub(crate) mod world;

pub(crate) use lab::{End, Lab, play_client};
pub(crate) use memory::Memory;
pub(crate) use tape::play;
pub(crate) use wire::{bytes, content, options, show};

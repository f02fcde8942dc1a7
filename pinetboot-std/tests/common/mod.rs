//! The parts that the tests of the real program share: the program as a process, trees of files, and clients.
#![allow(dead_code, unused_imports, reason = "every test uses its own part")]

pub(crate) mod crowd;
pub(crate) mod device_tree;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod held_thread;
pub(crate) mod json;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod sick_disk;

pub(crate) use crowd::Crowd;
pub(crate) use fetch::{Fetch, fetch};
pub(crate) use files::{Folder, content, difference};
pub(crate) use held_thread::HeldThread;
pub(crate) use peer::Peer;
pub(crate) use process::{Ended, Process, Serving, pinetboot, run};
pub(crate) use sick_disk::{Operation, SickDisk};

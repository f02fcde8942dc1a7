//! pinetboot (docs follow)
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod exit;
pub mod net;
pub mod storage;

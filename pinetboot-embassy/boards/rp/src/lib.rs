//! What the boards of this family have in common.
#![no_std]

mod mapped;

pub use mapped::archive;

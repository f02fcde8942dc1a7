//! The part of FAT16, FAT32 and exFAT that boot files need: finding files and reading them (Microsoft's FAT specification,
//! version 1.03, and its exFAT specification, revision 1.00).
//!
//! No byte of a card is trusted: no content makes this module panic, loop without end or read outside the volume.
//! Contiguous clusters are read at once, since a card takes longer to begin than to go on.
//!
//! `embedded-sdmmc`, which speaks to the card, has a file system too, for single files at a time: it opens none twice, reads
//! one block after the other, knows no exFAT, and a damaged card makes it panic.
//!
//! Not done: writing; FAT12; a second FAT where the first cannot be read; names in other scripts than Latin that differ in
//! case alone; exFAT files whose end was never written.

mod blocks;
mod error;
mod exfat;
mod find;
mod names;
mod volume;

pub(crate) use blocks::Blocks;
pub(crate) use error::Error;
pub(crate) use find::find;
pub(crate) use volume::{Chain, Entry, Volume};

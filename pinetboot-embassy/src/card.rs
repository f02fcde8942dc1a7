//! Boot files on a microSD card: the board-independent part.
//!
//! The module has two sides, on an RP2040 one on each core, since a card's driver blocks. [`CardReader`] has the card: it
//! opens files and fills chunks of memory. [`Card`] connects the sides and is a [`Storage`] to the server: while one chunk is
//! sent the next is read, so that the card's latency hides behind the client's.
//!
//! A user may pull the card out and put it back at any time. Reading goes on only if the card and the file's directory entry
//! are unchanged; else the transfer ends with an ERROR. A card that fails ends it too, unless it can be read more slowly.
//!
//! A slot in which nothing answers has no card, and so no files. A card that answers and has no readable volume is a fault:
//! files that may be on it are refused as unreadable, not as missing.
//!
//! Not done: writing; more than the first partition with a file system that is known here.

mod files;
mod reader;
mod shared;

pub use files::{CardFile, Files, ReadError};
pub use reader::{CardReader, Removable};
pub use shared::{Card, Chunks};

#[cfg(test)]
mod tests;

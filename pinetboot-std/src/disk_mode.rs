//! The modes of disks, which settings, the inventory and events name.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The place of what a Pi writes to the disk that its image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskMode {
    /// In a private copy-on-write disk on this server; the image itself does not change
    #[default]
    Private,
    /// In the Pi's memory, until the Pi restarts; the image is read-only, and any number of Pis share it
    Ram,
    /// In the image itself, which one Pi has
    Rw,
}

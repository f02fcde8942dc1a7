//! What the registry concludes about a Pi's boot, and what is made of boot files on the way.

use std::time::Duration;

use pinetboot_core::pi::{PiIdentity, Prefix, Stage};
use serde::{Deserialize, Serialize};

use super::Mac;

/// What happened in a Pi's boot.
#[derive(Debug, Clone, PartialEq)]
pub enum Boot {
    /// A boot began.
    Began {
        /// Its number: 1 for the first since the Pi is known.
        number: u32,
        /// What showed it.
        by: Cause,
    },
    /// The first file of a stage was sent.
    Stage {
        /// Which stage.
        stage: Stage,
        /// Seconds since the boot began.
        seconds: f64,
    },
    /// The kernel was sent: the bootloader asks for nothing more.
    KernelSent {
        /// The boot's number.
        number: u32,
        /// Files sent.
        files: u32,
        /// Bytes sent.
        bytes: u64,
        /// Seconds since the first request.
        seconds: f64,
        /// Seconds since the first DISCOVER.
        since_dhcp: Option<f64>,
        /// Boot files that were asked for and are not there.
        missing: u32,
        /// Packets sent more than once.
        resent: u32,
    },
    /// The kernel runs: its DHCP client asks for an address, with the bootloader's MAC address and no PXE.
    KernelAsks {
        /// Seconds since the kernel was sent.
        seconds: f64,
    },
    /// The client asked for several files of which it needs one, got none of them, and asks for nothing more.
    Stopped {
        /// Which stage they belong to.
        stage: Stage,
        /// The names.
        files: Vec<String>,
        /// The silence, in seconds.
        seconds: f64,
    },
    /// Two boards have one serial number.
    SameSerial {
        /// The serial number.
        serial: Prefix,
        /// The MAC address of the board that the serial number's root belongs to.
        owner: Mac,
        /// The MAC address of the other board.
        other: Mac,
        /// The name by which the other board is told apart.
        apart: Prefix,
    },
    /// A file was made for this Pi.
    Rendered {
        /// The Pi, if it is known.
        pi: Option<Prefix>,
        /// Whether the token of the Pi's boot is in it.
        token: bool,
        /// Its name without the Pi's directory.
        file: String,
        /// What was changed in it, besides filling in values.
        changes: Option<String>,
        /// Values that were to be filled in and are not known.
        unknown: Vec<&'static str>,
    },
    /// A file that would be made for this Pi is too long for that, and was sent as it is.
    NotRendered {
        /// Its name without the Pi's directory.
        file: String,
        /// The longest that is looked into, in bytes.
        limit: u64,
    },
    /// There are no boot files for this client.
    NothingToServe {
        /// Why.
        why: String,
    },
    /// There is no root file system for this Pi.
    NoRoot {
        /// Why.
        why: String,
    },
}

/// What shows that a boot began.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A DISCOVER with a new transaction id.
    Discover {
        /// The client's hardware address, as text.
        hardware: String,
        /// What it says of itself.
        identity: PiIdentity,
    },
    /// A request for a file of the first stage, after a kernel or as the first of all.
    Request,
}

/// A boot that is over, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct BootRecord {
    /// Its number.
    pub number: u32,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// Files sent.
    pub files: u32,
    /// Bytes sent.
    pub bytes: u64,
    /// Boot files that were not there.
    pub missing: u32,
    /// The last stage that was reached.
    pub stage: Option<String>,
    /// Whether the kernel was sent.
    pub kernel: bool,
    /// Whether the root was mounted.
    pub mounted: bool,
    /// From the first sign to the mount, or to the last file, in milliseconds.
    pub took_ms: u64,
}

impl BootRecord {
    /// How long it took.
    pub const fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms)
    }
}

//! Facts about a Pi's boot: conclusions of the registry, and rendered boot files.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::pi::boot::{RootLine, Verdict};
use pinetboot_core::pi::{PiIdentity, Prefix, Stage};
use serde::{Deserialize, Serialize};

use super::Mac;

/// A fact about a Pi's boot.
#[derive(Debug, Clone, PartialEq)]
pub enum Boot {
    /// A boot began.
    Began {
        /// The boot's number: 1 for the first known boot of the Pi.
        number: u32,
        /// The message that began it.
        by: Cause,
    },
    /// The bootloader has an address.
    HasAddress {
        /// The address.
        address: Ipv4Addr,
    },
    /// The first file of a stage was sent.
    Stage {
        /// The stage.
        stage: Stage,
        /// Seconds since the boot began.
        seconds: f64,
    },
    /// The kernel was sent: the bootloader's part is over.
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
        /// DHCP is heard here, and no message of this Pi came.
        dhcp_unused: bool,
        /// The names of the largest files, without directories.
        largest: Vec<String>,
        /// Requested boot files that do not exist.
        missing: u32,
        /// Those of them that are in every complete tree, or that config.txt names.
        wanted: Vec<String>,
        /// Packets sent more than once.
        resent: u32,
    },
    /// The kernel runs: its DHCP client requested an address, with the bootloader's MAC address and without PXE.
    KernelAsks {
        /// Seconds since the kernel was sent.
        seconds: f64,
    },
    /// The system runs from its root.
    Up {
        /// Seconds since the boot began.
        seconds: f64,
    },
    /// The boot does not go on.
    Stuck {
        /// The boot's number.
        number: u32,
        /// The rules, and what was seen.
        verdict: Verdict,
        /// Seconds since the Pi's last message.
        seconds: f64,
        /// The missing files, or the reason of a refusal.
        details: Vec<String>,
    },
    /// A boot that was stuck goes on.
    GoesOn {
        /// The boot's number.
        number: u32,
        /// What was told of it.
        verdict: Verdict,
        /// Seconds of silence.
        seconds: f64,
    },
    /// The command line that the client gets names a root.
    CommandLine {
        /// The place of the root.
        root: RootLine,
    },
    /// Two boards have one serial number.
    SameSerial {
        /// The serial number.
        serial: Prefix,
        /// The MAC address of the board that the serial number's root belongs to.
        owner: Mac,
        /// The MAC address of the other board.
        other: Mac,
        /// The name of the other board.
        apart: Prefix,
    },
    /// A file was rendered for this Pi.
    Rendered {
        /// The Pi, if known.
        pi: Option<Prefix>,
        /// Whether the file holds the token of the Pi's boot.
        token: bool,
        /// The file name without the Pi's directory.
        file: String,
        /// The changes besides filled-in values.
        changes: Option<String>,
        /// Unknown values, left empty.
        unknown: Vec<&'static str>,
    },
    /// A file was too long to be rendered, and was sent unchanged.
    NotRendered {
        /// The file name without the Pi's directory.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The client gets no boot files.
    NothingToServe {
        /// The reason.
        why: String,
    },
    /// The Pi gets no root file system.
    NoRoot {
        /// The reason.
        why: String,
    },
}

/// A boot of a Pi, the same in all events of the boot: `bd989ae1.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootKey {
    /// The Pi.
    pub pi: Prefix,
    /// The boot's number.
    pub number: u32,
}

impl fmt::Display for BootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pi, self.number)
    }
}

/// The message that begins a boot.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A DISCOVER with a new transaction id.
    Discover {
        /// The client's hardware address, as text.
        hardware: String,
        /// The client's identity (option 97).
        identity: PiIdentity,
    },
    /// A request for a file of the first stage, after a kernel or as the first request.
    Request,
}

/// The record of a boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct BootRecord {
    /// The boot's number.
    pub number: u32,
    /// Beginning, in seconds since 1970.
    pub began: u64,
    /// Files sent.
    pub files: u32,
    /// Bytes sent.
    pub bytes: u64,
    /// Requested boot files that did not exist.
    pub missing: u32,
    /// The last stage.
    pub stage: Option<String>,
    /// Whether the kernel was sent.
    pub kernel: bool,
    /// The kernel's file, without its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_file: Option<String>,
    /// Whether the root was mounted.
    pub mounted: bool,
    /// Milliseconds from the first message to the mount, or to the last file.
    pub took_ms: u64,
}

impl BootRecord {
    /// The duration of the boot.
    pub const fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms)
    }
}

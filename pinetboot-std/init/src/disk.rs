//! The disk: negotiated with the server, then given to the kernel as `/dev/nbd0`.

mod device;
mod negotiation;

use std::fmt;
use std::io;
use std::net::TcpStream;

use pinetboot_core::pi::rules::{DISK_REFUSED, DISK_SERVER_SILENT, Rule};

pub(crate) use device::Device;

/// A negotiated connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    pub(crate) export: Export,
}

/// What the server says of the export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// Bytes.
    pub(crate) len: u64,
    /// The transmission flags.
    pub(crate) flags: u16,
    /// pinetboot's server names the boot of its kernel: after another boot, writes that were answered may be gone.
    pub(crate) description: Option<String>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoSession {
    /// The server is not reached, or breaks off.
    Unreachable(io::Error),
    /// The server refuses the export, in these words.
    Refused(String),
    /// The peer does not speak NBD's fixed newstyle.
    Foreign(&'static str),
}

impl NoSession {
    /// The rule of the catalogue.
    pub(crate) const fn rule(&self) -> &'static Rule {
        match self {
            Self::Unreachable(_) | Self::Foreign(_) => &DISK_SERVER_SILENT,
            Self::Refused(_) => &DISK_REFUSED,
        }
    }
}

impl From<io::Error> for NoSession {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl fmt::Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => {
                write!(
                    f,
                    "the server is not reached: {error}. Check that it runs, and that no firewall drops NBD"
                )
            }
            Self::Refused(why) => write!(
                f,
                "the server refuses the disk: {why}. Another machine may have it, or the secret in cmdline.txt is of an earlier boot"
            ),
            Self::Foreign(what) => {
                write!(f, "the server is no NBD server: {what}. Check the address in pinetboot.disk=")
            }
        }
    }
}

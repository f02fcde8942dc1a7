//! Settings and configuration of the NFS root.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::exit::{Exit, Failed};
use crate::space::{Reserve, Size};

/// The way in which Pis share a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NfsMode {
    /// Each Pi has its own copy-on-write layer on the tree; the tree itself does not change
    #[default]
    Overlay,
    /// All Pis read the same tree, and write to their memory (overlayroot)
    SharedRo,
    /// One Pi has the tree read-write
    Rw,
    /// No NFS: boot files only
    Off,
}

/// The time at which changes of names and attributes are on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NfsSync {
    /// Before the answer (RFC 1813, section 4.7)
    #[default]
    On,
    /// Within seconds of the answer: a power cut of the server loses changes that a Pi relies on
    Off,
}

/// Configuration of the NFS root.
#[derive(Debug, Clone, PartialEq)]
pub struct RootConfig {
    /// The root file system; `None`: the roots of the imported images.
    pub nfs: Option<PathBuf>,
    /// The way in which Pis share it.
    pub mode: NfsMode,
    /// The state directory; `None`: the default.
    pub state: Option<PathBuf>,
    /// The TCP port of NFS and MOUNT.
    pub nfs_port: u16,
    /// Whether clients may use source ports above 1023.
    pub nfs_insecure: bool,
    /// Whether NFS is served by UDP too.
    pub nfs_udp: bool,
    /// Whether changes of names and attributes are on stable storage when they are answered.
    pub nfs_sync: NfsSync,
    /// Whether file numbers have 32 bits.
    pub nfs_short_numbers: bool,
    /// The port of the portmapper; `None`: port 111, or the system's portmapper if that holds the port.
    pub portmap_port: Option<u16>,
    /// Whether cmdline.txt and config.txt are rewritten for the NFS root.
    pub rewrite: bool,
    /// The limits of layers.
    pub limits: RootLimits,
}

/// The limits of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootLimits {
    /// Pis with a layer, 1 to 4096, besides those of the inventory.
    pub max_pis: usize,
    /// The size of a layer; `None`: no limit.
    pub max_root_size: Option<Size>,
    /// The space that Pis leave free on the disk.
    pub reserve: Reserve,
}

impl Default for RootLimits {
    fn default() -> Self {
        Self { max_pis: MAX_PIS, max_root_size: None, reserve: Reserve::default() }
    }
}

impl RootConfig {
    /// The NFS configuration of these settings.
    ///
    /// # Errors
    ///
    /// If settings contradict each other.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failed> {
        let mode = settings.nfs_mode.unwrap_or_default();
        if mode == NfsMode::Off
            && let Some(nfs) = &settings.nfs
        {
            let message =
                format!("--nfs {} and --nfs-mode off contradict each other: remove one", nfs.display());
            return Err(Failed::new(Exit::Usage, message));
        }
        let max_pis = settings.max_pis.unwrap_or(MAX_PIS);
        if !(1..=MOST_PIS).contains(&max_pis) {
            return Err(Failed::new(Exit::Usage, "max-pis must be from 1 to 4096"));
        }
        let reserve = Reserve::new(settings.disk_reserve);
        Ok(Self {
            limits: RootLimits { max_pis, max_root_size: settings.max_root_size, reserve },
            nfs: settings.nfs.clone(),
            mode,
            state: settings.state.clone(),
            nfs_port: settings.nfs_port.unwrap_or(NFS_PORT),
            nfs_insecure: settings.nfs_insecure.unwrap_or(false),
            nfs_udp: settings.nfs_udp.unwrap_or(false),
            nfs_sync: settings.nfs_sync.unwrap_or_default(),
            nfs_short_numbers: match settings.nfs_inode_bits.unwrap_or(64) {
                64 => false,
                32 => true,
                _ => return Err(Failed::new(Exit::Usage, "nfs-inode-bits must be 64 or 32")),
            },
            portmap_port: settings.portmap_port,
            rewrite: !settings.no_rewrite.unwrap_or(false),
        })
    }
}

/// The registered port of NFS (RFC 1813, section 2.1).
const NFS_PORT: u16 = 2049;
/// The default limit of Pis: a rack of a thousand.
const MAX_PIS: usize = 1024;
/// The limit of known Pis.
const MOST_PIS: usize = 4096;

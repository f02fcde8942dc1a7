//! What the NFS root goes by.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::exit::{Exit, Failed};

/// How Pis share a root file system, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NfsMode {
    /// Each Pi has the tree with changes of its own: nothing that one writes is seen by another, nor in the tree
    #[default]
    Overlay,
    /// All read the same tree, and keep what they write in their memory (overlayroot)
    SharedRo,
    /// One Pi has the tree itself, and writes to it
    Rw,
    /// No NFS: boot files only
    Off,
}

/// Which root file system is served, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct RootConfig {
    /// The tree; the imported image's unless named.
    pub nfs: Option<PathBuf>,
    /// How it is shared.
    pub mode: NfsMode,
    /// Where each Pi's own files are kept, if that was said.
    pub state: Option<PathBuf>,
    /// The port of NFS and MOUNT.
    pub nfs_port: u16,
    /// Whether clients may use source ports above 1023.
    pub nfs_insecure: bool,
    /// Whether NFS is there by UDP, too.
    pub nfs_udp: bool,
    /// The port of the port mapper; `None`: the only one where Pis look for it, shared with the system's if need be.
    pub portmap_port: Option<u16>,
    /// Whether boot files are made to fit a root by NFS.
    pub rewrite: bool,
}

impl RootConfig {
    /// What the settings say about the root.
    ///
    /// # Errors
    ///
    /// If one makes no sense without another.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failed> {
        let mode = settings.nfs_mode.unwrap_or_default();
        if mode == NfsMode::Off
            && let Some(nfs) = &settings.nfs
        {
            let message =
                format!("--nfs {} names a root to serve, and --nfs-mode off says not to", nfs.display());
            return Err(Failed::new(Exit::Usage, message));
        }
        Ok(Self {
            nfs: settings.nfs.clone(),
            mode,
            state: settings.state.clone(),
            nfs_port: settings.nfs_port.unwrap_or(NFS_PORT),
            nfs_insecure: settings.nfs_insecure.unwrap_or(false),
            nfs_udp: settings.nfs_udp.unwrap_or(false),
            portmap_port: settings.portmap_port,
            rewrite: !settings.no_rewrite.unwrap_or(false),
        })
    }
}

/// Where everyone looks for NFS.
const NFS_PORT: u16 = 2049;

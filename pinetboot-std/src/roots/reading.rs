//! Looks into a Pi's layer for an operator: the log of its system, and the root as the Pi sees it.

use std::io;
#[cfg(feature = "web")]
use std::path::Path;

use super::layer::Layer;
#[cfg(feature = "web")]
use super::overlayfs::{detach, mount_to_read, own_namespace};
use crate::exit::{Exit, Failed};
use crate::system_log::{self, SystemLog};

impl Layer {
    /// The log of a boot that the Pi wrote in the layer, as journalctl counts boots. The base image's own log is none of this Pi.
    ///
    /// # Errors
    ///
    /// If the layer has no log, or the boot is not in it.
    pub(crate) fn system_log(&self, boot: i32) -> Result<SystemLog, Failed> {
        let upper = self.upper();
        let failed = |error: io::Error| Failed::new(Exit::Failure, format!("{}: {error}", upper.display()));
        SystemLog::read(&system_log::Directory::open(&upper).map_err(failed)?, boot)
    }

    /// Calls `look` with the directory of the Pi's root, mounted read-only in a mount namespace of this process.
    ///
    /// # Errors
    ///
    /// The missing requirement, as text.
    #[cfg(feature = "web")]
    pub(crate) fn with_root<T>(&self, look: impl FnOnce(&Path) -> T) -> io::Result<T> {
        own_namespace()?;
        mount_to_read(&self.facts.root, &self.upper(), &self.merged())?;
        let found = look(&self.merged());
        detach(&self.merged());
        Ok(found)
    }
}

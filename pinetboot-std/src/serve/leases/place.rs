//! The place of the lease file: by default in the state directory.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::config::{Config, LeaseConfig};
use crate::roots::default_state;

/// The place of the lease file, and the lock on it.
#[derive(Debug)]
pub(in crate::serve) struct LeasePlace {
    file: PathBuf,
    /// In the default directory: the state directory above.
    state: Option<PathBuf>,
    /// Held until the process ends.
    _lock: Option<File>,
}

impl LeasePlace {
    /// The place of a configuration; makes the default directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made, or another process has its leases there.
    pub(in crate::serve) fn of(config: &Config, leases: &LeaseConfig) -> io::Result<Self> {
        if let Some(file) = &leases.file {
            return Ok(Self { file: file.clone(), state: None, _lock: None });
        }
        let state = config.root.state.clone();
        let state = state.unwrap_or_else(|| default_state(config.tree.as_deref()).dir().to_owned());
        let directory = state.join(DIRECTORY);
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
        DirBuilder::new().recursive(true).mode(0o755).create(&directory).map_err(at)?;
        if geteuid().is_root() {
            // From the user of an earlier run, who could put links there.
            lchown(&directory, Some(0), Some(0)).map_err(at)?;
        }
        let lock = File::open(&directory).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("another pinetboot keeps its leases in {}", directory.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
        Ok(Self { file: directory.join(FILE), state: Some(state), _lock: Some(lock) })
    }

    /// The lease file.
    pub(in crate::serve) fn file(&self) -> &Path {
        &self.file
    }

    /// Gives the default directory to the user and the group that the server becomes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(in crate::serve) fn give_to(&self, (user, group): (u32, u32)) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        // The state of Pis beneath is readable by root only, each part by itself.
        let mode = fs::metadata(state)?.permissions().mode();
        if mode & ENTER != ENTER {
            fs::set_permissions(state, fs::Permissions::from_mode(mode | ENTER))?;
        }
        let directory = state.join(DIRECTORY);
        for path in [directory.join(FILE), directory] {
            match lchown(&path, Some(user), Some(group)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }
}

const DIRECTORY: &str = "dhcp";
const FILE: &str = "leases";
/// Search permission for all.
const ENTER: u32 = 0o111;

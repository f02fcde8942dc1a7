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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config(text: &str) -> (Config, LeaseConfig) {
        let settings: Settings = toml::from_str(&format!("tree = '.'\ndhcp = 'lease'\n{text}")).unwrap();
        let config = settings.resolve().unwrap();
        let Some(crate::config::DhcpConfig { role: crate::config::Role::Lease(leases), .. }) =
            config.dhcp.clone()
        else {
            panic!()
        };
        (config, leases)
    }

    #[test]
    fn by_default_the_file_is_in_the_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let (config, leases) = config(&format!("state = '{}'", state.display()));
        let place = LeasePlace::of(&config, &leases).unwrap();
        assert_eq!(place.file(), state.join("dhcp/leases"));
        assert!(state.join("dhcp").is_dir());
        let second = LeasePlace::of(&config, &leases).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
        drop(place);
        assert!(LeasePlace::of(&config, &leases).is_ok());
    }

    #[test]
    fn a_file_of_ones_own_is_where_it_is_named() {
        let (config, leases) = config("lease-file = '/srv/leases'");
        assert_eq!(LeasePlace::of(&config, &leases).unwrap().file(), Path::new("/srv/leases"));
    }

    #[test]
    fn others_may_enter_a_state_directory_for_their_leases() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        DirBuilder::new().mode(0o700).create(&state).unwrap();
        let (config, leases) = config(&format!("state = '{}'", state.display()));
        let place = LeasePlace::of(&config, &leases).unwrap();
        place.give_to((65534, 65534)).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o711);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(state.join("dhcp")).unwrap().uid(), 65534);
    }
}

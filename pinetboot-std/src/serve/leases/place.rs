//! The place of the lease file: by default in the state directory.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, fchown, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use rustix::thread::CapabilitySet;

use crate::config::{Config, LeaseConfig};
use crate::roots::configured;
use crate::sandbox::lacking;

/// The place of the lease file.
#[derive(Debug)]
pub(in crate::serve) struct LeasePlace {
    file: PathBuf,
    /// The default directory, locked until the process ends. Its file is reached by this descriptor: only root may enter the state
    /// directory above.
    directory: Option<File>,
}

impl LeasePlace {
    /// A file that the configuration names.
    pub(super) const fn named(file: PathBuf) -> Self {
        Self { file, directory: None }
    }

    /// The place of a configuration; makes the default directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made, or another process has its leases there.
    pub(in crate::serve) fn of(config: &Config, leases: &LeaseConfig) -> io::Result<Self> {
        if let Some(file) = &leases.file {
            return Ok(Self::named(file.clone()));
        }
        let directory = configured::state(config).dir().join(DIRECTORY);
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(at)?;
        if geteuid().is_root() {
            // From the user of an earlier run, who could put links there.
            lchown(&directory, Some(0), Some(0)).map_err(with_remedy).map_err(at)?;
        }
        let opened = File::open(&directory).map_err(at)?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = format!("another pinetboot keeps its leases in {}", directory.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
        Ok(Self { file: directory.join(FILE), directory: Some(opened) })
    }

    /// The lease file, for messages.
    pub(in crate::serve) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the server has the file in its default directory.
    pub(in crate::serve) const fn is_default(&self) -> bool {
        self.directory.is_some()
    }

    /// The path by which this process reaches the file.
    pub(in crate::serve) fn at(&self) -> PathBuf {
        match &self.directory {
            Some(directory) => PathBuf::from(format!("/proc/self/fd/{}/{FILE}", directory.as_raw_fd())),
            None => self.file.clone(),
        }
    }

    /// Gives the default directory to the user and the group that the server becomes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(in crate::serve) fn give_to(&self, (user, group): (u32, u32)) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        match lchown(self.at(), Some(user), Some(group)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(with_remedy)?,
        }
        fchown(directory, Some(user), Some(group)).map_err(with_remedy)
    }
}

/// The error of a change of the owner, with the missing capability.
fn with_remedy(error: io::Error) -> io::Error {
    match lacking(CapabilitySet::CHOWN) {
        Some(lacking) => io::Error::new(error.kind(), format!("{error}. This requires {lacking}")),
        None => error,
    }
}

const DIRECTORY: &str = "dhcp";
const FILE: &str = "leases";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

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
    fn the_directory_changes_hands_and_the_state_above_stays_closed() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        DirBuilder::new().mode(0o700).create(&state).unwrap();
        let (config, leases) = config(&format!("state = '{}'", state.display()));
        let place = LeasePlace::of(&config, &leases).unwrap();
        fs::write(place.at(), "").unwrap();
        place.give_to((65534, 65534)).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        for path in [state.join("dhcp"), state.join("dhcp/leases")] {
            assert_eq!(fs::metadata(&path).unwrap().uid(), 65534, "{}", path.display());
        }
    }
}

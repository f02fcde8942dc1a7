//! The files that remain to a process (landlock(7)).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Missing;

/// Directories with all beneath them, and files. The process connects to no TCP port and binds none, and signals no process outside
/// of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// Paths to read.
    pub read: Vec<PathBuf>,
    /// Directories whose files are read, made, replaced and removed.
    pub write: Vec<PathBuf>,
}

impl Paths {
    /// Whether a path is beneath one to read.
    pub fn can_read(&self, path: &Path) -> bool {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.read.iter().chain(&self.write).any(|known| path.starts_with(known))
    }

    /// Whether a path is beneath one to write to.
    pub fn can_write(&self, path: &Path) -> bool {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.write.iter().any(|known| path.starts_with(known))
    }

    pub(super) fn restrict(&self) -> Result<(), Missing> {
        let status = self.apply().map_err(|error| missing(&error))?;
        match status {
            // Partly: an older kernel. Linux 5.13 knows files, 6.7 TCP, 6.12 signals.
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => {
                Err(missing(&"this kernel has no landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK)"))
            }
        }
    }

    fn apply(&self) -> Result<RulesetStatus, RulesetError> {
        let all = AccessFs::from_all(KNOWN);
        let mut ruleset = Ruleset::default()
            .handle_access(all)?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let reads = self.read.iter().map(|path| (path, READ));
        let writes = self.write.iter().map(|path| (path, READ | WRITE));
        for (path, access) in reads.chain(writes) {
            // A path that is missing now cannot be opened later: the reload says so.
            let Ok(fd) = PathFd::new(path) else { continue };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
        Ok(ruleset.restrict_self()?.ruleset)
    }
}

/// Leaves all files, and forbids new TCP ports and signals to other processes: on Linux before 6.7 and 6.12 not.
pub(super) fn restrict_network_and_signals() {
    let restrict = || {
        let ruleset =
            Ruleset::default().handle_access(AccessNet::from_all(KNOWN))?.scope(Scope::from_all(KNOWN))?;
        ruleset.create()?.restrict_self()
    };
    let _an_older_kernel: Result<_, RulesetError> = restrict();
}

fn missing(why: &dyn std::fmt::Display) -> Missing {
    Missing { part: "landlock", why: why.to_string() }
}

const READ: BitFlags<AccessFs> = landlock::make_bitflags!(AccessFs::{ReadFile | ReadDir});
const WRITE: BitFlags<AccessFs> =
    landlock::make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | RemoveFile | Refer});

/// Linux 6.12: files, devices, TCP, abstract sockets and signals.
const KNOWN: ABI = ABI::V6;

//! The files that remain to a process (landlock(7)).

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, PathFdError, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Missing;

/// Directories with all beneath them, and files. The process connects to no TCP port and binds none but those named, and signals no
/// process outside of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// Paths to read.
    pub read: Vec<PathBuf>,
    /// Directories whose files are read, made, replaced and removed; files that are read and written.
    pub write: Vec<PathBuf>,
    /// The same, and directories are made and removed beneath them.
    pub own: Vec<PathBuf>,
    /// TCP ports to listen on.
    pub ports: Vec<u16>,
}

impl Paths {
    /// Whether a path is beneath one to read.
    pub fn can_read(&self, path: &Path) -> bool {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.read.iter().chain(&self.write).chain(&self.own).any(|known| path.starts_with(known))
    }

    /// Whether a path is beneath one to write to.
    pub fn can_write(&self, path: &Path) -> bool {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.write.iter().any(|known| path.starts_with(known))
    }

    /// Opens the paths, while the process may enter the directories above them.
    pub(super) fn open(&self) -> Result<Rules, Missing> {
        let created = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))
            .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(KNOWN)))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(KNOWN)))
            .and_then(Ruleset::create);
        let mut rules = created.map_err(|error| missing(&error))?;
        let reads = self.read.iter().map(|path| (path, READ));
        let writes = self.write.iter().map(|path| (path, READ | WRITE));
        let owns = self.own.iter().map(|path| (path, READ | WRITE | OWN));
        for (path, access) in reads.chain(writes).chain(owns) {
            let fd = match PathFd::new(path) {
                Ok(fd) => fd,
                // A path that is missing now cannot be opened later: the reload says so.
                Err(PathFdError::OpenCall { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                Err(error) => return Err(missing(&error)),
            };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
            rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(|error| missing(&error))?;
        }
        for port in &self.ports {
            let rule = NetPort::new(*port, AccessNet::BindTcp);
            rules = rules.add_rule(rule).map_err(|error| missing(&error))?;
        }
        Ok(Rules(rules))
    }
}

/// The rules of opened paths.
pub(super) struct Rules(RulesetCreated);

impl Rules {
    /// Puts the rules in force for this thread and the threads that it starts.
    pub(super) fn restrict(self) -> Result<(), Missing> {
        match self.0.restrict_self().map_err(|error| missing(&error))?.ruleset {
            // Partly: an older kernel. Linux 5.13 knows files, 6.7 TCP, 6.12 signals.
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => {
                Err(missing(&"this kernel has no landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK)"))
            }
        }
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

const OWN: BitFlags<AccessFs> = landlock::make_bitflags!(AccessFs::{MakeDir | RemoveDir});

/// Linux 6.12: files, devices, TCP, abstract sockets and signals.
const KNOWN: ABI = ABI::V6;

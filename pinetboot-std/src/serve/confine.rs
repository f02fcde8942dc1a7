//! The sandbox of the server: given up is all that TFTP, DHCP and NFS do not need once their sockets and trees are open.

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use rustix::thread::CapabilitySet;

use super::leases::LeasePlace;
use crate::bus::Bus;
use crate::config::{Config, NfsMode};
use crate::events::Server;
use crate::exit::{Exit, Failed};
use crate::roots::{BaseImages, BootRoots, configured};
use crate::sandbox::{self, Account, Calls, Missing, OWN_USER, Paths, Remains, lacking};

/// The disks: their directory, and their ports.
#[cfg(feature = "disk")]
type Disks<'a> = Option<&'a super::disks::Bound>;
#[cfg(not(feature = "disk"))]
type Disks<'a> = Option<&'a ()>;

/// Enters the sandbox. Call this while the process has one thread, with all privileged sockets open. Returns the files that remain.
///
/// # Errors
///
/// If the user cannot be taken on, or a part of a required sandbox is missing.
pub(super) fn confine(
    config: &Config,
    file: Option<&Path>,
    leases: Option<&LeasePlace>,
    roots: Option<&BootRoots>,
    disks: Disks<'_>,
    lacks: &[(String, String)],
    bus: &Bus,
) -> Result<Option<Paths>, Failed> {
    let base_images = roots.map(BootRoots::base_images);
    #[cfg_attr(not(feature = "disk"), expect(unused_mut, reason = "disks add to them"))]
    let mut paths = paths(config, file, leases, base_images);
    #[cfg(feature = "disk")]
    if let Some(disks) = disks {
        paths.own.push(disks.disks().place().path().to_owned());
        paths.ports = disks.ports_of_interfaces();
    }
    let (account, mut missing) = account(config, file, leases, disks)?;
    let user = account.as_ref().map(|account| account.name.clone());
    let capabilities = CapabilitySet::empty();
    let remains = Remains { account, capabilities, paths: Some(paths), calls: Calls::Network };
    let entered = sandbox::enter(&remains).map_err(|error| {
        let to_change_user = CapabilitySet::SETGID | CapabilitySet::SETUID;
        let lacking = remains.account.is_some().then(|| lacking(to_change_user)).flatten();
        let why = match (lacking, &remains.account) {
            (Some(lacking), Some(account)) => {
                format!("to become the user {} requires {lacking}. Or start as that user", account.name)
            }
            _ => format!("cannot give up privileges: {error}"),
        };
        Failed::new(Exit::Failure, why)
    })?;
    missing.extend(entered);
    let lacks = of_both(missing, lacks);
    if config.require_sandbox
        && let Some((part, why)) = lacks.first()
    {
        let message = format!("--require-sandbox: the sandbox lacks its part {part}: {why}");
        return Err(Failed::new(Exit::Failure, message));
    }
    let landlocked = !lacks.iter().any(|(part, _)| part == "landlock");
    for (part, why) in lacks {
        bus.emit(None, Server::SandboxLacks { part, why });
    }
    bus.emit(None, Server::Confined { user });
    Ok(remains.paths.filter(|_| landlocked))
}

/// Refuses a configuration with directories outside of the sandbox.
///
/// # Errors
///
/// The directory.
pub(super) fn check(config: &Config, paths: &Paths) -> Result<(), Failed> {
    let outside = trees(config).find(|tree| !paths.can_read(tree));
    let uploads = config.allow_upload.as_deref().filter(|uploads| !paths.can_write(uploads));
    match outside.or(uploads) {
        None => Ok(()),
        Some(outside) => Err(Failed::new(
            Exit::Tree,
            format!(
                "{} is outside of the directories that the sandbox left to the server at its start: restart the server",
                outside.display()
            ),
        )),
    }
}

/// The user to become, and the missing user if the server stays root.
fn account(
    config: &Config,
    file: Option<&Path>,
    leases: Option<&LeasePlace>,
    disks: Disks<'_>,
) -> Result<(Option<Account>, Vec<Missing>), Failed> {
    let give = |ids| {
        #[cfg(feature = "disk")]
        disks.map_or(Ok(()), |disks| disks.disks().place().give_to(ids)).map_err(|error| {
            Failed::new(Exit::Failure, format!("cannot change the owner of the disks: {error}"))
        })?;
        #[cfg(not(feature = "disk"))]
        let _none = disks;
        let given = leases.map_or(Ok(()), |leases| leases.give_to(ids));
        given.map_err(|error| {
            Failed::new(Exit::Failure, format!("cannot change the owner of the lease file: {error}"))
        })
    };
    let named = |name: &str| {
        Account::named(name)
            .map_err(|error| Failed::new(Exit::Failure, format!("cannot look up the user {name}: {error}")))
    };
    let mut reads: Vec<_> = trees(config).map(Path::to_owned).chain(file.map(Path::to_owned)).collect();
    let images = configured::images(config)?;
    if let Some(images) = &images {
        let images = images.list().map_err(|error| Failed::new(Exit::Tree, error))?;
        reads.extend(images.into_iter().map(|image| image.boot));
    }
    // Images are open to root's group.
    let with_groups = |account: Account| match images {
        Some(_) if !account.is_root() => account.with_group_of_root(),
        _ => account,
    };
    // The default lease file is reached by a descriptor.
    let named_leases = leases.filter(|leases| !leases.is_default()).map(|leases| directory_of(leases.file()));
    let writes = config.allow_upload.clone().into_iter().chain(named_leases);
    let writes: Vec<_> = writes.chain(config.written_images()).collect();
    let Some(name) = &config.user else {
        if !geteuid().is_root() {
            return Ok((None, Vec::new()));
        }
        let account = named(OWN_USER)?.unwrap_or_else(Account::without_files);
        let account = with_groups(account);
        give(account.ids())?;
        return match account.check(&reads, &writes) {
            Ok(()) => Ok((Some(account), Vec::new())),
            Err(no_access) => {
                give(ROOT)?; // root without capabilities is one of the others
                Ok((None, vec![missing_user(&format!("user {} {no_access}", account.name))]))
            }
        };
    };
    let account = named(name)?
        .ok_or_else(|| Failed::new(Exit::Usage, format!("--user {name}: /etc/passwd has no such user")))?;
    if account.is_root() {
        return Ok((None, Vec::new()));
    }
    let account = with_groups(account);
    if !geteuid().is_root() {
        return Err(Failed::new(Exit::Usage, format!("--user {name}: only root can become another user")));
    }
    give(account.ids())?;
    account.check(&reads, &writes).map_err(|no_access| {
        let message = format!(
            "user {name} {no_access}. Grant the access with chmod or chown, or choose another user with --user"
        );
        Failed::new(Exit::Tree, message)
    })?;
    Ok((Some(account), Vec::new()))
}

/// The files of TFTP and DHCP.
fn paths(
    config: &Config,
    file: Option<&Path>,
    leases: Option<&LeasePlace>,
    base_images: Option<&BaseImages>,
) -> Paths {
    let mut read: Vec<PathBuf> = vec![NEIGHBOURS.into()];
    for tree in trees(config) {
        // A directory that replaces the tree, or is named instead of it, is served after SIGHUP: those beside the tree.
        let tree = tree.canonicalize().unwrap_or_else(|_| tree.to_owned());
        let above = tree.parent().filter(|above| above.parent().is_some());
        read.push(above.unwrap_or(&tree).to_owned());
    }
    if let Some(base_images) = base_images {
        // A link may lead out of the directory of images.
        read.extend(base_images.all().into_iter().flatten().map(|base_image| base_image.boot_dir()));
    }
    if base_images.is_some() && config.root.mode == NfsMode::Overlay {
        // Boot files in a layer: by descriptors from the process of NFS, as only root may enter the directory.
        read.push(configured::state(config).dir().to_owned());
    }
    // An editor replaces the file, and a rule follows the file, not the name.
    read.extend(file.map(directory_of));
    let leases = leases.map(|leases| directory_of(leases.file()));
    let write = config.allow_upload.clone().into_iter().chain(leases).chain(config.written_images());
    let write = write.map(|path| path.canonicalize().unwrap_or(path)).collect();
    Paths { read, write, ..Paths::default() }
}

fn missing_user(why: &str) -> Missing {
    Missing { part: "user", why: why.to_owned() }
}

fn trees(config: &Config) -> impl Iterator<Item = &Path> {
    let shared = config.tree.as_deref().or(config.root.nfs.as_deref());
    let own = config.inventory.tables().flat_map(|(_, entry)| [&entry.tree, &entry.disk]);
    shared.into_iter().chain(config.disk.image.as_deref()).chain(own.filter_map(Option::as_deref))
}

fn directory_of(file: &Path) -> PathBuf {
    if file.is_dir() {
        return file.canonicalize().unwrap_or_else(|_| file.to_owned());
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    directory.canonicalize().unwrap_or_else(|_| directory.to_owned())
}

/// The missing parts of both processes, each part once.
fn of_both(missing: Vec<Missing>, lacks: &[(String, String)]) -> Vec<(String, String)> {
    let mut all: Vec<_> = missing.into_iter().map(|Missing { part, why }| (part.to_owned(), why)).collect();
    for (part, why) in lacks {
        if !all.iter().any(|(known, _)| known == part) {
            all.push((part.clone(), format!("{why} (NFS)")));
        }
    }
    all
}

/// The user and the group of root.
const ROOT: (u32, u32) = (0, 0);
/// The process's view of the neighbour table is here, for kernels that name no single entry.
const NEIGHBOURS: &str = "/proc";

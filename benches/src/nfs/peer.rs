//! The NFS servers that are compared: how each is found and started.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nfs3_types::nfs3::nfs_fh3;

use super::client::Client;
use crate::Failed;
use crate::rows;
use crate::server::Server;
use crate::world;

/// A server that the harness can start.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) version: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// `serve` of this commit, in this `--nfs-mode`, with these further arguments.
    Pinetboot(&'static str, &'static [&'static str]),
    /// `serve` of another build, at this path.
    Other(PathBuf),
    Ganesha,
}

/// The wanted servers, or all installed ones.
pub(super) fn find(wanted: &[String], before: Option<&Path>) -> Result<(Vec<Peer>, Vec<String>), Failed> {
    let ours = |name, kind| Peer { name, version: env!("CARGO_PKG_VERSION").into(), kind };
    let mut found = vec![
        ours(PINETBOOT, Kind::Pinetboot("rw", &[])),
        ours(SYNC_OFF, Kind::Pinetboot("rw", &["--nfs-sync", "off"])),
        ours(OVERLAY, Kind::Pinetboot("overlay", &[])),
    ];
    found.extend(before.map(|before| ours(BEFORE, Kind::Other(before.into()))));
    let mut absent = Vec::new();
    match ganesha_version() {
        Some(version) => found.push(Peer { name: GANESHA, version, kind: Kind::Ganesha }),
        None => absent.push(format!("{GANESHA}: apt-get install nfs-ganesha-vfs rpcbind")),
    }
    Ok((rows::wanted(found, wanted)?, absent))
}

/// Makes an empty tree to serve, and the directories that pinetboot needs.
pub(crate) fn tree(place: &Path) -> Result<PathBuf, Failed> {
    let tree = place.join("tree");
    let failed = |error| format!("cannot write {}: {error}", tree.display());
    fs::create_dir_all(tree.join("boot/firmware")).map_err(failed)?;
    fs::create_dir_all(tree.join("etc")).map_err(failed)?;
    fs::write(tree.join("boot/firmware/config.txt"), "arm_64bit=1\n").map_err(failed)?;
    Ok(tree)
}

/// Removes the state that a server kept beside the tree.
pub(crate) fn forget(place: &Path) {
    let _none_yet = fs::remove_dir_all(state(place));
}

impl rows::Server for Peer {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        &self.version
    }
}

impl Peer {
    /// Starts the server, and waits until MNT succeeds: a server may answer before its portmapper knows its port.
    pub(super) fn start(&self, place: &Path, tree: &Path) -> Result<Server, Failed> {
        let command = match &self.kind {
            Kind::Pinetboot(mode, further) => of_this_commit(mode, further, place, tree)?,
            Kind::Other(program) => pinetboot(world::at_server(program), "rw", &[], place, tree)?,
            Kind::Ganesha => ganesha(place, tree)?,
        };
        Server::spawn(self.name, command, || self.mount(tree).is_ok())
    }

    /// Mounts the served tree.
    pub(super) fn mount(&self, tree: &Path) -> Result<(Client, nfs_fh3), Failed> {
        match self.kind {
            Kind::Pinetboot(..) | Kind::Other(_) => Client::mount("/"),
            Kind::Ganesha => Client::mount(&tree.to_string_lossy()),
        }
    }
}

/// `serve` of this commit, which gives a Pi its root in this `--nfs-mode`.
pub(crate) fn of_this_commit(
    mode: &str,
    further: &[&str],
    place: &Path,
    tree: &Path,
) -> Result<Command, Failed> {
    let mut command = world::at_server(env::current_exe().unwrap_or_default());
    command.arg("pinetboot");
    pinetboot(command, mode, further, place, tree)
}

/// pinetboot knows the client by address; the client's ports are any.
fn pinetboot(
    mut command: Command,
    mode: &str,
    further: &[&str],
    place: &Path,
    tree: &Path,
) -> Result<Command, Failed> {
    let config = place.join("pinetboot.toml");
    write(&config, "[pi.bd989ae1]\naddress = \"10.77.0.2\"\n")?;
    command
        .args(["serve", "--quiet", "--nfs-insecure", "--nfs-mode", mode])
        .args(further)
        .arg("--nfs")
        .arg(tree);
    command.arg("--state").arg(state(place)).arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

/// NFS-Ganesha needs a portmapper, which goes into the background when it listens, and a directory for its own files; its log has
/// only the reason why it does not start.
fn ganesha(place: &Path, tree: &Path) -> Result<Command, Failed> {
    let (config, script) = (place.join("ganesha.conf"), place.join("ganesha.sh"));
    write(&config, &GANESHA_CONFIG.replace("TREE", &tree.to_string_lossy()))?;
    write(&script, GANESHA_SCRIPT)?;
    let mut command = world::at_server("sh");
    command.arg(script).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn state(place: &Path) -> PathBuf {
    place.join("state")
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

pub(crate) fn ganesha_version() -> Option<String> {
    let output = Command::new("ganesha.nfsd").arg("-v").output().ok()?;
    Command::new("rpcbind").arg("-h").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().next().map(|line| line.trim().to_owned())
}

/// Over TCP, as root; all other settings are the defaults.
pub(crate) const GANESHA_CONFIG: &str = "\
NFS_CORE_PARAM { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
LOG { Default_Log_Level = WARN; }
EXPORT { Export_Id = 1; Path = TREE; Pseudo = TREE; Protocols = 3; Transports = TCP; Access_Type = RW; \
Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; } }
";

const GANESHA_SCRIPT: &str = "\
mkdir -p /run/ganesha
rpcbind
exec ganesha.nfsd -F -L /run/ganesha/log -f \"$1\" -p /run/ganesha/pid
";

pub(super) const PINETBOOT: &str = "pinetboot";
/// Directory operations are answered from memory, as NFS-Ganesha's are: FSAL_VFS calls fsync for WRITE and COMMIT only
/// (FSAL_VFS/file.c), and never in handle.c, which has create, mkdir, unlink, rename and link (nfs-ganesha at c9ff03b).
pub(super) const SYNC_OFF: &str = "pinetboot, sync off";
const BEFORE: &str = "pinetboot, before";
pub(super) const OVERLAY: &str = "pinetboot, overlay";
pub(super) const GANESHA: &str = "nfs-ganesha";

//! The NBD servers that are compared: how each is found and started.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pinetboot_disk::Overlay;

use super::client::{Client, Nbd};
use super::load::{DISKS, PIECE, fill};
use super::nfs_root::{self, NfsRoot};
use super::row::Size;
use crate::Failed;
use crate::peer::PINETBOOT;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pinetboot,
    NbdServer,
    Nbdkit,
    QemuNbd,
    /// `serve` with a root over NFS: files in the place of a disk.
    NfsRoot,
}

/// The wanted servers, or all installed ones; those that are not installed.
pub(super) fn find(wanted: &[String]) -> Result<(Vec<Peer>, Vec<String>), Failed> {
    let ours = |name, kind| Peer { name, version: env!("CARGO_PKG_VERSION").into(), kind };
    let mut found = vec![ours(PINETBOOT, Kind::Pinetboot), ours(NFS_ROOT, Kind::NfsRoot)];
    let mut absent = Vec::new();
    for (name, kind, how) in [
        ("nbd-server", Kind::NbdServer, "apt-get install nbd-server"),
        (NO_FLUSH, Kind::Nbdkit, "apt-get install nbdkit"),
        ("qemu-nbd", Kind::QemuNbd, "apt-get install qemu-utils"),
    ] {
        match Command::new(name).arg("-V").output() {
            Ok(said) => {
                let said = [said.stdout, said.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                let version = said.lines().next().unwrap_or_default().trim().to_owned();
                found.push(Peer { name, version, kind });
            }
            Err(_) => absent.push(format!("{name}: {how}")),
        }
    }
    Ok((rows::wanted(found, wanted)?, absent))
}

/// Makes the image.
pub(super) fn base(place: &Path, size: Size) -> Result<PathBuf, Failed> {
    let path = place.join("base.img");
    let failed = |error| format!("cannot write {}: {error}", path.display());
    let mut file = fs::File::create(&path).map_err(failed)?;
    let mut piece = vec![7; PIECE as usize];
    for number in 0..3 * size.area / PIECE {
        fill(&mut piece, number * PIECE, 0);
        file.write_all(&piece).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(path)
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
    /// Connects a client with its disk. The others serve one export to all clients: nbd-server with a file of changes for each
    /// connection, nbdkit and qemu-nbd with the same for all, which costs them least.
    pub(super) fn connect(&self, client: usize, size: Size) -> Result<Box<dyn Client>, Failed> {
        Ok(match self.kind {
            Kind::Pinetboot => Box::new(Nbd::connect(&format!("disk-{client}"))?),
            Kind::NbdServer | Kind::Nbdkit | Kind::QemuNbd => Box::new(Nbd::connect("disk-0")?),
            Kind::NfsRoot => Box::new(NfsRoot::mount(size.area)?),
        })
    }

    /// Makes new disks without changes.
    pub(super) fn prepare(&self, place: &Path, base: &Path, size: Size) -> Result<(), Failed> {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path != base {
                let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                removed.map_err(|error| format!("cannot remove what the last server had: {error}"))?;
            }
        }
        let count = match self.kind {
            Kind::Pinetboot => DISKS,
            Kind::QemuNbd => 1,
            Kind::NbdServer | Kind::Nbdkit | Kind::NfsRoot => 0,
        };
        for number in 0..count {
            let path = place.join(format!("disk-{number}.qcow2"));
            Overlay::create(&path, base, 3 * size.area).map_err(|error| format!("no overlay: {error}"))?;
        }
        let config = format!(
            "[generic]\nuser = root\ngroup = root\nmax_threads = 16\n[disk-0]\nexportname = {}\ncopyonwrite = true\ncowdir = {}\nflush = true\nfua = true\n",
            base.display(),
            place.display()
        );
        fs::write(place.join("nbd.conf"), config).map_err(|error| format!("no configuration: {error}").into())
    }

    /// Starts the server, and waits until it has a disk for a client.
    pub(super) fn start(&self, place: &Path, base: &Path, size: Size) -> Result<Server, Failed> {
        let text = |path: &Path| path.display().to_string();
        let (disk, config) = (text(&place.join("disk-0.qcow2")), text(&place.join("nbd.conf")));
        let image = text(base);
        let script = match self.kind {
            Kind::Pinetboot => {
                let program = env::current_exe().unwrap_or_default();
                format!("exec {} disk-server {}", program.display(), place.display())
            }
            // Goes into the background.
            Kind::NbdServer => format!("nbd-server -C {config} && exec sleep 1000000"),
            Kind::Nbdkit => format!("exec nbdkit -f -p 10809 --filter=cow file {image}"),
            Kind::QemuNbd => {
                format!("exec qemu-nbd -f qcow2 -x disk-0 -p 10809 -e 300 -t --cache=writeback {disk}")
            }
            Kind::NfsRoot => {
                let command = nfs_root::server(place, base)?;
                return Server::spawn(self.name, command, || self.connect(0, size).is_ok());
            }
        };
        let mut command = world::at_server("sh");
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null());
        Server::spawn(self.name, command, || self.connect(0, size).is_ok())
    }
}

pub(super) const NFS_ROOT: &str = "pinetboot, NFS root";
/// Its filter cow answers a flush without fsync or fdatasync: strace shows none (nbdkit 1.32.5).
pub(super) const NO_FLUSH: &str = "nbdkit";

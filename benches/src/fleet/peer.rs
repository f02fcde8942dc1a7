//! The servers of a fleet: DHCP, TFTP and NFS together.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use nfs3_types::{mount, nfs3};

use super::SCOUT;
use super::dhcp::serial;
use super::root::INIT_LEN;
use super::shown;
use crate::Failed;
use crate::nfs::client::Client;
use crate::nfs::peer::{GANESHA_CONFIG, ganesha_version};
use crate::server::Server;
use crate::world;

/// A server that the harness can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Without log, control socket and page.
    Pinetboot,
    /// With all of them, and readers of them.
    Shown,
    /// dnsmasq for DHCP and TFTP, NFS-Ganesha for one root of all Pis.
    Others,
}

/// Where Pis find their root.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) mount_port: u16,
    pub(super) nfs_port: u16,
    pub(super) path: String,
}

impl Peer {
    /// The wanted servers, or all installed ones.
    pub(super) fn find(wanted: &[String]) -> Result<Vec<Self>, Failed> {
        let dnsmasq = Command::new("dnsmasq").arg("--version").stdout(Stdio::null()).status();
        let has_others = dnsmasq.is_ok_and(|status| status.success()) && ganesha_version().is_some();
        let mut found = vec![Self::Pinetboot, Self::Shown];
        found.extend(has_others.then_some(Self::Others));
        if !has_others {
            eprintln!(
                "not installed: {}: apt-get install dnsmasq-base nfs-ganesha-vfs rpcbind",
                Self::Others.name()
            );
        }
        if let Some(unknown) = wanted.iter().find(|name| found.iter().all(|peer| peer.name() != **name)) {
            let names: Vec<_> = found.iter().map(|peer| peer.name()).collect();
            return Err(format!("no server {unknown} here; known: {}", names.join(", ")).into());
        }
        let is_default = |peer: &Self| wanted.is_empty() && *peer != Self::Shown;
        found.retain(|peer| is_default(peer) || wanted.iter().any(|name| name == peer.name()));
        Ok(found)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pinetboot => "pinetboot",
            Self::Shown => "pinetboot, shown",
            Self::Others => "dnsmasq, nfs-ganesha",
        }
    }

    /// Starts the server, and waits until MNT succeeds.
    pub(super) fn start(self, place: &Path) -> Result<(Server, Target), Failed> {
        let (tree, root) = (place.join("tree"), place.join("root"));
        // The directory of each Pi is a link to one directory, which pinetboot serves to all without links.
        let common = tree.join("common");
        let path = match self {
            Self::Pinetboot | Self::Shown => "/".to_owned(),
            Self::Others => root.to_string_lossy().into_owned(),
        };
        let command = match self {
            Self::Pinetboot => pinetboot(place, &common, &root, false)?,
            Self::Shown => pinetboot(place, &common, &root, true)?,
            Self::Others => others(place, &tree, &root)?,
        };
        let server = Server::spawn(self.name(), command, || Client::mount(&path).is_ok())?;
        let mount_port = Client::port_of(mount::PROGRAM, mount::VERSION)?;
        let nfs_port = Client::port_of(nfs3::PROGRAM, nfs3::VERSION)?;
        Ok((server, Target { mount_port, nfs_port, path }))
    }
}

/// Writes the boot files and the root of `pis` Pis.
pub(super) fn write_trees(place: &Path, pis: usize, kernel: u64) -> std::io::Result<()> {
    let (tree, root) = (place.join("tree"), place.join("root"));
    let common = tree.join("common");
    fs::create_dir_all(common.join("overlays"))?;
    for (name, len) in FILES {
        fs::write(common.join(name), vec![b'#'; *len])?;
    }
    fs::write(common.join("config.txt"), format!("arm_64bit=1\n#{}\n", "-".repeat(1200)))?;
    fs::write(common.join("cmdline.txt"), "console=tty1 root=/dev/nfs ip=dhcp rootwait\n")?;
    fs::write(common.join("kernel_2712.img"), vec![b'k'; kernel as usize * 1024])?;
    for pi in (0..pis).chain([SCOUT]) {
        symlink("common", tree.join(format!("{:08x}", serial(pi))))?;
    }
    for directory in ["sbin", "etc/ssh", "boot/firmware", "var", "usr"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(root.join("sbin/init"), vec![b'i'; INIT_LEN])?;
    fs::write(root.join("etc/hostname"), "raspberrypi\n")?;
    fs::write(root.join("boot/firmware/config.txt"), "arm_64bit=1\n")
}

/// Files besides the kernel, and their lengths.
const FILES: &[(&str, usize)] = &[
    ("bcm2712-rpi-5-b.dtb", 78_000),
    ("overlays/overlay_map.dtb", 5_971),
    ("overlays/vc4-kms-v3d-pi5.dtbo", 3_306),
];

/// The Pi that runs already is known by its address.
fn pinetboot(place: &Path, tree: &Path, root: &Path, is_shown: bool) -> Result<Command, Failed> {
    let config = place.join("pinetboot.toml");
    write(&config, "[pi.bd989ae1]\naddress = \"10.77.0.2\"\n")?;
    let mut command = world::at_server(env::current_exe().unwrap_or_default());
    command.args(["pinetboot", "serve", "--dhcp", "lease", "--lease-range", RANGE]);
    if is_shown {
        let token = place.join("token");
        write(&token, shown::TOKEN)?;
        allow_owner(&token)?;
        command.arg("--control").arg(place.join("control"));
        command.arg("--web").arg(format!("{}:{}", world::SERVER, shown::PORT)).arg("--web-token").arg(token);
    } else {
        command.args(["--quiet", "--control", "none"]);
    }
    command.args(["--nfs-insecure", "--nfs-mode", "overlay", "--max-pis", "4096", "--max-transfers", "4096"]);
    command.arg("--nfs").arg(root).arg("--state").arg(place.join("state")).arg("--config").arg(config);
    let log = fs::File::create(place.join(LOG)).map_err(|error| format!("cannot write the log: {error}"))?;
    command.arg(tree).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Ok(command)
}

fn others(place: &Path, tree: &Path, root: &Path) -> Result<Command, Failed> {
    let (config, script) = (place.join("ganesha.conf"), place.join("fleet.sh"));
    let settings = GANESHA_CONFIG.replace("TREE", &root.to_string_lossy());
    write(
        &config,
        &settings
            .replace("Protocols = 3; Enable_NLM", "RPC_Max_Connections = 8192; Protocols = 3; Enable_NLM"),
    )?;
    write(&script, SCRIPT)?;
    let mut command = world::at_server("sh");
    command.arg(script).arg(config).arg(tree).arg(place.join("leases"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// A token that others can read is none.
fn allow_owner(path: &Path) -> Result<(), Failed> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| format!("cannot change the mode of {}: {error}", path.display()).into())
}

/// The verdicts of the server on Pis, which are all healthy.
pub(super) fn verdicts(place: &Path) -> Vec<String> {
    let log = fs::read_to_string(place.join(LOG)).unwrap_or_default();
    log.lines().filter(|line| line.contains("! stuck")).map(str::to_owned).collect()
}

const LOG: &str = "log";
const RANGE: &str = "10.77.16.0-10.77.240.255";

/// dnsmasq without its ping of each address, which takes three seconds.
const SCRIPT: &str = "\
mkdir -p /run/ganesha
rpcbind
dnsmasq --conf-file=/dev/null --pid-file= --user=root --log-facility=/dev/null --port=0 --no-ping \
--dhcp-range=10.77.16.0,10.77.240.255,255.255.0.0,12h --dhcp-lease-max=10000 --dhcp-leasefile=\"$3\" \
--pxe-service=0,'Raspberry Pi Boot' --enable-tftp --tftp-root=\"$2\" --tftp-max=10000
exec ganesha.nfsd -F -L /run/ganesha/log -f \"$1\" -p /run/ganesha/pid
";

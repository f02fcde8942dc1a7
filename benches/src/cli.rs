//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::limits::Responder;
use crate::peer::Peer;
use crate::point::Point;

/// Benchmark pinetboot against other servers (cargo bench -p pinetboot-bench: the engine alone)
#[derive(Debug, Parser)]
#[command(name = "pinetboot-bench", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure pinetboot beside the other TFTP servers that are installed
    ///
    /// The comparison runs in private network namespaces and removes them at the end. Needs root, ip(8), ethtool(8) and
    /// taskset(1).
    #[command(after_help = EXAMPLES)]
    Peers(Peers),
    /// Measure pinetboot's NFS server beside NFS-Ganesha, if that is installed
    ///
    /// The servers run one after the other in the same namespaces, on the same file system, with the same client. Reads come from
    /// memory, so the figures are the servers' and not the disk's, except where a row commits or creates files.
    #[command(after_help = NFS_EXAMPLES)]
    Nfs(Nfs),
    /// Measure pinetboot's NBD server beside nbd-server, nbdkit and qemu-nbd, if they are installed
    ///
    /// The servers run one after the other in the same namespaces, on the same file system, with the same client and image, each with
    /// copy-on-write. Beside them pinetboot's NFS server, with files of a root in the place of a disk. Reads come from memory, so the figures
    /// are the servers' and not the disk's, except where a row flushes.
    #[command(after_help = DISK_EXAMPLES)]
    Disk(Disk),
    /// Boot many Pis at once from pinetboot, and from dnsmasq with NFS-Ganesha if both are installed
    ///
    /// Each Pi is a host with its own MAC address: DHCP, ARP, the requests of a Pi 5 by TFTP, the mount of its root and the first reads
    /// by NFS. Each server boots all Pis twice: the first time they are new, the second time as after a power cut. More Pis than the
    /// neighbour table has places for (net.ipv4.neigh.default.gc_thresh3) are refused, since the network would fail and not the server.
    #[command(after_help = FLEET_EXAMPLES)]
    Fleet(Fleet),
    /// Boot one machine to its login prompt from pinetboot, and from dnsmasq with NFS-Ganesha if both are installed
    ///
    /// The machine is user-mode Linux with a Debian of systemd and initramfs-tools. Needs busybox(1) and linux.uml(1).
    Boot(Boot),
    /// Measure what pinetboot's requests cost with few and many files, Pis and leases
    ///
    /// Starts the server with 10 files, a file of 1 MiB, an inventory of 10 Pis and 10 leases, and with 1,000,000 files, a sparse file
    /// of 64 GiB, 100,000 Pis and 10,000 leases. Figures are the server's processor time.
    Flat(Flat),
    /// Join the results of several runs and write one report
    Report(Report),
    /// Run pinetboot's own server, for the harness
    #[command(hide = true, disable_help_flag = true)]
    Pinetboot {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Mount layers for that server, which starts its own executable again for this
    #[command(hide = true)]
    Mounter(pinetboot::roots::mounter::Args),
    /// Serve roots by NFS for that server, which starts its own executable again for this
    #[command(hide = true)]
    Nfsd,
    /// Serve the overlays of a directory by NBD, for the harness
    #[command(hide = true)]
    DiskServer { directory: PathBuf },
    /// Run a responder that measures a limit, for the harness
    #[command(hide = true)]
    Respond {
        #[command(subcommand)]
        responder: Responder,
    },
}

/// Options of `peers`.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// Measure only this server; may be repeated [default: all installed servers]
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,

    /// Measure one more server, for example another build; may be repeated. {tree} stands for the served directory [default: none]
    #[arg(long = "also", value_name = "NAME=COMMAND", value_parser = Peer::custom)]
    pub(crate) also: Vec<Peer>,

    /// Measure only this point or group of points; may be repeated [default: all points]
    #[arg(long = "point", value_name = "NAME", value_parser = |name: &str| Point::named(name).map(Points))]
    pub(crate) points: Vec<Points>,

    /// Measure each server this many times, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Measure for a quarter of the time at each point: for a first look, and for CI
    #[arg(long)]
    pub(crate) quick: bool,

    /// Fail unless pinetboot passes the checks that must hold on any machine
    #[arg(long)]
    pub(crate) check: bool,

    /// Write results.json, the table and the plots to this directory
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// Options of `nfs`.
#[derive(Debug, Args)]
pub(crate) struct Nfs {
    /// Measure only this server; may be repeated [default: all installed servers]
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,

    /// Measure each server this many times, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Use a quarter of all sizes and counts: for a first look, and for CI
    #[arg(long)]
    pub(crate) quick: bool,

    /// Fail unless pinetboot takes less processor time in the rows where the distance is beyond any noise
    #[arg(long)]
    pub(crate) check: bool,

    /// Serve from this directory; its file system is part of the measurement [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Measure this other build of pinetboot too, as 'pinetboot, before' [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) before: Option<PathBuf>,

    /// Write nfs.json and the table, nfs.md, to this directory
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// Options of `disk`.
#[derive(Debug, Args)]
pub(crate) struct Disk {
    /// Measure only this server; may be repeated [default: all installed servers]
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,

    /// Measure each server this many times, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Use a quarter of all sizes and counts: for a first look
    #[arg(long)]
    pub(crate) quick: bool,

    /// Keep the image and the disks in this directory; its file system is part of the measurement [default: the system's temporary
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Write disk.json and the table, disk.md, to this directory
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// Options of `fleet`.
#[derive(Debug, Args)]
pub(crate) struct Fleet {
    /// Boot this many Pis, 1 to 4000; may be repeated [default: 1, 50, 200 and 1000]
    #[arg(long = "pis", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=4000))]
    pub(crate) pis: Vec<u16>,

    /// Switch on this many at once, and the next ones when these are up [default: all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) wave: Option<u16>,

    /// Measure only this server; may be repeated [default: all installed servers]
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,

    /// Serve a kernel of this size, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 256)]
    pub(crate) kernel: u64,

    /// Wait for the last Pi for this long, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) patience: u64,

    /// Measure each server so many times, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) rounds: u16,

    /// Fail if a healthy Pi fails at pinetboot or gets a verdict
    #[arg(long)]
    pub(crate) check: bool,

    /// Serve from this directory; its file system is part of the measurement [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Write fleet.json and the table, fleet.md, to this directory
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// Options of `boot`.
#[derive(Debug, Args)]
pub(crate) struct Boot {
    /// Serve this root, which has kernel8.img and initramfs8 in boot/firmware; NFS-Ganesha's boots change it
    #[arg(value_name = "DIR")]
    pub(crate) root: PathBuf,

    /// Boot this many times with each server, twice in a row: a new machine, and one that comes back
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
}

/// Options of `flat`.
#[derive(Debug, Args)]
pub(crate) struct Flat {
    /// Measure both amounts this many times, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Serve from this directory; a million files are made there [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Read the results.json of each run; required
    #[arg(required = true, value_name = "FILE")]
    pub(crate) results: Vec<PathBuf>,

    /// Write the table and the plots to this directory
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// The points that one `--point` names.
#[derive(Debug, Clone)]
pub(crate) struct Points(pub(crate) Vec<Point>);

const FLEET_EXAMPLES: &str = "\
Examples:
  cargo run -p pinetboot-bench --release -- fleet                 1 to 1000 Pis: some minutes
  .. fleet --pis 200 --peer pinetboot                             a look
  .. fleet --pis 1000 --kernel 9000                               with a kernel of the usual size
  .. fleet --pis 4000 --wave 500 --peer pinetboot                 room by room";

const DISK_EXAMPLES: &str = "\
Examples:
  cargo run -p pinetboot-bench --release -- disk                  everything: about five minutes
  .. disk --quick --rounds 1 --peer pinetboot                     a look";

const NFS_EXAMPLES: &str = "\
Examples:
  cargo run -p pinetboot-bench --release -- nfs                   everything: about two minutes
  .. nfs --quick --rounds 1 --peer pinetboot                      a look";

const EXAMPLES: &str = "\
Examples:
  cargo run -p pinetboot-bench --release -- peers                 everything: about 20 minutes
  .. peers --quick --rounds 1                                     a look
  .. peers --point clients --peer pinetboot --peer dnsmasq        1 to 1000 clients, two servers
  .. peers --point 100-clients --also 'before=/tmp/old/pinetboot serve {tree}'
                                                                  beside another build
  .. report a/results.json b/results.json --out both              one report of two runs";

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::limits::Responder;
use crate::peer::Peer;
use crate::point::Point;

/// Benchmarks of pinetboot. (Those of the engine alone: cargo bench -p pinetboot-bench.)
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
    /// All in network namespaces of its own, that are gone afterwards. Takes root, and ip(8), ethtool(8) and taskset(1).
    #[command(after_help = EXAMPLES)]
    Peers(Peers),
    /// Measure pinetboot's NFS server beside NFS-Ganesha, if that is installed
    ///
    /// One after the other in the same namespaces, on the same file system, by the same client. What is read comes from memory:
    /// it is the servers that are measured, and not the disk, but where something is committed or made.
    #[command(after_help = NFS_EXAMPLES)]
    Nfs(Nfs),
    /// Join what several runs measured, and report on all of it
    Report(Report),
    /// pinetboot itself, as it is measured
    #[command(hide = true, disable_help_flag = true)]
    Pinetboot {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The other end of what bounds every figure
    #[command(hide = true)]
    Respond {
        #[command(subcommand)]
        responder: Responder,
    },
}

/// Options of `peers`.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// Only this server; may be repeated [default: all that are installed]
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,

    /// One more server, for example another build; may be repeated. {tree} stands for the directory
    #[arg(long = "also", value_name = "NAME=COMMAND", value_parser = Peer::custom)]
    pub(crate) also: Vec<Peer>,

    /// Only this point, or group of points; may be repeated [default: all]
    #[arg(long = "point", value_name = "NAME", value_parser = |name: &str| Point::named(name).map(Points))]
    pub(crate) points: Vec<Points>,

    /// How often each is measured, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// A quarter of the time for each: for a first look, and for CI
    #[arg(long)]
    pub(crate) quick: bool,

    /// Fail unless pinetboot holds what must hold on any machine
    #[arg(long)]
    pub(crate) check: bool,

    /// Where results.json, the table and the plots go
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// Options of `nfs`.
#[derive(Debug, Args)]
pub(crate) struct Nfs {
    /// Only this server; may be repeated [default: all that are installed]
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,

    /// How often each is measured, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// A quarter of everything: for a first look, and for CI
    #[arg(long)]
    pub(crate) quick: bool,

    /// Fail unless pinetboot takes less of the processor where it takes far less
    #[arg(long)]
    pub(crate) check: bool,

    /// Where what is served goes: its file system is part of what is measured [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Where nfs.json and the table, nfs.md, go
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The results.json of each run
    #[arg(required = true, value_name = "FILE")]
    pub(crate) results: Vec<PathBuf>,

    /// Where the table and the plots go
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub(crate) out: PathBuf,
}

/// What one `--point` names.
#[derive(Debug, Clone)]
pub(crate) struct Points(pub(crate) Vec<Point>);

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

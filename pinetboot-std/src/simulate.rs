//! `pinetboot simulate`: requests files from a server as a Pi does, and reports whether the Pi would boot.
//!
//! Order, options, probes and prefixes are those of the model's boot code (`simulate/models.rs` names the captures).
//! config.txt is parsed far enough to find kernel, initramfs, device tree and overlays. The content of other files is counted
//! and discarded.
//!
//! ```text
//! models -> Loader -> boot -> Fetch (a server, or a test's tree)
//!                      |
//!                      +----> Timeline (a line per request), Summary (the findings and the verdict)
//! ```
//!
//! With an interface instead of a server the boot begins with DHCP: the simulation leases an address, and a DHCP server
//! names the TFTP server.

mod boot;
#[cfg(test)]
mod captured;
mod checks;
mod config_txt;
mod device_tree;
mod dhcp;
mod fdt;
mod fetch;
mod filter;
mod kernel;
mod leased;
mod loader;
mod models;
mod offline;
mod overlay_map;
mod report;
mod root;
#[cfg(test)]
mod scenarios;
mod tftp;
mod timeline;
mod verdict;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use clap::ArgGroup;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use pinetboot_core::pi::{Model, Prefix};
use pinetboot_core::tftp::{PORT, RetryPolicy};

use crate::arguments;
use crate::exit::{Exit, Failed};
use crate::nfs_client::Dial;
use crate::output;
use boot::{Over, SimulatedBoot};
pub(crate) use device_tree::DeviceTree;
pub use dhcp::simulate_on;
pub(crate) use fdt::Fdt;
use filter::Board;
pub(crate) use offline::{BootFiles, OfflineBoot, boot as boot_offline};
#[cfg(feature = "import")]
pub(crate) use offline::{ModelCheck, check as check_offline};
pub use report::Report;
use root::{NfsRoot, RootCheck};
use tftp::{Ports, Tftp, ThisMachine};
use timeline::Timeline;
use verdict::Summary;

/// Options of `simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("place").required(true).args(["server", "interface"])))]
pub struct Args {
    /// TFTP server; the port is 69 unless given [required without --interface]
    #[arg(long, value_name = "IP[:PORT]", value_parser = server_address)]
    pub server: Option<SocketAddrV4>,

    /// Boot on this interface, beginning with DHCP; an address is leased [required without --server]
    ///
    /// Files and root come from the servers that DHCP and the command line name, to the leased address: the interface needs no
    /// address. The lease is for the interface's MAC address, and is given back. Requires the capability CAP_NET_RAW.
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,

    /// Model of the Pi
    #[arg(long, default_value_t = Model::Pi5, value_parser = model(), ignore_case = true)]
    pub model: Model,

    /// Serial number of the Pi, 8 or 16 hexadecimal digits; the last 8 name its directory
    #[arg(long, value_name = "HEX", default_value = "bd989ae1", value_parser = arguments::serial)]
    pub serial: u32,

    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A simulated Pi, and its TFTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pi {
    /// The model: a 3B, 4B or 5B.
    pub model: Model,
    /// The low half of its serial number, which names its directory.
    pub serial: u32,
    /// The TFTP server.
    pub server: SocketAddrV4,
    /// Retries of the first request. Later requests have the Pi's own retries: 30 s for each file.
    pub retry_policy: RetryPolicy,
    /// Whether the root that the command line names is mounted, and taken back at once.
    pub mounts_root: bool,
}

impl Pi {
    /// A Pi that sends the first request twice and waits 6 s for the first answer: a user waits for the command.
    pub fn new(model: Model, serial: u32, server: SocketAddrV4) -> Self {
        Self {
            model,
            serial,
            server,
            retry_policy: RetryPolicy::new(Duration::from_secs(2), 1),
            mounts_root: true,
        }
    }
}

/// Boots a simulated Pi, and prints its timeline and the verdict to standard output.
///
/// # Errors
///
/// If the server does not answer ([`Exit::NoAnswer`]), or the network or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let (stdout, nowhere) = (&mut output::stdout(), &mut io::sink());
    let out: &mut dyn Write = if options.json { nowhere } else { stdout };
    let report = match (options.server, &options.interface) {
        (Some(server), _) => simulate(&Pi::new(options.model, options.serial, server), out),
        (None, Some(interface)) => simulate_on(interface, options.model, options.serial, out),
        (None, None) => Err(Failed::new(Exit::Usage, "give --server or --interface")),
    }?;
    if options.json {
        stdout.json(&report)?;
    }
    Ok(report.exit())
}

/// Boots a simulated Pi and writes its timeline and the verdict to `out`.
///
/// # Errors
///
/// If the server does not answer ([`Exit::NoAnswer`]), or the network or `out` fails.
pub fn simulate(pi: &Pi, out: &mut dyn Write) -> Result<Report, Failed> {
    let own = Prefix::Serial(pi.serial);
    writeln!(out, "Simulating a {}, serial {own}, with server {}.\n", pi.model.profile().name, pi.server)
        .map_err(output::failed)?;
    let mut timeline = Timeline::new(out);
    timeline.begin().map_err(output::failed)?;
    follow(pi, Instant::now(), timeline, &mut ThisMachine::default())
}

/// Boots from the first file on; `start` is the beginning of the boot.
fn follow(
    pi: &Pi,
    start: Instant,
    timeline: Timeline<'_>,
    net: &mut (impl Ports + Dial),
) -> Result<Report, Failed> {
    let Pi { model, serial, server, retry_policy, mounts_root } = *pi;
    let before = start.elapsed();
    let Timeline { out, steps } = timeline;
    let mut tftp = Tftp::new(net, server, retry_policy, start);
    let mut boot = SimulatedBoot::new(Board { model, serial }, &mut tftp, Timeline { out: &mut *out, steps });
    match models::boot(&mut boot) {
        Ok(()) | Err(Over::Ended) => {}
        Err(Over::Failed(failed)) => return Err(failed),
    }
    let SimulatedBoot { mut summary, timeline: Timeline { steps, .. }, .. } = boot;
    let mut timeline = Timeline { out, steps };
    summary.totals.time = summary.totals.time.saturating_sub(before);
    summary.check_command_line();
    if summary.would_boot() && mounts_root {
        let say = &mut |what: &str, said: &str| timeline.say(start.elapsed(), "root", what, said);
        look_at_root(&mut summary, *server.ip(), net, say).map_err(output::failed)?;
    } else if !mounts_root {
        summary.root = RootCheck::Skipped("this boot has none".into());
    }
    summary.print(model.profile(), timeline.out).map_err(output::failed)?;
    Ok(Report::new(model, serial, Some(server), timeline.steps, summary))
}

/// Mounts the root that the command line names.
fn look_at_root(
    summary: &mut Summary,
    server: Ipv4Addr,
    dial: &mut dyn Dial,
    say: &mut dyn FnMut(&str, &str) -> io::Result<()>,
) -> io::Result<()> {
    let Some((_, line)) = &summary.command_line else { return Ok(()) };
    summary.root = match NfsRoot::parse(line) {
        Err(why) => RootCheck::Skipped(why),
        Ok(root) => {
            thread::sleep(KERNEL_STARTS);
            let in_64_bits = summary.loaded.files.first().is_none_or(|kernel| kernel::names_64bit(kernel));
            root.check(server, in_64_bits, dial, &mut summary.findings, say)?
        }
    };
    Ok(())
}

/// Parses `IP` or `IP:PORT`; the port is 69 unless given.
fn server_address(text: &str) -> Result<SocketAddrV4, String> {
    let address = text
        .parse::<SocketAddrV4>()
        .or_else(|_| text.parse::<Ipv4Addr>().map(|ip| SocketAddrV4::new(ip, PORT)));
    address.map_err(|_| {
        "expected an IPv4 address, or one with a port, like 192.168.1.2 or 192.168.1.2:6969".into()
    })
}

/// Parses a model's word, as in `[pi5]` of config.txt.
pub(crate) fn model() -> impl TypedValueParser<Value = Model> {
    let words = Model::ALL.iter().map(|model| model.profile().word);
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

/// A kernel takes seconds before it mounts; a busy server handles the last ACK of its transfer, which proves the Pi's address, meanwhile.
const KERNEL_STARTS: Duration = Duration::from_millis(300);

const EXAMPLES: &str = "\
Examples:
  pinetboot simulate --server 192.168.1.2
  pinetboot simulate --server 127.0.0.1:6969 --model pi4 --serial 10000000abcd1234
  sudo pinetboot simulate --interface eth0                 with DHCP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_and_perhaps_a_port() {
        assert_eq!(server_address("10.0.0.1").unwrap().to_string(), "10.0.0.1:69");
        assert_eq!(server_address("10.0.0.1:6969").unwrap().port(), 6969);
        assert!(server_address("boot.local").is_err());
    }
}

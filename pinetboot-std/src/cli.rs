//! The command line: the commands, and the options that every command has.

use clap::{ArgAction, Parser, Subcommand};

#[cfg(feature = "disk")]
use crate::disks;
use crate::exit::Exit;
use crate::roots::mounter;
use crate::{
    check, demo, doctor, explain, get, health, pack, probe, roots, router_config, serve, service, simulate,
};
#[cfg(feature = "import")]
use crate::{images_command, import, up};
#[cfg(feature = "web")]
use crate::{status, watch};

/// Netboot Raspberry Pis: serve boot files and root file systems, and check whether a Pi would boot.
#[derive(Debug, Parser)]
#[command(name = "pinetboot", version, after_help = Exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,

    /// Log more: -v logs decisions, -vv logs every packet
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 900)]
    pub verbose: u8,

    /// Log warnings and errors only, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 901)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin: import an image, write the configuration, serve, and show the first boot
    ///
    /// Asks for each choice that no option makes, with a default and its reason, and checks ports and firewall. A second run
    /// takes the choices from the configuration file, and imports nothing that exists.
    #[cfg(feature = "import")]
    Up(Box<up::Args>),
    /// Serve boot files by TFTP and root file systems by NFS, and answer DHCP if enabled
    ///
    /// A request for SERIAL/name is answered from TREE/SERIAL/ if that directory exists, else from TREE. A directory named
    /// after the Pi's MAC address (dc-a6-32-01-36-c2) works too.
    Serve(Box<serve::Args>),
    /// Install, remove or show a service of systemd that serves at each boot
    Service(service::Args),
    /// Show each Pi of a running server: state, progress, and what keeps a boot from going on
    #[cfg(feature = "web")]
    Status(status::Args),
    /// Show the Pis of a running server live: those that are stuck first
    #[cfg(feature = "web")]
    Watch(watch::Args),
    /// Fetch a file by TFTP
    Get(get::Args),
    /// Send a Pi's DHCP DISCOVER, and report whether the Pi would boot, from which server, and why
    ///
    /// Only a DISCOVER is sent: no address is leased. Requires the capability CAP_NET_RAW.
    Probe(probe::Args),
    /// Print the DHCP server settings that make Pis boot from a TFTP server
    RouterConfig(router_config::Args),
    /// Request the boot files that a Pi requests, and report whether the Pi would boot
    ///
    /// The requests have the order, the options, the probes and the retries of that model. With --interface the boot
    /// begins with DHCP.
    Simulate(simulate::Args),
    /// Check boot files and root file systems on a disk, or an OS image, without a server
    ///
    /// Boots each model from the files, and looks for faults that keep a Pi from booting or its system from working on a root over
    /// NFS. Each finding has the number of a rule.
    Check(check::Args),
    /// Look for what keeps Pis from booting: this machine, its network, its files, and each Pi of a running server
    ///
    /// Names each fault with its rule and remedy, and exits with 7 if one keeps a Pi from booting. Reads the configuration of `serve`.
    /// Sends to the network what 'pinetboot probe' sends, unless --no-send is given. With --log: judges a pasted log instead.
    Doctor(doctor::Args),
    /// Print a rule of the catalogue of failures: symptom, cause, remedy and source
    Explain(explain::Args),
    /// List, diff, reset or commit each Pi's changes to its NFS root
    Roots(roots::command::Args),
    /// List, diff, snapshot, reset, copy or resize the disks of Pis
    #[cfg(feature = "disk")]
    Disks(disks::command::Args),
    /// Import an OS image as a tree that Pis boot from
    ///
    /// Raspberry Pi OS (Bookworm, Trixie), Ubuntu 24.04 for the Pi and Debian are changed to boot from the network; any
    /// other system is imported unchanged. The import is atomic: a failed import leaves nothing behind.
    #[cfg(feature = "import")]
    Import(import::Args),
    /// List, check, rename and remove imported images, and select the current one
    #[cfg(feature = "import")]
    Images(images_command::Args),
    /// Mount layers for a server, which starts this command itself
    #[command(hide = true)]
    Mounter(mounter::Args),
    /// Serve roots by NFS for a server, which starts this command itself
    #[cfg(feature = "nfs")]
    #[command(hide = true)]
    Nfsd,
    /// Deliver events for a server, which starts this command itself
    #[cfg(feature = "web")]
    #[command(hide = true)]
    Hooks,
    /// Report whether the server in this container works, for HEALTHCHECK and probes: 0 if all of its loops turn, else 1
    Health(health::Args),
    /// Boot a simulated Pi 5 from a small tree, all in this process, and show its requests
    Demo(demo::Args),
    /// Pack boot files into a UF2 image for a boot-appliance board
    ///
    /// The image has the firmware and the files. Drag it onto the board's drive, or give it to 'pinetboot flash': the board serves the
    /// files from its flash.
    Pack(pack::Args),
    /// Copy a packed image to the board whose USB drive is mounted, and wait until the board restarts
    Flash(pack::drive::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}

//! The command line: the list of commands, and the options that all of them have.

use clap::{ArgAction, Parser, Subcommand};

use crate::exit::Exit;
use crate::{get, pack, probe, roots, router_config, serve, simulate};
#[cfg(feature = "import")]
use crate::{images, import};

/// Netboot Raspberry Pis: serve their boot files, fetch them, and see what a Pi would make of them.
#[derive(Debug, Parser)]
#[command(name = "pinetboot", version, after_help = Exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Log more: once for decisions, twice for every packet
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 900)]
    pub verbose: u8,

    /// Log less: only what someone should look at; and no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 901)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a tree of boot files by TFTP, and root file systems by NFS
    ///
    /// A file that a Pi asks for as SERIAL/name comes from TREE/SERIAL/ if that directory exists, else from TREE itself;
    /// the same for a directory named like its MAC address (dc-a6-32-01-36-c2).
    Serve(Box<serve::Args>),
    /// Fetch a file by TFTP
    Get(get::Args),
    /// Ask the DHCP servers of this network as a Pi does, and say whether it would boot, from where, and why
    ///
    /// Only a DISCOVER is sent: no address is leased. It takes the capability CAP_NET_RAW.
    Probe(probe::Args),
    /// Print what to tell a router or DHCP server, so that Pis boot from a TFTP server
    RouterConfig(router_config::Args),
    /// Ask a server for the files that a Pi would ask for, and say whether it would boot; with DHCP, if wanted
    ///
    /// The files are asked for in that Pi's order and with its options, its probes and its retries.
    Simulate(simulate::Args),
    /// See what Pis have changed of the root file systems that they have by NFS, and undo or keep it
    Roots(roots::command::Args),
    /// Import an OS image: make a tree of it that Pis boot from
    ///
    /// Raspberry Pi OS (Bookworm, Trixie), Ubuntu 24.04 for the Pi and Debian are made to boot from the network; another
    /// system is imported as it is. An import that is not whole leaves nothing behind.
    #[cfg(feature = "import")]
    Import(import::Args),
    /// List imported images, or put one in use
    #[cfg(feature = "import")]
    Images(images::command::Args),
    /// Serve a small tree to a simulated Pi 5, all in this process, and show its boot
    Demo,
    /// Make a tree the file to drag onto a boot appliance's board, beside its firmware
    ///
    /// The board serves those files from its flash. The firmware itself is another file, and is not touched.
    Pack(pack::Args),
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

//! The command line, as typed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use pinetboot_core::pi::Model;

use crate::config::Settings;
use crate::exit::Exit;

/// Netboot Raspberry Pis: serve their boot files, fetch them, and see what a Pi would make of them.
#[derive(Debug, Parser)]
#[command(version, after_help = Exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more: once for decisions, twice for every packet
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Say less: only what someone should look at
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a tree of boot files by TFTP
    ///
    /// A file that a Pi asks for as SERIAL/name comes from TREE/SERIAL/ if that directory exists, else from TREE itself;
    /// the same for a directory named like its MAC address (dc-a6-32-01-36-c2).
    Serve(Serve),
    /// Fetch a file by TFTP
    Get(Get),
    /// Ask a server for the files that a Pi would ask for, and say whether it would boot
    ///
    /// The files are asked for in that Pi's order and with its options, its probes and its retries.
    Simulate(Simulate),
    /// Serve a small tree to a simulated Pi 5, all in this process, and show its boot
    Demo,
}

/// Options of `serve`.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct Serve {
    /// Read settings from this file too: TOML, named like the options; what is typed here goes before
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Options of `get`.
#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub struct Get {
    /// What to fetch
    #[arg(value_name = "tftp://HOST[:PORT]/PATH")]
    pub url: String,

    /// Where to put it; - is standard output [default: the file's own name, here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Bytes per block to ask for
    #[arg(long, value_name = "BYTES", default_value_t = 1468, value_parser = clap::value_parser!(u16).range(8..=65464))]
    pub blksize: u16,

    /// Blocks per acknowledgement to ask for
    #[arg(long, value_name = "BLOCKS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub windowsize: u16,
}

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = SIMULATE_EXAMPLES)]
pub struct Simulate {
    /// The server
    #[arg(long, value_name = "IP[:PORT]", value_parser = server_address)]
    pub server: SocketAddrV4,

    /// Which Pi: pi5, pi4 or pi3
    #[arg(long, default_value_t = Model::Pi5)]
    pub model: Model,

    /// Its serial number; the last eight digits name its directory
    #[arg(long, value_name = "HEX", default_value = "bd989ae1", value_parser = serial)]
    pub serial: u32,
}

/// `IP` or `IP:PORT`; the port is 69 unless given.
fn server_address(text: &str) -> Result<SocketAddrV4, String> {
    let address = text
        .parse::<SocketAddrV4>()
        .or_else(|_| text.parse::<Ipv4Addr>().map(|ip| SocketAddrV4::new(ip, pinetboot_core::tftp::PORT)));
    address.map_err(|_| {
        "expected an IPv4 address, or one with a port, like 192.168.1.2 or 192.168.1.2:6969".into()
    })
}

/// A serial number as /proc/cpuinfo shows it (16 digits) or its low half (8 digits): what a Pi goes by.
fn serial(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0x");
    let whole = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16);
    whole
        .map(|serial| serial as u32)
        .ok_or_else(|| "expected up to 16 hexadecimal digits, like bd989ae1".into())
}

const SERVE_EXAMPLES: &str = "\
Examples:
  sudo pinetboot serve /srv/tftp                      the usual
  pinetboot serve --tftp-port 6969 /srv/tftp          without privileges, to try
  pinetboot serve --single-port /srv/tftp             behind NAT or in a container
  pinetboot serve --config /etc/pinetboot.toml        a file like:  tree = \"/srv/tftp\"
                                                                    interface = \"eth0\"

SIGHUP reads the configuration again; SIGTERM and ctrl-C end all transfers and stop.";

const GET_EXAMPLES: &str = "\
Examples:
  pinetboot get tftp://192.168.1.2/config.txt
  pinetboot get tftp://192.168.1.2:6969/bd989ae1/kernel_2712.img -o /tmp/kernel.img
  pinetboot get tftp://192.168.1.2/config.txt -o - --windowsize 1";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  pinetboot simulate --server 192.168.1.2
  pinetboot simulate --server 127.0.0.1:6969 --model pi4 --serial 10000000abcd1234";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serials_and_addresses_as_people_write_them() {
        assert_eq!(serial("0c8f7e5cbd989ae1"), Ok(0xbd98_9ae1));
        assert_eq!(serial("0xBD989AE1"), Ok(0xbd98_9ae1));
        assert!(serial("pi5").is_err());
        assert!(serial("").is_err());
        assert_eq!(server_address("10.0.0.1").unwrap().to_string(), "10.0.0.1:69");
        assert_eq!(server_address("10.0.0.1:6969").unwrap().port(), 6969);
        assert!(server_address("boot.local").is_err());
    }
}

//! Settings, as typed and as written in a file, and the configuration that they amount to.

mod dhcp;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pinetboot_core::tftp;
use serde::{Deserialize, Deserializer};

pub use dhcp::{DhcpClients, DhcpConfig, DhcpMode, Role};

use crate::exit::{Exit, Failed};
use crate::net::{self, Ports};

/// Settings of `serve`: one list for the command line and the file, so that they cannot differ.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The directory with the boot files
    pub tree: Option<PathBuf>,

    /// Listen on this address; may be given several times [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub listen: Vec<Ipv4Addr>,

    /// Listen on this port; 0 picks a free one [default: 69]
    #[arg(long, value_name = "PORT")]
    pub tftp_port: Option<u16>,

    /// Answer everything from the listening port: passes NAT, containers and simple firewalls
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub single_port: Option<bool>,

    /// Use only this network interface; may be given several times [default: all]
    #[arg(long, value_name = "IF")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub interface: Vec<String>,

    /// Transfers at the same time, 1 to 4096 [default: 2048]
    #[arg(long, value_name = "N")]
    pub max_transfers: Option<usize>,

    /// Let clients write files to this directory [default: nobody writes anything]
    #[arg(long, value_name = "DIR")]
    pub allow_upload: Option<PathBuf>,

    /// Let them replace files that are there
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub overwrite: Option<bool>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Tell Pis by DHCP where this server is [default: off]
    #[arg(long, value_name = "MODE", help_heading = "DHCP")]
    pub dhcp: Option<DhcpMode>,

    /// Whom to answer [default: pi]
    #[arg(long, value_name = "WHOM", help_heading = "DHCP")]
    pub dhcp_clients: Option<DhcpClients>,

    /// Hold every answer back for so many seconds, which the boot ROM of some Pi 3 needs [default: 0]
    #[arg(long, value_name = "SECONDS", help_heading = "DHCP", value_parser = clap::value_parser!(u8).range(..=10))]
    pub dhcp_delay: Option<u8>,

    /// The boot server to name [default: the interface's own address]
    #[arg(long, value_name = "IP", help_heading = "DHCP")]
    pub boot_server: Option<Ipv4Addr>,

    /// The file that PXE clients boot; a Pi knows its own [default: none, they are not answered]
    #[arg(long, value_name = "NAME", help_heading = "DHCP")]
    pub boot_file: Option<String>,

    /// The addresses to give [default: the upper half of the interface's network]
    #[arg(long, value_name = "FIRST-LAST", help_heading = "DHCP")]
    pub lease_range: Option<String>,

    /// Keep leases in this file over a restart
    #[arg(long, value_name = "FILE", help_heading = "DHCP")]
    pub lease_file: Option<PathBuf>,

    /// The router to name to clients
    #[arg(long, value_name = "IP", help_heading = "DHCP")]
    pub router: Option<Ipv4Addr>,

    /// The name server to name to clients
    #[arg(long, value_name = "IP", help_heading = "DHCP")]
    pub dns: Option<Ipv4Addr>,

    /// Give addresses even where another DHCP server does
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "DHCP")]
    pub force: Option<bool>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line, for machines.
    Json,
}

/// What `serve` goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The directory with the boot files.
    pub tree: PathBuf,
    /// Where to listen.
    pub listen: Vec<SocketAddrV4>,
    /// How to listen.
    pub net: net::Options,
    /// Transfers at the same time.
    pub max_transfers: usize,
    /// Where clients may write.
    pub allow_upload: Option<PathBuf>,
    /// Whether they may replace what is there.
    pub overwrite: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What DHCP goes by; `None` if it is off.
    pub dhcp: Option<DhcpConfig>,
}

impl Settings {
    /// Reads settings from a TOML file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn read(file: &Path) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| {
            Failed::new(Exit::Usage, format!("cannot read the configuration {}: {error}", file.display()))
        };
        let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
        toml::from_str(&text).map_err(|error| failed(&error))
    }

    /// These settings, and where they are silent, those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            tree: self.tree.or(other.tree),
            listen: if self.listen.is_empty() { other.listen } else { self.listen },
            tftp_port: self.tftp_port.or(other.tftp_port),
            single_port: self.single_port.or(other.single_port),
            interface: if self.interface.is_empty() { other.interface } else { self.interface },
            max_transfers: self.max_transfers.or(other.max_transfers),
            allow_upload: self.allow_upload.or(other.allow_upload),
            overwrite: self.overwrite.or(other.overwrite),
            log_format: self.log_format.or(other.log_format),
            dhcp: self.dhcp.or(other.dhcp),
            dhcp_clients: self.dhcp_clients.or(other.dhcp_clients),
            dhcp_delay: self.dhcp_delay.or(other.dhcp_delay),
            boot_server: self.boot_server.or(other.boot_server),
            boot_file: self.boot_file.or(other.boot_file),
            lease_range: self.lease_range.or(other.lease_range),
            lease_file: self.lease_file.or(other.lease_file),
            router: self.router.or(other.router),
            dns: self.dns.or(other.dns),
            force: self.force.or(other.force),
        }
    }

    /// What they amount to.
    ///
    /// # Errors
    ///
    /// If no tree is named, or a value is out of its range.
    pub fn resolve(self) -> Result<Config, Failed> {
        let usage = |message: &str| Failed::new(Exit::Usage, message);
        let dhcp = DhcpConfig::of(&self)?;
        let port = self.tftp_port.unwrap_or(tftp::PORT);
        let listen = if self.listen.is_empty() { vec![Ipv4Addr::UNSPECIFIED] } else { self.listen };
        let max_transfers = self.max_transfers.unwrap_or(2048);
        if !(1..=MOST_TRANSFERS).contains(&max_transfers) {
            return Err(usage("max-transfers must be from 1 to 4096"));
        }
        let single_port = self.single_port.unwrap_or(false);
        Ok(Config {
            tree: self.tree.ok_or_else(|| {
                usage("no tree to serve: name the directory with the boot files, as in 'pinetboot serve /srv/tftp'")
            })?,
            listen: listen.into_iter().map(|ip| SocketAddrV4::new(ip, port)).collect(),
            net: net::Options {
                ports: if single_port { Ports::Single } else { Ports::PerTransfer },
                interfaces: self.interface,
                broadcast: false,
            },
            max_transfers,
            allow_upload: self.allow_upload,
            overwrite: self.overwrite.unwrap_or(false),
            log_format: self.log_format.unwrap_or_default(),
            dhcp,
        })
    }
}

/// In a file: a value, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// Half of the session table, beyond which it slows down.
pub const MOST_TRANSFERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_goes_before_what_is_written() {
        let written: Settings =
            toml::from_str("tree = '/srv/a'\ntftp-port = 6969\nsingle-port = true\nlisten = ['10.0.0.1']\ninterface = 'eth0'")
                .unwrap();
        let typed = Settings { tree: Some("/srv/b".into()), ..Settings::default() };
        let config = typed.or(written).resolve().unwrap();
        assert_eq!(config.tree, Path::new("/srv/b"));
        assert_eq!(config.listen, ["10.0.0.1:6969".parse().unwrap()]);
        assert_eq!(config.net.ports, Ports::Single);
        assert_eq!(config.net.interfaces, ["eth0"]);
    }

    #[test]
    fn a_switch_that_is_not_typed_leaves_it_to_the_file() {
        use crate::cli::{Cli, Command};
        use clap::Parser;

        let Command::Serve(typed) = Cli::parse_from(["pinetboot", "serve", "x"]).command else { panic!() };
        assert_eq!(typed.settings.single_port, None);
        assert_eq!(typed.settings.overwrite, None);
        let Command::Serve(typed) = Cli::parse_from(["pinetboot", "serve", "x", "--single-port"]).command
        else {
            panic!()
        };
        assert_eq!(typed.settings.single_port, Some(true));
        let Command::Serve(typed) =
            Cli::parse_from(["pinetboot", "serve", "x", "--single-port=false"]).command
        else {
            panic!()
        };
        assert_eq!(typed.settings.single_port, Some(false), "what the file switches on can be switched off");
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = toml::from_str::<Settings>("tree = 'x'\ntftp_port = 1").unwrap_err().to_string();
        assert!(unknown.contains("tftp_port"), "{unknown}");
        let silent = Settings::default().resolve().unwrap_err();
        assert!(silent.message.contains("no tree"), "{silent}");
        let many = Settings { tree: Some("x".into()), max_transfers: Some(5000), ..Settings::default() };
        assert!(many.resolve().unwrap_err().message.contains("max-transfers"));
    }
}

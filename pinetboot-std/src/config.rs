//! Settings, as typed and as written in a file, and the configuration that they amount to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pinetboot_core::tftp;
use serde::Deserialize;

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
    #[serde(default)]
    pub listen: Vec<Ipv4Addr>,

    /// Listen on this port; 0 picks a free one [default: 69]
    #[arg(long, value_name = "PORT")]
    pub tftp_port: Option<u16>,

    /// Answer everything from the listening port: passes NAT, containers and simple firewalls
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub single_port: Option<bool>,

    /// Use only this network interface
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,

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
            interface: self.interface.or(other.interface),
            max_transfers: self.max_transfers.or(other.max_transfers),
            allow_upload: self.allow_upload.or(other.allow_upload),
            overwrite: self.overwrite.or(other.overwrite),
            log_format: self.log_format.or(other.log_format),
        }
    }

    /// What they amount to.
    ///
    /// # Errors
    ///
    /// If no tree is named, or a value is out of its range.
    pub fn resolve(self) -> Result<Config, Failed> {
        let usage = |message: &str| Failed::new(Exit::Usage, message);
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
                interface: self.interface,
            },
            max_transfers,
            allow_upload: self.allow_upload,
            overwrite: self.overwrite.unwrap_or(false),
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

/// Half of the session table, beyond which it slows down.
pub const MOST_TRANSFERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_goes_before_what_is_written() {
        let written: Settings =
            toml::from_str("tree = '/srv/a'\ntftp-port = 6969\nsingle-port = true\nlisten = ['10.0.0.1']")
                .unwrap();
        let typed = Settings { tree: Some("/srv/b".into()), ..Settings::default() };
        let config = typed.or(written).resolve().unwrap();
        assert_eq!(config.tree, Path::new("/srv/b"));
        assert_eq!(config.listen, ["10.0.0.1:6969".parse().unwrap()]);
        assert_eq!(config.net.ports, Ports::Single);
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

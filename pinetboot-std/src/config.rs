//! Settings, as typed and as written in a file, and the configuration that they amount to.

mod dhcp;
mod nfs;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use pinetboot_core::tftp;
use serde::{Deserialize, Deserializer, Serialize};

pub use dhcp::{DhcpClients, DhcpConfig, DhcpMode, Role};
pub use nfs::{NfsMode, RootConfig};

use crate::exit::{Exit, Failed};
use crate::net::{self, Ports};
use crate::pis::{Inventory, PiEntry};

/// Settings of `serve`: one list for the command line and the file, so that they cannot differ.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The directory with the boot files, or the one that `pinetboot import` put images into
    pub tree: Option<PathBuf>,

    /// Listen on this address; may be given several times [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Ipv4Addr>,

    /// Listen on this port; 0 picks a free one [default: 69]
    #[arg(long, value_name = "PORT")]
    pub tftp_port: Option<u16>,

    /// Answer everything from the listening port: passes NAT, containers and simple firewalls
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    pub single_port: Option<bool>,

    /// Use only this network interface; may be given several times [default: all]
    #[arg(long, value_name = "IF")]
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub interface: Vec<String>,

    /// Transfers at the same time, 1 to 4096 [default: 2048]
    #[arg(long, value_name = "N")]
    pub max_transfers: Option<usize>,

    /// Answer in so many threads, 1 to 64, each with clients of its own [default: 1]
    #[arg(long, value_name = "N")]
    pub threads: Option<u16>,

    /// Look for the next packet for so long before sleeping, while files are sent: answers come sooner, at the price of
    /// a processor. 0: never [default: 50, while packets come that soon]
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub busy_poll: Option<u32>,

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

    /// Serve this root file system by NFS [default: that of the imported image, if TREE has some]
    #[arg(long, value_name = "DIR", help_heading = "NFS root")]
    pub nfs: Option<PathBuf>,

    /// How the Pis share it [default: overlay, if there is one]
    #[arg(long, value_name = "MODE", help_heading = "NFS root")]
    pub nfs_mode: Option<NfsMode>,

    /// Where each Pi's own files are kept [default: TREE/state for imported images, else /var/lib/pinetboot]
    #[arg(long, value_name = "DIR", help_heading = "NFS root")]
    pub state: Option<PathBuf>,

    /// Serve NFS and MOUNT on this port; 0 picks a free one [default: 2049]
    #[arg(long, value_name = "PORT", help_heading = "NFS root")]
    pub nfs_port: Option<u16>,

    /// Answer NFS clients that use source ports above 1023, which every user of a client may (exports(5): insecure)
    /// [default: refuse them; kernels and initramfs use ports below 1024]
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "NFS root")]
    pub nfs_insecure: Option<bool>,

    /// Answer NFS by UDP too, where long answers can be sent to a forged address [default: by TCP only]
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "NFS root")]
    pub nfs_udp: Option<bool>,

    /// Serve the port mapper on this port, where no Pi finds it [default: 111, or with the one that is there]
    #[arg(long, value_name = "PORT", help_heading = "NFS root")]
    pub portmap_port: Option<u16>,

    /// Leave cmdline.txt and config.txt as they are, also where they name a root on an SD card
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, help_heading = "NFS root")]
    pub no_rewrite: Option<bool>,

    /// What is known of single Pis: only in the file.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pi: BTreeMap<String, PiEntry>,

    /// Which boot files are templates, besides cmdline.txt and config.txt: only in the file.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "TemplateSettings::is_empty")]
    pub template: TemplateSettings,
}

/// `[template]` in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TemplateSettings {
    /// Names of files; with a slash in it, a name is meant from the top of the tree.
    pub files: Vec<String>,
}

impl TemplateSettings {
    const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
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
    /// The directory with the boot files, or the one with images; beneath the root file system if not named.
    pub tree: Option<PathBuf>,
    /// Which root file system is served, and how.
    pub root: RootConfig,
    /// What is known of single Pis.
    pub inventory: Inventory,
    /// Which files are templates, besides those that always are.
    pub templates: Vec<String>,
    /// Where to listen.
    pub listen: Vec<SocketAddrV4>,
    /// How to listen.
    pub net: net::Options,
    /// Transfers at the same time.
    pub max_transfers: usize,
    /// How many threads answer.
    pub threads: u16,
    /// Where clients may write.
    pub allow_upload: Option<PathBuf>,
    /// Whether they may replace what is there.
    pub overwrite: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What DHCP goes by; `None` if it is off.
    pub dhcp: Option<DhcpConfig>,
}

impl Config {
    /// What is served: the tree, or the root file system whose boot files are.
    pub fn serving(&self) -> &Path {
        self.tree.as_deref().or(self.root.nfs.as_deref()).unwrap_or(Path::new("."))
    }
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
    ///
    /// # Errors
    ///
    /// If a path is not UTF-8, and so cannot be written in a file.
    pub fn or(self, other: Self) -> Result<Self, Failed> {
        let table = |settings: &Self| toml::Table::try_from(settings);
        let merged = table(&other).and_then(|mut merged| {
            merged.extend(table(&self)?);
            Ok(merged)
        });
        let wrong = |error: &dyn std::fmt::Display| Failed::new(Exit::Usage, error);
        merged.map_err(|error| wrong(&error))?.try_into().map_err(|error| wrong(&error))
    }

    /// What they amount to.
    ///
    /// # Errors
    ///
    /// If nothing to serve is named, or a value is out of its range.
    pub fn resolve(self) -> Result<Config, Failed> {
        let usage = |message: &str| Failed::new(Exit::Usage, message);
        let dhcp = DhcpConfig::of(&self)?;
        let root = RootConfig::of(&self)?;
        let inventory = Inventory::of(&self.pi)?;
        if self.tree.is_none() && self.nfs.is_none() {
            return Err(usage(
                "no tree to serve: name the directory with the boot files, as in 'pinetboot serve /srv/tftp'",
            ));
        }
        let port = self.tftp_port.unwrap_or(tftp::PORT);
        let listen = if self.listen.is_empty() { vec![Ipv4Addr::UNSPECIFIED] } else { self.listen };
        let max_transfers = self.max_transfers.unwrap_or(2048);
        if !(1..=MOST_TRANSFERS).contains(&max_transfers) {
            return Err(usage("max-transfers must be from 1 to 4096"));
        }
        let threads = self.threads.unwrap_or(1);
        if !(1..=64).contains(&threads) {
            return Err(usage("threads must be from 1 to 64"));
        }
        let single_port = self.single_port.unwrap_or(false);
        Ok(Config {
            tree: self.tree,
            root,
            inventory,
            templates: self.template.files,
            listen: listen.into_iter().map(|ip| SocketAddrV4::new(ip, port)).collect(),
            net: net::Options {
                ports: if single_port { Ports::Single } else { Ports::PerTransfer },
                interfaces: self.interface,
                broadcast: false,
                busy_poll: self.busy_poll.map(|micros| Duration::from_micros(micros.into())),
            },
            max_transfers,
            threads,
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
        let config = typed.or(written).unwrap().resolve().unwrap();
        assert_eq!(config.tree.as_deref(), Some(Path::new("/srv/b")));
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

//! The configuration that results from settings.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use pinetboot_core::tftp;

#[cfg(feature = "web")]
use super::WebConfig;
use super::port_range::port_range;
use super::{DhcpConfig, DiskConfig, LogFormat, RootConfig, Settings, disk, effects};
use crate::exit::{Exit, Failed};
use crate::net::{self, Ports};
use crate::pis::{Inventory, has_old_name};
use crate::space::{Reserve, Size};

/// Configuration of `serve`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Directory with the boot files or the images; `None`: the boot files in the root file system.
    pub tree: Option<PathBuf>,
    /// The NFS root.
    pub root: RootConfig,
    /// The disks.
    pub disk: DiskConfig,
    /// Pis that the configuration names.
    pub inventory: Inventory,
    /// Templates, besides cmdline.txt and config.txt.
    pub templates: Vec<String>,
    /// Listening addresses of TFTP.
    pub listen: Vec<SocketAddrV4>,
    /// Options of the sockets.
    pub net: net::Options,
    /// A path that clients put before names, besides the tree's.
    pub path_prefix: Option<PathBuf>,
    /// Most concurrent transfers, 1 to 4096.
    pub max_transfers: usize,
    /// TFTP worker threads, 1 to 64.
    pub threads: u16,
    /// Directory for uploads; `None`: uploads are refused.
    pub allow_upload: Option<PathBuf>,
    /// Whether an upload may replace an existing file.
    pub overwrite: bool,
    /// The user to become; `None`: the default user, or none without root.
    pub user: Option<String>,
    /// Whether to refuse service without a part of the sandbox.
    pub require_sandbox: bool,
    /// The largest upload.
    pub upload_max_size: Size,
    /// The space that clients leave free on a disk.
    pub disk_reserve: Reserve,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Old names of settings in the file, each with the new name.
    pub renamed: Vec<(&'static str, &'static str)>,
    /// Settings without an effect, each with the reason.
    pub without_effect: Vec<(&'static str, &'static str)>,
    /// Configuration of DHCP; `None` if DHCP is off.
    pub dhcp: Option<DhcpConfig>,
    /// The control socket and the page.
    #[cfg(feature = "web")]
    pub web: WebConfig,
}

impl Settings {
    /// The configuration of these settings, with all defaults.
    ///
    /// # Errors
    ///
    /// All faults: neither a tree nor a root is given, a value is out of its range, settings contradict each other.
    pub fn resolve(self) -> Result<Config, Failed> {
        self.check_values()?;
        let without_effect = effects::without_effect(&self);
        let dhcp = DhcpConfig::of(&self)?;
        let root = RootConfig::of(&self)?;
        let disk = DiskConfig::of(&self)?;
        let inventory = Inventory::of(&self.pi, &self.group)?;
        disk.check(&inventory)?;
        #[cfg(feature = "web")]
        let web = WebConfig::of(&self)?;
        let port = self.tftp_port.unwrap_or(tftp::PORT);
        let listen = if self.listen.is_empty() { vec![Ipv4Addr::UNSPECIFIED] } else { self.listen };
        let max_transfers = self.max_transfers.unwrap_or(2048);
        let threads = self.threads.unwrap_or(1);
        let ports = match (self.single_port.unwrap_or(false), &self.port_range) {
            (true, None) => Ports::Single,
            (false, None) => Ports::PerTransfer,
            (false, Some(range)) => {
                port_range(range, threads).map_err(|why| Failed::new(Exit::Usage, why))?
            }
            (true, Some(_)) => {
                let why = "port-range and single-port contradict each other: remove one";
                return Err(Failed::new(Exit::Usage, why));
            }
        };
        Ok(Config {
            tree: self.tree.filter(|tree| !disk::is_image(tree)),
            root,
            disk,
            inventory,
            templates: self.template.files,
            listen: listen.into_iter().map(|ip| SocketAddrV4::new(ip, port)).collect(),
            net: net::Options {
                ports,
                interfaces: self.interface,
                broadcast: false,
                busy_poll: self.busy_poll.map(|micros| Duration::from_micros(micros.into())),
            },
            path_prefix: self.path_prefix,
            max_transfers,
            threads,
            allow_upload: self.allow_upload,
            overwrite: self.overwrite.unwrap_or(false),
            user: self.user,
            require_sandbox: self.require_sandbox.unwrap_or(false),
            upload_max_size: self.upload_max_size.unwrap_or(Size::GIB),
            disk_reserve: Reserve::new(self.disk_reserve),
            log_format: self.log_format.unwrap_or_default(),
            without_effect,
            renamed: has_old_name(&self.pi).then_some(("words", "cmdline-extra")).into_iter().collect(),
            dhcp,
            #[cfg(feature = "web")]
            web,
        })
    }

    /// Finds all faults, not only the first one.
    fn check_values(&self) -> Result<(), Failed> {
        let usage = |message: &str| Failed::new(Exit::Usage, message);
        let has_none = self.tree.is_none() && self.nfs.is_none() && self.disk.is_none();
        let (transfers, threads) = (self.max_transfers.unwrap_or(1), self.threads.unwrap_or(1));
        let faults = [
            has_none.then(|| {
                usage("no tree to serve: name the directory with the boot files, as in 'pinetboot serve /srv/tftp'")
            }),
            (!(1..=MOST_TRANSFERS).contains(&transfers)).then(|| usage("max-transfers must be from 1 to 4096")),
            (!(1..=64).contains(&threads)).then(|| usage("threads must be from 1 to 64")),
            DhcpConfig::of(self).err(),
            #[cfg(feature = "web")]
            WebConfig::of(self).err(),
            RootConfig::of(self).err(),
            DiskConfig::of(self).err(),
            Inventory::of(&self.pi, &self.group).err(),
        ];
        Failed::all(faults.into_iter().flatten())
    }
}

/// Most concurrent transfers: half of the session table, which is slow when fuller.
pub const MOST_TRANSFERS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_line_overrides_the_file() {
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
    fn mistakes_are_named() {
        let unknown = toml::from_str::<Settings>("tree = 'x'\ntftp_port = 1").unwrap_err().to_string();
        assert!(unknown.contains("tftp_port"), "{unknown}");
        let address = toml::from_str::<Settings>("listen = '300.1.1.1'").unwrap_err().to_string();
        assert!(address.contains("listen") && address.contains("IPv4 address"), "{address}");
        let silent = Settings::default().resolve().unwrap_err();
        assert!(silent.message.contains("no tree"), "{silent}");
        let many = Settings { tree: Some("x".into()), max_transfers: Some(5000), ..Settings::default() };
        assert!(many.resolve().unwrap_err().message.contains("max-transfers"));
    }
}

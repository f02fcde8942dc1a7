//! Settings and configuration of DHCP.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use pinetboot_core::dhcp::Clients;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::boot_file::BootFiles;
use super::network::{LeaseRange, LeaseTerms, NetworkConfig, lease_time};
use crate::exit::{Exit, Failed};

/// The DHCP service of `serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpMode {
    /// No DHCP: the network's DHCP server, or the Pi's bootloader configuration, names this server
    #[default]
    Off,
    /// Name the boot server only, beside the DHCP server that leases the addresses
    Proxy,
    /// Lease addresses too, on a network without another DHCP server
    Lease,
}

/// The clients that DHCP answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpClients {
    /// Raspberry Pis only
    #[default]
    Pi,
    /// The Raspberry Pis of the inventory only
    Listed,
    /// All PXE clients
    Pxe,
    /// All DHCP clients
    All,
}

/// Configuration of DHCP.
#[derive(Debug, Clone, PartialEq)]
pub struct DhcpConfig {
    /// Proxy beside another DHCP server, or lease server.
    pub role: Role,
    /// The clients that are answered.
    pub admission: Admission,
    /// Delay of every answer, 0 to 10 s.
    pub delay: Duration,
    /// The boot server to name; `None`: the interface's own address.
    pub boot_server: Option<Ipv4Addr>,
    /// The boot files to name to clients that are no Pi's boot code.
    pub boot_files: BootFiles,
    /// Whether to lease addresses although another server does.
    pub force: bool,
}

/// The clients that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Clients of this kind.
    Of(Clients),
    /// The Pis of the inventory.
    Listed,
}

/// The role of the DHCP server.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Names the boot server; another DHCP server leases the addresses.
    Proxy,
    /// Leases addresses.
    Lease(LeaseConfig),
}

/// Configuration of leases.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseConfig {
    /// The networks.
    pub networks: Networks,
    /// The lease file; `None`: in the state directory.
    pub file: Option<PathBuf>,
}

/// The networks in which addresses are leased.
#[derive(Debug, Clone, PartialEq)]
pub enum Networks {
    /// Those of the interfaces, all on these terms.
    OfInterfaces(LeaseTerms),
    /// Those of the configuration file, each on its own terms; others have another DHCP server.
    Tables(Vec<NetworkConfig>),
}

impl DhcpConfig {
    /// The lease file, if the settings name one.
    pub fn lease_file(&self) -> Option<&Path> {
        match &self.role {
            Role::Lease(leases) => leases.file.as_deref(),
            Role::Proxy => None,
        }
    }

    /// The DHCP configuration of these settings; `None` if DHCP is off.
    ///
    /// # Errors
    ///
    /// If a setting is invalid, requires another one, or has no effect.
    pub(super) fn of(settings: &Settings) -> Result<Option<Self>, Failed> {
        let usage = |message: String| Failed::new(Exit::Usage, message);
        let mode = settings.dhcp.unwrap_or_default();
        check_effects(settings, mode).map_err(usage)?;
        let role = match mode {
            DhcpMode::Off => return Ok(None),
            DhcpMode::Proxy => Role::Proxy,
            DhcpMode::Lease => Role::Lease(LeaseConfig {
                networks: if settings.network.is_empty() {
                    Networks::OfInterfaces(terms(settings).map_err(usage)?)
                } else {
                    Networks::Tables(NetworkConfig::all(&settings.network)?)
                },
                file: settings.lease_file.clone(),
            }),
        };
        Ok(Some(Self {
            role,
            admission: match settings.dhcp_clients.unwrap_or_default() {
                DhcpClients::Pi => Admission::Of(Clients::Pi),
                DhcpClients::Listed => Admission::Listed,
                DhcpClients::Pxe => Admission::Of(Clients::Pxe),
                DhcpClients::All => Admission::Of(Clients::All),
            },
            delay: Duration::from_secs(settings.dhcp_delay.unwrap_or(0).into()),
            boot_server: settings.boot_server,
            boot_files: BootFiles::parse(&settings.boot_file).map_err(usage)?,
            force: settings.force.unwrap_or(false),
        }))
    }
}

/// Refuses settings that have no effect.
fn check_effects(settings: &Settings, mode: DhcpMode) -> Result<(), String> {
    let given =
        |settings: &[(&'static str, bool)]| settings.iter().find(|(_, given)| *given).map(|(name, _)| *name);
    let of_networks = [
        ("lease-range", settings.lease_range.is_some()),
        ("lease-time", settings.lease_time.is_some()),
        ("router", settings.router.is_some()),
        ("dns", settings.dns.is_some()),
    ];
    let of_leases =
        [("lease-file", settings.lease_file.is_some()), ("[network.NAME]", !settings.network.is_empty())];
    if mode != DhcpMode::Lease
        && let Some(name) = given(&of_networks).or_else(|| given(&of_leases))
    {
        return Err(format!("{name} requires --dhcp lease, the mode that leases addresses"));
    }
    if !settings.network.is_empty()
        && let Some(name) = given(&of_networks)
    {
        return Err(format!("{name} belongs into the tables [network.NAME], which the configuration has"));
    }
    if settings.dhcp_clients == Some(DhcpClients::Listed) && settings.pi.is_empty() {
        return Err(
            "--dhcp-clients listed answers the Pis of the inventory, which is empty: add [pi.SERIAL] tables"
                .into(),
        );
    }
    Ok(())
}

/// The terms of the simple settings.
fn terms(settings: &Settings) -> Result<LeaseTerms, String> {
    let default = LeaseTerms::default();
    Ok(LeaseTerms {
        range: settings.lease_range.as_deref().map_or(Ok(default.range), LeaseRange::parse)?,
        router: settings.router,
        dns: settings.dns.into_iter().collect(),
        lease_time: settings.lease_time.as_deref().map_or(Ok(default.lease_time), lease_time)?,
        boot_server: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<DhcpConfig>, Failed> {
        DhcpConfig::of(&toml::from_str(text).unwrap())
    }

    #[test]
    fn off_unless_asked_for() {
        assert_eq!(of("").unwrap(), None);
        assert_eq!(of("dhcp = 'proxy'").unwrap().unwrap().role, Role::Proxy);
    }

    #[test]
    fn settings_without_an_effect_are_refused() {
        for (wrong, why) in [
            ("dhcp = 'proxy'\nlease-range = '10.0.0.1-10.0.0.2'", "lease-range requires --dhcp lease"),
            ("router = '10.0.0.1'", "router requires --dhcp lease"),
            ("dhcp = 'proxy'\n[network.a]\nsubnet = '10.0.0.0/24'", "[network.NAME] requires"),
            ("dhcp = 'lease'\nlease-range = '10.0.0.1'", "neither a range"),
            ("dhcp = 'lease'\nrouter = '10.0.0.1'\n[network.a]\nsubnet = '10.0.0.0/24'", "belongs into"),
            ("dhcp = 'lease'\ndhcp-clients = 'listed'", "inventory, which is empty"),
        ] {
            let error = of(wrong).unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{wrong}");
            assert!(error.message.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_simple_settings_are_the_terms_of_all_interfaces() {
        let right =
            of("dhcp = 'lease'\nlease-range = '10.0.0.1 - 10.0.0.2'\nlease-time = '1h'").unwrap().unwrap();
        let Role::Lease(LeaseConfig { networks: Networks::OfInterfaces(terms), .. }) = right.role else {
            panic!()
        };
        assert!(matches!(terms.range, LeaseRange::Addresses(..)));
        assert_eq!(terms.lease_time, Duration::from_secs(3600));
    }
}

//! Settings and configuration of DHCP.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use pinetboot_core::dhcp::Clients;
use serde::{Deserialize, Serialize};

use super::Settings;
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
    pub clients: Clients,
    /// Delay of every answer, 0 to 10 s.
    pub delay: Duration,
    /// The boot server to name; `None`: the interface's own address.
    pub boot_server: Option<Ipv4Addr>,
    /// The boot file to name to PXE clients; Pis ignore it.
    pub boot_file: Option<String>,
    /// Whether to lease addresses although another server does.
    pub force: bool,
}

/// The role of the DHCP server.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Names the boot server; another DHCP server leases the addresses.
    Proxy,
    /// Leases addresses.
    Lease {
        /// First and last address; `None`: the upper half of the network.
        range: Option<(Ipv4Addr, Ipv4Addr)>,
        /// The lease file.
        file: Option<PathBuf>,
        /// The router to name (option 3).
        router: Option<Ipv4Addr>,
        /// The DNS server to name (option 6).
        dns: Option<Ipv4Addr>,
    },
}

impl DhcpConfig {
    /// The lease file.
    pub fn lease_file(&self) -> Option<&Path> {
        match &self.role {
            Role::Lease { file, .. } => file.as_deref(),
            Role::Proxy => None,
        }
    }

    /// The DHCP configuration of these settings; `None` if DHCP is off.
    ///
    /// # Errors
    ///
    /// If a setting is invalid, or requires another one.
    pub(super) fn of(settings: &Settings) -> Result<Option<Self>, Failed> {
        let usage = |message: &str| Err(Failed::new(Exit::Usage, message));
        let only_lease = [
            ("lease-range", settings.lease_range.is_some()),
            ("lease-file", settings.lease_file.is_some()),
            ("router", settings.router.is_some()),
            ("dns", settings.dns.is_some()),
        ];
        let mode = settings.dhcp.unwrap_or_default();
        if mode != DhcpMode::Lease
            && let Some((name, _)) = only_lease.iter().find(|(_, given)| *given)
        {
            return usage(&format!("{name} requires --dhcp lease, the mode that leases addresses"));
        }
        let role = match mode {
            DhcpMode::Off => return Ok(None),
            DhcpMode::Proxy => Role::Proxy,
            DhcpMode::Lease => Role::Lease {
                range: settings.lease_range.as_deref().map(range).transpose()?,
                file: settings.lease_file.clone(),
                router: settings.router,
                dns: settings.dns,
            },
        };
        Ok(Some(Self {
            role,
            clients: match settings.dhcp_clients.unwrap_or_default() {
                DhcpClients::Pi => Clients::Pi,
                DhcpClients::Pxe => Clients::Pxe,
                DhcpClients::All => Clients::All,
            },
            delay: Duration::from_secs(settings.dhcp_delay.unwrap_or(0).into()),
            boot_server: settings.boot_server,
            boot_file: match &settings.boot_file {
                Some(name) if name.len() > 127 => return usage("boot-file must not exceed 127 bytes"),
                name => name.clone(),
            },
            force: settings.force.unwrap_or(false),
        }))
    }
}

/// `10.77.0.100-10.77.0.199`
fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), Failed> {
    let parsed = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    let wrong = || format!("lease-range: {text} is not a range of addresses, like 10.77.0.100-10.77.0.199");
    parsed.ok_or_else(|| Failed::new(Exit::Usage, wrong()))
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
    fn settings_that_make_no_sense_are_refused() {
        for wrong in [
            "dhcp = 'proxy'\nlease-range = '10.0.0.1-10.0.0.2'",
            "router = '10.0.0.1'",
            "dhcp = 'lease'\nlease-range = '10.0.0.1'",
        ] {
            assert_eq!(of(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        let right = of("dhcp = 'lease'\nlease-range = '10.0.0.1 - 10.0.0.2'").unwrap().unwrap();
        assert!(matches!(right.role, Role::Lease { range: Some(_), .. }));
    }
}

//! What DHCP goes by.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use pinetboot_core::dhcp::Clients;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::exit::{Exit, Failed};

/// What `serve` does about DHCP, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpMode {
    /// Nothing: the network's DHCP server, or the Pi's own settings, name this server
    #[default]
    Off,
    /// Tells Pis their boot server, beside the DHCP server that gives them their addresses
    Proxy,
    /// Gives addresses too, on a network of its own
    Lease,
}

/// Whom DHCP answers, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpClients {
    /// Raspberry Pis
    #[default]
    Pi,
    /// Everyone who boots by PXE
    Pxe,
    /// Everyone
    All,
}

/// What DHCP goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct DhcpConfig {
    /// Beside another server, or alone.
    pub role: Role,
    /// Who is answered.
    pub clients: Clients,
    /// How long every answer is held back.
    pub delay: Duration,
    /// Where clients fetch files; the interface's own address unless given.
    pub boot_server: Option<Ipv4Addr>,
    /// What clients boot that do not know it themselves, as Pis do.
    pub boot_file: Option<String>,
    /// Whether to serve where another server is.
    pub force: bool,
}

/// Beside another DHCP server, or alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Tells Pis their boot server, and leaves addresses to another.
    Proxy,
    /// Gives addresses.
    Lease {
        /// From which to which; the upper half of the network unless given.
        range: Option<(Ipv4Addr, Ipv4Addr)>,
        /// Where leases are kept over a restart.
        file: Option<PathBuf>,
        /// The way to other networks.
        router: Option<Ipv4Addr>,
        /// A name server.
        dns: Option<Ipv4Addr>,
    },
}

impl DhcpConfig {
    /// What the settings say about DHCP; `None` if it is off.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense, or none without another.
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
            return usage(&format!("{name} is about addresses, which only --dhcp lease gives"));
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
                Some(name) if name.len() > 127 => return usage("boot-file may have 127 bytes at the most"),
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
    let wrong = || format!("lease-range: {text} is not two addresses, as in 10.77.0.100-10.77.0.199");
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

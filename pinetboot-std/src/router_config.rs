//! `pinetboot router-config`: prints the settings that make a DHCP server name the TFTP server, in that server's syntax.
//!
//! A Pi 4 or 5 uses option 66 if that is an address. Without option 66, and always in the boot ROM of a Pi 3, a Pi uses the
//! next server (`siaddr`) of a reply with options 60 and 43 as in [`RASPBERRY_PI`]. All settings have both.

mod appliances;
mod eeprom;
pub(crate) mod firewalls;
mod servers;

use core::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use clap::ValueEnum;
use pinetboot_core::dhcp::pxe::RASPBERRY_PI;
use serde::Serialize;

use crate::exit::{Exit, Failed};
use crate::output;
pub use eeprom::{Addresses, Eeprom};

/// The DHCP server or device to configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Router {
    /// dnsmasq, and programs built on it (many routers)
    Dnsmasq,
    /// ISC's dhcpd
    Isc,
    /// Kea
    Kea,
    /// OpenWrt
    Openwrt,
    /// OPNsense
    Opnsense,
    /// MikroTik RouterOS
    Mikrotik,
    /// UniFi gateways
    Unifi,
    /// Windows Server
    Windows,
    /// Pi-hole
    Pihole,
    /// AdGuard Home
    Adguard,
    /// Technitium DNS Server
    Technitium,
    /// FRITZ!Box
    Fritzbox,
    /// any server that takes options as bytes
    Hex,
    /// the Pi's own bootloader, where no DHCP server can be changed
    Eeprom,
    /// ufw: the ports that the serving machine opens
    Ufw,
    /// firewalld: the ports that the serving machine opens
    Firewalld,
    /// nftables: the ports that the serving machine opens
    Nft,
}

/// Options of `router-config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address of the TFTP server [required, but for the ports of a firewall]
    #[arg(long, value_name = "IP")]
    pub server: Option<Ipv4Addr>,

    /// Print the settings for this server [default: list the servers]
    #[arg(long = "for", value_name = "ROUTER", value_enum)]
    pub router: Option<Router>,

    /// eeprom: fixed address of the Pi; the Pi then sends no DHCP [default: address by DHCP]
    #[arg(long, value_name = "IP")]
    pub client_ip: Option<Ipv4Addr>,

    /// eeprom: mask of the Pi's network [default: 255.255.255.0]
    #[arg(long, value_name = "MASK")]
    pub subnet: Option<Ipv4Addr>,

    /// eeprom: router of the Pi's network [default: none]
    #[arg(long, value_name = "IP")]
    pub gateway: Option<Ipv4Addr>,

    /// eeprom: directory of the Pi's files [default: its serial number]
    #[arg(long, value_name = "DIR")]
    pub prefix: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A server and its settings, as JSON.
#[derive(Debug, Serialize)]
struct Settings {
    name: String,
    about: &'static str,
    /// The settings to paste; none in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<String>,
}

#[derive(Debug, Serialize)]
struct List {
    routers: Vec<Settings>,
}

/// Prints the settings to standard output; without a router, the list of routers.
///
/// # Errors
///
/// If the options contradict each other, or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let server = match (options.server, options.router) {
        (Some(server), _) => server,
        (None, Some(router)) if router.is_firewall() => Ipv4Addr::UNSPECIFIED,
        (None, _) => {
            return Err(Failed::new(Exit::Usage, "give the address of the TFTP server with --server"));
        }
    };
    let text = match options.router {
        None => list(server),
        Some(Router::Eeprom) => {
            let eeprom = Eeprom::new(server, options).map_err(|why| Failed::new(Exit::Usage, why))?;
            eeprom.to_string()
        }
        Some(router) if options.is_for_eeprom() => {
            let message = format!(
                "--client-ip, --subnet, --gateway and --prefix are for '--for eeprom', not for {}",
                router.name()
            );
            return Err(Failed::new(Exit::Usage, message));
        }
        Some(router) => router.lines(server),
    };
    let out = &mut output::stdout();
    match options.router {
        _ if !options.json => write!(out, "{text}")?,
        Some(router) => out.json(&router.as_json(Some(text)))?,
        None => {
            let routers = Router::value_variants().iter().map(|router| router.as_json(None)).collect();
            out.json(&List { routers })?;
        }
    }
    Ok(Exit::Success)
}

impl Args {
    /// Whether an option of `--for eeprom` is given.
    const fn is_for_eeprom(&self) -> bool {
        self.client_ip.is_some() || self.subnet.is_some() || self.gateway.is_some() || self.prefix.is_some()
    }
}

impl Router {
    /// The settings to paste, with comments.
    pub fn lines(self, server: Ipv4Addr) -> String {
        match self {
            Self::Dnsmasq => servers::dnsmasq(server),
            Self::Isc => servers::isc(server),
            Self::Kea => servers::kea(server),
            Self::Openwrt => servers::openwrt(server),
            Self::Opnsense => appliances::opnsense(server),
            Self::Mikrotik => appliances::mikrotik(server),
            Self::Unifi => appliances::unifi(server),
            Self::Windows => appliances::windows(server),
            Self::Pihole => appliances::pihole(server),
            Self::Adguard => appliances::adguard(server),
            Self::Technitium => appliances::technitium(server),
            Self::Fritzbox => appliances::fritzbox(server),
            Self::Ufw => firewalls::ufw(),
            Self::Firewalld => firewalls::firewalld(),
            Self::Nft => firewalls::nft(),
            Self::Hex => appliances::hex(server),
            Self::Eeprom => Eeprom::with_server(server).to_string(),
        }
    }

    fn as_json(self, settings: Option<String>) -> Settings {
        Settings { name: self.name(), about: self.about(), settings }
    }

    /// Whether the settings are those of a firewall, which name ports alone.
    const fn is_firewall(self) -> bool {
        matches!(self, Self::Ufw | Self::Firewalld | Self::Nft)
    }

    /// The value of `--for`.
    fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// The server, and the source of its settings.
    const fn about(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq, and programs built on it: many routers (tested with dnsmasq)",
            Self::Isc => "ISC's dhcpd, isc-dhcp-server in Debian (tested with it)",
            Self::Kea => "Kea, ISC's new DHCP server (tested with it)",
            Self::Openwrt => "OpenWrt, whose DHCP server is dnsmasq (its documentation)",
            Self::Opnsense => "OPNsense, with dnsmasq or Kea (its documentation)",
            Self::Mikrotik => "MikroTik RouterOS (its documentation)",
            Self::Unifi => "UniFi gateways (their documentation)",
            Self::Windows => "Windows Server, in PowerShell (its documentation)",
            Self::Pihole => "Pi-hole, whose DHCP server is dnsmasq (its settings)",
            Self::Adguard => "AdGuard Home (its documentation)",
            Self::Technitium => "Technitium DNS Server (its API)",
            Self::Fritzbox => "FRITZ!Box, which has no such setting: the ways around",
            Self::Hex => "any other server: the options as text and as bytes",
            Self::Eeprom => "the Pi's own bootloader, where no DHCP server can be changed",
            Self::Ufw => "ufw on the serving machine: the ports (its manual page)",
            Self::Firewalld => "firewalld on the serving machine: the ports (its manual page)",
            Self::Nft => "nftables on the serving machine: the ports (tested with it)",
        }
    }
}

fn list(server: Ipv4Addr) -> String {
    let mut text = String::from("Choose the server to configure with --for:\n\n");
    for router in Router::value_variants() {
        let _cannot_fail = writeln!(text, "  {:<10}  {}", router.name(), router.about());
    }
    let _cannot_fail = write!(
        text,
        "\nIn short: a Raspberry Pi 4 or 5 boots from {server} if option 66 is the text {server}. After a change,\n\
         'pinetboot probe' shows which boot server a Pi chooses.\n"
    );
    text
}

/// Option 43 as `06:01:03`, or with another separator.
struct Option43(&'static str);

impl fmt::Display for Option43 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &RASPBERRY_PI, self.0)
    }
}

fn hex(f: &mut impl fmt::Write, bytes: &[u8], separator: &str) -> fmt::Result {
    bytes.iter().enumerate().try_for_each(|(index, byte)| {
        let separator = if index > 0 { separator } else { "" };
        write!(f, "{separator}{byte:02x}")
    })
}

/// The vendor class of every Pi's boot code.
const CLASS: &str = "PXEClient:Arch:00000:UNDI:002001";

const EXAMPLES: &str = "\
Examples:
  pinetboot router-config --server 192.168.1.2                   list the servers
  pinetboot router-config --server 192.168.1.2 --for dnsmasq > /etc/dnsmasq.d/pinetboot.conf
  pinetboot router-config --server 192.168.1.2 --for eeprom --client-ip 192.168.1.50";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_told_the_server_and_listed() {
        let server = Ipv4Addr::new(10, 77, 0, 1);
        let listed = list(server);
        for router in Router::value_variants() {
            let lines = router.lines(server);
            assert!(router.is_firewall() || lines.contains("10.77.0.1"), "{router:?}: {lines}");
            assert!(lines.ends_with('\n') && !lines.contains("\t"), "{router:?}: {lines}");
            assert!(lines.lines().all(|line| line.len() <= 180), "{router:?}: {lines}");
            assert!(listed.contains(&format!("\n  {} ", router.name())), "{listed}");
        }
    }

    #[test]
    fn the_ports_of_a_firewall_need_no_server() {
        let options = |router| Args {
            server: None,
            router,
            client_ip: None,
            subnet: None,
            gateway: None,
            prefix: None,
            json: false,
        };
        assert!(run(&options(Some(Router::Ufw))).is_ok());
        for router in [None, Some(Router::Dnsmasq), Some(Router::Eeprom)] {
            assert!(run(&options(router)).unwrap_err().message.contains("--server"), "{router:?}");
        }
    }

    #[test]
    fn the_class_is_that_of_the_core() {
        assert_eq!(CLASS.as_bytes(), pinetboot_core::dhcp::pxe::PI_CLASS);
        assert!(Option43(":").to_string().starts_with("06:01:03:0a:04:00:50:58:45:09:17:00:00:14:52"));
        assert!(Option43("").to_string().ends_with("202020ff"));
    }
}

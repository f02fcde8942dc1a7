//! The settings of a Pi's own bootloader, for a network whose DHCP server cannot be changed, or without one.
//!
//! raspberrypi/documentation, eeprom-bootloader.adoc: BOOT_ORDER, TFTP_IP, TFTP_PREFIX, TFTP_PREFIX_STR, CLIENT_IP, SUBNET,
//! GATEWAY. Not tested on a Pi.

use core::fmt;
use std::net::Ipv4Addr;

use super::Args;

/// The bootloader settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eeprom {
    server: Ipv4Addr,
    addresses: Option<Addresses>,
    prefix: Option<String>,
}

/// A fixed address of the Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The Pi's address.
    pub client: Ipv4Addr,
    /// The mask of its network.
    pub subnet: Ipv4Addr,
    /// The router.
    pub gateway: Option<Ipv4Addr>,
}

impl Eeprom {
    /// Settings that name the server; the address comes by DHCP.
    pub const fn with_server(server: Ipv4Addr) -> Self {
        Self { server, addresses: None, prefix: None }
    }

    /// Settings from the command line.
    ///
    /// # Errors
    ///
    /// The option that cannot work, and the reason.
    pub fn new(server: Ipv4Addr, options: &Args) -> Result<Self, String> {
        let Args { client_ip, subnet, gateway, prefix, .. } = options;
        let addresses = match (*client_ip, *subnet, *gateway) {
            (Some(client), subnet, gateway) => {
                let subnet = subnet.unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
                let mask = subnet.to_bits();
                if mask.leading_ones() + mask.trailing_zeros() != u32::BITS {
                    return Err(format!("--subnet {subnet} is not a mask like 255.255.255.0"));
                }
                let local = |address: Ipv4Addr| (address.to_bits() ^ client.to_bits()) & mask == 0;
                match gateway {
                    Some(gateway) if !local(gateway) => {
                        return Err(format!("--gateway {gateway} is not in the network of {client}"));
                    }
                    None if !local(server) => {
                        return Err(format!(
                            "{server} is not in the network of {client}: give --gateway too"
                        ));
                    }
                    _ => {}
                }
                Some(Addresses { client, subnet, gateway })
            }
            (None, None, None) => None,
            _ => return Err("--subnet and --gateway require --client-ip".into()),
        };
        let prefix = prefix.clone().map(|prefix| if prefix.ends_with('/') { prefix } else { prefix + "/" });
        if prefix.as_ref().is_some_and(|prefix| prefix.len() > MAX_PREFIX) {
            return Err(format!("--prefix: at most {MAX_PREFIX} characters, the / at its end among them"));
        }
        Ok(Self { server, addresses, prefix })
    }
}

impl fmt::Display for Eeprom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# The bootloader of a Raspberry Pi 4 or 5 (a Pi 3 has none). On that Pi, in any system with rpi-eeprom:
#   sudo rpi-eeprom-config --edit     write these lines, each name once
#   sudo reboot                       the bootloader takes the lines over
# With several Pis: rpi-eeprom-config > boot.conf; change boot.conf; sudo rpi-eeprom-config --apply boot.conf
# To show the settings: vcgencmd bootloader_config
# Not tested on a Pi; rests on raspberrypi.com/documentation/computers/raspberry-pi.html (bootloader configuration).

# Read from right to left: SD card (1), network (2), from the start (f). 0xf12 has the network first.
BOOT_ORDER=0xf21
# Overrides the boot server of DHCP.
TFTP_IP={}",
            self.server
        )?;
        match &self.addresses {
            Some(Addresses { client, subnet, gateway }) => {
                writeln!(
                    f,
                    "# With a fixed address this Pi sends no DHCP. No other device may have the address."
                )?;
                writeln!(f, "CLIENT_IP={client}\nSUBNET={subnet}")?;
                if let Some(gateway) = gateway {
                    writeln!(f, "GATEWAY={gateway}")?;
                }
            }
            None => {
                writeln!(f, "# The Pi's own address comes by DHCP; '--client-ip ADDRESS' sets a fixed one.")?
            }
        }
        match &self.prefix {
            Some(prefix) => {
                writeln!(f, "# The directory of the files:\nTFTP_PREFIX=1\nTFTP_PREFIX_STR={prefix}")
            }
            None => {
                writeln!(
                    f,
                    "# The directory is the serial number (1: TFTP_PREFIX_STR; 2: the MAC address)."
                )?;
                writeln!(f, "TFTP_PREFIX=0")
            }
        }
    }
}

/// Limit of TFTP_PREFIX_STR in bytes (documented, eeprom-bootloader.adoc).
const MAX_PREFIX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    fn options() -> Args {
        Args {
            server: Some(SERVER),
            router: None,
            client_ip: None,
            subnet: None,
            gateway: None,
            prefix: None,
            json: false,
        }
    }

    fn settings(options: &Args) -> Result<Vec<String>, String> {
        let text = Eeprom::new(SERVER, options)?.to_string();
        Ok(text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(str::to_owned)
            .collect())
    }

    #[test]
    fn no_more_is_set_than_asked_for() {
        let short = ["BOOT_ORDER=0xf21", "TFTP_IP=10.77.0.1", "TFTP_PREFIX=0"];
        assert_eq!(settings(&options()).unwrap(), short);
        let all = Args {
            client_ip: Some(Ipv4Addr::new(10, 78, 0, 5)),
            subnet: Some(Ipv4Addr::new(255, 255, 0, 0)),
            gateway: Some(Ipv4Addr::new(10, 78, 3, 1)),
            prefix: Some("lab".into()),
            ..options()
        };
        let wanted = [
            "BOOT_ORDER=0xf21",
            "TFTP_IP=10.77.0.1",
            "CLIENT_IP=10.78.0.5",
            "SUBNET=255.255.0.0",
            "GATEWAY=10.78.3.1",
            "TFTP_PREFIX=1",
            "TFTP_PREFIX_STR=lab/",
        ];
        assert_eq!(settings(&all).unwrap(), wanted);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let client_ip = Some(Ipv4Addr::new(10, 78, 0, 5));
        for wrong in [
            Args { client_ip, ..options() },
            Args { client_ip, gateway: Some(Ipv4Addr::new(10, 77, 0, 1)), ..options() },
            Args { client_ip, subnet: Some(Ipv4Addr::new(255, 0, 255, 0)), ..options() },
            Args { gateway: Some(Ipv4Addr::new(10, 77, 0, 1)), ..options() },
            Args { prefix: Some("x".repeat(32)), ..options() },
        ] {
            assert!(settings(&wrong).is_err(), "{wrong:?}");
        }
        let local = Args { client_ip: Some(Ipv4Addr::new(10, 77, 0, 5)), ..options() };
        assert!(settings(&local).is_ok(), "in the same network no router is needed");
    }
}

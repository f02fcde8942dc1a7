//! The bootloader's configuration, as `rpi-eeprom-config` prints it (raspberrypi/documentation, eeprom-bootloader).

use std::collections::BTreeMap;

use pinetboot_core::pi::rules;

use super::Shown;

/// The settings, each with its line. Of a key in several sections the last one counts.
#[derive(Debug, Default)]
pub(super) struct Eeprom(BTreeMap<&'static str, (u64, String)>);

impl Eeprom {
    pub(super) fn line(&mut self, number: u64, line: &str) {
        let Some((key, value)) = line.trim().split_once('=') else { return };
        if let Some(key) = KEYS.iter().find(|known| **known == key) {
            self.0.insert(key, (number, value.trim().to_owned()));
        }
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        let mut show = |rule, key: &str| {
            let line = self.0.get(key).map(|(line, value)| Shown::new(rule, *line, format!("{key}={value}")));
            shown.extend(line);
        };
        match self.order() {
            Some(Order::NoNetwork) => show(&rules::NO_PXE_DISCOVER, "BOOT_ORDER"),
            Some(Order::After(Mode::Nvme)) => show(&rules::NVME_FIRST, "BOOT_ORDER"),
            Some(Order::After(Mode::Usb)) => show(&rules::LATE_DISCOVER, "BOOT_ORDER"),
            Some(Order::Early) => {}
            None if self.is_configuration() => {
                // The default: SD card, USB, again.
                let text = "no BOOT_ORDER: the default 0xf41 has no network boot (2)";
                shown.push(Shown::new(&rules::NO_PXE_DISCOVER, 1, text));
                return shown;
            }
            None => {}
        }
        if self.is_set("CLIENT_IP") && self.is_set("TFTP_IP") {
            show(&rules::STATIC_ADDRESS, "CLIENT_IP");
        }
        if self.is_on("USE_IPV6") {
            show(&rules::IPV6_ALONE, "USE_IPV6");
        }
        if self.is_on("WAIT_FOR_POWER_BUTTON") && self.is_on("POWER_OFF_ON_HALT") {
            show(&rules::WAITS_FOR_BUTTON, "WAIT_FOR_POWER_BUTTON");
        }
        if self.is_on("SIGNED_BOOT") {
            show(&rules::SIGNED_BOOT_IMAGE, "SIGNED_BOOT");
        }
        shown
    }

    /// Whether a configuration names no receiver of its log.
    pub(super) fn lacks_netconsole(&self) -> bool {
        self.is_configuration() && !self.is_set("NETCONSOLE")
    }

    /// Whether the text is a bootloader's configuration: several of its keys.
    fn is_configuration(&self) -> bool {
        self.0.len() >= 2
    }

    fn is_set(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|(_, value)| !value.trim_matches('"').is_empty())
    }

    fn is_on(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|(_, value)| value == "1")
    }

    /// The boot modes before the network, in the order in which the bootloader tries them: the lowest digit first.
    fn order(&self) -> Option<Order> {
        let (_, value) = self.0.get("BOOT_ORDER")?;
        let digits = value.trim_start_matches("0x").trim_start_matches("0X");
        let order = u32::from_str_radix(digits, 16).ok()?;
        let mut before = None;
        for digit in (0..8).map(|at| order >> (4 * at) & 0xf).take_while(|digit| *digit != 0) {
            match digit {
                2 => return Some(before.map_or(Order::Early, Order::After)),
                0xe | 0xf => break, // stop, or begin again
                4 | 5 => before = Some(Mode::Usb),
                6 => before = Some(Mode::Nvme),
                _ => {}
            }
        }
        Some(Order::NoNetwork)
    }
}

/// The place of network boot.
#[derive(Debug, PartialEq)]
enum Order {
    NoNetwork,
    /// Behind a mode that takes long.
    After(Mode),
    Early,
}

#[derive(Debug, PartialEq)]
enum Mode {
    Usb,
    Nvme,
}

const KEYS: [&str; 15] = [
    "BOOT_ORDER",
    "BOOT_UART",
    "CLIENT_IP",
    "DHCP_TIMEOUT",
    "MAX_RESTARTS",
    "NETCONSOLE",
    "NET_BOOT_MAX_RETRIES",
    "POWER_OFF_ON_HALT",
    "SIGNED_BOOT",
    "TFTP_FILE_TIMEOUT",
    "TFTP_IP",
    "TFTP_PREFIX",
    "USE_IPV6",
    "WAIT_FOR_POWER_BUTTON",
    "WAKE_ON_GPIO",
];

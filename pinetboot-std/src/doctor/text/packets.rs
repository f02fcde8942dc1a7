//! Packets as tcpdump prints them, with or without -n, -v and -e.

use std::collections::{BTreeMap, BTreeSet};

use pinetboot_core::pi::rules;

use super::Shown;

/// The packets so far. Each table has at most [`MOST`] entries; later ones are left out.
#[derive(Debug, Default)]
pub(super) struct Packets {
    /// The DISCOVERs of each bootloader.
    discovers: BTreeMap<String, u32>,
    discover: Option<(u64, String)>,
    /// Bootloaders that requested an address.
    requested: BTreeSet<String>,
    replies: u32,
    files: u32,
    /// Requests that nothing answered, by client and port: the file, and how often. Each file has a port.
    unanswered: BTreeMap<String, (String, u32)>,
    names: BTreeMap<&'static str, u32>,
    /// The server that each client and port asked for a file.
    asked: BTreeMap<String, String>,
    /// The first packet to the port of NETCONSOLE.
    console: Option<(u64, String)>,
    /// Addresses that DHCP gave.
    given: BTreeSet<String>,
    /// ARP requests of those by target.
    arp: BTreeMap<String, u32>,
    shown: BTreeMap<u8, Shown>,
}

impl Packets {
    pub(super) fn line(&mut self, number: u64, line: &str) {
        if let Some((_, rest)) = line.split_once("who-has ") {
            return self.arp_request(number, line, rest);
        }
        if let Some((before, _)) = line.split_once(" is-at ") {
            let host = before.rsplit(' ').next().unwrap_or_default();
            self.arp.remove(host);
            return;
        }
        if let Some(mtu) = line
            .split_once("MTU (26), length 2: ")
            .and_then(|(_, mtu)| mtu.split(|char: char| !char.is_ascii_digit()).next()?.parse::<u32>().ok())
            && mtu > ETHERNET
        {
            self.show(Shown::new(&rules::JUMBO_MTU, number, line.trim()));
        }
        if let Some(address) = line.split_once("Your-IP ").and_then(|(_, rest)| rest.split(' ').next())
            && self.given.len() < MOST
        {
            self.given.insert(address.to_owned());
        }
        let unreachable = ["udp port 69 unreachable", "udp port tftp unreachable"];
        if line.contains("ICMP") && unreachable.iter().any(|text| line.contains(text)) {
            self.show(Shown::new(&rules::TFTP_SERVER_SILENT, number, line.trim()));
        }
        if let Some((from, to, what)) = ends(line) {
            self.packet(number, line, (from, to), what);
        }
    }

    fn packet(&mut self, number: u64, line: &str, (from, to): (Socket<'_>, Socket<'_>), what: &str) {
        let socket = |(host, port): Socket<'_>| format!("{host}.{port}");
        self.unanswered.remove(&socket(to));
        if self.asked.get(&socket(to)).is_some_and(|server| server != from.0) && what.starts_with("UDP") {
            self.show(Shown::new(&rules::WRONG_SOURCE_ADDRESS, number, line.trim()));
        }
        if to.1 == NETCONSOLE && what.starts_with("UDP") && self.console.is_none() {
            self.console = Some((number, line.trim().to_owned()));
        }
        if let Some((_, sender)) = what.split_once("BOOTP/DHCP, Request from ") {
            let mac = sender.split([',', ' ']).next().unwrap_or_default().to_owned();
            // The DISCOVER of a Pi's bootloader has 322 bytes (captured); its REQUEST has two options more.
            if sender.contains(", length 322") {
                if self.discovers.len() < MOST || self.discovers.contains_key(&mac) {
                    *self.discovers.entry(mac).or_default() += 1;
                    self.discover = Some((number, line.trim().to_owned()));
                }
            } else if self.requested.len() < MOST {
                self.requested.insert(mac);
            }
        } else if what.contains("BOOTP/DHCP, Reply") {
            self.replies += 1;
            if !matches!(from.1, "67" | "bootps") {
                self.show(Shown::new(&rules::REPLY_PORT_REWRITTEN, number, line.trim()));
            }
        }
        let Some(name) = what.split_once("RRQ \"").and_then(|(_, name)| name.split('"').next()) else {
            return;
        };
        self.files += 1;
        let client = socket(from);
        if self.asked.len() < MOST || self.asked.contains_key(&client) {
            self.asked.insert(client.clone(), to.0.to_owned());
        }
        if self.unanswered.len() < MOST || self.unanswered.contains_key(&client) {
            let (file, count) = self.unanswered.entry(client).or_default();
            if file != name {
                (*file, *count) = (name.to_owned(), 0);
            }
            *count += 1;
            if *count >= UNANSWERED {
                self.show(Shown::new(&rules::TFTP_SERVER_SILENT, number, line.trim()));
            }
        }
        for (part, most, rule) in NAMED {
            if name.contains(part) {
                let count = self.names.entry(part).or_default();
                *count += 1;
                if *count >= most {
                    self.show(Shown::new(&rule, number, line.trim()));
                }
            }
        }
    }

    /// A Pi that has an address and asks for a host that does not answer.
    fn arp_request(&mut self, number: u64, line: &str, rest: &str) {
        let mut words = rest.split([' ', ',']).filter(|word| !word.is_empty());
        let target = words.next().unwrap_or_default();
        let Some(sender) = words.skip_while(|word| *word != "tell").nth(1) else { return };
        if !self.given.contains(sender) || (self.arp.len() >= MOST && !self.arp.contains_key(target)) {
            return;
        }
        let count = self.arp.entry(target.to_owned()).or_default();
        *count += 1;
        if *count >= UNANSWERED {
            self.show(Shown::new(&rules::BOOT_SERVER_OUT_OF_REACH, number, line.trim()));
        }
    }

    /// A packet to the port of NETCONSOLE.
    pub(super) const fn console(&self) -> Option<&(u64, String)> {
        self.console.as_ref()
    }

    fn show(&mut self, shown: Shown) {
        self.shown.entry(shown.rule).or_insert(shown);
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let mut shown: Vec<_> = self.shown.values().cloned().collect();
        let asks = |(mac, count): (&String, &u32)| *count >= DISCOVERS && !self.requested.contains(mac);
        if let Some((line, text)) =
            self.discover.as_ref().filter(|_| self.files == 0 && self.discovers.iter().any(asks))
        {
            shown.push(match self.replies {
                0 => {
                    let text = format!("Line {line}: {text}: no DHCP server answers in this capture.");
                    Shown { rule: 0, line: *line, text }
                }
                _ => Shown::new(&rules::NO_BOOT_SERVER, *line, text.clone()),
            });
        }
        shown
    }
}

/// A host and a port, as tcpdump prints them.
type Socket<'a> = (&'a str, &'a str);

/// Sender, receiver and the rest of `10.0.0.9.2048 > 10.0.0.1.69: ..`.
fn ends(line: &str) -> Option<(Socket<'_>, Socket<'_>, &str)> {
    line.match_indices(" > ").find_map(|(at, _)| {
        let (before, after) = (line.get(..at)?, line.get(at + 3..)?);
        let (to, rest) = after.split_once(": ")?;
        let from = before.rsplit(' ').next()?;
        let host = |end| -> Option<Socket<'_>> {
            let (host, port): (&str, &str) = str::rsplit_once(end, '.')?;
            let is_port =
                !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            (is_port && !to.contains(' ')).then_some((host, port))
        };
        Some((host(from)?, host(to)?, rest))
    })
}

/// Parts of file names, how often a healthy Pi asks for one at most, and the rule of a Pi that asks more.
const NAMED: [(&str, u32, pinetboot_core::pi::rules::Rule); 3] = [
    ("pieeprom.upd", 2, rules::SELF_UPDATE),
    ("tryboot.txt", 1, rules::TRYBOOT),
    ("pxelinux.cfg/", 4, rules::U_BOOT_PXE),
];

/// Linux's netconsole, and the bootloader's.
const NETCONSOLE: &str = "6666";
/// Entries of a table.
const MOST: usize = 1024;
/// A Pi repeats a request every 2 s (captured, raspberrypi/rpi-eeprom issue 74).
const UNANSWERED: u32 = 3;
/// A Pi asks every 4 s.
const DISCOVERS: u32 = 4;
/// Bytes of a packet on Ethernet.
const ETHERNET: u32 = 1500;

//! What a board says of itself: the file `status.txt`, and the answers of its console.

use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use pinetboot_core::Instant;
use pinetboot_core::dhcp::Clients;

use crate::boots::Boots;
use crate::config::{Address, Config, Dhcp};
use crate::kept::Kept;
use crate::search::{Others, REMEDY};
use crate::status::Counts;

/// What a board knows at its start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The board, such as "rp2040".
    pub board: &'static str,
    /// The reason for the start, such as "power-on".
    pub reset: &'static str,
    /// What the run before left.
    pub before: Kept,
    /// Bytes of boot files in flash.
    pub flash: usize,
}

impl Default for Start {
    fn default() -> Self {
        Self { board: "unknown board", reset: "unknown reset", before: Kept::default(), flash: 0 }
    }
}

/// The state of a card slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CardState {
    /// There is no slot, or nothing in it.
    #[default]
    Absent,
    /// The card's files are served.
    Readable,
    /// The card cannot be read.
    Unreadable,
}

/// What a report is made from, at one moment.
pub(crate) struct View<'a> {
    pub(crate) start: &'a Start,
    pub(crate) now: Instant,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) link: bool,
    pub(crate) config: &'a Config<'a>,
    /// The configuration has an error, or could not be read.
    pub(crate) misconfigured: bool,
    pub(crate) card: CardState,
    pub(crate) others: Others,
    pub(crate) counts: Counts,
    pub(crate) boots: &'a Boots,
}

impl View<'_> {
    /// The board: one line for each thing.
    pub(crate) fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { start, counts, .. } = self;
        writeln!(out, "pinetboot {} on {}", env!("CARGO_PKG_VERSION"), start.board)?;
        writeln!(out, "up {} since {}", Span(self.now.since(Instant::ZERO)), start.reset)?;
        match self.address {
            Some(address) => write!(out, "address {address}")?,
            None => out.write_str("no address")?,
        }
        let link = if self.link { "" } else { ", no cable" };
        writeln!(out, ", {}{link}", dhcp(self.config.dhcp))?;
        let card = match self.card {
            CardState::Absent => "no card",
            CardState::Readable => "card readable",
            CardState::Unreadable => "card UNREADABLE",
        };
        writeln!(out, "{} bytes of files in flash, {card}", start.flash)?;
        if start.before.ignores_config {
            out.write_str("configuration ignored: the button was held\n")?;
        }
        if self.misconfigured {
            writeln!(out, "configuration WRONG: see the log; DHCP is off")?;
        }
        match self.others {
            Others::Found(server) => {
                writeln!(out, "another DHCP server: {server}. No addresses are leased: {REMEDY}")?;
            }
            Others::Unknown if matches!(self.config.dhcp, Dhcp::Lease(_)) => {
                out.write_str("addresses are leased once a search has found no other DHCP server\n")?;
            }
            _ => {}
        }
        let Counts { running, complete, failed, refused, missing, leases } = *counts;
        writeln!(
            out,
            "files: {running} under way, {complete} sent, {failed} failed, {refused} refused, {missing} not there"
        )?;
        writeln!(out, "addresses given: {leases}")?;
        if let Some(rule) = start.before.rule {
            writeln!(out, "before the reset: a Pi stuck by rule {rule}")?;
        }
        if !start.before.panic.is_empty() {
            writeln!(out, "before the reset: {}", start.before.panic)?;
        }
        Ok(())
    }

    /// The Pis of the last boots: one line for each.
    pub(crate) fn pis(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.boots.each(|hardware, address, last, rule| {
            match hardware {
                Some(hardware) => write!(out, "pi {hardware} {address}")?,
                None => write!(out, "pi {address}")?,
            }
            match rule {
                Some(rule) => write!(out, ": STUCK by rule {rule}")?,
                None => out.write_str(": no fault")?,
            }
            writeln!(out, ", heard {} ago", Span(self.now.since(last)))
        })
    }

    /// The settings in force, as lines of `pinetboot.toml`.
    pub(crate) fn config(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Config { dhcp: service, address, upload, trees } = self.config;
        writeln!(out, "dhcp = \"{}\"", dhcp(*service).trim_start_matches("DHCP "))?;
        match address {
            Address::Dhcp => writeln!(out, "address = \"dhcp\"")?,
            Address::Static { address, prefix_len, router } => {
                writeln!(out, "address = \"{address}/{prefix_len}\"")?;
                if let Some(router) = router {
                    writeln!(out, "router = \"{router}\"")?;
                }
            }
        }
        if let Dhcp::Lease(network) = service {
            let (first, last) = network.range();
            writeln!(out, "lease-range = \"{first}-{last}\"")?;
            if network.clients == Clients::All {
                writeln!(out, "dhcp-clients = \"all\"")?;
            }
            if let Some(dns) = network.name_server {
                writeln!(out, "dns = \"{dns}\"")?;
            }
        }
        if upload.is_some() {
            writeln!(out, "#upload = (a key)")?;
        }
        trees.iter().try_for_each(|tree| writeln!(out, "[pi.{}]\ntree = \"{}\"", tree.pi, tree.directory))
    }
}

const fn dhcp(service: Dhcp) -> &'static str {
    match service {
        Dhcp::Off => "DHCP off",
        Dhcp::Proxy => "DHCP proxy",
        Dhcp::Lease(_) => "DHCP lease",
    }
}

/// A time span: `3 d 04:05:06`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        if secs >= 86_400 {
            write!(f, "{} d ", secs / 86_400)?;
        }
        // Of 32 bits: a division of 64 is long on these processors.
        let secs = (secs % 86_400) as u32;
        write!(f, "{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::string::String;

    use super::*;

    /// A board that has been up for three days.
    pub(crate) fn with_view(config: &[u8], then: impl FnOnce(View<'_>)) {
        let before = Kept { rule: Some(20), ..Kept::default() }.with_panic("panicked at src/lib.rs:1:2: no");
        let start = Start { board: "rp2040", reset: "the watchdog's reset", before, flash: 70_000 };
        let config = Config::parse(config).unwrap();
        let boots = Boots::new(true);
        then(View {
            start: &start,
            now: Instant::ZERO + Duration::from_secs(3 * 86_400 + 4 * 3600 + 5 * 60 + 6),
            address: Some(Ipv4Addr::new(10, 55, 0, 1)),
            link: true,
            config: &config,
            misconfigured: false,
            card: CardState::Readable,
            others: Others::None,
            counts: Counts { running: 1, complete: 12, failed: 2, refused: 3, missing: 34, leases: 5 },
            boots: &boots,
        });
    }

    #[test]
    fn a_status_has_a_line_for_each_thing() {
        with_view(b"", |view| {
            let mut text = String::new();
            view.status(&mut text).unwrap();
            assert_eq!(
                text,
                std::format!(
                    "pinetboot {} on rp2040\n\
                     up 3 d 04:05:06 since the watchdog's reset\n\
                     address 10.55.0.1, DHCP lease\n\
                     70000 bytes of files in flash, card readable\n\
                     files: 1 under way, 12 sent, 2 failed, 3 refused, 34 not there\n\
                     addresses given: 5\n\
                     before the reset: a Pi stuck by rule 20\n\
                     before the reset: panicked at src/lib.rs:1:2: no\n",
                    env!("CARGO_PKG_VERSION")
                )
            );
        });
    }

    #[test]
    fn the_settings_are_a_file_that_means_the_same() {
        for file in [
            "dhcp = 'lease'\naddress = '192.168.7.1/25'\nlease-range = '192.168.7.10-192.168.7.20'\ndhcp-clients = 'all'\n\
             router = '192.168.7.2'\ndns = '9.9.9.9'\n[pi.bd989ae1]\ntree = 'kitchen'\n[pi.2c-cf-67-01-02-03]\ntree = 'a/b'\n",
            "dhcp = 'proxy'",
            "dhcp = 'off'\naddress = '10.0.0.9/8'\nrouter = '10.0.0.1'",
            "",
        ] {
            with_view(file.as_bytes(), |view| {
                let mut text = String::new();
                view.config(&mut text).unwrap();
                assert_eq!(Config::parse(text.as_bytes()).as_ref(), Ok(view.config), "{text}");
            });
        }
    }
}

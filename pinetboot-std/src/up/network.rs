//! The interface of the Pis, and the part of this server in DHCP.

use std::net::Ipv4Addr;

use clap::ValueEnum;

use super::ask::{Ask, Question};
use super::configuration::ConfigFile;
use super::{Args, told};
use crate::config::{DhcpMode, Settings};
use crate::exit::{Exit, Failed};
use crate::output::Output;
use crate::probe::{self, EthernetInterface, Survey, Why};

/// The network of the Pis.
#[derive(Debug)]
pub(super) struct Network {
    interface: Vec<String>,
    dhcp: DhcpMode,
}

impl Network {
    /// The choices of the file, else of the options, else of the operator.
    ///
    /// # Errors
    ///
    /// If no interface has an address, file and options contradict each other, or a question has no answer.
    pub(super) fn choose(
        options: &Args,
        file: &ConfigFile,
        ask: Ask,
        out: &mut Output,
    ) -> Result<Self, Failed> {
        let Settings { interface, dhcp, .. } = &file.settings;
        let there = interface.first();
        file.agree("interface", there, "interface", options.interface.as_ref())?;
        file.agree("dhcp", dhcp.as_ref(), "dhcp", options.dhcp.as_ref())?;
        let source = options.config.display().to_string();

        let named = there.or(options.interface.as_ref());
        let chosen = match named {
            Some(name) => EthernetInterface::choose(Some(name))?,
            None => ask_interface(ask, out)?,
        };
        match there {
            Some(_) => told(out, "interface", &interface.join(", "), &source)?,
            None if options.interface.is_some() => told(out, "interface", &chosen.name, "--interface")?,
            None => {}
        }
        let mode = match (dhcp, options.dhcp) {
            (Some(mode), _) => {
                told(out, "dhcp", &name(*mode), &source)?;
                *mode
            }
            (None, Some(mode)) => {
                told(out, "dhcp", &name(mode), "--dhcp")?;
                mode
            }
            (None, None) => ask_dhcp(&chosen, ask, out)?,
        };
        if chosen.addresses.is_empty() {
            let name = &chosen.name;
            let why = format!(
                "{name} has no IPv4 address, which the server needs there. For a network of Pis alone: ip address add 10.77.0.1/24 dev {name}"
            );
            return Err(Failed::new(Exit::Usage, why));
        }
        let interface = if interface.is_empty() { vec![chosen.name] } else { interface.clone() };
        Ok(Self { interface, dhcp: mode })
    }

    /// The settings of `serve`.
    pub(super) fn settings(&self) -> Settings {
        Settings { interface: self.interface.clone(), dhcp: Some(self.dhcp), ..Settings::default() }
    }
}

fn ask_interface(ask: Ask, out: &mut Output) -> Result<EthernetInterface, Failed> {
    let likely = EthernetInterface::choose(None);
    let (default, why) = match (&likely, ask) {
        (Ok(likely), _) => (
            Some(likely.name.clone()),
            match likely.why {
                Why::DefaultRoute => "the interface of the default route",
                Why::OnlyOne | Why::Named => "the only interface that is up",
            },
        ),
        (Err(_), Ask::Terminal) => (None, ""),
        (Err(_), _) => return likely,
    };
    let there: Vec<_> = EthernetInterface::all()?.iter().map(describe).collect();
    let text = format!(
        "Which interface are the Pis connected to, directly or through a switch? {}",
        there.join(", ")
    );
    let question = Question { argument: "--interface", text: &text, default, why };
    let parse = |name: &str| EthernetInterface::choose(Some(name)).map_err(|failed| failed.message);
    ask.ask(&question, parse, out)
}

fn describe(interface: &EthernetInterface) -> String {
    let addresses: Vec<_> = interface.addresses.iter().map(Ipv4Addr::to_string).collect();
    match addresses.as_slice() {
        [] => format!("{} (no address)", interface.name),
        _ => format!("{} ({})", interface.name, addresses.join(", ")),
    }
}

fn ask_dhcp(interface: &EthernetInterface, ask: Ask, out: &mut Output) -> Result<DhcpMode, Failed> {
    if ask != Ask::Nothing {
        writeln!(out, "\nLooking for a DHCP server on {}, 4 s ...", interface.name)?;
        out.finish()?;
    }
    let survey = probe::look(interface)?;
    let (default, why) = advise(&survey, &interface.addresses);
    let text = "How do Pis learn of this server? proxy: it names itself beside the router's DHCP; lease: it leases the addresses, too; \
                off: the router or the Pi's EEPROM names it (pinetboot router-config)";
    let question = Question { argument: "--dhcp", text, default: Some(name(default)), why: &why };
    let parse = |text: &str| {
        DhcpMode::from_str(text, true).map_err(|_| format!("{text} is none of proxy, lease, off"))
    };
    ask.ask(&question, parse, out)
}

/// The mode for a network, and the reason.
fn advise(survey: &Survey, own: &[Ipv4Addr]) -> (DhcpMode, String) {
    let Some(router) = survey.offers.iter().find(|offer| offer.address.is_some()) else {
        return (DhcpMode::Lease, "no DHCP server answered".into());
    };
    let leases = format!("the DHCP server {} leases addresses", router.from);
    match survey.boot_server.as_ref().map(|chosen| chosen.address) {
        Some(server) if own.contains(&server) => {
            (DhcpMode::Off, format!("{leases}, and names this machine as boot server"))
        }
        Some(server) => (
            DhcpMode::Proxy,
            format!("{leases}. It names {server} as boot server: a Pi may boot from there instead"),
        ),
        None => (DhcpMode::Proxy, format!("{leases}, and names no boot server")),
    }
}

fn name(mode: DhcpMode) -> String {
    mode.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

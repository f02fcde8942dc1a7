//! The result of a probe as data: the offers, the boot server, the verdict and the findings. Printed as text or JSON.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{BootServer, Choice, Message, NoBoot, Offer, OptionCode};
use pinetboot_core::pi::rules;
use serde::Serialize;

use super::ask::Heard;
use super::client::ProbeClient;
use super::root::RootServices;
use super::tftp::Tftp;
use crate::exit::Exit;
use crate::finding::{Finding, Findings};

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// The interface of the probe.
    pub interface: String,
    /// The MAC address of the probe.
    pub mac: String,
    /// The impersonated client, as a value of `--as`.
    pub client: &'static str,
    /// The serial number, if the client sends one.
    pub serial: Option<String>,
    /// The offers, in the order of their arrival.
    pub offers: Vec<Offered>,
    /// The boot server that this client would use.
    pub boot_server: Option<Chosen>,
    /// The answers of the boot server. `None` without a boot server, or if it was not tested.
    pub tftp: Option<Tftp>,
    /// The reason why the boot server was not tested.
    pub tftp_not_tested: Option<String>,
    /// The services for NFS roots on the boot server, if its first file exists.
    pub root_services: Option<RootServices>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict as a sentence.
    pub reason: String,
    /// Faults with rule and remedy. The text of a problem equals the reason.
    pub findings: Findings,
    /// The exit code.
    pub exit: u8,
}

impl Survey {
    /// Sets the verdict, and adds the problem that keeps the client from booting.
    pub(super) fn fail(&mut self, verdict: Verdict, problem: Finding) {
        self.verdict = verdict;
        self.reason.clone_from(&problem.what);
        self.findings.add(problem);
    }
}

/// An OFFER.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offered {
    /// Its sender.
    pub from: Ipv4Addr,
    /// Milliseconds from the DISCOVER to the OFFER.
    pub after_ms: u64,
    /// The offered address; `None` from a proxy.
    pub address: Option<Ipv4Addr>,
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `giaddr`.
    pub relay: Option<Ipv4Addr>,
    /// `sname`.
    pub server_name: Option<String>,
    /// Option 67 or `file`.
    pub boot_file: Option<String>,
    /// The options in their order.
    pub options: Vec<OptionShown>,
}

/// An option of an OFFER.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptionShown {
    /// Its code.
    pub code: u8,
    /// Its name, if known.
    pub name: Option<&'static str>,
    /// Its value as text.
    pub value: String,
    /// Its bytes in hexadecimal.
    pub hex: String,
}

/// The boot server that a client chooses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// Its address.
    pub address: Ipv4Addr,
    /// The field or option that named it.
    pub named_by: String,
    /// The index of the offer that named it.
    pub by_offer: usize,
    /// The address of the client.
    pub client_address: Ipv4Addr,
    /// The index of the offer that gave it.
    pub given_by_offer: usize,
}

/// The verdict of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The client would boot, as far as DHCP and the first file show.
    WouldBoot,
    /// The boot server lacks the Pi's first file.
    NoFiles,
    /// A server offers an address, but no boot server that the client accepts: a Pi repeats its DISCOVER without end.
    NoBootServer,
    /// No DHCP server offers an address.
    NoDhcpServer,
    /// The boot server does not answer, or is out of reach.
    BootServerSilent,
}

impl Verdict {
    /// The exit code of the verdict.
    pub const fn exit(self) -> Exit {
        match self {
            Self::WouldBoot => Exit::Success,
            Self::NoFiles => Exit::WouldNotBoot,
            Self::NoBootServer => Exit::NoBootServer,
            Self::NoDhcpServer => Exit::NoDhcp,
            Self::BootServerSilent => Exit::NoAnswer,
        }
    }
}

impl From<NoBoot> for Verdict {
    fn from(why: NoBoot) -> Self {
        match why {
            NoBoot::NoOffer | NoBoot::NoAddress => Self::NoDhcpServer,
            _ => Self::NoBootServer,
        }
    }
}

impl Chosen {
    /// The choice as data.
    pub(crate) fn new(choice: &Choice<'_>) -> Self {
        Self {
            address: choice.server,
            named_by: named_by(choice),
            by_offer: choice.by,
            client_address: choice.address,
            given_by_offer: choice.given_by,
        }
    }
}

/// The field or option that names the boot server, as `option 66`, and the reason to believe it if one is needed.
fn named_by(choice: &Choice<'_>) -> String {
    let name = match choice.named {
        BootServer::TftpName(_) => "option 66",
        BootServer::NextServer(_) => "siaddr (next-server)",
        BootServer::Listed { .. } => "the boot servers in option 43",
        BootServer::ServerId(_) => "option 54 (it is the DHCP server itself)",
        _ => "being the sender itself",
    };
    // The core's text has the reason after the name.
    let text = choice.to_string();
    let why = text.split_once("), ").map_or(String::new(), |(_, why)| format!(", {why}"));
    format!("{name}{why}")
}

impl Offered {
    /// The content of an offer.
    pub(super) fn new(heard: &Heard, offer: &Offer<'_>) -> Self {
        let message = &offer.message;
        let header = &message.header;
        let some = |address: Ipv4Addr| Some(address).filter(|address| !address.is_unspecified());
        Self {
            from: offer.from,
            after_ms: u64::try_from(heard.after.as_millis()).unwrap_or(u64::MAX),
            address: some(header.yiaddr),
            next_server: some(header.siaddr),
            relay: some(header.giaddr),
            server_name: message.server_name().map(|name| name.to_string()),
            boot_file: message.boot_file().map(|name| name.to_string()),
            options: options(message),
        }
    }
}

fn options(message: &Message<'_>) -> Vec<OptionShown> {
    let shown = message.options().map(|option| {
        let text = option.to_string();
        let value = text.split_once(": ").map_or("", |(_, value)| value).to_owned();
        let hex = option.value.iter().map(|byte| format!("{byte:02x}")).collect();
        OptionShown { code: option.code.0, name: option.code.name(), value, hex }
    });
    shown.collect()
}

/// Warnings about a choice: faults that may keep the client from booting another time.
pub(super) fn warnings(client: ProbeClient, offers: &[Offer<'_>], choice: &Choice<'_>) -> Vec<Finding> {
    let mut warnings = Vec::new();
    for other in other_servers(client, offers, choice.server) {
        let text = format!(
            "the offers name different boot servers, and the first offer counts: this time {}, another time {other}.",
            choice.server
        );
        warnings
            .push(Finding::warning(text).remedy("Configure all DHCP servers to name the same boot server."));
    }
    let givers = offers.iter().filter(|offer| !offer.message.header.yiaddr.is_unspecified());
    let givers = givers.map(|offer| offer.from).collect::<BTreeSet<_>>().len();
    if givers > 1 {
        let text = format!("{givers} DHCP servers lease addresses on this network.");
        warnings.push(Finding::warning(text).remedy("Stop all but one, unless they share their leases."));
    }
    let names = |offer: &Offer<'_>| {
        offer.message.options().filter(|option| option.code == OptionCode::TFTP_SERVER_NAME).count()
    };
    if offers.iter().any(|offer| names(offer) > 1) {
        warnings.push(named_twice());
    }
    if choice.lacks_spaces {
        let text = "the text in option 43 lacks the three spaces after \"Raspberry Pi Boot\" that some Raspberry Pi 3B \
                    need.";
        let warning = Finding::warning(text).rule(&rules::ROM_IGNORES_OFFER);
        warnings
            .push(warning.remedy("Write three spaces behind it, and count them in the length of the text."));
    }
    if client == ProbeClient::UBoot
        && let BootServer::NextServer(_) = choice.named
        && choice.file.is_none()
    {
        let warning =
            Finding::warning("no boot file is named: U-Boot loads the file in its variable bootfile.");
        warnings.push(warning);
    }
    warnings
}

/// Warnings about option 66 where the value is not an address.
pub(super) fn names_that_are_no_address(offers: &[Offer<'_>]) -> Vec<Finding> {
    let names = offers.iter().flat_map(|offer| {
        let names = BootServer::all(&offer.message).filter(|server| server.address().is_none());
        names.filter_map(|server| match server {
            BootServer::TftpName(name) => Some((offer.from, name)),
            _ => None,
        })
    });
    let warning = |(from, name)| {
        Finding::warning(format!("option 66 from {from} is {name}, which is not an address."))
            .rule(&rules::NO_BOOT_SERVER)
            .remedy("Write digits and dots only, as in 10.77.0.1, without quotation marks.")
    };
    names.map(warning).collect()
}

/// The boot servers that the client would choose if another offer came first.
fn other_servers(client: ProbeClient, offers: &[Offer<'_>], server: Ipv4Addr) -> Vec<Ipv4Addr> {
    let mut others = Vec::new();
    let mut offers = offers.to_vec();
    for _ in 0..offers.len() {
        offers.rotate_left(1);
        if let Ok(choice) = client.rules().choose(&offers)
            && choice.server != server
            && !others.contains(&choice.server)
        {
            others.push(choice.server);
        }
    }
    others
}

/// Whether the client can reach its boot server: the server is in the client's network, or a router is offered.
pub(super) fn within_reach(offers: &[Offer<'_>], choice: &Choice<'_>) -> bool {
    let Some(offer) = offers.get(choice.given_by) else { return true };
    let mask = offer.message.option(OptionCode::SUBNET_MASK).and_then(|mask| mask.u32());
    let Some(mask) = mask else { return true };
    let routers = offer.message.option(OptionCode::ROUTER).is_some_and(|router| router.address().is_some());
    (choice.address.to_bits() ^ choice.server.to_bits()) & mask == 0 || routers
}

/// The warning about two options 66: dnsmasq sends them if a name is in both `dhcp-boot` and `dhcp-option=66`.
fn named_twice() -> Finding {
    Finding::warning(
        "option 66 is in one offer twice; both values form one long name (RFC 3396), which is not an address.",
    )
    .evidence("The value that a real Pi uses is not known.")
    .remedy("Name the server once.")
}

#[cfg(test)]
mod tests {
    use pinetboot_core::dhcp::{Emitter, HardwareAddress, Header, MAX_LEN, MessageType};

    use pinetboot_core::pi::Model;

    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    /// An OFFER of 10.77.0.9/24 with these options.
    fn offer(options: &[(OptionCode, &[u8])]) -> Vec<u8> {
        let mut header = Header::request(HardwareAddress::ethernet([2; 6]), 1).reply();
        header.yiaddr = Ipv4Addr::new(10, 77, 0, 9);
        let mut out = [0; MAX_LEN];
        let mut message = Emitter::new(&header, &mut out).unwrap();
        message.kind(MessageType::Offer).unwrap();
        message.address(OptionCode::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0)).unwrap();
        for (code, value) in options {
            message.option(*code, value).unwrap();
        }
        let len = message.finish().unwrap();
        out[..len].to_vec()
    }

    fn parse(bytes: &[u8]) -> Offer<'_> {
        Offer::new(SERVER, Message::parse(bytes).unwrap())
    }

    #[test]
    fn what_a_server_chose_cannot_act_on_a_terminal() {
        let hostile = "\x1b]0;owned\x07\r\n\u{9b}2J\u{202e}".as_bytes();
        let codes = [12, 17, 43, 60, 61, 66, 67, 97, 129, 224].map(OptionCode);
        let offer = offer(&codes.map(|code| (code, hostile)));
        let offer = parse(&offer);
        let values = options(&offer.message).into_iter().map(|option| option.value);
        let findings = names_that_are_no_address(&[offer]).into_iter().map(|finding| finding.what);
        for text in values.chain(findings) {
            assert!(text.chars().all(|char| char.is_ascii() && !char.is_control()), "{text:?}");
        }
    }

    #[test]
    fn faults_that_may_show_another_time_are_warned_of() {
        let name = OptionCode::TFTP_SERVER_NAME;
        let (one, other) = (offer(&[(name, b"10.77.0.1")]), offer(&[(name, b"10.77.0.2")]));
        let elsewhere = Offer::new(Ipv4Addr::new(10, 77, 0, 3), Message::parse(&other).unwrap());
        let both = [parse(&one), elsewhere];
        let choice = ProbeClient::Pi(Model::Pi5).rules().choose(&both).unwrap();
        let said = warnings(ProbeClient::Pi(Model::Pi5), &both, &choice);
        assert!(said[0].what.contains("this time 10.77.0.1, another time 10.77.0.2"), "{said:?}");
        assert!(said[1].what.contains("2 DHCP servers"), "{said:?}");
        assert_eq!(warnings(ProbeClient::Pi(Model::Pi5), &both[..1], &choice), Vec::<Finding>::new());

        let twice =
            offer(&[(name, b"10.77.0.1"), (OptionCode::ROUTER, &[10, 77, 0, 1]), (name, b"10.77.0.1")]);
        let offers = [parse(&one), parse(&twice)];
        assert!(warnings(ProbeClient::Pi(Model::Pi5), &offers, &choice).contains(&named_twice()));
        assert!(names_that_are_no_address(&offers)[0].what.contains("10.77.0.110.77.0.1"));
    }

    #[test]
    fn another_network_takes_a_router() {
        let name = (OptionCode::TFTP_SERVER_NAME, &b"10.78.0.1"[..]);
        let router = (OptionCode::ROUTER, &[10, 77, 0, 1][..]);
        for (options, reached) in [(&[name][..], false), (&[name, router], true)] {
            let bytes = offer(options);
            let offers = [parse(&bytes)];
            let choice = ProbeClient::Pi(Model::Pi5).rules().choose(&offers).unwrap();
            assert_eq!(within_reach(&offers, &choice), reached);
        }
    }
}

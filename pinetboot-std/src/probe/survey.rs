//! What was heard and what follows from it: the offers, the boot server, the verdict and the findings. As data, which
//! becomes text or JSON.

use std::net::Ipv4Addr;

use pinetboot_core::dhcp::{BootServer, Choice, Message, NoBoot, Offer, OptionCode};
use pinetboot_core::pi::rules;
use serde::Serialize;

use super::ask::Heard;
use super::client::Client;
use super::tftp::Tftp;
use crate::exit::Exit;
use crate::finding::{Finding, Findings};

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// The interface that was asked on.
    pub interface: String,
    /// The hardware address that asked.
    pub mac: String,
    /// As whom, in the words of `--as`.
    pub client: &'static str,
    /// With which serial number, if it has one.
    pub serial: Option<String>,
    /// Who offered what, in the order in which it came.
    pub offers: Vec<Offered>,
    /// The boot server that this client would use.
    pub boot_server: Option<Chosen>,
    /// Whether that answers. `None` if there is none, or if this machine cannot ask it.
    pub tftp: Option<Tftp>,
    /// What would come of it.
    pub verdict: Verdict,
    /// The same in plain words.
    pub reason: String,
    /// What is wrong, by which rule, and what to do about it. A problem says the same as the reason.
    pub findings: Findings,
    /// The exit code.
    pub exit: u8,
}

impl Survey {
    /// Takes in the problem that keeps the client from booting.
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
    /// After how many milliseconds it came.
    pub after_ms: u64,
    /// The address offered; none by a proxy.
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
    /// What it is called.
    pub name: Option<&'static str>,
    /// What it says, as text.
    pub value: String,
    /// Its bytes.
    pub hex: String,
}

/// The boot server that a client takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// Its address.
    pub address: Ipv4Addr,
    /// What named it.
    pub named_by: String,
    /// The index of the offer that did.
    pub by_offer: usize,
    /// The address that the client has from then on.
    pub client_address: Ipv4Addr,
    /// The index of the offer that gave it.
    pub given_by_offer: usize,
}

/// What would come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It would boot, as far as DHCP and the first file go.
    WouldBoot,
    /// The boot server has not the first file of this Pi.
    NoFiles,
    /// There is an address, but no boot server that the client would take: a Pi asks for ever.
    NoBootServer,
    /// Nobody gives an address.
    NoDhcpServer,
    /// The boot server does not answer, or is out of reach.
    BootServerSilent,
}

impl Verdict {
    /// The exit code that says so.
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
    /// The choice, in words.
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

/// `option 66`; and why that is believed, if it is not for its own sake.
fn named_by(choice: &Choice<'_>) -> String {
    let name = match choice.named {
        BootServer::TftpName(_) => "option 66",
        BootServer::NextServer(_) => "siaddr (next-server)",
        BootServer::Listed { .. } => "the boot servers in option 43",
        BootServer::ServerId(_) => "option 54 (it is the DHCP server itself)",
        _ => "being the sender itself",
    };
    // The core says why it is believed, after the name.
    let text = choice.to_string();
    let why = text.split_once("), ").map_or(String::new(), |(_, why)| format!(", {why}"));
    format!("{name}{why}")
}

impl Offered {
    /// What an offer says.
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

/// What may go wrong nevertheless.
pub(super) fn warnings(client: Client, offers: &[Offer<'_>], choice: &Choice<'_>) -> Vec<Finding> {
    let mut warnings = Vec::new();
    for other in other_servers(client, offers, choice.server) {
        let text = format!(
            "the offers name different boot servers, and whichever comes first counts: this time {}, another time {other}.",
            choice.server
        );
        warnings.push(Finding::warning(text).remedy("Let all DHCP servers name the same one."));
    }
    let givers = offers.iter().filter(|offer| !offer.message.header.yiaddr.is_unspecified()).count();
    if givers > 1 {
        let text = format!("{givers} DHCP servers give addresses on this network.");
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
    if client == Client::UBoot
        && let BootServer::NextServer(_) = choice.named
        && choice.file.is_none()
    {
        let warning =
            Finding::warning("no boot file is named: U-Boot takes the one of its variable bootfile.");
        warnings.push(warning);
    }
    warnings
}

/// What option 66 says where it says no address.
pub(super) fn names_that_are_no_address(offers: &[Offer<'_>]) -> Vec<Finding> {
    let names = offers.iter().flat_map(|offer| {
        let names = BootServer::all(&offer.message).filter(|server| server.address().is_none());
        names.filter_map(|server| match server {
            BootServer::TftpName(name) => Some((offer.from, name)),
            _ => None,
        })
    });
    let warning = |(from, name)| {
        Finding::warning(format!("option 66 from {from} is {name}: it is no address."))
            .rule(&rules::NO_BOOT_SERVER)
            .remedy("Write digits and dots alone, as in 10.77.0.1, without quotation marks.")
    };
    names.map(warning).collect()
}

/// Boot servers that it could be if another offer came first.
fn other_servers(client: Client, offers: &[Offer<'_>], server: Ipv4Addr) -> Vec<Ipv4Addr> {
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

/// Whether the client could get at its boot server: it is in the network of its address, or a router leads out of that.
pub(super) fn within_reach(offers: &[Offer<'_>], choice: &Choice<'_>) -> bool {
    let Some(offer) = offers.get(choice.given_by) else { return true };
    let mask = offer.message.option(OptionCode::SUBNET_MASK).and_then(|mask| mask.u32());
    let Some(mask) = mask else { return true };
    let routers = offer.message.option(OptionCode::ROUTER).is_some_and(|router| router.address().is_some());
    (choice.address.to_bits() ^ choice.server.to_bits()) & mask == 0 || routers
}

/// What dnsmasq does if a name is in both `dhcp-boot` and `dhcp-option=66`.
fn named_twice() -> Finding {
    Finding::warning(
        "option 66 is in one offer twice, and together they are one long name (RFC 3396), which is no address.",
    )
    .evidence("Which of them a real Pi takes is not known.")
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
    fn what_may_go_wrong_is_said() {
        let name = OptionCode::TFTP_SERVER_NAME;
        let (one, other) = (offer(&[(name, b"10.77.0.1")]), offer(&[(name, b"10.77.0.2")]));
        let both = [parse(&one), parse(&other)];
        let choice = Client::Pi(Model::Pi5).rules().choose(&both).unwrap();
        let said = warnings(Client::Pi(Model::Pi5), &both, &choice);
        assert!(said[0].what.contains("this time 10.77.0.1, another time 10.77.0.2"), "{said:?}");
        assert!(said[1].what.contains("2 DHCP servers"), "{said:?}");
        assert_eq!(warnings(Client::Pi(Model::Pi5), &both[..1], &choice), Vec::<Finding>::new());

        let twice =
            offer(&[(name, b"10.77.0.1"), (OptionCode::ROUTER, &[10, 77, 0, 1]), (name, b"10.77.0.1")]);
        let offers = [parse(&one), parse(&twice)];
        assert!(warnings(Client::Pi(Model::Pi5), &offers, &choice).contains(&named_twice()));
        assert!(names_that_are_no_address(&offers)[0].what.contains("10.77.0.110.77.0.1"));
    }

    #[test]
    fn another_network_takes_a_router() {
        let name = (OptionCode::TFTP_SERVER_NAME, &b"10.78.0.1"[..]);
        let router = (OptionCode::ROUTER, &[10, 77, 0, 1][..]);
        for (options, reached) in [(&[name][..], false), (&[name, router], true)] {
            let bytes = offer(options);
            let offers = [parse(&bytes)];
            let choice = Client::Pi(Model::Pi5).rules().choose(&offers).unwrap();
            assert_eq!(within_reach(&offers, &choice), reached);
        }
    }
}

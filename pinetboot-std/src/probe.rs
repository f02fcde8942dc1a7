//! `pinetboot probe`: finds the boot server that a Pi on this network would choose, and the reason.
//!
//! The probe broadcasts the DISCOVER of that Pi's boot code, byte by byte, and collects the OFFERs. The core chooses the boot
//! server from them ([`BootClient`](pinetboot_core::dhcp::BootClient)); the probe requests the first file from that server.
//!
//! ```text
//! Interface -> ask (a DISCOVER, OFFERs) -> BootClient::choose -> Tftp, RootServices -> Survey -> text or JSON
//! ```
//!
//! No REQUEST follows, so DHCP servers bind no address. The kernel does not deliver frames to the machine that sends them: a DHCP
//! server on this machine gets the DISCOVER as a broadcast of the interface's address.

mod ask;
mod client;
mod in_place;
mod interface;
mod root;
mod survey;
mod text;
mod tftp;

use std::fs;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::time::Duration;

use pinetboot_core::dhcp::{Choice, HardwareAddress, NoBoot, Offer, Profile, SERVER_PORT};
use pinetboot_core::pi::Model;
use pinetboot_core::pi::rules::{self, Rule};

use crate::arguments;
use crate::exit::{Exit, Failed};
use crate::finding::{Finding, Findings};
use crate::net::holder_of;
use crate::output;
pub(crate) use ask::random;
pub use client::ProbeClient;
pub(crate) use client::SERIAL;
pub(crate) use in_place::judge;
pub use interface::{EthernetInterface, Why};
pub use root::{Portmapper, RootServices};
pub use survey::{Chosen, Offered, OptionShown, Survey, Verdict};
pub use tftp::{Answer, File, Tftp};

/// Options of `probe`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Probe on this interface [default: the interface of the default route, else the only one that is up]
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,

    /// Client to impersonate
    #[arg(long = "as", value_name = "CLIENT", value_enum, default_value_t = ProbeClient::Pi(Model::Pi5))]
    pub client: ProbeClient,

    /// MAC address to send from [default: the interface's own]
    ///
    /// With another address, unicast answers arrive only in promiscuous mode: ip link set NAME promisc on
    #[arg(long, value_name = "MAC", value_parser = arguments::mac)]
    pub mac: Option<[u8; 6]>,

    /// The Pi's serial number, 8 or 16 hexadecimal digits; the last 8 name its directory [default: bd989ae1]
    #[arg(long, value_name = "HEX", value_parser = arguments::serial)]
    pub serial: Option<u32>,

    /// Collect offers for this many seconds, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS, value_parser = clap::value_parser!(u8).range(1..=60))]
    pub seconds: u8,

    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Probes the network, and prints the result to standard output.
///
/// Returns the exit code of the verdict.
///
/// # Errors
///
/// If the interface cannot be used, or the network or standard output fails.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let out = &mut output::stdout();
    let interface = EthernetInterface::choose(options.interface.as_deref())?;
    let asker = Asker::new(options, &interface)?;
    if !options.json {
        asker.print(&interface, options.seconds, out).map_err(output::failed)?;
    }
    let heard = asker.hear(&interface, options.seconds)?;
    let survey = asker.conclude(&interface.name, options.seconds, &heard)?;
    if options.json {
        out.json(&survey)?;
    } else {
        survey.print(out).map_err(output::failed)?;
    }
    Ok(survey.verdict.exit())
}

/// Probes an interface as a Pi 5, without output.
///
/// # Errors
///
/// If the interface cannot be used, or the network fails.
pub(crate) fn look(interface: &EthernetInterface) -> Result<Survey, Failed> {
    let options = Args {
        interface: None,
        client: ProbeClient::Pi(Model::Pi5),
        mac: None,
        serial: None,
        seconds: SECONDS,
        json: false,
    };
    let asker = Asker::new(&options, interface)?;
    let heard = asker.hear(interface, SECONDS)?;
    asker.conclude(&interface.name, SECONDS, &heard)
}

/// The impersonated client.
struct Asker {
    client: ProbeClient,
    mac: [u8; 6],
    serial: u32,
    /// Whether the serial number was given, and so belongs to a real Pi.
    serial_given: bool,
    profile: Profile,
}

impl Asker {
    fn new(options: &Args, interface: &EthernetInterface) -> Result<Self, Failed> {
        let mac = options.mac.unwrap_or(interface.mac);
        let serial = options.serial.unwrap_or(client::SERIAL);
        let profile = options.client.profile(mac, serial).ok_or_else(|| {
            Failed::new(Exit::Usage, format!("no Raspberry Pi has the serial number {serial:08x}"))
        })?;
        Ok(Self { client: options.client, mac, serial, serial_given: options.serial.is_some(), profile })
    }

    /// Sends the DISCOVER, and collects offers.
    fn hear(&self, interface: &EthernetInterface, seconds: u8) -> Result<Vec<ask::Heard>, Failed> {
        let mut net = if holds_port_67() { interface.open_with_this_machine()? } else { interface.open()? };
        net.pretend(self.mac);
        ask::ask(&mut net, &self.profile, self.mac, Duration::from_secs(seconds.into()))
            .map_err(|error| Failed::new(Exit::Failure, format!("{}: {error}", interface.name)))
    }

    fn print(&self, interface: &EthernetInterface, seconds: u8, out: &mut dyn Write) -> io::Result<()> {
        let mac = HardwareAddress::ethernet(self.mac);
        let why = match interface.why {
            Why::Named => "",
            Why::DefaultRoute => ", the interface of the default route",
            Why::OnlyOne => ", the only interface that is up",
        };
        let serial =
            if self.client.has_serial() { format!(", serial {:08x}", self.serial) } else { String::new() };
        writeln!(
            out,
            "Probing on {}{why}, as {}{serial}, MAC {mac}, for {seconds} s.\n",
            interface.name,
            self.client.role()
        )
    }

    fn conclude(&self, interface: &str, seconds: u8, heard: &[ask::Heard]) -> Result<Survey, Failed> {
        let offers: Vec<Offer<'_>> = heard.iter().filter_map(ask::Heard::offer).collect();
        let choice = self.client.rules().choose(&offers);
        let mut survey = Survey {
            interface: interface.into(),
            mac: HardwareAddress::ethernet(self.mac).to_string(),
            client: self.client.word(),
            serial: self.client.has_serial().then(|| format!("{:08x}", self.serial)),
            offers: heard.iter().zip(&offers).map(|(heard, offer)| Offered::new(heard, offer)).collect(),
            boot_server: None,
            tftp: None,
            tftp_not_tested: None,
            root_services: None,
            verdict: Verdict::WouldBoot,
            reason: String::new(),
            findings: Findings::default(),
            exit: 0,
        };
        match choice {
            Ok(choice) => self.follow(&mut survey, &offers, &choice)?,
            Err(why) => {
                self.explain(&mut survey, why, seconds);
                survey.findings.extend(survey::names_that_are_no_address(&offers));
            }
        }
        survey.exit = survey.verdict.exit() as u8;
        Ok(survey)
    }

    /// Requests the first file from the chosen boot server, and concludes the survey.
    fn follow(&self, survey: &mut Survey, offers: &[Offer<'_>], choice: &Choice<'_>) -> Result<(), Failed> {
        let (client, server) = (self.client, choice.server);
        let the = client.subject();
        let chosen = Chosen::new(choice);
        let because = format!("because of {}", chosen.named_by);
        survey.boot_server = Some(chosen);
        survey.findings.extend(survey::warnings(client, offers, choice));
        let would_ask = format!("{the} would ask {server} for its files, {because}, but");
        if !survey::within_reach(offers, choice) {
            let problem = Finding::problem(format!(
                "{would_ask} could not reach it: the server is outside the network of the address {}, and no router (option \
                 3) is offered.",
                choice.address
            ));
            let problem = problem.rule(&rules::BOOT_SERVER_OUT_OF_REACH);
            survey.fail(
                Verdict::BootServerSilent,
                problem.remedy("Offer a router, or a boot server in the same network."),
            );
            return Ok(());
        }
        let file = choice.file.map(|file| file.to_string());
        let tftp = Tftp::ask(server, client.first_files(self.serial, file.as_deref()))?;
        // A server on this machine that serves one interface does not receive packets of this machine.
        let own = UdpSocket::bind((server, 0)).is_ok();
        let tftp = tftp.filter(|tftp| tftp.answers || !own);
        survey.tftp.clone_from(&tftp);
        survey.reason = format!("{the} would boot from {server}, {because}.");
        match tftp {
            None => {
                let why = match own {
                    true => "the server is on this machine, and answers other machines only",
                    false => "this machine has no address that reaches the server",
                };
                survey.tftp_not_tested = Some(why.into());
            }
            Some(tftp) if !tftp.answers => {
                let problem = Finding::problem(format!(
                    "{would_ask} the server does not answer: no TFTP server runs there, or a firewall drops the packets."
                ));
                survey.fail(
                    Verdict::BootServerSilent,
                    problem.rule(&rules::TFTP_SERVER_SILENT).remedy(format!(
                        "Check that a TFTP server runs on {server}, and that no firewall drops UDP port 69 or the answers, \
                         which come from other ports; or name another server to the Pi."
                    )),
                );
            }
            Some(tftp) if tftp.found() => {
                let services = RootServices::ask(server);
                survey.findings.extend(services.finding(server));
                survey.root_services = Some(services);
            }
            Some(tftp) => {
                let names: Vec<_> = tftp.files.iter().map(|file| file.name.as_str()).collect();
                let names = names.join(" nor ");
                let simulate = format!(
                    "'pinetboot simulate --server {server}' requests all files, and shows which are missing."
                );
                let rule = &rules::NO_BOOT_FILES;
                if self.serial_given || !client.has_serial() {
                    let problem = Finding::problem(format!("{would_ask} the server has no {names}."));
                    survey.fail(Verdict::NoFiles, problem.rule(rule).remedy(simulate));
                } else {
                    let warning = Finding::warning(format!("{server} has no {names}.")).rule(rule);
                    survey.findings.add(
                        warning
                            .evidence("The server may have a directory for a real Pi's serial number.")
                            .remedy(format!("Name the Pi with --serial. {simulate}")),
                    );
                }
            }
        }
        Ok(())
    }

    /// Concludes the survey without a boot server.
    fn explain(&self, survey: &mut Survey, why: NoBoot, seconds: u8) {
        let the = self.client.subject();
        let reason = match why {
            NoBoot::NoOffer => format!("No DHCP server answered within {seconds} s."),
            NoBoot::NoAddress => format!("{the} would get no address: {why}."),
            NoBoot::KeepsAsking { .. } | NoBoot::GivesUp { .. } => {
                why.to_string().replacen("the Pi", &the, 1) + "."
            }
            _ => format!("{the} would not boot: {why}."),
        };
        let verdict = Verdict::from(why);
        let mut problem = Finding::problem(reason).rule(Rule::of_dhcp(&why));
        if problem.rule.is_none() {
            problem = problem.remedy(match verdict {
                Verdict::NoDhcpServer => {
                    "Check that the DHCP server runs, and is on this network. On a network without one, run 'pinetboot serve \
                     --dhcp lease'."
                }
                _ => {
                    "Configure the DHCP server to name the TFTP server: 'pinetboot router-config --server ADDRESS' prints the \
                     lines. If that server cannot be changed, run 'pinetboot serve --dhcp proxy' beside it."
                }
            });
        }
        survey.fail(verdict, problem);
        if why == NoBoot::NoOffer && holds_port_67() {
            survey.findings.add(
                Finding::warning(format!(
                    "a DHCP server runs on this machine, {}, and did not answer this probe.",
                    holder_of(SERVER_PORT).unwrap_or_else(|| "of another user".into())
                ))
                .remedy("Probe from another machine."),
            );
        }
    }
}

/// Whether a process on this machine listens on UDP port 67.
pub(crate) fn holds_port_67() -> bool {
    let sockets = fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
    sockets
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|local| local.ends_with(":0043"))
}

/// The seconds of a probe: a DHCP server may take 3 s.
const SECONDS: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  sudo pinetboot probe                                as a Raspberry Pi 5
  sudo pinetboot probe --interface eth0 --as pi4 --serial 10000000abcd1234
  sudo pinetboot probe --json | jq -r .verdict

A DHCP server may take 3 s to offer an address: it first checks that no host uses the address.";

//! The simulated Pi's DHCP: leases an address and finds the boot server, as lines of the timeline.
//!
//! Not done: the second exchange of a Pi 3, by `bootcode.bin`, and the later ones of its kernel and system.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant as Clock};

use pinetboot_core::dhcp::{
    Client, HardwareAddress, Message, MessageType, Offer, Outcome, Profile, SERVER_PORT, Selected, Step,
};
use pinetboot_core::pi::rules::{self, Rule};
use pinetboot_core::pi::{Model, Prefix};
use pinetboot_core::tftp;
use pinetboot_core::{Net, block_on};

use tracing::Level;

use super::leased::Lease;
use super::timeline::Timeline;
use super::verdict::WIDTH;
use super::{Pi, Report, ThisMachine, follow};
use crate::exit::{Exit, Failed};
use crate::finding::{Finding, Findings};
use crate::net::{Frames, HostAddress, VirtualHost};
use crate::output;
use crate::probe::{self, Chosen, EthernetInterface};
use crate::signals;
use crate::text::wrap;

/// Boots a simulated Pi on an interface: DHCP, then TFTP and NFS from the leased address. The interface needs no address.
///
/// The lease is real, for the interface's own MAC address, and is given back at the end.
///
/// # Errors
///
/// If the interface cannot be used, the boot server does not answer, or the network or `out` fails.
pub fn simulate_on(
    interface: &str,
    model: Model,
    serial: u32,
    out: &mut dyn Write,
) -> Result<Report, Failed> {
    let interface = EthernetInterface::choose(Some(interface))?;
    let client = probe::ProbeClient::from(model);
    let profile = client.profile(interface.mac, serial).ok_or_else(|| {
        Failed::new(Exit::Usage, format!("no Raspberry Pi has the serial number {serial:08x}"))
    })?;
    let mut net = interface.open()?;
    let own = Prefix::Serial(serial);
    let mac = HardwareAddress::ethernet(interface.mac);
    writeln!(out, "Simulating a {}, serial {own}, MAC {mac}, on {}.\n", model.profile().name, interface.name)
        .map_err(output::failed)?;
    let start = Clock::now();
    let mut exchange = Exchange { start, timeline: Timeline::new(out), offers: Vec::new() };
    let outcome = exchange.run(&mut net, profile, interface.mac)?;
    let Exchange { offers, mut timeline, .. } = exchange;
    let (at, dhcp_server, server) = match outcome {
        Outcome::Bound { boot_server: Some(boot_server), address, mask, router, server, .. } => {
            let mask = mask.unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
            (HostAddress { address, mask, router }, server, boot_server)
        }
        Outcome::Bound { boot_server: None, .. } => {
            let finding = Finding::problem("a DHCP server leased an address, but none named a boot server.");
            let finding = finding.rule(&rules::NO_BOOT_SERVER);
            return Err(Failed::new(Exit::NoBootServer, wrap(&finding.to_string(), WIDTH, "  ")));
        }
        Outcome::NoBoot(why) => {
            let rule = Rule::of_dhcp(&why);
            let remedy = rule.map_or(String::new(), |rule| format!("{} ", rule.remedy));
            let finding = Finding::problem(format!("Would not boot: {why}.")).rule(rule);
            let finding = finding.remedy(format!("{remedy}'pinetboot probe' shows what each server offers."));
            writeln!(timeline.out, "\n{}", wrap(&finding.to_string(), WIDTH, "  "))
                .map_err(output::failed)?;
            let mut findings = Findings::default();
            findings.add(finding);
            return Ok(Report::without_server(model, serial, timeline.steps, findings, why.into()));
        }
    };
    let offers: Vec<_> = offers.iter().filter_map(|(from, bytes)| offer(*from, bytes)).collect();
    let because = client.rules().choose(&offers).ok().filter(|choice| choice.server == server);
    let because = because.map_or(String::new(), |choice| Chosen::new(&choice).named_by);
    timeline
        .say(start.elapsed(), "DHCP", &format!("boot server: {server}"), &because)
        .map_err(output::failed)?;
    let pi = Pi::new(model, serial, SocketAddrV4::new(server, tftp::PORT));
    if interface.addresses.contains(&at.address) {
        // The lease is this machine's own.
        return follow(&pi, start, timeline, &mut ThisMachine::default());
    }
    let selected = Selected::new(at.address, dhcp_server);
    let lease = Lease { interface: interface.name, mac: interface.mac, profile, selected, at };
    let interrupted = lease.clone();
    signals::on_stop(move || {
        let _expires_otherwise = interrupted.release();
        std::process::exit(Exit::Interrupted as i32);
    })
    .map_err(|error| Failed::new(Exit::Failure, error))?;
    let host = VirtualHost::new(&lease.interface, at);
    let booted = host
        .map_err(|error| Failed::new(Exit::Failure, format!("{}: {error}", lease.interface)))
        .and_then(|mut host| follow(&pi, start, timeline, &mut host));
    if let Err(error) = lease.release() {
        let (address, server) = (lease.at.address, lease.selected.server);
        output::tell(
            Level::WARN,
            format_args!(
                "pinetboot: cannot give the lease of {address} back to {server}: {error}. The lease expires"
            ),
        );
    }
    booted
}

/// A DHCP exchange under way.
struct Exchange<'a> {
    start: Clock,
    timeline: Timeline<'a>,
    offers: Vec<(Ipv4Addr, Vec<u8>)>,
}

impl Exchange<'_> {
    fn run(&mut self, net: &mut Frames, profile: Profile, mac: [u8; 6]) -> Result<Outcome, Failed> {
        self.timeline.begin().map_err(output::failed)?;
        let xid = match profile {
            Profile::PiBootRom => Profile::BOOT_ROM_XID,
            _ => probe::random(),
        };
        let mut client = Client::new(profile, mac, xid);
        block_on(async {
            loop {
                match client.poll(net.now()) {
                    Step::Send(kind) => {
                        let now = net.now();
                        let len = client.emit(now, kind, net.buffer()).unwrap_or(0);
                        self.sent(kind, &client)?;
                        net.send((), SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT), len).await;
                    }
                    Step::Wait { until } => {
                        let failed =
                            |error| Failed::new(Exit::Failure, format!("the network failed: {error}"));
                        let Some(datagram) = net.recv(until).await.map_err(failed)? else { continue };
                        let from = *datagram.peer.ip();
                        let Ok(message) = Message::parse(datagram.bytes) else { continue };
                        let header = &message.header;
                        // This machine's own DHCP client may run an exchange too, with the same MAC address.
                        if header.xid == xid && header.hardware == HardwareAddress::ethernet(mac) {
                            self.heard(from, &message, datagram.bytes)?;
                            client.handle(datagram.at, from, &message);
                        }
                    }
                    Step::Done(outcome) => return Ok(outcome),
                }
            }
        })
    }

    fn sent(&mut self, kind: MessageType, client: &Client) -> Result<(), Failed> {
        let what = match (kind, client.selected()) {
            (MessageType::Request, Some(selected)) => format!("{kind} of {}", selected.address),
            _ => format!("{kind} by broadcast"),
        };
        self.say(&what, "")
    }

    fn heard(&mut self, from: Ipv4Addr, message: &Message<'_>, bytes: &[u8]) -> Result<(), Failed> {
        let Some(kind) = message.kind() else { return Ok(()) };
        let address = message.header.yiaddr;
        let said = match (kind, message.lease_secs()) {
            (MessageType::Offer, _) if address.is_unspecified() => "no address: a proxy".into(),
            (MessageType::Offer | MessageType::Ack, Some(secs)) => format!("{address} for {secs} s"),
            (MessageType::Offer | MessageType::Ack, None) => address.to_string(),
            _ => String::new(),
        };
        if kind == MessageType::Offer {
            self.offers.push((from, bytes.to_vec()));
        }
        self.say(&format!("{kind} from {from}"), &said)
    }

    fn say(&mut self, what: &str, said: &str) -> Result<(), Failed> {
        let at: Duration = self.start.elapsed();
        self.timeline.say(at, "DHCP", what, said).map_err(output::failed)
    }
}

fn offer(from: Ipv4Addr, bytes: &[u8]) -> Option<Offer<'_>> {
    Some(Offer::new(from, Message::parse(bytes).ok()?))
}

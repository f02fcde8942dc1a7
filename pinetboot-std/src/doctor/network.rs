//! The network, as a Pi's DISCOVER finds it.

use std::thread;

use super::Args;
use super::report::{Part, Report};
use crate::config::{Config, Role};
use crate::exit::Failed;
use crate::finding::{Finding, Severity};
use crate::net::{Link, holder_of};
use crate::probe::{self, EthernetInterface, Survey, Verdict};
use pinetboot_core::dhcp::SERVER_PORT;
use pinetboot_core::pi::rules;

/// What this machine does on the network.
struct Own {
    /// The DHCP service of the configuration.
    dhcp: Option<Dhcp>,
    /// Whether a server of this program holds the port of DHCP.
    runs: bool,
    /// The addresses of this machine.
    addresses: Vec<core::net::Ipv4Addr>,
}

#[derive(Clone, Copy, PartialEq)]
enum Dhcp {
    Proxy,
    Lease,
}

/// Probes each interface.
pub(super) fn look(options: &Args, config: Option<&Config>, report: &mut Report) {
    let mut part = Part::new("network", "not probed");
    if options.no_send {
        part.facts.push("--no-send: no DISCOVER is sent".into());
        return report.add(part);
    }
    let interfaces = match interfaces(options, config) {
        Ok(interfaces) => interfaces,
        Err(failed) => {
            part.facts.push(format!("{failed}"));
            return report.add(part);
        }
    };
    let own = Own {
        dhcp: config.and_then(|config| config.dhcp.as_ref()).map(|dhcp| match dhcp.role {
            Role::Proxy => Dhcp::Proxy,
            Role::Lease(_) => Dhcp::Lease,
        }),
        runs: holder_of(SERVER_PORT).is_some_and(|holder| holder.starts_with("pinetboot ")),
        addresses: Link::all()
            .unwrap_or_default()
            .iter()
            .flat_map(|link| &link.addresses)
            .map(|(at, _)| *at)
            .collect(),
    };
    let surveys: Vec<_> = thread::scope(|scope| {
        let probing: Vec<_> =
            interfaces.iter().map(|interface| scope.spawn(move || probe::look(interface))).collect();
        probing.into_iter().map(|probe| probe.join()).collect()
    });
    for (interface, survey) in interfaces.iter().zip(surveys) {
        let mut part = Part::new("network", interface.name.clone());
        match survey {
            Ok(Ok(survey)) => judge(&survey, &own, &mut part),
            Ok(Err(failed)) => {
                // The remedies of a probe follow in further lines: as root, as all of this command.
                let why = failed.message.lines().next().unwrap_or_default().to_owned();
                part.facts.push(format!("not probed: {why}"));
            }
            Err(_) => part.facts.push("not probed: the probe panicked".into()),
        }
        report.add(part);
    }
}

/// The interfaces to probe.
fn interfaces(options: &Args, config: Option<&Config>) -> Result<Vec<EthernetInterface>, Failed> {
    let named = match options.interface.as_slice() {
        [] => config.map_or(&[][..], |config| config.net.interfaces.as_slice()),
        named => named,
    };
    match named {
        [] => Ok(vec![EthernetInterface::choose(None)?]),
        named => named.iter().take(MOST).map(|name| EthernetInterface::choose(Some(name))).collect(),
    }
}

/// Tells what the network offers. A service of this machine that does not run now is no fault of the network.
fn judge(survey: &Survey, own: &Own, part: &mut Part) {
    part.about += &format!(": as a Raspberry Pi 5 sees it. {}", survey.reason);
    for offer in &survey.offers {
        let address = offer.address.map_or("no address".into(), |address| address.to_string());
        let this = if own.addresses.contains(&offer.from) { " (this machine)" } else { "" };
        part.facts.push(format!("{}{this} offers {address}", offer.from));
    }
    let will_run = own.dhcp.filter(|_| !own.runs);
    let leased_by_others =
        survey.offers.iter().any(|offer| offer.address.is_some() && !own.addresses.contains(&offer.from));
    let expected = match (survey.verdict, will_run) {
        (Verdict::NoDhcpServer, Some(Dhcp::Lease)) => {
            Some("no other DHCP server answers, and this machine's does not run now: start 'pinetboot serve'")
        }
        (Verdict::NoBootServer, Some(Dhcp::Proxy)) => {
            Some("this machine's proxy names the boot server, and does not run now: start 'pinetboot serve'")
        }
        _ => None,
    };
    if own.dhcp == Some(Dhcp::Lease) && leased_by_others {
        let finding = Finding::problem(
            "Another DHCP server leases addresses on this network, and dhcp = \"lease\" is configured.",
        );
        part.findings.add(finding.remedy("Set dhcp = \"proxy\", or stop that server."));
    }
    if own.dhcp == Some(Dhcp::Proxy) && survey.offers.iter().all(|offer| offer.address.is_none()) {
        let finding = Finding::problem(
            "No DHCP server leases addresses on this network, and dhcp = \"proxy\" is configured.",
        );
        return part.findings.add(finding.rule(&rules::PROXY_ALONE));
    }
    if let Some(expected) = expected {
        part.facts.push(expected.into());
        part.findings
            .extend(survey.findings.iter().filter(|finding| finding.severity != Severity::Problem).cloned());
        return;
    }
    part.findings.extend(survey.findings.iter().cloned());
    if let Some(chosen) =
        survey.boot_server.as_ref().filter(|chosen| !own.addresses.contains(&chosen.address))
    {
        let finding = Finding::note(format!(
            "A Pi on {} boots from {}, another machine, because of {}.",
            survey.interface, chosen.address, chosen.named_by
        ));
        part.findings.add(finding);
    }
}

/// Interfaces that are probed, all at once.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Findings;
    use crate::probe::Offered;

    fn survey(verdict: Verdict, offers: &[(&str, Option<&str>)]) -> Survey {
        let mut findings = Findings::default();
        if verdict != Verdict::WouldBoot {
            findings.add(Finding::problem("it would not."));
        }
        let offer = |(from, address): &(&str, Option<&str>)| Offered {
            from: from.parse().unwrap(),
            after_ms: 1,
            address: address.map(|address| address.parse().unwrap()),
            next_server: None,
            relay: None,
            server_name: None,
            boot_file: None,
            options: Vec::new(),
        };
        Survey {
            interface: "eth0".into(),
            mac: String::new(),
            client: "pi5",
            serial: None,
            offers: offers.iter().map(offer).collect(),
            boot_server: None,
            tftp: None,
            tftp_not_tested: None,
            root_services: None,
            verdict,
            reason: String::new(),
            findings,
            exit: 0,
        }
    }

    #[test]
    fn a_service_that_does_not_run_is_no_fault_of_the_network() {
        let problems = |survey: &Survey, dhcp, runs| {
            let own = Own { dhcp, runs, addresses: vec!["10.0.0.1".parse().unwrap()] };
            let mut part = Part::new("network", "eth0");
            judge(survey, &own, &mut part);
            part.findings.of(Severity::Problem).map(|finding| finding.what.clone()).collect::<Vec<_>>()
        };
        let nobody = survey(Verdict::NoDhcpServer, &[]);
        let router = survey(Verdict::NoBootServer, &[("10.0.0.254", Some("10.0.0.9"))]);
        assert_eq!(problems(&nobody, Some(Dhcp::Lease), false), [""; 0]);
        assert_eq!(problems(&nobody, Some(Dhcp::Lease), true), ["it would not."]);
        assert_eq!(problems(&nobody, None, false), ["it would not."]);
        assert_eq!(problems(&router, Some(Dhcp::Proxy), false), [""; 0]);
        assert_eq!(problems(&router, Some(Dhcp::Proxy), true), ["it would not."]);
        assert!(problems(&nobody, Some(Dhcp::Proxy), false)[0].starts_with("No DHCP server leases"));
        let other = survey(Verdict::WouldBoot, &[("10.0.0.254", Some("10.0.0.9"))]);
        assert!(problems(&other, Some(Dhcp::Lease), true)[0].starts_with("Another DHCP server"));
        let ours = survey(Verdict::WouldBoot, &[("10.0.0.1", Some("10.0.0.9"))]);
        assert_eq!(problems(&ours, Some(Dhcp::Lease), true), [""; 0]);
    }
}

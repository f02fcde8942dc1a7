//! This machine: who holds the server's ports, the firewall, the kinds of its interfaces, bridges with a spanning tree, dropped packets, disk
//! space and the clock. All is read; packets are sent in namespaces of the test alone ([`packets`]).

mod links;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use pinetboot_core::dhcp::SERVER_PORT;
use pinetboot_core::pi::{NBD_PORT, rules};
use pinetboot_core::tftp;

use super::report::Part;
use crate::config::Config;
use crate::finding::{Finding, Findings};
use crate::firewall::packets::{self, Entrance, Fate};
use crate::firewall::{self, Firewall, Port};
use crate::net::{BindError, Drops, Lack, Link, holder_of, is_held};
use crate::roots::default_state;
use crate::serve::bind::advice;
use crate::space::{Reserve, Size, Space};
use crate::time;

/// Looks at the machine.
pub(super) fn look(config: Option<&Config>) -> Part {
    let mut part = Part::new("machine", "ports, firewall, bridges, dropped packets, disk space and clock");
    let ports = match config {
        Some(config) => firewall::ports(config),
        None => vec![("udp", tftp::PORT), ("udp", SERVER_PORT), ("udp", PORTMAPPER), ("tcp", NFS)],
    };
    ports_of(&ports, config.is_some(), &mut part);
    let links = Link::all().unwrap_or_default();
    let entrances = links::entrances(&links, config);
    firewall_of(&ports, &links, &entrances, &mut part);
    links::look(&entrances, config, &mut part);
    bridges(Path::new("/sys/class/net"), &links, config, &mut part);
    receivers(Path::new("/sys/class/net"), &links, &mut part);
    drops(&Drops::of_all_time(), &mut part);
    disks(config, &mut part);
    clock(SystemTime::now(), &written(config), &mut part.findings);
    part
}

/// Names each port's holder. Without a configuration any of the services may be off, so that a foreign holder is a warning.
fn ports_of(ports: &[Port], is_configured: bool, part: &mut Part) {
    let mut seen = Vec::new();
    for (protocol, port) in ports {
        if !is_held(*port) {
            part.facts.push(format!("port {port}/{protocol}: free"));
            continue;
        }
        let holder = holder_of(*port);
        let named = holder.as_deref().unwrap_or("a process that only root sees");
        part.facts.push(format!("port {port}/{protocol}: {named}"));
        let Some(holder) = holder else { continue };
        // A unit of systemd hands sockets on; the system's portmapper is used where it runs.
        let is_ours = ["pinetboot ", "systemd "].iter().any(|name| holder.starts_with(name));
        if is_ours || (*port == PORTMAPPER && holder.starts_with("rpcbind ")) || seen.contains(port) {
            continue;
        }
        seen.push(*port);
        let (what, way_out) = match *port {
            SERVER_PORT => {
                ("DHCP", "leave DHCP to that server, and add the lines of 'pinetboot router-config' to it")
            }
            PORTMAPPER => ("the portmapper", "choose another port with --portmap-port"),
            NFS => ("NFS", "serve boot files only with --nfs-mode off"),
            NBD_PORT => ("disks by NBD", "choose another port with --disk-port"),
            _ => ("TFTP", "listen on another address of this machine with --listen"),
        };
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port);
        let taken = BindError { address, error: io::Error::from_raw_os_error(Errno::EADDRINUSE as i32) };
        let advice = advice(&taken, way_out);
        let (_, remedy) = advice.split_once(". ").unwrap_or(("", &advice));
        let what = format!("{holder} holds port {port}/{protocol}, which pinetboot needs for {what}.");
        let finding = if is_configured { Finding::problem(what) } else { Finding::warning(what) };
        part.findings.add(finding.remedy(format!("{remedy}.")));
    }
}

/// Tries the rules by packets; where that cannot be done, reads them.
fn firewall_of(ports: &[Port], links: &[Link], entrances: &[String], part: &mut Part) {
    let read = Firewall::read(ports);
    let mut tried = 0;
    for name in entrances.iter().take(MOST_ENTRANCES) {
        let address = links.iter().find(|link| link.name == *name).and_then(|link| link.address_for(None));
        let Some((address, prefix_len)) = address else { continue };
        let entrance = Entrance { interface: name.clone(), address, prefix_len };
        match packets::try_ports(&entrance, ports) {
            Ok(fates) => {
                tried += 1;
                judge(name, &fates, &read, part);
            }
            Err(why) => part.facts.push(format!("firewall on {name}: not tried by packets ({why})")),
        }
    }
    if tried > 0 {
        return;
    }
    match read {
        Firewall::Open => part.facts.push("firewall: no rule of nftables closes these ports".into()),
        Firewall::Unread(why) => part.facts.push(format!("firewall: not read ({why})")),
        Firewall::Closed(closed) => {
            part.facts.push(format!("firewall: {}", closed.manager));
            let rule = closed.ports.iter().any(|(_, port)| *port == tftp::PORT);
            let finding = Finding::problem(closed.to_string()).remedy(closed.commands.join("\n"));
            part.findings.add(finding.rule(rule.then_some(&rules::TFTP_SERVER_SILENT)));
        }
    }
}

/// What became of packets on an interface.
fn judge(name: &str, fates: &[(Port, Fate)], read: &Firewall, part: &mut Part) {
    let of = |wanted: Fate| {
        let found = fates.iter().filter(|(_, fate)| *fate == wanted);
        found.map(|((protocol, port), _)| format!("{port}/{protocol}")).collect::<Vec<_>>().join(", ")
    };
    let is_of_tftp = |wanted: Fate| {
        let is_tftp = |(port, fate): &(Port, Fate)| *fate == wanted && *port == ("udp", tftp::PORT);
        fates.iter().any(is_tftp).then_some(&rules::TFTP_SERVER_SILENT)
    };
    let open = of(Fate::Answered);
    if !open.is_empty() {
        part.facts
            .push(format!("firewall on {name}: packets pass to {open} (tried with a copy of the rules)"));
    }
    let dropped = of(Fate::Dropped);
    if !dropped.is_empty() {
        let what = format!(
            "The firewall of this machine drops packets of Pis on {name} to {dropped} (tried with a copy of its rules)."
        );
        let commands = match read {
            Firewall::Closed(closed) => closed.commands.join("\n"),
            _ => "Let a rule before the one that drops accept them: 'pinetboot router-config --for nft' prints rules.".into(),
        };
        part.findings.add(Finding::problem(what).remedy(commands).rule(is_of_tftp(Fate::Dropped)));
    }
    let lost = of(Fate::AnswerLost);
    if !lost.is_empty() {
        let what = format!(
            "The firewall of this machine drops the answers to Pis on {name} from {lost} (tried with a copy of its rules)."
        );
        let finding =
            Finding::problem(what).remedy("Let the chain of the hook output accept answers to Pis.");
        part.findings.add(finding.rule(is_of_tftp(Fate::AnswerLost)));
    }
}

/// Bridges with a spanning tree, of which a Pi's port is closed for twice the forward delay (Documentation/ABI/testing/sysfs-class-net;
/// net/bridge/br_sysfs_br.c: the delay is in clock ticks, a hundred a second).
fn bridges(sysfs: &Path, links: &[Link], config: Option<&Config>, part: &mut Part) {
    let wanted = config.map_or(&[][..], |config| config.net.interfaces.as_slice());
    for link in links {
        let bridge = sysfs.join(&link.name).join("bridge");
        let number = |name: &str| fs::read_to_string(bridge.join(name)).ok()?.trim().parse::<u64>().ok();
        let (Some(stp), Some(delay)) = (number("stp_state"), number("forward_delay")) else { continue };
        let has_port =
            |name: &String| sysfs.join(&link.name).join("brif").join(name).symlink_metadata().is_ok();
        let is_used = wanted.is_empty() || wanted.contains(&link.name) || wanted.iter().any(has_port);
        if !is_used {
            continue;
        }
        let (name, seconds) = (&link.name, delay / 100);
        if stp == 0 || delay == 0 {
            part.facts.push(format!("bridge {name}: no spanning tree, or no forward delay"));
            continue;
        }
        let finding = Finding::warning(format!(
            "The bridge {name} of this machine runs STP with a forward delay of {seconds} s: a port passes nothing for {} s after its \
             link comes up.",
            seconds * 2
        ));
        part.findings.add(finding.rule(&rules::BRIDGE_FORWARD_DELAY).remedy(format!(
            "ip link set {name} type bridge stp_state 0, or forward_delay 0; write the same into the bridge's configuration."
        )));
    }
}

/// The network controller of a Pi 5, which lacks memory for frames when its receiver is blocked: `rx_resource_errors` of ethtool is
/// `rx_over_errors` in the kernel's statistics (drivers/net/ethernet/cadence/macb_main.c).
fn receivers(sysfs: &Path, links: &[Link], part: &mut Part) {
    for Link { name, .. } in links {
        let interface = sysfs.join(name);
        let driver = fs::read_link(interface.join("device/driver")).unwrap_or_default();
        let errors = fs::read_to_string(interface.join("statistics/rx_over_errors")).unwrap_or_default();
        let errors: u64 = errors.trim().parse().unwrap_or(0);
        if driver.file_name().is_some_and(|driver| driver == "macb") && errors > 0 {
            let what = format!("The receiver of {name} had no room for {errors} frames (rx_over_errors).");
            let rule = &rules::SERVER_RECEIVES_NOTHING;
            part.findings.add(Finding::warning(what).rule(rule).remedy(rule.remedy));
        }
    }
}

/// Packets that the kernel dropped since the machine started.
fn drops(drops: &[(Lack, u64)], part: &mut Part) {
    if drops.is_empty() {
        part.facts.push("packets: none dropped for lack of room in tables and queues".into());
    }
    for (lack, packets) in drops {
        let what = format!("The kernel dropped {packets} packets of this machine since its start: {lack}.");
        part.findings.add(Finding::warning(what).remedy(format!("{}.", lack.remedy())));
    }
}

/// The space on the file systems of state, tree and uploads, without the reserve.
fn disks(config: Option<&Config>, part: &mut Part) {
    let tree = config.map(Config::serving);
    let state = match config.and_then(|config| config.root.state.clone()) {
        Some(state) => state,
        None => default_state(tree).dir().to_owned(),
    };
    let uploads = config.and_then(|config| config.allow_upload.clone());
    let leases = config.and_then(|config| config.dhcp.as_ref()?.lease_file()?.parent().map(Path::to_owned));
    let reserve = config.map_or(Reserve::default(), |config| config.disk_reserve);
    let mut file_systems: BTreeMap<u64, (PathBuf, Vec<String>, bool)> = BTreeMap::new();
    let places = [
        ("state", Some(state), true),
        ("uploads", uploads, true),
        ("leases", leases, true),
        ("tree", tree.map(Path::to_owned), false),
    ];
    for (name, place, is_written) in places {
        let Some((place, device)) = place.as_deref().and_then(existing) else { continue };
        let entry = file_systems.entry(device).or_insert_with(|| (place, Vec::new(), false));
        entry.1.push(name.to_owned());
        entry.2 |= is_written;
    }
    for (place, names, is_written) in file_systems.into_values() {
        let names = names.join(", ");
        let free = match Space::of(&place, reserve).and_then(|space| space.measure()) {
            Ok(free) => free,
            Err(error) => {
                part.facts.push(format!("disk of {names}: {}: {error}", place.display()));
                continue;
            }
        };
        let size = |bytes: u64| Size::try_from(bytes).map_or_else(|_| String::new(), |size| size.to_string());
        part.facts.push(format!(
            "disk of {names} ({}): {} of {} free, {} above the reserve",
            place.display(),
            size(free.available),
            size(free.total),
            size(free.for_clients)
        ));
        let remedy = "Remove images and layers that no Pi uses ('pinetboot images list', 'pinetboot roots list'), enlarge the disk, or \
                      lower disk-reserve.";
        if !is_written {
            continue; // an image that is read only is full
        }
        if free.for_clients == 0 {
            let what = format!(
                "The disk of {names} ({}) is full down to the reserve of {}: Pis and uploads get \"no space\".",
                place.display(),
                size(reserve.of(free.total))
            );
            part.findings.add(Finding::problem(what).remedy(remedy));
        } else if free.percent_used() >= NEARLY_FULL {
            let what =
                format!("The disk of {names} ({}) is {} % full.", place.display(), free.percent_used());
            part.findings.add(Finding::warning(what).remedy(remedy));
        }
    }
}

/// The nearest directory that exists, and its file system.
fn existing(place: &Path) -> Option<(PathBuf, u64)> {
    let place = std::path::absolute(place).ok()?;
    place.ancestors().find_map(|place| {
        let status = fs::metadata(place).ok().filter(fs::Metadata::is_dir)?;
        Some((place.to_owned(), status.dev()))
    })
}

/// Times at which files of this machine were written: the present is later.
fn written(config: Option<&Config>) -> Vec<SystemTime> {
    let program = std::env::current_exe().ok();
    let tree = config.map(|config| config.serving().to_owned());
    // The records of leases and mounts are the newest files of a server that ran.
    let leases = config.and_then(|config| config.dhcp.as_ref()?.lease_file().map(Path::to_owned));
    let pis = default_state(tree.as_deref()).dir().join("pis");
    let times = program.into_iter().chain(tree).chain(leases).chain([pis]);
    times.filter_map(|place| fs::metadata(place).ok()?.modified().ok()).collect()
}

fn clock(now: SystemTime, written: &[SystemTime], findings: &mut Findings) {
    let Some(latest) = written.iter().max().filter(|latest| now < **latest - A_DAY) else { return };
    let text = |at: SystemTime| time::of(at).unwrap_or_else(|| "unknown".into());
    let what =
        format!("The clock of this machine says {}, but files were written at {}.", text(now), text(*latest));
    let finding = Finding::warning(what)
        .evidence("Leases and certificates expire at the wrong time, and Pis without a clock take theirs from this machine's files.");
    findings.add(finding.remedy("Set the clock: timedatectl set-ntp true, or date --set."));
}

/// RFC 1833, section 3.1.
const PORTMAPPER: u16 = 111;
/// Interfaces on which the firewall is tried.
const MOST_ENTRANCES: usize = 4;
/// RFC 1813, section 2.1.
const NFS: u16 = 2049;
/// Percent.
const NEARLY_FULL: u64 = 95;
/// File times may be those of another zone.
const A_DAY: core::time::Duration = core::time::Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_the_files_is_told() {
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        let told = |now, written: &[SystemTime]| {
            let mut findings = Findings::default();
            clock(now, written, &mut findings);
            findings.iter().next().map(|finding| finding.what.clone())
        };
        assert_eq!(told(at(20_000), &[at(19_000), at(20_000)]), None);
        assert_eq!(told(at(20_000), &[]), None);
        let text = told(at(0), &[at(19_000), at(20_000)]).unwrap();
        assert!(text.contains("1970-01-01T00:00:00Z") && text.contains("2024-10-04"), "{text}");
    }

    #[test]
    fn a_blocked_receiver_of_a_pi_5_is_told() {
        let sysfs = tempfile::tempdir().unwrap();
        for (name, driver, errors) in
            [("eth0", "macb", "3\n"), ("eth1", "macb", "0\n"), ("eth2", "r8169", "9\n")]
        {
            let interface = sysfs.path().join(name);
            fs::create_dir_all(interface.join("device")).unwrap();
            fs::create_dir_all(interface.join("statistics")).unwrap();
            std::os::unix::fs::symlink(format!("../../drivers/{driver}"), interface.join("device/driver"))
                .unwrap();
            fs::write(interface.join("statistics/rx_over_errors"), errors).unwrap();
        }
        let links = ["eth0", "eth1", "eth2", "gone"].map(link);
        let mut part = Part::new("machine", "");
        receivers(sysfs.path(), &links, &mut part);
        let told: Vec<_> = part.findings.iter().map(ToString::to_string).collect();
        assert!(
            told.len() == 1
                && told[0].contains("eth0 had no room for 3 frames")
                && told[0].contains("[rule 90]"),
            "{told:?}"
        );
    }

    fn link(name: &str) -> Link {
        Link { name: name.into(), index: 1, up: true, loopback: false, addresses: Vec::new() }
    }

    #[test]
    fn dropped_packets_are_told_with_the_limit_to_raise() {
        let mut part = Part::new("machine", "");
        drops(&[], &mut part);
        assert_eq!((part.facts.len(), part.findings.iter().count()), (1, 0));
        drops(&[(Lack::Neighbours, 501)], &mut part);
        let told = part.findings.iter().next().unwrap();
        assert!(told.what.contains("501 packets") && told.remedy.as_ref().unwrap().contains("gc_thresh3"));
    }

    #[test]
    fn a_bridge_with_a_spanning_tree_is_told_if_pis_come_by_it() {
        let sysfs = tempfile::tempdir().unwrap();
        for (name, stp, delay) in [("br0", "1\n", "1500\n"), ("br1", "1\n", "0\n"), ("br2", "0\n", "1500\n")]
        {
            let bridge = sysfs.path().join(name).join("bridge");
            fs::create_dir_all(sysfs.path().join(name).join("brif/eth0")).unwrap();
            fs::create_dir_all(&bridge).unwrap();
            fs::write(bridge.join("stp_state"), stp).unwrap();
            fs::write(bridge.join("forward_delay"), delay).unwrap();
        }
        let links = ["br0", "br1", "br2", "eth0"].map(link);
        let told = |interfaces: &[&str]| {
            let text = format!("tree = '/srv'\ninterface = {interfaces:?}");
            let config = toml::from_str::<crate::config::Settings>(&text).unwrap().resolve().unwrap();
            let mut part = Part::new("machine", "");
            bridges(sysfs.path(), &links, Some(&config), &mut part);
            part.findings
                .iter()
                .filter_map(|finding| finding.rule.map(|rule| rule.number))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), [61]);
        assert_eq!(told(&["br0"]), [61]);
        assert_eq!(told(&["eth0"]), [61], "eth0 is a port of br0");
        assert_eq!(told(&["br1"]), [0u8; 0]);
        assert_eq!(told(&["wlan0"]), [0u8; 0]);
    }
}

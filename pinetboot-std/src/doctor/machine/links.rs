//! The kinds of interfaces that Pis come by: VLANs, the private network of a container, and virtual ones that leave checksums out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pinetboot_core::dhcp::SERVER_PORT;
use pinetboot_core::pi::rules;
use serde::Deserialize;

use crate::config::Config;
use crate::doctor::report::Part;
use crate::finding::Finding;
use crate::net::{Link, default_route};

/// An interface, as `ip -json -details link` shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    ifname: String,
    /// The interface beneath.
    link: Option<String>,
    linkinfo: Option<Info>,
}

#[derive(Debug, Deserialize)]
struct Info {
    info_kind: Option<String>,
    info_data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    /// Of a VLAN.
    id: Option<u16>,
}

/// The interfaces that Pis come by: those of the configuration, else that of the default route, else the first one with an address.
pub(super) fn entrances(links: &[Link], config: Option<&Config>) -> Vec<String> {
    let named = config.map_or(&[][..], |config| config.net.interfaces.as_slice());
    if !named.is_empty() {
        return named.to_vec();
    }
    let usable = |link: &&Link| link.is_usable() && !link.loopback;
    let first = || links.iter().find(usable).map(|link| link.name.clone());
    default_route().or_else(first).into_iter().collect()
}

/// Looks at each interface that Pis come by.
pub(super) fn look(entrances: &[String], config: Option<&Config>, part: &mut Part) {
    let all = match shown() {
        Ok(all) => all,
        Err(why) => return part.facts.push(format!("kinds of interfaces: not read ({why})")),
    };
    let container = container(Path::new("/")).filter(|_| is_first_programs_network());
    for name in entrances {
        let Some(shown) = all.iter().find(|shown| shown.ifname == *name) else { continue };
        if let (Some(id), beneath) = (shown.vlan(), shown.beneath()) {
            part.facts.push(format!("interface {name}: VLAN {id} on {beneath}"));
            part.findings.add(Finding::note(format!(
                "Pis reach {name} by VLAN {id} alone, and the boot code of a Pi sends frames without a tag."
            )).remedy(format!(
                "Let the switch's ports of the Pis be untagged members (access ports) of VLAN {id}, and the port of this machine a tagged one."
            )));
        }
        let beside = all.iter().filter(|other| other.vlan().is_some() && other.link.as_deref() == Some(name));
        for vlan in beside {
            part.facts.push(format!(
                "interface {name}: Pis in VLAN {} come by {}, which is not served by serving {name}",
                vlan.vlan().unwrap_or_default(),
                vlan.ifname
            ));
        }
        if let (Some(container), "veth") = (&container, shown.kind()) {
            part.findings.add(in_container(container, name, config));
        }
        if ["veth", "tun", "bridge"].contains(&shown.kind()) && leaves_checksums_out(name) {
            part.findings.add(Finding::note(format!(
                "The virtual interface {name} leaves checksums to a network card (tx-checksumming): packets to a machine on this computer have none."
            )).evidence(
                "An emulated Pi whose DHCP client reads frames and compares checksums drops the answers. Pis behind a network card are not affected."
            ).remedy(format!("For emulated Pis: ethtool -K {name} tx off.")));
        }
    }
}

/// The private network of a container: a Pi's broadcasts do not reach it.
fn in_container(container: &str, name: &str, config: Option<&Config>) -> Finding {
    let answers_dhcp = config.is_some_and(|config| config.dhcp.is_some());
    let what = format!(
        "This is a container ({container}) with a private network: {name} is no interface of the host."
    );
    let finding = if answers_dhcp { Finding::problem(what) } else { Finding::warning(what) };
    finding
        .rule(&rules::NO_BROADCAST_IN_CONTAINER)
        .evidence(format!(
            "A Pi's broadcasts (port {SERVER_PORT}/udp) do not reach it, and a published port hides the addresses of Pis and the ports of transfers."
        ))
        .remedy("Run the container in the network of the host: network_mode: host, --network host, hostNetwork: true; or give it a macvlan interface.")
}

impl Shown {
    fn kind(&self) -> &str {
        self.linkinfo.as_ref().and_then(|info| info.info_kind.as_deref()).unwrap_or_default()
    }

    /// The number of a VLAN.
    fn vlan(&self) -> Option<u16> {
        let info = self.linkinfo.as_ref().filter(|_| self.kind() == "vlan")?;
        info.info_data.as_ref()?.id
    }

    fn beneath(&self) -> &str {
        self.link.as_deref().unwrap_or("another interface")
    }
}

fn shown() -> Result<Vec<Shown>, String> {
    let done = Command::new("ip").args(["-json", "-details", "link", "show"]).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("ip: {error}"))?;
    serde_json::from_slice(&done.stdout).map_err(|error| format!("ip: {error}"))
}

/// The engine of the container in which this process runs.
fn container(root: &Path) -> Option<String> {
    let marks = [
        (".dockerenv", "Docker"),
        ("run/.containerenv", "Podman"),
        ("var/run/secrets/kubernetes.io", "Kubernetes"),
    ];
    if let Some((_, engine)) = marks.iter().find(|(mark, _)| root.join(mark).exists()) {
        return Some((*engine).to_owned());
    }
    // systemd, Container Interface: the variable of the first process.
    let environment = fs::read(root.join("proc/1/environ")).ok()?;
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"container="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Whether the first program of the container, or of the machine, has the network of this process: not in a namespace that another program made.
fn is_first_programs_network() -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    network("1") == network("self")
}

fn leaves_checksums_out(name: &str) -> bool {
    let done = Command::new("ethtool").args(["--show-features", name]).stdin(Stdio::null()).output();
    done.is_ok_and(|done| {
        String::from_utf8_lossy(&done.stdout).lines().any(|line| line.starts_with("tx-checksumming: on"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_interfaces_are_read() {
        let text = r#"[{"ifname": "lo", "link_type": "loopback"}, {"ifname": "eth0.10", "link": "eth0", "linkinfo": {"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": 10, "flags": ["REORDER_HDR"]}}},
            {"ifname": "br0", "linkinfo": {"info_kind": "bridge", "info_data": {"forward_delay": 1500}}}]"#;
        let all: Vec<Shown> = serde_json::from_str(text).unwrap();
        assert_eq!(
            all.iter().map(|shown| (shown.kind(), shown.vlan())).collect::<Vec<_>>(),
            [("", None), ("vlan", Some(10)), ("bridge", None)]
        );
        assert_eq!(all[1].beneath(), "eth0");
    }

    #[test]
    fn a_container_is_known_by_its_engines_marks() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(container(root.path()), None);
        fs::create_dir_all(root.path().join("proc/1")).unwrap();
        fs::write(root.path().join("proc/1/environ"), b"PATH=/bin\0container=lxc\0").unwrap();
        assert_eq!(container(root.path()).as_deref(), Some("lxc"));
        fs::create_dir(root.path().join("run")).unwrap();
        fs::write(root.path().join("run/.containerenv"), "").unwrap();
        assert_eq!(container(root.path()).as_deref(), Some("Podman"));
        let told = in_container("Podman", "eth0", None);
        assert!(told.what.contains("eth0 is no interface of the host"));
        assert!(told.to_string().contains("[rule 58]"), "{told}");
    }
}

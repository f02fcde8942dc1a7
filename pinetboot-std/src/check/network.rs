//! Rules over the services of a root that may configure the interface which carries the root.

use pinetboot_core::pi::rules;

use super::tree::Tree;
use super::units::{has_unit, is_enabled, is_masked};
use crate::finding::{Finding, Findings};

/// Checks NetworkManager, systemd-networkd, ifupdown and dhcpcd.
pub(super) fn check(root: &Tree<'_>, findings: &mut Findings) {
    network_manager(root, findings);
    networkd(root, findings);
    ifupdown(root, findings);
    dhcpcd(root, findings);
    waits(root, findings);
}

/// NetworkManager keeps what the kernel configured, unless a connection of its own matches the interface (NetworkManager.conf(5),
/// keep-configuration).
fn network_manager(root: &Tree<'_>, findings: &mut Findings) {
    if root.list("etc/NetworkManager").is_empty() || is_masked(root, "NetworkManager.service") {
        return;
    }
    let unmanaged =
        texts(root, "etc/NetworkManager/conf.d").any(|(_, text)| text.contains("unmanaged-devices="));
    let connections = texts(root, "etc/NetworkManager/system-connections");
    let wired: Vec<_> = connections
        .filter(|(_, text)| {
            setting(text, "type").is_some_and(|kind| ["ethernet", "802-3-ethernet"].contains(&kind))
        })
        .map(|(name, _)| name)
        .collect();
    if !unmanaged && !wired.is_empty() {
        let what = format!(
            "NetworkManager has the connection {} for Ethernet, and eth0 carries the root.",
            wired.join(", ")
        );
        findings.add(
            Finding::warning(what)
                .rule(&rules::INTERFACE_RECONFIGURED)
                .remedy("Write unmanaged-devices=interface-name:eth0;interface-name:end0 below [keyfile] in /etc/NetworkManager/conf.d/."),
        );
    }
}

/// networkd keeps the configuration where the root is on the network, unless the file says otherwise (systemd.network(5),
/// KeepConfiguration=); then it releases the lease at shutdown too.
fn networkd(root: &Tree<'_>, findings: &mut Findings) {
    if !is_enabled(root, "systemd-networkd.service") {
        return;
    }
    for (name, text) in texts(root, "etc/systemd/network").filter(|(name, _)| name.ends_with(".network")) {
        let keeps = setting(&text, "KeepConfiguration");
        let is_critical = setting(&text, "CriticalConnection").is_some_and(is_yes);
        if is_critical
            || text.contains("KernelCommandLine=!nfsroot")
            || keeps.is_some_and(|value| is_yes(value) || value == "dhcp")
        {
            continue;
        }
        if keeps.is_some_and(|value| ["no", "false", "0", "off"].contains(&value)) && is_wired(&text) {
            let what = format!(
                "/etc/systemd/network/{name} has KeepConfiguration=no: networkd releases the lease of the root's interface."
            );
            findings.add(Finding::warning(what).rule(&rules::LEASE_RELEASED));
        }
    }
}

/// ifupdown stops its interfaces at shutdown, and configures them anew at the start.
fn ifupdown(root: &Tree<'_>, findings: &mut Findings) {
    if !has_unit(root, "networking.service") || is_masked(root, "networking.service") {
        return;
    }
    let parts = texts(root, "etc/network/interfaces.d").map(|(_, text)| text);
    let all: Vec<String> = root.text("etc/network/interfaces").into_iter().chain(parts).collect();
    let lines = || all.iter().flat_map(|text| text.lines()).map(str::trim);
    let wired = |line: &str| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("iface"))
            && words.next().is_some_and(is_ethernet)
            && !line.ends_with(" manual")
    };
    let starts = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|first| first == "auto" || first.starts_with("allow-"))
            && words.any(is_ethernet)
    };
    if !lines().any(wired) || !lines().any(starts) {
        return;
    }
    // As an import leaves it: ifup asks for the address that the interface has.
    let keeps_up = texts(root, "etc/systemd/system/networking.service.d")
        .any(|(_, text)| text.lines().any(|line| line.trim() == "ExecStop="));
    if keeps_up {
        return;
    }
    let finding = Finding::warning("/etc/network/interfaces configures the interface that carries the root.");
    findings.add(finding.rule(&rules::INTERFACE_RECONFIGURED).remedy("Write 'iface eth0 inet manual'."));
    let what = "networking.service stops that interface at shutdown, before the root is unmounted.";
    findings.add(Finding::warning(what).rule(&rules::SHUTDOWN_HANGS));
}

fn dhcpcd(root: &Tree<'_>, findings: &mut Findings) {
    if !is_enabled(root, "dhcpcd.service") {
        return;
    }
    let text = root.text("etc/dhcpcd.conf").unwrap_or_default();
    let lines = || text.lines().map(str::trim);
    let denies = lines()
        .any(|line| line.starts_with("denyinterfaces") && line.split_whitespace().skip(1).any(is_ethernet));
    if !denies && !lines().any(|line| line == "nolink") {
        let finding =
            Finding::warning("dhcpcd is enabled, and configures the interface that carries the root.");
        findings.add(
            finding
                .rule(&rules::INTERFACE_RECONFIGURED)
                .remedy("Write 'nolink' or 'denyinterfaces eth0' in /etc/dhcpcd.conf."),
        );
    }
}

/// networkd makes a configuration of ip= and waits for it (systemd issue 21967).
fn waits(root: &Tree<'_>, findings: &mut Findings) {
    let units = ["systemd-network-generator.service", "systemd-networkd-wait-online.service"];
    let enabled: Vec<_> = units.into_iter().filter(|unit| is_enabled(root, unit)).collect();
    // The wait alone ends where networkd manages another interface; with both, it is for the root's.
    if enabled.len() == units.len() {
        let what = format!(
            "{} are enabled: the boot waits for an interface that the kernel configured.",
            enabled.join(" and ")
        );
        findings.add(Finding::warning(what).rule(&rules::NETWORK_WAIT));
    }
}

/// The files of a directory, with their texts.
fn texts<'t>(root: &'t Tree<'_>, directory: &'t str) -> impl Iterator<Item = (String, String)> + 't {
    let names = root.list(directory).into_iter().take(MOST_FILES);
    names.filter_map(move |name| root.text(&format!("{directory}/{name}")).map(|text| (name, text)))
}

/// The last value of a setting in a file of the form of systemd's.
fn setting<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='))
        .map(str::trim)
}

fn is_yes(value: &str) -> bool {
    ["yes", "true", "1", "on"].contains(&value)
}

/// Whether a .network file matches the Ethernet of a Pi.
fn is_wired(text: &str) -> bool {
    let name = setting(text, "Name").is_some_and(|names| names.split_whitespace().any(is_ethernet));
    name || setting(text, "Type") == Some("ether")
}

fn is_ethernet(name: &str) -> bool {
    ["eth", "end", "en", "e*"].iter().any(|start| name.starts_with(start)) || name == "*"
}

const MOST_FILES: usize = 200;

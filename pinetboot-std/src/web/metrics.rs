//! Metrics in Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats): written by hand, as it is
//! lines of a name, labels and a number; labels are names of this program, and never a client's.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use pinetboot_core::pi::boot::State;

use crate::live::{Live, Phase, SECONDS};
use crate::pis::Pis;

/// The content type.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text.
pub(super) fn text(live: &Live, pis: &Pis) -> String {
    let (counts, mut text) = (live.counts(), Text(String::new()));
    text.family("pinetboot_info", "gauge", "The version of the program.");
    text.sample("pinetboot_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("pinetboot_uptime_seconds", "gauge", "Seconds since the start.");
    text.sample("pinetboot_uptime_seconds", &[], live.uptime().as_secs_f64());

    let mut states: BTreeMap<State, u64> = State::ALL.iter().map(|state| (*state, 0)).collect();
    let mut stuck: u64 = 0;
    for glance in pis.all().into_iter().filter_map(|pi| pis.glance(pi)) {
        *states.entry(glance.state).or_default() += 1;
        stuck += u64::from(glance.verdict.is_some());
    }
    text.family("pinetboot_pis", "gauge", "Pis by the state of their boot.");
    for (state, number) in states {
        text.sample("pinetboot_pis", &[("state", &state.to_string().replace(' ', "-"))], number);
    }
    text.family("pinetboot_pis_stuck", "gauge", "Pis whose boot does not go on.");
    text.sample("pinetboot_pis_stuck", &[], stuck);

    for (name, help, number) in [
        ("boots_total", "Boots that began.", counts.boots),
        ("boots_up_total", "Boots whose system came up.", counts.up),
        ("boots_went_on_total", "Boots that went on after a verdict.", counts.went_on),
        ("dhcp_messages_total", "DHCP messages of clients.", counts.dhcp_messages),
        ("dhcp_unanswered_total", "DHCP messages without an answer.", counts.dhcp_unanswered),
        ("dhcp_leases_total", "DHCP ACKs with an address.", counts.leased),
        ("tftp_requests_total", "TFTP requests.", counts.requests),
        ("tftp_refused_total", "TFTP requests answered with an ERROR.", counts.refused),
        ("tftp_sent_bytes_total", "Bytes that TFTP clients acknowledged.", counts.sent_bytes),
        ("tftp_received_bytes_total", "Bytes uploaded by TFTP.", counts.received_bytes),
        ("tftp_resent_packets_total", "TFTP packets that were sent again.", counts.resent),
        ("nfs_mounts_total", "Mounted roots.", counts.mounts),
        ("nfs_refused_total", "Refused mounts and NFS calls.", counts.nfs_refused),
        ("nfs_connections_total", "NFS connections that were opened.", counts.nfs_connections[0]),
        ("nfs_connections_ended_total", "NFS connections that ended.", counts.nfs_connections[1]),
        ("nfs_read_bytes_total", "Bytes that Pis read from their roots by NFS.", counts.nfs.read),
        ("nfs_written_bytes_total", "Bytes that Pis wrote to their roots by NFS.", counts.nfs.written),
        ("disk_opened_total", "NBD connections that got their disk.", counts.disks[0]),
        ("disk_closed_total", "NBD connections with a disk that ended.", counts.disks[1]),
        ("disk_refused_total", "NBD connections that got no disk.", counts.disks[2]),
        (
            "disk_failed_total",
            "Kinds of NBD requests that failed on a disk, at most one in a minute for each client.",
            counts.disks[3],
        ),
        ("disk_read_bytes_total", "Bytes that Pis read from their disks.", counts.nbd.read),
        (
            "disk_written_bytes_total",
            "Bytes that Pis wrote to their disks, without zeros.",
            counts.nbd.written,
        ),
    ] {
        let name = format!("pinetboot_{name}");
        text.family(&name, "counter", help);
        text.sample(&name, &[], number);
    }
    let help = "Leases of this server that run, as of the last DHCP message.";
    text.family("pinetboot_dhcp_running_leases", "gauge", help);
    text.sample("pinetboot_dhcp_running_leases", &[], counts.leases);
    for (name, label, help, served) in [
        ("pinetboot_nfs_calls_total", "procedure", "NFS calls.", &counts.nfs),
        ("pinetboot_disk_requests_total", "command", "NBD requests.", &counts.nbd),
    ] {
        text.family(name, "counter", help);
        for (call, number) in &served.calls {
            text.sample(name, &[(label, call)], *number);
        }
    }
    let help = "Space on the server of what a Pi changed: on its layers and its disks.";
    text.family("pinetboot_pi_space_bytes", "gauge", help);
    for ((pi, is_disk), images) in &counts.spaces {
        let storage = if *is_disk { "disk" } else { "layer" };
        text.sample(
            "pinetboot_pi_space_bytes",
            &[("pi", &pi.to_string()), ("storage", storage)],
            images.values().sum::<u64>(),
        );
    }
    text.family("pinetboot_tftp_transfers_total", "counter", "Ended TFTP transfers.");
    for (result, number) in ["whole", "probe", "ended"].into_iter().zip(counts.transfers) {
        text.sample("pinetboot_tftp_transfers_total", &[("result", result)], number);
    }
    text.family(
        "pinetboot_verdicts_total",
        "counter",
        "Boots that did not go on, by the number of the likeliest rule.",
    );
    for (rule, number) in &counts.verdicts {
        text.sample("pinetboot_verdicts_total", &[("rule", &rule.to_string())], *number);
    }
    let name = "pinetboot_boot_phase_seconds";
    text.family(name, "histogram", "Durations of the phases of boots.");
    for phase in Phase::ALL {
        let histogram = counts.phases.get(&phase).cloned().unwrap_or_default();
        let (mut sum, phase) = (0, phase.name());
        for (bound, number) in SECONDS.into_iter().zip(histogram.within) {
            sum += number;
            text.sample(&format!("{name}_bucket"), &[("phase", phase), ("le", &bound.to_string())], sum);
        }
        text.sample(&format!("{name}_bucket"), &[("phase", phase), ("le", "+Inf")], histogram.count);
        text.sample(&format!("{name}_sum"), &[("phase", phase)], histogram.sum.as_secs_f64());
        text.sample(&format!("{name}_count"), &[("phase", phase)], histogram.count);
    }
    text.0
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _written = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _written = write!(self.0, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _written = writeln!(self.0, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;

    #[test]
    fn each_sample_has_a_family_with_help_and_type() {
        let text = text(&Live::default(), Bus::silent().pis());
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap();
            } else if !line.starts_with("# TYPE ") {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(name.starts_with(family), "{line} in {family}");
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            }
        }
        assert!(
            text.contains("pinetboot_boot_phase_seconds_bucket{phase=\"kernel\",le=\"+Inf\"} 0"),
            "{text}"
        );
        assert!(text.contains("pinetboot_pis{state=\"kernel-sent\"} 0"), "{text}");
    }
}

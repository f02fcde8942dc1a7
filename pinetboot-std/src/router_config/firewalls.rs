//! The ports of `pinetboot serve`, for the firewall of the machine that serves.

use pinetboot_core::pi::{NBD_PORT, console};

/// Protocol and port, and the service.
pub(crate) const PORTS: [(&str, u16, &str); 9] = [
    ("udp", 67, "DHCP: --dhcp proxy, --dhcp lease"),
    ("udp", 69, "TFTP"),
    ("udp", 4011, "PXE clients: --dhcp proxy"),
    ("udp", 111, "portmapper: roots by NFS"),
    ("tcp", 111, "portmapper: roots by NFS"),
    ("tcp", 2049, "NFS and MOUNT"),
    ("udp", 2049, "MOUNT, and NFS with --nfs-udp"),
    ("tcp", NBD_PORT, "NBD: roots on disks"),
    ("udp", console::PORT, "lines of Pis with disks, for a server without CAP_NET_RAW"),
];

const HIGH_PORTS: &str = "\
# Each TFTP transfer has a port above 1023. The server sends the first packet from that port, so a firewall that tracks
# connections, as this one does, needs no rule for it. For a firewall that does not: serve with --port-range 50000-50100,
# and allow udp 50000 to 50100.
";

pub(super) fn ufw() -> String {
    let rules: String = PORTS
        .iter()
        .map(|(protocol, port, why)| format!("ufw allow {port}/{protocol} comment '{why}'\n"))
        .collect();
    format!(
        "# ufw: run this as root on the machine that serves; leave out what it does not serve. To admit one network only:\n\
         # ufw allow from 192.168.1.0/24 to any port 69 proto udp; a DHCP client has no address yet, so 67 stays open for all.\n\
         # Not tested; rests on ufw(8).\n\n{rules}\n{HIGH_PORTS}"
    )
}

pub(super) fn firewalld() -> String {
    let rules: String = PORTS
        .iter()
        .map(|(protocol, port, why)| {
            format!("firewall-cmd --permanent --add-port={port}/{protocol}  # {why}\n")
        })
        .collect();
    format!(
        "# firewalld: run this as root on the machine that serves; leave out what it does not serve. Another zone than the default\n\
         # one: add --zone=NAME. Not tested; rests on firewall-cmd(1).\n\n{rules}firewall-cmd --reload\n\n{HIGH_PORTS}"
    )
}

pub(super) fn nft() -> String {
    let rules: String = PORTS
        .iter()
        .map(|(protocol, port, why)| format!("        {protocol} dport {port} accept  # {why}\n"))
        .collect();
    format!(
        "# nftables: a table to load with nft -f; a rule for SSH is not in it. Leave out what the machine does not serve.\n\
         # (tested with nftables 1.0)\n\n\
         table inet pinetboot {{\n    chain input {{\n        type filter hook input priority 0; policy drop;\n        \
         ct state established,related accept\n        iifname \"lo\" accept\n{rules}    }}\n}}\n\n{HIGH_PORTS}"
    )
}

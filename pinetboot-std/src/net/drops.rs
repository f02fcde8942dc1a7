//! Packets that the kernel dropped for lack of room, by its counters: a send call does not fail then.
//!
//! UDP takes ENOBUFS for success unless a socket asks for errors (`udp_send_skb` in net/ipv4/udp.c), also where the neighbour table is full
//! (`ip_finish_output2`). The counters are those of this network namespace, of all its programs; that of the neighbour table is the
//! machine's, and exists in the machine's own namespace alone.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What the kernel has too little room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Neighbours (arp(7), `gc_thresh3`).
    Neighbours,
    /// Datagrams that leave: the queue of an interface, or a socket's buffer (`SndbufErrors`).
    Sending,
    /// Connections that the firewall follows (`nf_conntrack_max`).
    Connections,
}

/// The counters, as they were when a lack was found last.
#[derive(Debug, Default)]
pub struct Drops([u64; 3]);

/// Send calls that filled a socket's buffer: the kernel counts them as errors, and the rest is sent again.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Records a send call that filled a socket's buffer.
pub(super) fn refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
}

impl Drops {
    /// The drops from now on.
    pub fn from_now() -> Self {
        Self(counted())
    }

    /// The drops since the machine started.
    pub fn of_all_time() -> Vec<(Lack, u64)> {
        found([0; 3], counted())
    }

    /// The drops since the last call.
    pub fn look(&mut self) -> Vec<(Lack, u64)> {
        let before = std::mem::replace(&mut self.0, counted());
        found(before, self.0)
    }
}

impl Lack {
    /// The command that mends it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Neighbours => {
                "sysctl net.ipv4.neigh.default.gc_thresh3=8192 net.ipv4.neigh.default.gc_thresh2=4096"
            }
            Self::Sending => {
                "ip link set INTERFACE txqueuelen 10000, and sysctl net.core.wmem_default=1048576"
            }
            Self::Connections => {
                "sysctl net.netfilter.nf_conntrack_max=262144, or a rule of nftables with 'notrack' for UDP port 69 and the ports of \
                 transfers"
            }
        }
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Neighbours => "the neighbour table is full (table_fulls)",
            Self::Sending => "the queue of an interface or a send buffer is full (SndbufErrors)",
            Self::Connections => "the firewall's table of connections is full (nf_conntrack drop)",
        })
    }
}

fn found(before: [u64; 3], now: [u64; 3]) -> Vec<(Lack, u64)> {
    let lacks = [Lack::Neighbours, Lack::Sending, Lack::Connections].into_iter();
    let grown = before.into_iter().zip(now).map(|(before, now)| now.saturating_sub(before));
    let mut found: Vec<_> = lacks.zip(grown).filter(|(_, packets)| *packets >= FEW).collect();
    // A packet without a place in the neighbour table counts as not sent too.
    if found.iter().any(|(lack, _)| *lack == Lack::Neighbours) {
        found.retain(|(lack, _)| *lack != Lack::Sending);
    }
    found
}

/// All counters; zero for one that does not exist here.
fn counted() -> [u64; 3] {
    let read = |place: &str| fs::read_to_string(format!("/proc/self/net/{place}")).unwrap_or_default();
    let fulls = of_processors(&read("stat/arp_cache"), "table_fulls");
    let errors = of_protocol(&read("snmp"), "Udp:", "SndbufErrors");
    let drops = of_processors(&read("stat/nf_conntrack"), "drop");
    let refused = REFUSED.load(Ordering::Relaxed);
    [fulls, errors.map(|errors| errors.saturating_sub(refused)), drops].map(Option::unwrap_or_default)
}

/// A counter of a file with a line of names, and a line of hexadecimal numbers for each processor.
fn of_processors(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let place = lines.next()?.split_ascii_whitespace().position(|word| word == name)?;
    let numbers =
        lines.filter_map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(place)?, 16).ok());
    Some(numbers.fold(0, u64::saturating_add))
}

/// A counter of a file with two lines for each protocol, of names and of numbers.
fn of_protocol(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let place = lines.next()?.split_ascii_whitespace().position(|word| word == name)?;
    lines.next()?.split_ascii_whitespace().nth(place)?.parse().ok()
}

/// Packets that are no reason to change a limit: their clients repeat them.
const FEW: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let arp = "entries  allocs table_fulls\n00000003 00000001 0000000a\n00000003 00000002 00000010\n";
        assert_eq!(of_processors(arp, "table_fulls"), Some(26));
        assert_eq!(of_processors(arp, "drop"), None);
        assert_eq!(of_processors("", "drop"), None);
        let snmp = "Udp: InDatagrams SndbufErrors InCsumErrors\nUdp: 191 7 0\nUdpLite: InDatagrams SndbufErrors\nUdpLite: 1 9\n";
        assert_eq!(of_protocol(snmp, "Udp:", "SndbufErrors"), Some(7));
        assert_eq!(of_protocol("Udp: SndbufErrors\n", "Udp:", "SndbufErrors"), None);
        let here = fs::read_to_string("/proc/self/net/snmp").unwrap();
        assert!(of_protocol(&here, "Udp:", "SndbufErrors").is_some(), "{here}");
    }

    #[test]
    fn a_full_table_is_the_cause_of_what_was_not_sent() {
        assert_eq!(found([0; 3], [FEW - 1, 0, 0]), []);
        assert_eq!(found([5; 3], [5, 105, 5]), [(Lack::Sending, 100)]);
        assert_eq!(found([0; 3], [100, 100, 50]), [(Lack::Neighbours, 100), (Lack::Connections, 50)]);
    }
}

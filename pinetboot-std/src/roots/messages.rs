//! The messages between the process of TFTP and DHCP and that of NFS.
//!
//! ```text
//! TFTP, DHCP, registry, log  <- Message  -  NFS, layers
//!                             - Answer  ->
//!                             - Request -> (another socket)
//!                            <- Reply   -
//! ```
//!
//! Each side takes the other for hostile: NFS tells facts about roots and about itself, and no others; a request has a Pi and an image by
//! their names.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::actions::Action;
use crate::config::Settings;
use crate::events::{Evidence, Fact, Mac, Nfs, Root, Server, Usage, prefix};
use crate::exit::Failed;
use crate::pis::{Claim, Known, Refusal};

/// The first message to the process of NFS.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The settings of the command line and the file, without the inventory: the registry answers for each Pi.
    pub(crate) settings: Settings,
    /// The time between two [turns](Message::Turn), if a watchdog waits for them.
    pub(crate) turns: Option<Duration>,
    /// The number of packets with a socket of the service manager, on the socket of requests.
    pub(crate) sockets: usize,
}

impl Setup {
    pub(crate) fn new(mut settings: Settings, turns: Option<Duration>, sockets: usize) -> Self {
        settings.pi.clear();
        settings.group.clear();
        // It requires an inventory.
        settings.dhcp_clients = None;
        Self { settings, turns, sockets }
    }
}

/// A message of the process of NFS.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A question; its [`Answer`] follows before anything else.
    Ask(Question),
    /// A fact.
    Tell {
        /// The client.
        client: Option<Ipv4Addr>,
        /// The fact.
        report: Report,
    },
    /// NFS takes calls.
    Turn,
    /// NFS listens, and the rights are given up.
    Ready(Ready),
    /// The start failed: the process ends.
    Failed(Failed),
}

/// A question to the registry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Whether a client is the Pi that it claims to be.
    Check(Claim),
    /// The knowledge about a Pi.
    Known(#[serde(with = "prefix")] Prefix),
    /// The Pi at an address.
    NameAt(Ipv4Addr),
    /// The MAC address of an address.
    MacAt(Ipv4Addr),
    /// The layers made for the client at an address.
    LayersMade(Ipv4Addr),
}

/// The answer to the question of the same name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The evidence, or the reason of a refusal.
    Check(Result<Evidence, Refusal>),
    /// The knowledge.
    Known(Box<Known>),
    /// The Pi.
    NameAt(#[serde(with = "prefix::option")] Option<Prefix>),
    /// The MAC address.
    MacAt(Option<Mac>),
    /// The number of layers.
    LayersMade(u32),
}

/// A fact that the process of NFS may tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// About a root.
    Root(Root),
    /// About NFS.
    Nfs(Nfs),
    /// For metrics.
    Usage(Usage),
    /// Temporary files of killed processes were removed.
    LeftoversRemoved {
        /// The directory.
        place: String,
        /// Their number.
        number: usize,
    },
    /// The limit of open files is too low for the settings.
    FewForLayers {
        /// The limit.
        allowed: u64,
        /// The Pis with a layer that fit.
        pis: usize,
    },
    /// A thread panicked or ended.
    ThreadEnded {
        /// Its name.
        thread: String,
        /// The reason.
        why: String,
    },
    /// Threads did not end in time.
    StopOverdue {
        /// The time that they had.
        within: Duration,
    },
}

/// The state of the process of NFS after its start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The port of NFS.
    pub(crate) port: u16,
    /// The port of this server's portmapper, or `None` for the system's.
    pub(crate) portmapper: Option<u16>,
    /// The parts of the sandbox that are off, each with the reason.
    pub(crate) missing: Vec<(String, String)>,
}

/// A request to the process of NFS, a packet of its own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// A boot begins: the directory of the Pi's boot files, if the Pi's layer on this image changes them.
    Boot {
        /// The Pi.
        #[serde(with = "prefix")]
        pi: Prefix,
        /// The image.
        image: String,
        /// The Pi is not up at another address: a layer that is marked for a reset is removed.
        is_there: bool,
    },
    /// An interface was removed and made again: the sockets that are bound to it have to be bound again.
    BindAgain {
        /// The interface, one of the configuration.
        interface: String,
    },
    /// The operator asks for an action, by the page.
    Act {
        /// The token of the page, from the operator's request: the server alone does not have it.
        token: String,
        /// The action.
        action: Action,
    },
}

/// The answer to a [`Request`]: the path of the directory, which the packet has as a descriptor; what an action did; or the reason of a
/// failure.
pub(super) type Reply = Result<Option<String>, String>;

impl From<Root> for Report {
    fn from(fact: Root) -> Self {
        Self::Root(fact)
    }
}

impl From<Nfs> for Report {
    fn from(fact: Nfs) -> Self {
        Self::Nfs(fact)
    }
}

impl From<Usage> for Report {
    fn from(fact: Usage) -> Self {
        Self::Usage(fact)
    }
}

impl From<Report> for Fact {
    fn from(report: Report) -> Self {
        match report {
            Report::Root(fact) => fact.into(),
            Report::Nfs(fact) => fact.into(),
            Report::Usage(fact) => fact.into(),
            Report::LeftoversRemoved { place, number } => Server::LeftoversRemoved { place, number }.into(),
            Report::FewForLayers { allowed, pis } => Server::FewForLayers { allowed, pis }.into(),
            Report::ThreadEnded { thread, why } => Server::ThreadEnded { thread, why }.into(),
            Report::StopOverdue { within } => {
                Server::StopOverdue { service: "nfs", threads: vec!["nfs".into()], within }.into()
            }
        }
    }
}

/// The name of the command that serves NFS.
pub(crate) const NFSD: &str = "nfsd";
/// The time that NFS has for calls under way at its end; less than that of the whole stop.
pub(crate) const NFS_STOPS_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a message at most.
pub(crate) const LONGEST: u64 = 256 << 10;
/// Bytes of a packet at most: names, and the text of an error.
pub(super) const LONGEST_PACKET: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::lines::{read_line, write_line};

    #[test]
    fn the_first_message_is_as_short_with_a_large_inventory() {
        let mut settings: Settings =
            toml::from_str("tree = '/t'\ndhcp = 'lease'\ndhcp-clients = 'listed'").unwrap();
        let entry = |number: u32| (format!("{number:08x}"), toml::from_str("name = 'board'").unwrap());
        settings.pi = (0..100_000).map(entry).collect();
        let mut line = Vec::new();
        write_line(&mut line, &Setup::new(settings, None, 0)).unwrap();
        let read = read_line::<Setup>(&mut &line[..], LONGEST).unwrap().unwrap();
        read.settings.resolve().unwrap();
    }
}

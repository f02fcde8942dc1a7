//! The services for NFS roots on the boot server: GETPORT alone, which names no Pi and so counts for none. The command line decides
//! whether the root is there; `simulate` mounts it.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use pinetboot_core::pi::rules;
use serde::Serialize;

use crate::finding::Finding;
use crate::nfs_client::{CallError, Host, NfsServer};

/// The services for NFS roots of a server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RootServices {
    /// The answer of the portmapper, TCP port 111.
    pub portmapper: Portmapper,
    /// The port of NFS version 3; `None` if it is not registered.
    pub nfs_port: Option<u16>,
    /// The port of MOUNT version 3; `None` if it is not registered.
    pub mount_port: Option<u16>,
}

/// The answer of a portmapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Portmapper {
    /// It answers.
    Answers,
    /// The machine refuses the connection: it has no portmapper.
    Absent,
    /// Nothing answers.
    Silent,
}

/// In a line of text.
impl fmt::Display for RootServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.portmapper, self.nfs_port, self.mount_port) {
            (Portmapper::Answers, Some(nfs), Some(mount)) => {
                write!(f, "NFS on port {nfs}, MOUNT on port {mount}")
            }
            (Portmapper::Answers, ..) => f.write_str("the portmapper has no NFS of version 3"),
            (Portmapper::Absent, ..) => f.write_str("the boot server has no portmapper, and so serves none"),
            (Portmapper::Silent, ..) => f.write_str("the portmapper does not answer"),
        }
    }
}

impl RootServices {
    /// Asks the portmapper of a server.
    pub(super) fn ask(address: Ipv4Addr) -> Self {
        let server = NfsServer { address, nfs_port: None, mount_port: None };
        let registered = |port| Some(port).filter(|port| *port != 0);
        match server.ports(&mut Host::default()) {
            Ok(ports) => Self {
                portmapper: Portmapper::Answers,
                nfs_port: registered(ports.nfs),
                mount_port: registered(ports.mount),
            },
            Err(error) => {
                let silent = matches!(&error, CallError::Io(error)
                    if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock));
                let portmapper = if silent { Portmapper::Silent } else { Portmapper::Absent };
                Self { portmapper, nfs_port: None, mount_port: None }
            }
        }
    }

    /// The warning about a server that drops the packets.
    pub(super) fn finding(&self, server: Ipv4Addr) -> Option<Finding> {
        if self.portmapper != Portmapper::Silent {
            return None;
        }
        let finding =
            Finding::warning(format!("the portmapper of {server} does not answer on TCP port 111."));
        let finding =
            finding.rule(&rules::PORTMAP_TIMEOUT).evidence("An NFS root on that server is out of reach.");
        Some(finding.remedy(format!(
            "Open the ports 111 and 2049, TCP and UDP, in the firewall of the server, unless the root is elsewhere. 'pinetboot simulate \
             --server {server}' mounts the root."
        )))
    }
}

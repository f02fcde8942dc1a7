//! Lines about the NFS server.

use tracing::{debug, warn};

use super::ClientName;
use crate::events::{Event, Nfs};

pub(super) fn log(event: &Event, client: &ClientName<'_>, fact: &Nfs) {
    match fact {
        Nfs::Connected { peer } => debug!(%client, "{peer} connects to NFS"),
        Nfs::Disconnected { peer, why, for_memory: true, .. } => {
            warn!(%client, "closing the NFS connection of {peer}: {why}");
        }
        Nfs::Disconnected { peer, why, .. } => debug!(%client, "the NFS connection of {peer} ended: {why}"),
        Nfs::Unmounted { path: Some(path) } => debug!(%client, path, "{client} unmounts {path}"),
        Nfs::Unmounted { path: None } => debug!(%client, "{client} unmounts all exports"),
        Nfs::CallRefused { peer, program, version, procedure, why, remedy } => {
            match remedy.as_ref().filter(|_| !event.again) {
                None => {
                    debug!(
                        %client,
                        program, version, procedure, "{peer} calls {program}/{version}/{procedure}: {why}"
                    );
                }
                Some(remedy) => {
                    warn!(%client, program, version, procedure, "the NFS call of {client} is refused: {why}. {remedy}")
                }
            }
        }
        Nfs::HandleRefused { peer, why } if event.again => {
            debug!(%client, "{peer} uses a refused file handle: {why}")
        }
        Nfs::HandleRefused { why, .. } => {
            warn!(%client, "{client} uses a refused file handle: {why}")
        }
        Nfs::Unacknowledged { peer } => debug!(%client, "{peer} acknowledges nothing for 12 s (TCP)"),
        Nfs::FirstRead => debug!(%client, "{client} reads from its root"),
        Nfs::FirstWrite => debug!(%client, "{client} writes to its root"),
        Nfs::InitSought { found: true } => {
            debug!(%client, "{client} finds a first program (init) in its root")
        }
        Nfs::InitSought { found: false } => {
            debug!(%client, "{client} looks for a first program (init) in its root, in a place without one")
        }
        Nfs::EmergencyShell => debug!(%client, "{client} looks up the program of systemd's emergency mode"),
        Nfs::Trouble { what } => warn!("NFS: {what}"),
    }
}

//! Lines about root file systems.

use tracing::{debug, error, info, warn};

use super::ClientName;
use crate::events::{Event, Root};

pub(super) fn log(event: &Event, client: &ClientName<'_>, fact: &Root) {
    let pi = event.pi.as_deref().unwrap_or("a Pi");
    match fact {
        Root::Remembered { .. } | Root::Active { .. } => {}
        Root::LayerMade { image, host_name, .. } => {
            info!(pi, name = host_name, image, "{pi} gets a new layer on {image}, host name {host_name}");
        }
        Root::LayerReset { image, .. } => {
            info!(pi, image, "{pi}'s layer on {image} is reset, as 'pinetboot roots reset' requested");
        }
        Root::LayerFailed { image, operation, error, .. } => {
            error!(pi, image, "cannot {operation} the layer of {pi} on {image}: {error}");
        }
        Root::BaseChanged { root, .. } => warn!(
            pi,
            "base image {root} was changed after {pi} got its layer: what the Pi sees of the changed files is undefined. Import \
             changes as a new image, or run 'pinetboot roots reset {pi}'"
        ),
        Root::Mounted { path, .. } => info!(%client, pi, path, "{client} mounts its root"),
        Root::MountRefused { path, why, failed: true, .. } => {
            error!(%client, path, "cannot serve {path} to {client}: {why}");
        }
        Root::MountRefused { path, why, .. } if !event.again => {
            warn!(%client, path, "{client} may not mount {path}: {why}");
        }
        Root::MountRefused { path, why, .. } => debug!(%client, path, "{client} may not mount {path}: {why}"),
        Root::CallRefused { name, why, in_doubt: false, .. } if !event.again => {
            warn!(%client, pi = name, "{client} may not use the root of {name}: {why}");
        }
        Root::CallRefused { name, why, in_doubt: true, .. } if !event.again => {
            warn!(%client, pi = name, "{client} waits for the root of {name}: {why}");
        }
        Root::CallRefused { name, why, .. } => {
            debug!(%client, pi = name, "{client} may not use the root of {name}: {why}");
        }
        Root::Moved { from, .. } => {
            info!(%client, pi, "{client} continues with its root; its address was {from} before")
        }
        Root::Resumed { .. } => info!(pi, "{pi} continues with its root after the restart of the server"),
    }
}

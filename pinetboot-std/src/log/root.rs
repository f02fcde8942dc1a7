//! Lines about root file systems.

use tracing::{debug, error, info, warn};

use super::Client;
use crate::events::{Event, Root};

pub(super) fn log(event: &Event, client: &Client<'_>, fact: &Root) {
    let pi = event.pi.as_deref().unwrap_or("a Pi");
    match fact {
        Root::Remembered { .. } | Root::Active { .. } => {}
        Root::LayerMade { image, host_name, .. } => {
            info!(pi, name = host_name, image, "{pi} has a root of its own on {image}, as {host_name}");
        }
        Root::LayerReset { image, .. } => {
            info!(pi, image, "{pi}'s layer on {image} is gone, as was asked for");
        }
        Root::LayerFailed { image, operation, error, .. } => {
            error!(pi, image, "cannot {operation} the layer of {pi} on {image}: {error}");
        }
        Root::BaseChanged { root, .. } => warn!(
            pi,
            "{root} was changed after {pi} began its layer on it: what the Pi sees of the changed files is not certain. Import \
             changes as a new image, or 'pinetboot roots reset {pi}'"
        ),
        Root::Mounted { path, .. } => info!(%client, pi, path, "{client} mounts its root"),
        Root::MountRefused { path, why, failed: true, .. } => {
            error!(%client, path, "{client} does not get {path}: {why}");
        }
        Root::MountRefused { path, why, .. } if !event.again => {
            warn!(%client, path, "{client} does not get {path}: {why}");
        }
        Root::MountRefused { path, why, .. } => debug!(%client, path, "{client} does not get {path}: {why}"),
        Root::CallRefused { name, why, in_doubt: false, .. } if !event.again => {
            warn!(%client, pi = name, "{client} may not use the root of {name}: {why}");
        }
        Root::CallRefused { name, why, in_doubt: true, .. } if !event.again => {
            warn!(%client, pi = name, "{client} has to wait for the root of {name}: {why}");
        }
        Root::CallRefused { name, why, .. } => {
            debug!(%client, pi = name, "{client} may not use the root of {name}: {why}");
        }
        Root::Moved { from, .. } => {
            info!(%client, pi, "{client} goes on with its root, which it had at {from}")
        }
        Root::Resumed { .. } => info!(pi, "{pi} goes on with its root"),
    }
}

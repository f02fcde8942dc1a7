//! Lines about root file systems.

use indicatif::DecimalBytes;
use tracing::{debug, error, info, warn};

use super::ClientName;
use super::phase::of_root;
use crate::events::{Event, LayerSize, Root, Shortage};

pub(super) fn log(event: &Event, client: &ClientName<'_>, fact: &Root) {
    let pi = event.pi.as_deref().unwrap_or("a Pi");
    let phase = of_root(fact).unwrap_or_default();
    match fact {
        Root::Remembered { .. } | Root::Active { .. } | Root::Granted { .. } => {}
        Root::Unmounted { .. } => {
            info!(%client, pi, "{client:#} {phase}");
        }
        Root::LayerMade { image, host_name, .. } => info!(pi, name = host_name, image, "{pi} {phase}"),
        Root::DiskMade { image, .. } => info!(pi, image, "{pi} {phase}"),
        Root::DiskOpened { image, .. } => info!(%client, pi, image, "{client:#} {phase}"),
        Root::DiskConnected => debug!(%client, "{client} connects to the port of disks"),
        Root::DiskClosed { .. } => info!(%client, "{client:#} is disconnected from its disk"),
        Root::DiskRefused { why, failed: true, .. } => {
            error!(%client, "{client} does not get its disk: {why}")
        }
        Root::DiskRefused { why, .. } if !event.again => {
            warn!(%client, "{client} may not have a disk: {why}")
        }
        Root::DiskRefused { why, .. } => debug!(%client, "{client} may not have a disk: {why}"),
        Root::DiskFailed { operation, error } => {
            error!(%client, operation = &**operation, "a {operation} of {client} to its disk failed: {error}");
        }
        Root::DiskUnclean { why, .. } => {
            info!(pi, "{pi} gets the initramfs of its last boot: {why}");
        }
        Root::LayerReset { image, .. } => {
            info!(pi, image, "{pi}'s layer on {image} is reset, as 'pinetboot roots reset' requested");
        }
        Root::LayerAdopted { image, .. } => {
            info!(
                pi,
                image,
                "{pi}'s layer on {image} was moved or copied, and its base image has the same content: adopted"
            );
        }
        Root::LayerFailed { image, operation, error, .. } => {
            error!(pi, image, "cannot {operation} the layer of {pi} on {image}: {error}");
        }
        Root::BaseChanged { root, .. } => warn!(
            pi,
            "base image {root} was changed after {pi} got its layer: what the Pi sees of the changed files is undefined. Import \
             changes as a new image, or run 'pinetboot roots reset {pi}'"
        ),
        Root::Mounted { path, .. } => info!(%client, pi, path, "{client:#} {phase}"),
        Root::MountRefused { path, why, failed: true, .. } => {
            error!(%client, path, "cannot serve {path} to {client}: {why}");
        }
        Root::MountRefused { path, why, .. } if !event.again => {
            warn!(%client, path, "{client} may not mount {path}: {why}");
        }
        Root::MountRefused { path, why, .. } => {
            debug!(%client, path, "{client} may not mount {path}: {why}")
        }
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
            info!(%client, pi, "{client:#} continues with its root; its address was {from} before")
        }
        Root::Resumed { restarted: true, .. } => {
            info!(pi, "{pi} continues with its root after the restart of the server");
        }
        Root::Resumed { .. } => debug!(pi, "{pi} continues with its root after a rest"),
        Root::UnusedRemoved { layers } => info!(
            layers = layers.len(),
            "removed new layers to which no Pi wrote and which no Pi used for two minutes: {}",
            layers.len()
        ),
        Root::NoSpace { why: Shortage::Near { used, limit }, .. } => warn!(
            pi,
            used,
            limit,
            "the layer of {pi} has {} of {}, its limit: remove files on the Pi, or raise max-root-size",
            DecimalBytes(*used),
            DecimalBytes(*limit)
        ),
        Root::NoSpace { why: Shortage::Limit { limit }, .. } => warn!(
            pi,
            limit,
            "{pi} gets \"no space\": its layer has reached its limit of {}. Remove files on the Pi, or raise max-root-size",
            DecimalBytes(*limit)
        ),
        Root::NoSpace { why, largest, .. } => {
            let except = if *why == Shortage::Reserve {
                " except for the server's reserve (--disk-reserve)"
            } else {
                ""
            };
            warn!(pi, "{pi} gets \"no space\": the disk is full{except}{}. {REMEDY}", most_used(largest));
        }
        Root::Limits { by_file_system: true } => {
            info!("the file system limits each new layer to max-root-size, by a project quota");
        }
        Root::Limits { by_file_system: false } => info!(
            "the server counts the size of each layer for max-root-size: the file system of the layers has no project quotas (mount \
             option prjquota)"
        ),
        Root::DiskFilling { place, percent, left, largest } => warn!(
            place,
            percent,
            left,
            "the disk of {place} is {percent} % full, Pis may write {} more{}. {REMEDY}",
            DecimalBytes(*left),
            most_used(largest)
        ),
    }
}

/// The largest layers as a clause.
fn most_used(largest: &[LayerSize]) -> String {
    let sizes = largest.iter().map(|LayerSize { name, bytes }| format!("{name} ({})", DecimalBytes(*bytes)));
    let sizes: Vec<_> = sizes.collect();
    if sizes.is_empty() {
        String::new()
    } else {
        format!("; the largest layers are those of {}", sizes.join(", "))
    }
}

const REMEDY: &str =
    "Remove files, reset a layer ('pinetboot roots reset'), or bound layers with --max-root-size";

//! The limit of open files, and its division.
//!
//! A third is for the files of NFS trees, which pinetboot-nfs keeps to; the rest is divided here. Where the system allows less than the
//! settings need, fewer transfers and layers are allowed: a full table of transfers gives a new client the place of a silent one, and a
//! process without descriptors refuses the new client.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::bus::Bus;
use crate::config::{Config, NfsMode};
use crate::events;

/// The transfers and layers for which there are descriptors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fitting {
    pub(super) transfers: usize,
    pub(super) max_pis: usize,
}

/// Raises the limit of open files to what the configuration needs. If the system allows less, less fits.
pub(super) fn allow(config: &Config, bus: &Bus) -> Fitting {
    let all = Fitting { transfers: config.max_transfers, max_pis: config.root.limits.max_pis };
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return all };
    // Without a root to serve, layers take none.
    let has_layers = config.root.mode == NfsMode::Overlay && may_have_roots(config);
    let pis = if has_layers { all.max_pis } else { 0 };
    let wanted = needed(all.transfers, pis);
    let allowed = if soft >= wanted {
        soft
    } else {
        let most = wanted.min(hard);
        if setrlimit(Resource::RLIMIT_NOFILE, most, hard).is_ok() { most } else { soft }
    };
    if allowed >= wanted {
        return all;
    }
    let (transfers, fitting_pis) = fitting(allowed, all.transfers, pis);
    let pis = has_layers.then_some(fitting_pis);
    bus.emit(None, events::Server::FewDescriptors { allowed, transfers, pis });
    Fitting { transfers, max_pis: pis.unwrap_or(all.max_pis) }
}

fn may_have_roots(config: &Config) -> bool {
    let has_images = || config.tree.as_ref().is_some_and(|tree| tree.join(crate::images::IMAGES).is_dir());
    config.root.nfs.is_some() || has_images()
}

/// Descriptors for so many transfers and layers.
fn needed(transfers: usize, pis: usize) -> u64 {
    let roots = if pis > 0 { OF_LAYER * pis as u64 + CONNECTIONS } else { 0 };
    let own = OWN + OF_TRANSFER * transfers as u64 + roots;
    // The other third is for the files of NFS trees.
    if pis > 0 { own + own.div_ceil(2) } else { own }
}

/// The transfers and layers that a limit allows: equal shares.
fn fitting(allowed: u64, transfers: usize, pis: usize) -> (usize, usize) {
    let share = |descriptors: u64, of_one: u64, most: usize| {
        usize::try_from(descriptors / of_one).unwrap_or(usize::MAX).clamp(1, most.max(1))
    };
    if pis == 0 {
        return (share(allowed.saturating_sub(OWN), OF_TRANSFER, transfers), 0);
    }
    // Thirds: files of NFS, transfers, and layers with their connections.
    let third = (allowed / 3).saturating_sub(OWN / 2);
    (share(third, OF_TRANSFER, transfers), share(third, OF_LAYER + 1, pis))
}

/// Sockets, threads' event descriptors, standard streams and directories.
const OWN: u64 = 64;
/// A transfer's socket and file.
const OF_TRANSFER: u64 = 2;
/// A mounted layer's lock and top directory, and the files of the layer's making.
const OF_LAYER: u64 = 3;
/// Connections of NFS (pinetboot-nfs keeps to it).
const CONNECTIONS: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_fits_and_what_fits_is_within_the_limit() {
        for (transfers, pis) in [(2048, 0), (2048, 1024), (1, 1), (4096, 4096)] {
            for allowed in [16, 64, 256, 1024, 4096, 20_000] {
                let (fit, layers) = fitting(allowed, transfers, pis);
                assert!((1..=transfers).contains(&fit), "{allowed}");
                assert!(layers <= pis.max(1));
                if allowed > 2 * OWN {
                    let third = if pis > 0 { allowed / 3 } else { 0 };
                    let used = OF_TRANSFER * fit as u64 + (OF_LAYER + 1) * layers as u64 + third;
                    assert!(used <= allowed, "{used} {allowed}");
                }
            }
        }
        assert_eq!(needed(2048, 0), 64 + 4096);
    }
}

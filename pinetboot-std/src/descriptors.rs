//! The limit of open files of a process, raised to what the settings need.
//!
//! Each process has its own limit (getrlimit(2)). The one of TFTP and DHCP has transfers; that of NFS has layers, connections and open
//! files of trees, of which pinetboot-nfs keeps the last two to a quarter of the limit each. Where the system allows less than the
//! settings need, fewer transfers or layers are allowed: a full table of transfers gives a new client the place of a silent one, and a
//! process without descriptors refuses the new client.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What takes the descriptors of a process, besides those that any has.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "nfs"), expect(dead_code, reason = "layers and connections are those of NFS"))]
pub(crate) enum Holders {
    /// Transfers of TFTP: a socket and a file each.
    Transfers,
    /// Layers of Pis: half of the limit.
    Layers,
    /// Connections of NFS without layers: a quarter of the limit.
    Connections,
}

/// A limit that is too low: the limit, and the number that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLow {
    pub(crate) allowed: u64,
    pub(crate) fit: usize,
}

/// Raises the limit of this process to what so many holders need.
///
/// # Errors
///
/// If the system allows less.
pub(crate) fn allow(holders: Holders, number: usize) -> Result<(), TooLow> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    let needed = holders.needed(number);
    if soft >= needed {
        return Ok(());
    }
    // A quarter more, for connections that close while others open.
    let most = hard.min(needed + needed / 4);
    let allowed = if setrlimit(Resource::RLIMIT_NOFILE, most, hard).is_ok() { most } else { soft };
    if allowed >= needed {
        return Ok(());
    }
    Err(TooLow { allowed, fit: holders.fit(allowed).min(number) })
}

impl Holders {
    /// The limit that so many holders need.
    const fn needed(self, number: usize) -> u64 {
        match self {
            Self::Transfers => OWN + OF_TRANSFER * number as u64,
            Self::Layers => {
                let layers = 2 * (OWN + MAKING + OF_LAYER * number as u64);
                if layers > 4 * CONNECTIONS { layers } else { 4 * CONNECTIONS }
            }
            Self::Connections => 4 * number as u64,
        }
    }

    /// The holders that a limit allows: one at least.
    fn fit(self, allowed: u64) -> usize {
        let fit = match self {
            Self::Transfers => allowed.saturating_sub(OWN) / OF_TRANSFER,
            Self::Layers => (allowed / 2).saturating_sub(OWN + MAKING) / OF_LAYER,
            Self::Connections => allowed / 4,
        };
        usize::try_from(fit).unwrap_or(usize::MAX).max(1)
    }
}

/// Sockets, threads' event descriptors, standard streams, directories, and files that are open for a moment.
const OWN: u64 = 64;
/// A transfer's socket and file.
const OF_TRANSFER: u64 = 2;
/// A mounted layer's lock and top directory.
const OF_LAYER: u64 = 2;
/// Files of layers that are being made, a few at a time.
const MAKING: u64 = 32;
/// Connections of NFS at least; a Pi with a layer has one, and another while it mounts.
const CONNECTIONS: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_fits_and_what_fits_is_within_the_limit() {
        for holders in [Holders::Transfers, Holders::Layers, Holders::Connections] {
            for number in [1, 2048, 4096] {
                assert!(holders.fit(holders.needed(number)) >= number, "{holders:?} {number}");
            }
            for allowed in [0, 16, 64, 256, 1024, 4096, 20_000] {
                let fit = holders.fit(allowed);
                assert!(
                    fit == 1 || holders.needed(fit) <= allowed.max(4 * CONNECTIONS),
                    "{holders:?} {allowed}"
                );
            }
        }
        assert_eq!(Holders::Transfers.needed(2048), 64 + 4096);
        assert_eq!(Holders::Layers.fit(1024), (512 - 64 - 32) / 2);
        assert!(Holders::Layers.needed(4096) <= 20_000, "no more than a limit of many machines");
    }
}

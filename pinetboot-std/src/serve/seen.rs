//! The addresses at which clients were seen: what makes a first, short lease a full one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use pinetboot_core::tftp::{Direction, Outcome};

use crate::events::{Event, Fact, Finished, Listener, Root, Tftp};

/// The addresses since the last look: of a whole TFTP transfer, a mount, or calls to a root in use. A request alone proves no
/// address.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<BTreeSet<Ipv4Addr>>>);

impl Seen {
    /// Takes the addresses from `first` to `last`.
    pub(super) fn take(&self, first: Ipv4Addr, last: Ipv4Addr) -> BTreeSet<Ipv4Addr> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_empty() {
            return BTreeSet::new();
        }
        let mut taken = seen.split_off(&first);
        seen.extend(taken.iter().copied().filter(|address| *address > last));
        taken.retain(|address| *address <= last);
        taken
    }
}

impl Listener for Seen {
    fn listen(&self, event: &Event) {
        let address = match &event.fact {
            Fact::Tftp(Tftp::Finished(Finished {
                peer,
                direction: Direction::Read,
                outcome: Outcome::Complete { .. },
                ..
            })) => Some(*peer.ip()),
            Fact::Root(
                Root::Mounted { .. } | Root::DiskOpened { .. } | Root::Moved { .. } | Root::Active { .. },
            ) => event.client,
            _ => None,
        };
        if let Some(address) = address {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Addresses of other networks are never taken.
            if seen.len() >= MOST {
                seen.clear();
            }
            seen.insert(address);
        }
    }
}

/// All hosts of a /16.
const MOST: usize = 1 << 16;

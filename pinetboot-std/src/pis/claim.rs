//! Claims: whether a client is the Pi that it claims to be.
//!
//! Evidence is ranked ([`Evidence`]): the inventory, then a root in use, then the MAC address of an earlier mount, then DHCP,
//! then fetched files. Weaker evidence never displaces stronger evidence, however new. A Pi heard within [`SILENT`] keeps its
//! address: another address is refused, unless that has the same MAC address and so is the same board with a new lease.
//!
//! A rendered command line has a token in its path, valid for one boot, and for the address that fetched the command line or
//! the same MAC address. A mount presents the token, or comes from the address that fetched the command line.
//!
//! Not done: protection against forged messages. TFTP and DHCP have no secrets, so a host that imitates a Pi which is off, from
//! the first DISCOVER to the kernel, passes for that Pi. A board with a proven MAC address cannot be imitated with another.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use pinetboot_core::dhcp::HardwareAddress;
use pinetboot_core::pi::Prefix;
use serde::{Deserialize, Serialize};

use super::registry::Registry;
use super::{Pi, Presence};
use crate::events::{Evidence, Mac, prefix};

/// A client's claim to be a Pi, with its evidence.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Claim {
    /// The claimed Pi.
    #[serde(with = "prefix")]
    pub pi: Prefix,
    /// The client's address.
    pub address: Ipv4Addr,
    /// The client's MAC address, if the client is a neighbour of this machine.
    pub mac: Option<Mac>,
    /// Whether the client holds a sealed handle of the root.
    pub handle: bool,
    /// The token in the mount's path.
    pub token: Option<Token>,
}

/// A token in a path, after the check of its seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Token {
    /// Valid, for the boot that began at this time in seconds since 1970.
    Good(u32),
    /// Not sealed for this Pi and this address, nor for the address of the Pi's boot.
    Wrong,
}

/// The reason for a refused claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotThatPi {
    /// The address belongs to another Pi.
    Other(Prefix),
    /// The inventory has another address for this Pi.
    Elsewhere(Ipv4Addr),
    /// The Pi is at another address.
    Alive {
        /// The Pi's address.
        at: Ipv4Addr,
        /// Seconds since the Pi's last message.
        ago: u64,
        /// One of the two MAC addresses is unknown: the client may be the same board with a new address.
        in_doubt: bool,
        /// The Pi has its root in use there. Otherwise it boots, and the address is what DHCP or TFTP made known.
        in_use: bool,
    },
    /// Another board has mounted this root: its MAC address, and the client's.
    OtherBoard(Mac, Mac),
    /// The path has the token of another boot or address, or no token although another address fetched the command line.
    Token,
    /// The address fetched files of the first stages only.
    NotBooted,
    /// The address is unknown.
    Unknown,
}

impl Registry {
    pub(super) fn check(&self, claim: &Claim) -> Result<Evidence, NotThatPi> {
        let Claim { pi, address, .. } = *claim;
        let inventory = self.inventory();
        if let Some(owner) = inventory.at(address) {
            return if owner == pi { Ok(Evidence::Inventory) } else { Err(NotThatPi::Other(owner)) };
        }
        if let Some(address) = inventory.entry(pi).and_then(|entry| entry.address) {
            return Err(NotThatPi::Elsewhere(address));
        }
        if let Some(why) = self.is_elsewhere(claim) {
            return Err(why);
        }
        let known = self.pi(pi);
        let presence = known.and_then(|known| known.presence);
        let mac = self.mac_of(claim);
        let same_board = |presence: &Presence| mac.is_none() || presence.mac.is_none() || mac == presence.mac;
        let here = presence
            .filter(|presence| presence.mounted && presence.address == address && same_board(presence));
        if here.is_some_and(|presence| presence.is_fresh(self.now())) {
            return Ok(Evidence::Mount);
        }
        self.check_board(pi, known, mac)?;
        let proven = known.filter(|known| known.mac_proven).and_then(|known| known.mac);
        let same_adapter = proven.is_some() && proven == mac;
        if claim.handle {
            // The seal shows that the client, or the host that gave it the handle, had mounted this root. A quiet Pi keeps its
            // root against DHCP messages about its address.
            let other = self.mounted_at(address);
            let other =
                other.or_else(|| self.name_by_dhcp(address).filter(|_| here.is_none() && !same_adapter));
            return match other {
                Some(other) if other != pi => Err(NotThatPi::Other(other)),
                _ if same_adapter => Ok(Evidence::SameAdapter),
                _ => Ok(Evidence::Mount),
            };
        }
        self.check_token(claim, known, mac)?;
        // After a restart of the server in the middle of a boot only the token is left.
        let boot = known.and_then(|known| known.boot.as_ref());
        match claim.token {
            Some(Token::Good(_)) if boot.is_none() => Ok(Evidence::Fetched),
            _ => self.evidence(claim, same_adapter),
        }
    }

    pub(super) fn is_elsewhere(&self, claim: &Claim) -> Option<NotThatPi> {
        let Claim { pi, address, .. } = *claim;
        if self.inventory().at(address) == Some(pi) {
            return None;
        }
        let presence = self
            .pi(pi)?
            .presence
            .filter(|presence| presence.is_fresh(self.now()) && presence.address != address)?;
        let mac = self.mac_of(claim);
        let same_board = mac.is_some() && mac == presence.mac;
        let stronger = !presence.mounted && self.rank(claim) > presence.evidence;
        if same_board || stronger {
            return None;
        }
        let ago = self.now().saturating_sub(presence.last).as_secs();
        let in_doubt = mac.is_none() || presence.mac.is_none();
        Some(NotThatPi::Alive { at: presence.address, ago, in_doubt, in_use: presence.mounted })
    }

    /// The client's MAC address: the kernel's neighbour's, else that of this server's lease. A client's message about another
    /// server's lease is hearsay.
    fn mac_of(&self, claim: &Claim) -> Option<Mac> {
        claim.mac.or_else(|| self.mac_by_lease(claim.address))
    }

    /// A root is one board's: that of the MAC address that it is named after, or that mounted it before.
    fn check_board(&self, pi: Prefix, known: Option<&Pi>, mac: Option<Mac>) -> Result<(), NotThatPi> {
        let proven = known.filter(|known| known.mac_proven).and_then(|known| known.mac);
        let owner = match pi {
            Prefix::Mac(owner) => Some(owner),
            Prefix::Serial(_) => proven,
        };
        match (owner, mac) {
            (Some(owner), Some(mac)) if owner != mac => Err(NotThatPi::OtherBoard(owner, mac)),
            _ => Ok(()),
        }
    }

    /// The evidence of a claim to a root that is not in use.
    fn evidence(&self, claim: &Claim, same_adapter: bool) -> Result<Evidence, NotThatPi> {
        let Claim { pi, address, .. } = *claim;
        if same_adapter {
            return Ok(Evidence::SameAdapter);
        }
        match self.rank(claim) {
            Evidence::Fetched => {}
            evidence => return Ok(evidence),
        }
        let fetched = self.fetched(address, pi);
        if fetched.is_some_and(|fetched| fetched.system) || self.fetched_elsewhere(pi, claim.mac) {
            return Ok(Evidence::Fetched);
        }
        // The bootloader asks with its prefix dropped, or says nothing of itself: its boot is known by its address.
        let boots_here = self.boot_at(address, pi).is_some_and(|boot| boot.is_done());
        match (boots_here, fetched.is_some()) {
            (true, _) => Ok(Evidence::Fetched),
            (false, true) => Err(NotThatPi::NotBooted),
            (false, false) => Err(match self.name_at(address) {
                Some(other) if other != pi => NotThatPi::Other(other),
                _ => NotThatPi::Unknown,
            }),
        }
    }

    /// The rank of what is known of an address: by DHCP, or no more than by TFTP.
    fn rank(&self, claim: &Claim) -> Evidence {
        let by_mac = self.mac_by_dhcp(claim.address).map(Prefix::Mac);
        match [self.name_by_dhcp(claim.address), by_mac].contains(&Some(claim.pi)) {
            true => Evidence::Dhcp,
            false => Evidence::Fetched,
        }
    }

    fn check_token(&self, claim: &Claim, known: Option<&Pi>, mac: Option<Mac>) -> Result<(), NotThatPi> {
        let boot = known.and_then(|known| known.boot.as_ref());
        let rendered = boot.and_then(|boot| Some((boot.nonce, boot.rendered_to?)));
        match (rendered, claim.token) {
            // The owner's own command line, or files from elsewhere.
            (None, None) => Ok(()),
            // Valid after a restart of the server in the middle of a boot, if newer than all known boots.
            (None, Some(Token::Good(nonce))) => {
                let newest = known.and_then(|known| known.boots.back()).map_or(0, |last| last.began);
                if u64::from(nonce) >= newest { Ok(()) } else { Err(NotThatPi::Token) }
            }
            (Some((nonce, _)), Some(Token::Good(brought))) if brought != nonce => Err(NotThatPi::Token),
            (Some((_, address)), Some(Token::Good(_)) | None) => {
                let fetched_by = self.fetched(address, claim.pi).and_then(|fetched| fetched.mac);
                let fetched_by = fetched_by.or_else(|| self.mac_by_dhcp(address));
                let same_board = mac.is_some() && mac == fetched_by;
                let another = mac.is_some() && fetched_by.is_some() && mac != fetched_by;
                if same_board || address == claim.address && !another {
                    Ok(())
                } else {
                    Err(NotThatPi::Token)
                }
            }
            (_, Some(Token::Wrong)) => Err(NotThatPi::Token),
        }
    }
}

impl NotThatPi {
    /// Whether the client may yet prove to be that Pi, and has to repeat its call.
    pub const fn in_doubt(&self) -> bool {
        matches!(self, Self::Alive { in_doubt: true, .. })
    }

    /// Whether the client may be that Pi in the middle of a boot: beyond a relay agent the DHCP messages name one address, a
    /// router with NAT or a host that tries a boot has another, and no MAC address tells the two apart. Boot files are then
    /// sent; a root is not.
    pub const fn may_be_booting(&self) -> bool {
        matches!(self, Self::Alive { in_doubt: true, in_use: false, .. })
    }
}

impl Presence {
    /// Whether the last message is recent.
    pub fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) < if self.mounted { SILENT } else { BOOTING }
    }
}

impl fmt::Display for NotThatPi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(pi) => write!(f, "that address is {pi}'s"),
            Self::Elsewhere(address) => write!(f, "the inventory has that Pi at {address}"),
            Self::Alive { at, ago, .. } => write!(
                f,
                "that Pi is up at {at}, last heard {ago} s ago. Another address gets its root {} s after its last call, or \
                 at once with the same MAC address",
                SILENT.as_secs()
            ),
            Self::OtherBoard(owner, mac) => write!(
                f,
                "that root belongs to the board with the MAC address {}, and the client has {}. Two boards with one serial \
                 number are told apart by DHCP (--dhcp) or by TFTP_PREFIX=2 in the EEPROM of one; for a board with a new \
                 adapter give its address in the inventory",
                HardwareAddress::ethernet(*owner),
                HardwareAddress::ethernet(*mac)
            ),
            Self::Token => f.write_str(
                "the token is of another boot, or the command line of this boot went to another address. Restart the Pi; in a \
                 command line of your own, {nfsroot} stands for the path of the root with its token",
            ),
            Self::NotBooted => f.write_str(
                "that address has fetched no kernel of that Pi. A Pi that boots from elsewhere needs its address in the \
                 inventory",
            ),
            Self::Unknown => f.write_str(
                "that address has fetched no boot files of that Pi, and no DHCP message names it. A Pi that boots from \
                 elsewhere needs its address in the inventory",
            ),
        }
    }
}

/// Time after its last message during which a mounted Pi keeps its address. A running system calls its root more often, and a
/// waiting Linux client repeats a call within a minute (nfs(5), `timeo`).
pub const SILENT: Duration = Duration::from_secs(60);

/// Time after its last request during which a booting Pi keeps its address: the time of a Pi 3 from kernel to mount.
const BOOTING: Duration = Duration::from_secs(30);

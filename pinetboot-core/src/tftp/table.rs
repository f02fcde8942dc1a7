//! The sessions: the caller's places, found by peer.
//!
//! The sessions whose client has not answered yet form a queue through their places, oldest first, so that a full table
//! finds the oldest at once. `pressure` decides which session of a full table yields.

use core::net::{Ipv4Addr, SocketAddrV4};

use heapless::Vec;
use heapless::index_map::FnvIndexMap;

use super::holders::{ADDRESS_PLACES, Holder, Holders};
use super::session::{Link, Session};
use crate::Instant;
use crate::storage::Storage;

pub(super) struct Table<'s, L, S: Storage, T, const MAX: usize> {
    places: &'s mut [Option<Session<L, S, T>>],
    /// Peer to place.
    index: FnvIndexMap<u64, u16, MAX>,
    /// Decides where in the index a peer is.
    key: u64,
    /// The free places, the next one last.
    free: Vec<u16, MAX>,
    /// The queue of the sessions whose client has not answered: the place of the oldest and that of the youngest.
    unanswered: Link,
    holders: Holders,
    /// The next place to look at for a session that may yield.
    hand: usize,
    /// Sessions looked at for one that may yield.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl<'s, L, S: Storage, T, const MAX: usize> Table<'s, L, S, T, MAX> {
    pub(super) fn new(places: &'s mut [Option<Session<L, S, T>>]) -> Self {
        places.fill_with(|| None);
        let usable = places.len().min(MAX).min(NONE.into());
        Self {
            places: places.split_at_mut(usable).0,
            index: FnvIndexMap::new(),
            key: 0,
            free: (0..usable as u16).rev().collect(),
            unanswered: Link { older: NONE, younger: NONE },
            holders: Holders::new(),
            hand: 0,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Sets the key of an empty table.
    pub(super) fn set_key(&mut self, key: u64) {
        if self.len() == 0 {
            self.key = key;
        }
    }

    pub(super) fn find(&self, peer: SocketAddrV4) -> Option<usize> {
        self.index.get(&scatter(peer, self.key)).map(|place| usize::from(*place))
    }

    pub(super) fn session(&mut self, place: usize) -> Option<&mut Session<L, S, T>> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Gives the session a place, at the young end of the queue; `None` in a full table.
    pub(super) fn insert(&mut self, mut session: Session<L, S, T>) -> Option<usize> {
        let place = self.free.pop()?;
        self.index.insert(scatter(session.peer, self.key), place).ok()?;
        self.holders.begin(*session.peer.ip());
        session.link = Some(Link { older: self.unanswered.younger, younger: NONE });
        *self.places.get_mut(usize::from(place))? = Some(session);
        match self.link(self.unanswered.younger) {
            Some(youngest) => youngest.younger = place,
            None => self.unanswered.older = place,
        }
        self.unanswered.younger = place;
        Some(place.into())
    }

    /// The client of this session has answered: the session leaves the queue.
    pub(super) fn answered(&mut self, place: usize) {
        let Some(link) = self.session(place).and_then(|session| session.link.take()) else { return };
        match self.link(link.older) {
            Some(older) => older.younger = link.younger,
            None => self.unanswered.older = link.younger,
        }
        match self.link(link.younger) {
            Some(younger) => younger.older = link.older,
            None => self.unanswered.younger = link.older,
        }
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<Session<L, S, T>> {
        self.answered(place);
        let session = self.places.get_mut(place)?.take()?;
        self.index.swap_remove(&scatter(session.peer, self.key));
        self.holders.end(*session.peer.ip());
        let _has_room = self.free.push(place as u16);
        Some(session)
    }

    /// The session at the old end of the queue, and when it began.
    pub(super) fn oldest_unanswered(&self) -> Option<(usize, Instant)> {
        let place = usize::from(self.unanswered.older);
        Some((place, self.places.get(place)?.as_ref()?.began))
    }

    /// The holder of the most places beyond its share, counted anew if the last count is stale.
    pub(super) fn beyond_share(&mut self, client: Ipv4Addr) -> Option<Holder> {
        let places = self.places.len();
        if MAX <= ADDRESS_PLACES {
            return None; // and firmware does without the code below
        }
        if self.holders.are_stale(places) {
            self.holders.find(|| self.places.iter().flatten().map(|session| *session.peer.ip()));
            self.looked(2 * places);
        }
        self.holders.beyond_share(client, places)
    }

    /// Looks at the next `most` places, and returns the slowest of the first `enough` sessions that match.
    pub(super) fn slowest(
        &mut self,
        now: Instant,
        most: usize,
        enough: usize,
        matches: impl Fn(&Session<L, S, T>) -> bool,
    ) -> Option<usize> {
        let mut slowest = None;
        let mut matched = 0;
        for _ in 0..most.min(self.places.len()) {
            let place = self.hand;
            self.hand = (place + 1) % self.places.len();
            self.looked(1);
            let Some(Some(session)) = self.places.get(place) else { continue };
            if !matches(session) {
                continue;
            }
            let pace = session.pace(now);
            if slowest.is_none_or(|(least, _)| pace < least) {
                slowest = Some((pace, place));
            }
            matched += 1;
            if matched == enough {
                break;
            }
        }
        slowest.map(|(_, place)| place)
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// The number of places; sessions are at `0..places()`.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Counts the places looked at, for the test of what a flood costs.
    fn looked(&mut self, count: usize) {
        #[cfg(test)]
        (self.looks += count);
        let _ = count;
    }

    fn link(&mut self, place: u16) -> Option<&mut Link> {
        self.session(place.into())?.link.as_mut()
    }
}

/// No place has this number.
const NONE: u16 = u16::MAX;

/// Names a peer, one to one, by a number that cannot be foreseen without the key: peers whose hashes collide under one key do not
/// under another.
fn scatter(peer: SocketAddrV4, key: u64) -> u64 {
    let number = u64::from(peer.ip().to_bits()) << 16 | u64::from(peer.port());
    let mixed = (number ^ key).wrapping_mul(key | 1);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    use super::*;

    /// The hash by which the index orders peers: FNV-1a, cut to 16 bits.
    fn hash(peer: SocketAddrV4, key: u64) -> u16 {
        let bytes = scatter(peer, key).to_ne_bytes();
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
            as u16
    }

    /// The most peers that share a hash.
    fn most_together(peers: &[SocketAddrV4], key: u64) -> usize {
        let mut together: BTreeMap<u16, usize> = BTreeMap::new();
        for peer in peers {
            *together.entry(hash(*peer, key)).or_default() += 1;
        }
        together.into_values().max().unwrap_or_default()
    }

    #[test]
    fn peers_that_collide_under_one_key_do_not_under_another() {
        let (known, secret) = (0x1234_5678_9abc_def1, 0x0f1e_2d3c_4b5a_6987);
        let all = |count: u32| {
            (0..count).map(|number| {
                let address = Ipv4Addr::from_bits(0x0a00_0000 + number / 60_000);
                SocketAddrV4::new(address, 1024 + (number % 60_000) as u16)
            })
        };
        for key in [0, known] {
            let wanted = hash(all(1).next().unwrap(), key);
            let hit = |peer: &SocketAddrV4| hash(*peer, key) == wanted;
            let forged: Vec<_> = all(6_000_000).filter(hit).collect();
            assert!(forged.len() > 40, "{} peers collide", forged.len());
            assert_eq!(most_together(&forged, key), forged.len());
            assert!(most_together(&forged, secret) <= 4, "{}", most_together(&forged, secret));
        }
        let usual: Vec<_> = all(2048).collect();
        assert!(most_together(&usual, secret) <= 4, "{}", most_together(&usual, secret));
    }

    #[test]
    fn no_two_peers_have_one_number() {
        let mut seen = BTreeSet::new();
        for key in [0, 2, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            seen.clear();
            for number in 0..10_000_u32 {
                let peer = SocketAddrV4::new(Ipv4Addr::from_bits(number % 100), (number / 100) as u16);
                assert!(seen.insert(scatter(peer, key)));
            }
        }
    }
}

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
    index: FnvIndexMap<SocketAddrV4, u16, MAX>,
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
            free: (0..usable as u16).rev().collect(),
            unanswered: Link { older: NONE, younger: NONE },
            holders: Holders::new(),
            hand: 0,
            #[cfg(test)]
            looks: 0,
        }
    }

    pub(super) fn find(&self, peer: SocketAddrV4) -> Option<usize> {
        self.index.get(&peer).map(|place| usize::from(*place))
    }

    pub(super) fn session(&mut self, place: usize) -> Option<&mut Session<L, S, T>> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Gives the session a place, at the young end of the queue; `None` in a full table.
    pub(super) fn insert(&mut self, mut session: Session<L, S, T>) -> Option<usize> {
        let place = self.free.pop()?;
        self.index.insert(session.peer, place).ok()?;
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
        self.index.swap_remove(&session.peer);
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
            self.holders.find(|| self.index.keys().map(|peer| *peer.ip()));
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

//! The sessions: the caller's places, found by peer.

use core::net::SocketAddrV4;

use heapless::index_map::FnvIndexMap;

use super::session::{STALLED as LEAST_WAIT, Session};
use crate::Instant;
use crate::storage::Storage;

pub(super) struct Table<'s, L, S: Storage, T, const MAX: usize> {
    places: &'s mut [Option<Session<L, S, T>>],
    /// Peer to place.
    index: FnvIndexMap<SocketAddrV4, u16, MAX>,
    /// The place to look at first for a free one.
    cursor: usize,
    /// No session of a full table yields its place before this.
    yields_at: Instant,
}

impl<'s, L, S: Storage, T, const MAX: usize> Table<'s, L, S, T, MAX> {
    pub(super) fn new(places: &'s mut [Option<Session<L, S, T>>]) -> Self {
        places.fill_with(|| None);
        let usable = places.len().min(MAX).min(u16::MAX.into());
        Self {
            places: places.split_at_mut(usable).0,
            index: FnvIndexMap::new(),
            cursor: 0,
            yields_at: Instant::ZERO,
        }
    }

    pub(super) fn find(&self, peer: SocketAddrV4) -> Option<usize> {
        self.index.get(&peer).map(|place| usize::from(*place))
    }

    pub(super) fn session(&mut self, place: usize) -> Option<&mut Session<L, S, T>> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Gives the session a place; `None` in a full table.
    pub(super) fn insert(&mut self, session: Session<L, S, T>) -> Option<usize> {
        let count = self.places.len();
        let place = (0..count)
            .map(|step| (self.cursor + step) % count)
            .find(|place| matches!(self.places.get(*place), Some(None)))?;
        self.index.insert(session.peer, u16::try_from(place).ok()?).ok()?;
        *self.places.get_mut(place)? = Some(session);
        self.cursor = place + 1;
        Some(place)
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<Session<L, S, T>> {
        let session = self.places.get_mut(place)?.take()?;
        self.index.swap_remove(&session.peer);
        Some(session)
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.index.len() >= self.places.len()
    }

    /// In a full table, the session that has waited longest for a client that may be gone. Searched for no more often than a
    /// session can begin to wait, so that a flood of requests costs little.
    pub(super) fn yielding(&mut self, now: Instant) -> Option<usize> {
        if now < self.yields_at {
            return None;
        }
        let yields_at = |place: &Option<Session<L, S, T>>| place.as_ref()?.yields_at();
        let waiting =
            self.places.iter().enumerate().filter_map(|(place, slot)| Some((yields_at(slot)?, place)));
        let first = waiting.min();
        match first {
            Some((at, place)) if at <= now => Some(place),
            // One that begins to wait now yields no sooner than this.
            _ => {
                let soonest = now + LEAST_WAIT;
                self.yields_at = first.map_or(soonest, |(at, _)| at.min(soonest));
                None
            }
        }
    }

    /// The number of places; sessions are at `0..places()`.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }
}

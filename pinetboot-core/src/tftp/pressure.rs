//! Whose place a new client gets in a full table.
//!
//! A source address may be forged, and a host may open transfers that it never finishes. While places are free, neither
//! matters. In a full table a session yields its place, in this order:
//!
//! 1. The oldest session whose client has not answered, [`OVERDUE`] or more after its request. A Pi answers within
//!    milliseconds. 2048 places outlast 10,000 forged requests a second.
//! 2. The slowest of [`CHOICE`] sessions of an address, or else of a /24 network, that holds more than its share. A client of
//!    the same address or network gets no place by this rule. An address keeps a quarter of the places, and 8 in any case: a
//!    rack behind one address (NAT) fits in. A network keeps half, and 256 in any case: one for each host of a /24, and a Pi
//!    has one transfer at a time. In tables of 8 places or fewer the rule has no effect.
//! 3. The slowest session below [`FLOOR`]: the client acknowledges a little now and then to keep the place, is gone, or loses
//!    most packets. A Pi is more than a hundred times as fast.
//! 4. The oldest session whose client has not answered, [`ANSWER`] or more after its request. Two Pis that boot at the same
//!    moment do not displace each other.
//!
//! Else no session yields, and the request gets no answer: a transfer that moves on is worth more than a request, whose
//! address may be forged.
//!
//! # Cost
//!
//! A flood must not cost a walk over all places for each request. The queue of unanswered sessions makes 1 and 4 one step.
//! For 2 the table counts the places of its largest holders again after an eighth of the places has been taken anew: 16 looks
//! for each request. The hand that looks for a holder's sessions goes on from where it stopped, and at least every fourth place
//! is the holder's: up to 32 looks on average. For 3 the hand looks at [`LOOKS`] places; a request that finds no session there
//! is repeated by its client, and the hand goes on.
//!
//! # Not done
//!
//! A displaced client is not told: its next packet gets ERROR 5, as after a time-out. Many addresses of many networks that
//! keep above the floor hold their places; they need 4096 bytes/s for each.

use core::net::Ipv4Addr;
use core::time::Duration;

use super::session::FLOOR;
use super::table::Table;
use crate::Instant;
use crate::storage::Storage;

impl<L, S: Storage, T, const MAX: usize> Table<'_, L, S, T, MAX> {
    /// The place of a full table that a new client of this address gets.
    pub(super) fn yielding(&mut self, now: Instant, client: Ipv4Addr) -> Option<usize> {
        let oldest = self.oldest_unanswered().map(|(place, began)| (place, now.since(began)));
        if let Some((place, waited)) = oldest
            && waited >= OVERDUE
        {
            return Some(place);
        }
        if let Some(holder) = self.beyond_share(client)
            && let Some(place) =
                self.slowest(now, usize::MAX, CHOICE, |session| holder.has(*session.peer.ip()))
        {
            return Some(place);
        }
        self.slowest(now, LOOKS, LOOKS, |session| session.pace(now) < FLOOR)
            .or_else(|| oldest.filter(|(_, waited)| *waited >= ANSWER).map(|(place, _)| place))
    }
}

/// The time after which an unanswered session yields before any other.
const OVERDUE: Duration = Duration::from_millis(200);

/// The time that a client has to answer.
const ANSWER: Duration = Duration::from_millis(20);

/// The places looked at in one search for a slow session.
const LOOKS: usize = 32;

/// The sessions of a holder among which the slowest yields.
const CHOICE: usize = 8;

#[cfg(test)]
mod tests {
    use core::net::SocketAddrV4;
    use std::vec::Vec;

    use super::super::options::{Limits, Options};
    use super::super::packet::Packet;
    use super::super::sender::Sender;
    use super::super::session::{Session, Source};
    use super::super::transfer::Transfer;
    use super::*;
    use crate::{NoUpload, OpenError, OpenRequest};

    struct Flash;

    impl Storage for Flash {
        type File = &'static [u8];
        type Upload = NoUpload;
        type Refusal = OpenError;

        async fn open(&mut self, _: &OpenRequest<'_>) -> Result<&'static [u8], OpenError> {
            Err(OpenError::NotFound)
        }
    }

    type Full<'s> = Table<'s, (), Flash, (), 4096>;

    const PLACES: usize = 2048;

    fn session(now: Instant, peer: SocketAddrV4) -> Session<(), Flash> {
        let file: &'static [u8] = &[0; 4096];
        let sender = Sender::serve(&Limits::default(), &Options::default(), file.len() as u64);
        Session {
            peer,
            local: (),
            fingerprint: 0,
            began: now,
            link: None,
            heard: now,
            until: Instant::MAX,
            told: false,
            told_stall: false,
            told_mebibytes: 0,
            early_terminate: false,
            prepared: None,
            context: (),
            transfer: Transfer::Out(sender, Source::Octet(file)),
        }
    }

    fn peer(address: u32, port: usize) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(address), port as u16)
    }

    /// An address of another network for each number.
    const fn elsewhere(number: u32) -> u32 {
        number.wrapping_mul(0x9e37_79b1)
    }

    /// Puts a session in, in place of another in a full table. Returns whether there was a place.
    fn begin(table: &mut Full<'_>, now: Instant, peer: SocketAddrV4, answers: bool) -> bool {
        if let Some(place) = table.find(peer) {
            table.remove(place);
        } else if table.is_full() {
            let Some(place) = table.yielding(now, *peer.ip()) else { return false };
            assert!(table.remove(place).is_some(), "an empty place yields");
        }
        let place = table.insert(session(now, peer)).unwrap();
        if answers {
            table.answered(place);
        }
        true
    }

    fn with_table(play: impl FnOnce(&mut Full<'_>)) {
        let mut places: Vec<_> = (0..PLACES).map(|_| None).collect();
        let mut table = Table::new(&mut places);
        play(&mut table);
    }

    /// The looks of each of these requests, on average. One of 13 comes from a new address and answers.
    fn looks(table: &mut Full<'_>, from: Instant, micros: u64, forged: impl Fn(u32) -> SocketAddrV4) -> f64 {
        const REQUESTS: u32 = 100_000;
        table.looks = 0;
        for number in 0..REQUESTS {
            let now = from + Duration::from_micros(micros * u64::from(number));
            let honest = number.is_multiple_of(13);
            let from = if honest { peer(elsewhere(number + 1_000_000), 1) } else { forged(number) };
            if begin(table, now, from, honest)
                && honest
                && let Some(place) = table.find(from)
            {
                table.remove(place); // done within a millisecond
                begin(table, now, peer(elsewhere(number + 2_000_000), 1), false);
            }
        }
        table.looks as f64 / f64::from(REQUESTS)
    }

    #[test]
    fn a_flood_of_forged_requests_costs_no_look() {
        with_table(|table| {
            let forged = |number| peer(elsewhere(number), 1);
            assert_eq!(looks(table, Instant::ZERO, 200, forged), 0.0, "5000 a second");
        });
    }

    #[test]
    fn a_flood_beyond_all_measure_costs_few_looks() {
        with_table(|table| {
            let forged = |number| peer(elsewhere(number), 1);
            let looks = looks(table, Instant::ZERO, 25, forged);
            assert!(looks < 55.0, "{looks} at 40,000 a second");
        });
    }

    #[test]
    fn a_flood_of_one_address_costs_few_looks() {
        with_table(|table| {
            (0..PLACES).for_each(|port| assert!(begin(table, Instant::ZERO, peer(0x0a00_0001, port), true)));
            let forged = |number: u32| peer(0x0a00_0001, number as usize);
            let looks = looks(table, Instant::from_millis(1), 200, forged);
            assert!(looks < 55.0, "{looks}");
        });
    }

    /// All places are held by transfers that move on: each request is in vain.
    #[test]
    fn a_flood_in_vain_costs_few_looks() {
        with_table(|table| {
            let now = Instant::ZERO;
            (0..PLACES)
                .for_each(|number| assert!(begin(table, now, peer(elsewhere(number as u32), 1), true)));
            let forged = |number: u32| peer(elsewhere(number + 5000), 1);
            for number in 0..100_000 {
                assert!(!begin(table, Instant::from_millis(1900), forged(number), false));
            }
            let looks = table.looks as f64 / 100_000.0;
            assert!(looks < 33.0, "{looks}");
        });
    }

    /// Transfers of others end at any place, the address takes each of their places, and a stranger wants it back.
    #[test]
    fn an_address_at_its_share_costs_few_looks() {
        with_table(|table| {
            const ROUNDS: u32 = 50_000;
            let now = Instant::from_millis(1);
            let busy =
                |number: usize| if number < PLACES / 4 + 8 { 0x0a00_0001 } else { elsewhere(number as u32) };
            (0..PLACES).for_each(|number| assert!(begin(table, now, peer(busy(number), number), true)));
            let mut strangers: Vec<_> =
                (PLACES / 4 + 8..PLACES).map(|number| peer(busy(number), number)).collect();
            table.looks = 0;
            for number in 0..ROUNDS {
                let chosen = elsewhere(number) as usize % strangers.len();
                let place = table.find(strangers[chosen]).unwrap();
                table.remove(place);
                assert!(begin(table, now, peer(0x0a00_0001, 10_000 + number as usize), true));
                strangers[chosen] = peer(elsewhere(number + 5000), 1);
                assert!(begin(table, now, strangers[chosen], true));
            }
            let looks = table.looks as f64 / f64::from(2 * ROUNDS);
            assert!(looks < 55.0, "{looks}");
        });
    }

    #[test]
    fn the_queue_is_in_order_whoever_leaves_it() {
        with_table(|table| {
            let at = |number: usize| Instant::from_millis(number as u64);
            for number in 0..PLACES {
                assert!(begin(table, at(number), peer(7, number), false));
            }
            for number in (0..PLACES).filter(|number| !number.is_multiple_of(3)) {
                let place = table.find(peer(7, number)).unwrap();
                if number.is_multiple_of(2) {
                    table.answered(place);
                } else {
                    assert!(table.remove(place).is_some());
                }
            }
            for number in (0..PLACES).step_by(3) {
                let (place, began) = table.oldest_unanswered().unwrap();
                assert_eq!((began, table.find(peer(7, number))), (at(number), Some(place)));
                table.answered(place);
            }
            assert_eq!(table.oldest_unanswered(), None);
        });
    }

    #[test]
    fn an_acknowledged_byte_counts() {
        let mut session = session(Instant::ZERO, peer(7, 1));
        let now = Instant::from_millis(2001);
        assert!(session.pace(Instant::from_millis(1999)) > FLOOR && session.pace(now) < FLOOR);
        let Transfer::Out(sender, _) = &mut session.transfer else { unreachable!() };
        sender.poll(Instant::ZERO);
        sender.handle(now, &Packet::Ack { block: 1 });
        assert!(session.pace(now) > FLOOR);
    }
}

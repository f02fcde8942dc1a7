//! What the two sides share.

use core::cell::Cell;

use embassy_sync::blocking_mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use embedded_sdmmc::Block;
use heapless::String;
use pinetboot_core::OpenError;
use pinetboot_core::pi::Prefix;

use crate::capacity::TRANSFERS;
use crate::doorbell::Doorbell;
use crate::report::CardState;

/// The memory that the two sides share: orders one way, chunks of files the other.
pub struct Card {
    pub(super) orders: Channel<Raw, Order, ORDERS>,
    /// The name to open, one at a time.
    pub(super) name: blocking_mutex::Mutex<Raw, Cell<Option<Name>>>,
    /// The result of an opening: its number, and the length of the file.
    pub(super) opened: Signal<Raw, (u32, Result<u32, OpenError>)>,
    chunks: &'static Chunks,
    /// A chunk was filled.
    filled: [[Signal<Raw, ()>; 2]; TRANSFERS],
    /// The shelves, and the pairs of chunks, that are lent.
    pub(super) shelves: Lent<FILES>,
    pub(super) pairs: Lent<TRANSFERS>,
    pub(super) found: blocking_mutex::Mutex<Raw, Cell<Found>>,
    waiting: blocking_mutex::Mutex<Raw, Cell<Waiting>>,
    pub(super) bell: &'static Doorbell,
}

/// Shelves whose clients wait for bytes, and those with news for theirs: a bit each.
#[derive(Clone, Copy)]
struct Waiting {
    waiting: u8,
    news: u8,
}

/// The result of the last check for a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    NotYet,
    Nothing,
    Unreadable,
    Readable,
}

/// For each file that is read the chunk that is being sent and the next one. Apart from [`Card`], and all zeros at first, so
/// that flash need not hold the initial content.
pub struct Chunks([[Mutex<Raw, Chunk>; 2]; TRANSFERS]);

/// A part of a file.
#[repr(align(4))]
pub(super) struct Chunk {
    pub(super) blocks: [Block; CHUNK],
    /// The opening and the part that it holds; `None` for a free chunk.
    pub(super) of: Option<(u32, u32)>,
    pub(super) failed: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    Open { shelf: u8, opening: u32 },
    Read { shelf: u8, pair: u8, opening: u32, part: u32 },
}

/// A file to be opened: in the own directory of a Pi, or in the shared one.
pub(super) struct Name {
    pub(super) opening: u32,
    pub(super) own: Option<Prefix>,
    pub(super) path: String<NAME>,
}

impl Card {
    /// The part for a static. The bell is rung when there are bytes for a client that waits.
    pub const fn new(chunks: &'static Chunks, bell: &'static Doorbell) -> Self {
        Self {
            orders: Channel::new(),
            name: blocking_mutex::Mutex::new(Cell::new(None)),
            opened: Signal::new(),
            chunks,
            filled: [const { [const { Signal::new() }; 2] }; TRANSFERS],
            shelves: Lent::new(),
            pairs: Lent::new(),
            found: blocking_mutex::Mutex::new(Cell::new(Found::NotYet)),
            waiting: blocking_mutex::Mutex::new(Cell::new(Waiting { waiting: 0, news: 0 })),
            bell,
        }
    }

    /// The state of the slot.
    pub fn state(&self) -> CardState {
        match self.found.lock(Cell::get) {
            Found::NotYet | Found::Nothing => CardState::Absent,
            Found::Unreadable => CardState::Unreadable,
            Found::Readable => CardState::Readable,
        }
    }

    /// The chunk of a part of a file, and the signal that the chunk is filled.
    pub(super) fn place(&self, pair: u8, part: u32) -> Option<Place<'_>> {
        let (pair, place) = (usize::from(pair), part as usize % 2);
        Some((self.chunks.0.get(pair)?.get(place)?, self.filled.get(pair)?.get(place)?))
    }

    /// The client of this shelf waits, or does not any more.
    pub(super) fn waits(&self, shelf: u8, waits: bool) {
        self.waiting.lock(|cell| {
            let Waiting { waiting, news } = cell.get();
            let waiting = if waits { waiting | 1 << shelf } else { waiting & !(1 << shelf) };
            cell.set(Waiting { waiting, news });
        });
    }

    /// A chunk was filled: the clients that wait may go on.
    pub(super) fn wake(&self) {
        let woken = self.waiting.lock(|cell| {
            let Waiting { waiting, news } = cell.get();
            cell.set(Waiting { waiting: 0, news: news | waiting });
            waiting != 0
        });
        if woken {
            self.bell.signal(());
        }
    }

    /// A shelf with news for its client.
    pub(super) fn news(&self) -> Option<u8> {
        self.waiting.lock(|cell| {
            let Waiting { waiting, news } = cell.get();
            let shelf = news.trailing_zeros() as u8;
            cell.set(Waiting { waiting, news: news & news.wrapping_sub(1) });
            (news != 0).then_some(shelf)
        })
    }
}

/// Numbers that are lent.
pub(super) struct Lent<const N: usize>(blocking_mutex::Mutex<Raw, Cell<[bool; N]>>);

impl<const N: usize> Lent<N> {
    const fn new() -> Self {
        Self(blocking_mutex::Mutex::new(Cell::new([false; N])))
    }

    pub(super) fn lend(&self) -> Option<u8> {
        self.0.lock(|lent| {
            let mut places = lent.get();
            let free = places.iter().position(|lent| !lent)?;
            *places.get_mut(free)? = true;
            lent.set(places);
            Some(free as u8)
        })
    }

    pub(super) fn give_back(&self, number: u8) {
        self.0.lock(|lent| {
            let mut places = lent.get();
            if let Some(place) = places.get_mut(usize::from(number)) {
                *place = false;
            }
            lent.set(places);
        });
    }
}

impl Chunks {
    /// The part for another static.
    pub const fn new() -> Self {
        Self([const { [const { Mutex::new(Chunk::new()) }; 2] }; TRANSFERS])
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunk {
    const fn new() -> Self {
        Self { blocks: [const { Block { contents: [0; Block::LEN] } }; CHUNK], of: None, failed: false }
    }
}

pub(super) type Raw = CriticalSectionRawMutex;
pub(super) type Place<'a> = (&'static Mutex<Raw, Chunk>, &'a Signal<Raw, ()>);

/// Files that may be open: one for each transfer, and one that takes the place of another. That one gets its chunks with its first read,
/// when the other one is closed.
pub(super) const FILES: usize = TRANSFERS + 1;

/// For each file its opening and two reads of chunks; the old ones may still be queued.
pub(super) const ORDERS: usize = 4 * FILES;

/// Blocks in a chunk.
pub(super) const CHUNK: usize = 4;
pub(super) const CHUNK_LEN: u32 = CHUNK as u32 * Block::LEN_U32;

/// The longest name.
pub(super) const NAME: usize = 160;

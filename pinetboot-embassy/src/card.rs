//! Boot files on a microSD card: the board-independent part.
//!
//! The module has two sides, on an RP2040 one on each core, since a card's driver blocks. [`CardReader`] has the card: it
//! opens files and fills chunks of memory. [`Card`] connects the sides and is a [`Storage`] to the server: while one chunk is
//! sent the next is read, so that the card's latency hides behind the client's.
//!
//! A user may pull the card out and put it back at any time. Reading goes on only if the card and the file's directory entry
//! are unchanged; else the transfer ends with an ERROR. A card that fails ends it too.
//!
//! Not done: writing; more than the first FAT32 partition.

use core::cell::Cell;
use core::fmt::Write;

use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer};
use embedded_sdmmc::{Block, BlockDevice};
use heapless::String;
use pinetboot_core::pi::{self, Lookup, Prefix};
use pinetboot_core::{File, NoUpload, OpenError, OpenRequest, Storage};

use crate::capacity::TRANSFERS;
use crate::fat::{Blocks, Chain, Entry, Error, Volume};
use crate::storage::Placed;

/// A removable block device.
pub trait Removable: BlockDevice {
    /// Treats the next read as the first after an insertion: slow, as a card begins.
    fn begin(&self);

    /// Reads at full speed from now on, because the card has answered.
    fn hurry(&self);
}

/// The memory that the two sides share: orders one way, chunks of files the other.
pub struct Card {
    orders: Channel<Raw, Order, ORDERS>,
    /// The name to open, one at a time.
    name: blocking_mutex::Mutex<Raw, Cell<Option<Name>>>,
    /// The result of an opening: its number, and the length of the file.
    opened: Signal<Raw, (u32, Result<u32, OpenError>)>,
    chunks: &'static Chunks,
    /// A chunk was filled.
    filled: [[Signal<Raw, ()>; 2]; FILES],
    /// Shelves that are lent, and whether the card is known to be missing.
    lent: blocking_mutex::Mutex<Raw, Cell<[bool; FILES]>>,
    absent: blocking_mutex::Mutex<Raw, Cell<bool>>,
}

/// For each file the chunk that is being sent and the next one. Apart from [`Card`], and all zeros at first, so
/// that flash need not hold the initial content.
pub struct Chunks([[Mutex<Raw, Chunk>; 2]; FILES]);

/// A part of a file.
#[repr(align(4))]
struct Chunk {
    blocks: [Block; CHUNK],
    /// The opening and the part that it holds; `None` for a free chunk.
    of: Option<(u32, u32)>,
    failed: bool,
}

#[derive(Clone, Copy)]
enum Order {
    Open { shelf: u8, opening: u32 },
    Read { shelf: u8, opening: u32, part: u32 },
}

/// A file to be opened: in the own directory of a Pi, or in the shared one.
struct Name {
    opening: u32,
    own: Option<Prefix>,
    path: String<NAME>,
}

impl Card {
    /// The part for a static.
    pub const fn new(chunks: &'static Chunks) -> Self {
        Self {
            orders: Channel::new(),
            name: blocking_mutex::Mutex::new(Cell::new(None)),
            opened: Signal::new(),
            chunks,
            filled: [const { [const { Signal::new() }; 2] }; FILES],
            lent: blocking_mutex::Mutex::new(Cell::new([false; FILES])),
            absent: blocking_mutex::Mutex::new(Cell::new(false)),
        }
    }

    fn lend(&self) -> Option<u8> {
        self.lent.lock(|lent| {
            let mut places = lent.get();
            let free = places.iter().position(|lent| !lent)?;
            *places.get_mut(free)? = true;
            lent.set(places);
            Some(free as u8)
        })
    }

    /// The chunk of a part of a file, and the signal that the chunk is filled.
    fn place(&self, shelf: u8, part: u32) -> Option<Place<'_>> {
        let (shelf, place) = (usize::from(shelf), part as usize % 2);
        Some((self.chunks.0.get(shelf)?.get(place)?, self.filled.get(shelf)?.get(place)?))
    }

    fn give_back(&self, shelf: u8) {
        self.lent.lock(|lent| {
            let mut places = lent.get();
            if let Some(place) = places.get_mut(usize::from(shelf)) {
                *place = false;
            }
            lent.set(places);
        });
    }
}

impl Chunks {
    /// The part for another static.
    pub const fn new() -> Self {
        Self([const { [const { Mutex::new(Chunk::new()) }; 2] }; FILES])
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

/// The server's side.
pub struct Files<'a> {
    card: &'a Card,
    openings: u32,
}

impl<'a> Files<'a> {
    /// The files on the card. Only one may exist.
    pub const fn new(card: &'a Card) -> Self {
        Self { card, openings: 0 }
    }
}

impl<'a> Storage for Files<'a> {
    type File = CardFile<'a>;
    type Upload = NoUpload;
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<CardFile<'a>, OpenError> {
        let card = self.card;
        let lookup = Lookup::new(request.path);
        let mut path = String::new();
        // A missing card is not waited for, and a name longer than any is not looked up.
        if card.absent.lock(Cell::get) || write!(path, "{}", lookup.file()).is_err() {
            return Err(OpenError::NotFound);
        }
        let shelf = card.lend().ok_or(OpenError::Failed)?;
        self.openings = self.openings.wrapping_add(1);
        let mut file = CardFile { card, shelf, opening: self.openings, len: 0, ordered: [None; 2] };
        let opening = file.opening;
        card.name.lock(|name| name.set(Some(Name { opening, own: lookup.prefix(), path })));
        card.orders.send(Order::Open { shelf, opening }).await;
        loop {
            // The result of an earlier opening, which was given up, may come first.
            let (opened, result) = card.opened.wait().await;
            if opened == opening {
                file.len = result?;
                return Ok(file);
            }
        }
    }
}

/// A file on the card, opened.
pub struct CardFile<'a> {
    card: &'a Card,
    shelf: u8,
    opening: u32,
    len: u32,
    /// The part for each of the two chunks.
    ordered: [Option<u32>; 2],
}

impl CardFile<'_> {
    /// Has a part read, unless it is already, into the chunk that is its.
    async fn order(&mut self, part: u32) {
        let Self { card, shelf, opening, .. } = *self;
        let Some(ordered) = self.ordered.get_mut(part as usize % 2) else { return };
        if *ordered != Some(part) {
            *ordered = Some(part);
            card.orders.send(Order::Read { shelf, opening, part }).await;
        }
    }

    /// Copies bytes of a part, once the part is read.
    async fn copy(&self, part: u32, at: usize, into: &mut [u8]) -> Result<(), ReadError> {
        let (chunk, filled) = self.card.place(self.shelf, part).ok_or(ReadError)?;
        loop {
            let chunk = chunk.lock().await;
            if chunk.of == Some((self.opening, part)) {
                let copied = if chunk.failed { None } else { copy_blocks(&chunk.blocks, at, into) };
                return copied.ok_or(ReadError);
            }
            drop(chunk);
            filled.wait().await;
        }
    }
}

impl File for CardFile<'_> {
    type Error = ReadError;

    fn len(&self) -> u64 {
        self.len.into()
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut offset = u32::try_from(offset).map_err(|_| ReadError)?;
        let mut rest = buf;
        while !rest.is_empty() {
            let (part, at) = (offset / CHUNK_LEN, (offset % CHUNK_LEN) as usize);
            let len = rest.len().min(CHUNK_LEN as usize - at);
            let (now, later) = rest.split_at_mut(len);
            self.order(part).await;
            self.copy(part, at, now).await?;
            offset = offset.checked_add(len as u32).ok_or(ReadError)?;
            rest = later;
            if rest.is_empty() && (part + 1) * CHUNK_LEN < self.len {
                self.order(part + 1).await;
            }
        }
        Ok(())
    }
}

impl Placed for CardFile<'_> {
    fn place(&self) -> &'static str {
        "on the card"
    }
}

impl Drop for CardFile<'_> {
    fn drop(&mut self) {
        self.card.give_back(self.shelf);
    }
}

/// The card failed, or is another one now, or the file on it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReadError;

fn copy_blocks(blocks: &[Block], at: usize, into: &mut [u8]) -> Option<()> {
    let (mut at, mut rest) = (at, into);
    while !rest.is_empty() {
        let block = blocks.get(at / Block::LEN)?.contents.get(at % Block::LEN..)?;
        let (now, later) = rest.split_at_mut(rest.len().min(block.len()));
        now.copy_from_slice(block.get(..now.len())?);
        at += now.len();
        rest = later;
    }
    Some(())
}

/// The side that has the card. [`run`](Self::run) executes orders and checks the card meanwhile.
pub struct CardReader<'a, D: Removable> {
    card: &'a Card,
    blocks: Blocks<D>,
    /// `None` after a check that found no card.
    volume: Option<Volume>,
    /// How often a card was begun with: it may be another each time, or have been elsewhere.
    session: u32,
    files: [Option<OpenFile>; FILES],
    /// The last log line about the card.
    said: Option<Error>,
}

struct OpenFile {
    opening: u32,
    volume: Volume,
    /// In which it was last seen to be the same.
    session: u32,
    entry: Entry,
    chain: Chain,
}

impl<'a, D: Removable> CardReader<'a, D> {
    /// The card in this device.
    pub fn new(card: &'a Card, device: D) -> Self {
        let files = [const { None }; FILES];
        Self { card, blocks: Blocks::new(device), volume: None, session: 0, files, said: None }
    }

    /// Executes orders. Does not return, and blocks while the card is read.
    pub async fn run(mut self) -> ! {
        self.look();
        loop {
            let pause = if self.volume.is_some() { LOOK } else { LOOK_FOR_ONE };
            match select(self.card.orders.receive(), Timer::after(pause)).await {
                Either::First(order) => self.follow(order).await,
                Either::Second(()) => self.look(),
            }
        }
    }

    /// Checks for the card.
    fn look(&mut self) {
        if self.volume.is_some() && self.blocks.is_there() {
            return;
        }
        match self.find() {
            Ok(volume) => {
                if self.volume != Some(volume) {
                    info!("card: ready");
                }
                self.volume = Some(volume);
                self.said = None;
            }
            Err(error) => {
                if self.volume.take().is_some() {
                    warn!("card: gone");
                } else if self.said != Some(error) {
                    match error {
                        Error::Device => info!("card: none"),
                        error => warn!("card: {}", error),
                    }
                }
                self.said = Some(error);
            }
        }
        self.card.absent.lock(|absent| absent.set(self.volume.is_none()));
    }

    fn find(&mut self) -> Result<Volume, Error> {
        self.session = self.session.wrapping_add(1);
        self.blocks.device().begin();
        self.blocks.begin()?;
        self.blocks.device().hurry();
        Volume::find(&mut self.blocks)
    }

    async fn follow(&mut self, order: Order) {
        match order {
            Order::Open { shelf, opening } => {
                let result = self.open(usize::from(shelf), opening);
                self.card.opened.signal((opening, result));
            }
            Order::Read { shelf, opening, part } => self.read(shelf, opening, part).await,
        }
    }

    fn open(&mut self, shelf: usize, opening: u32) -> Result<u32, OpenError> {
        let name = self.card.name.lock(|next| match next.take() {
            Some(name) if name.opening == opening => Some(name),
            // This opening was given up, and another is next.
            other => {
                next.set(other);
                None
            }
        });
        let name = name.ok_or(OpenError::Failed)?;
        if self.volume.is_none() || !self.blocks.is_there() {
            self.look(); // another card may have been put in
        }
        let volume = self.volume.ok_or(OpenError::NotFound)?;
        let found = match self.look_up(&volume, &name) {
            Err(Error::Device) => {
                self.look();
                let volume = self.volume.ok_or(OpenError::Failed)?;
                self.look_up(&volume, &name).map(|entry| (volume, entry))
            }
            found => found.map(|entry| (volume, entry)),
        };
        match found {
            Ok((volume, Some(entry))) if !entry.is_directory => {
                let (session, chain) = (self.session, Chain::of_file(&entry));
                let file = OpenFile { opening, volume, session, entry, chain };
                *self.files.get_mut(shelf).ok_or(OpenError::Failed)? = Some(file);
                Ok(entry.len)
            }
            Ok(_) => Err(OpenError::NotFound),
            Err(error) => {
                warn!("card: {} cannot be opened: {}", name.path.as_str(), error);
                Err(OpenError::Failed)
            }
        }
    }

    fn look_up(&mut self, volume: &Volume, name: &Name) -> Result<Option<Entry>, Error> {
        let mut own = None;
        if let Some(prefix) = name.own {
            let mut directory = String::<17>::new();
            let _fits = write!(directory, "{prefix}");
            own = volume.look_up(&mut self.blocks, None, [directory.as_str()].into_iter())?;
        }
        let directory = match pi::Place::from(own.as_ref().filter(|entry| entry.is_directory)) {
            pi::Place::Own(directory) => Some(directory),
            pi::Place::Shared => None, // the card's root
        };
        volume.look_up(&mut self.blocks, directory, name.path.split('/'))
    }

    async fn read(&mut self, shelf: u8, opening: u32, part: u32) {
        let Some((chunk, filled)) = self.card.place(shelf, part) else { return };
        let shelf = usize::from(shelf);
        let mut chunk = chunk.lock().await;
        let Chunk { blocks, of, failed } = &mut *chunk;
        *of = Some((opening, part));
        let file = self.files.get(shelf).and_then(Option::as_ref);
        // The opening may have been given up meanwhile, and its shelf lent to another.
        let is_open = file.is_some_and(|file| file.opening == opening);
        *failed = !is_open || self.fill(shelf, opening, part, blocks).is_err();
        drop(chunk);
        filled.signal(());
    }

    /// Reads again after an error of the card, which may have been a disturbance.
    fn fill(&mut self, shelf: usize, opening: u32, part: u32, blocks: &mut [Block]) -> Result<(), Error> {
        let mut result = self.fill_once(shelf, opening, part, blocks);
        if result == Err(Error::Device) {
            self.look();
            result = self.fill_once(shelf, opening, part, blocks);
        }
        if let Err(error) = result {
            warn!("card: cannot be read on: {}", error);
        }
        result
    }

    fn fill_once(
        &mut self,
        shelf: usize,
        opening: u32,
        part: u32,
        blocks: &mut [Block],
    ) -> Result<(), Error> {
        let Self { files, session, .. } = self;
        let volume = self.volume.ok_or(Error::Device)?;
        let file = files.get_mut(shelf).and_then(Option::as_mut).filter(|file| file.opening == opening);
        let file = file.ok_or(Error::Changed)?;
        if file.session != *session {
            if file.volume != volume || !volume.still_has(&mut self.blocks, &file.entry)? {
                return Err(Error::Changed);
            }
            file.session = *session;
        }
        let first = part * CHUNK as u32;
        let count = file.entry.len.div_ceil(Block::LEN_U32).saturating_sub(first).min(CHUNK as u32);
        let mut done = 0;
        while done < count {
            let run = volume.run(&mut self.blocks, &mut file.chain, first + done, count - done)?;
            let run = run.ok_or(Error::Damaged)?; // its chain ends before it does
            let into = blocks.get_mut(done as usize..done as usize + run.len()).ok_or(Error::Damaged)?;
            self.blocks.read(into, run.start)?;
            done += run.len() as u32;
        }
        Ok(())
    }
}

type Raw = CriticalSectionRawMutex;
type Place<'a> = (&'static Mutex<Raw, Chunk>, &'a Signal<Raw, ()>);

/// Files that may be open: one for each transfer, and one that takes the place of another.
const FILES: usize = TRANSFERS + 1;

/// For each file its opening and two reads of chunks; the old ones may still be queued.
const ORDERS: usize = 4 * FILES;

/// Blocks in a chunk.
const CHUNK: usize = 4;
const CHUNK_LEN: u32 = CHUNK as u32 * Block::LEN_U32;

/// The longest name.
const NAME: usize = 160;

/// The intervals of the checks for the same card and for a new one; the latter takes most of a second.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_FOR_ONE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests;

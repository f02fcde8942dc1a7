//! The server's side: files on the card.

use core::cell::Cell;
use core::fmt::Write;
use core::net::SocketAddrV4;

use embedded_sdmmc::Block;
use heapless::String;
use pinetboot_core::pi::Lookup;
use pinetboot_core::{File, NoUpload, OpenError, OpenRequest, Storage};

use super::shared::{CHUNK_LEN, Card, FILES, Found, Name, Order};
use crate::storage::Placed;

/// The server's side.
pub struct Files<'a> {
    pub(super) card: &'a Card,
    openings: u32,
    /// The clients of the shelves.
    peers: [Option<SocketAddrV4>; FILES],
}

impl<'a> Files<'a> {
    /// The files on the card. Only one may exist.
    pub const fn new(card: &'a Card) -> Self {
        Self { card, openings: 0, peers: [None; FILES] }
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
        // Only a readable card is waited for, and a name longer than any is not looked up.
        match card.found.lock(Cell::get) {
            Found::Nothing => return Err(OpenError::NotFound),
            Found::Unreadable => return Err(OpenError::Failed),
            Found::NotYet | Found::Readable => {}
        }
        if write!(path, "{}", lookup.file()).is_err() {
            return Err(OpenError::NotFound);
        }
        let shelf = card.shelves.lend().ok_or(OpenError::Failed)?;
        self.openings = self.openings.wrapping_add(1);
        if let Some(peer) = self.peers.get_mut(usize::from(shelf)) {
            *peer = Some(request.peer);
        }
        let opening = self.openings;
        let mut file = CardFile { card, shelf, pair: None, opening, len: 0, ordered: [None; 2] };
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

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        loop {
            let shelf = self.card.news()?;
            if let Some(Some(peer)) = self.peers.get(usize::from(shelf)) {
                return Some(*peer);
            }
        }
    }
}

/// A file on the card, opened.
pub struct CardFile<'a> {
    card: &'a Card,
    shelf: u8,
    /// Its chunks.
    pair: Option<u8>,
    opening: u32,
    len: u32,
    /// The part for each of the two chunks.
    ordered: [Option<u32>; 2],
}

impl CardFile<'_> {
    /// Its chunks; `None` while others have all.
    fn pair(&mut self) -> Option<u8> {
        self.pair = self.pair.or_else(|| self.card.pairs.lend());
        self.pair
    }

    /// Has a part read, unless it is already, into the chunk that is its.
    async fn order(&mut self, part: u32) {
        let Some(pair) = self.pair() else { return };
        let Self { card, shelf, opening, .. } = *self;
        let Some(ordered) = self.ordered.get_mut(part as usize % 2) else { return };
        if *ordered != Some(part) {
            *ordered = Some(part);
            card.orders.send(Order::Read { shelf, pair, opening, part }).await;
        }
    }

    /// Whether a part is in its chunk; has it read if not. Without chunks the read fails.
    fn has(&mut self, part: u32) -> bool {
        let Some(pair) = self.pair() else { return true };
        let Self { card, shelf, opening, .. } = *self;
        let Some(ordered) = self.ordered.get_mut(part as usize % 2) else { return false };
        if *ordered != Some(part) {
            let is_sent = card.orders.try_send(Order::Read { shelf, pair, opening, part }).is_ok();
            *ordered = is_sent.then_some(part);
            return false;
        }
        let Some((chunk, _)) = card.place(pair, part) else { return false };
        chunk.try_lock().is_ok_and(|chunk| chunk.of == Some((opening, part)))
    }

    /// Copies bytes of a part, once the part is read.
    async fn copy(&self, part: u32, at: usize, into: &mut [u8]) -> Result<(), ReadError> {
        let place = self.pair.and_then(|pair| self.card.place(pair, part));
        let (chunk, filled) = place.ok_or(ReadError)?;
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

    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        let Ok(offset) = u32::try_from(offset) else { return true };
        let last = offset.saturating_add(u32::from(len).saturating_sub(1));
        // First, for a chunk may be filled between the look and this.
        self.card.waits(self.shelf, true);
        let mut is_ready = true;
        for part in offset / CHUNK_LEN..=last / CHUNK_LEN {
            is_ready &= self.has(part);
        }
        if is_ready || len == 0 {
            self.card.waits(self.shelf, false);
        }
        is_ready || len == 0
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
        self.card.shelves.give_back(self.shelf);
        if let Some(pair) = self.pair {
            self.card.pairs.give_back(pair);
        }
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

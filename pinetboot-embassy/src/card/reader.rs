//! The card's side: looks for the card, and reads from it.

use core::fmt::Write;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use embedded_sdmmc::{Block, BlockDevice};
use heapless::String;
use pinetboot_core::OpenError;
use pinetboot_core::pi;

use super::shared::{CHUNK, CHUNK_LEN, Card, Chunk, FILES, Found, Name, Order};
use crate::fat::{Blocks, Chain, Entry, Error, Volume, find};

/// A removable block device.
pub trait Removable: BlockDevice {
    /// Treats the next read as the first after an insertion: slow, as a card begins.
    fn begin(&self);

    /// Reads at full speed from now on, because the card has answered; at half the speed after each of so many `halvings`.
    fn hurry(&self, halvings: u8);

    /// Whether anything has answered since [`begin`](Self::begin). An empty slot is silent.
    fn answers(&self) -> bool;
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
    /// How often the speed was halved, and the chunks that were read since without an error.
    halvings: u8,
    calm: u32,
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
        let blocks = Blocks::new(device);
        Self { card, blocks, volume: None, session: 0, files, halvings: 0, calm: 0, said: None }
    }

    /// Executes orders. Does not return, and blocks while the card is read.
    pub async fn run(&mut self) -> ! {
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
                let had_one = self.volume.take().is_some();
                match error {
                    Error::Absent if had_one => warn!("card: gone"),
                    error if self.said == Some(error) => {}
                    Error::Absent => info!("card: none"),
                    error => error!("card: unreadable, {}. Its files are not served", error),
                }
                self.said = Some(error);
            }
        }
        let found = match self.said {
            None => Found::Readable,
            Some(Error::Absent) => Found::Nothing,
            Some(_) => Found::Unreadable,
        };
        self.card.found.lock(|last| last.set(found));
    }

    fn find(&mut self) -> Result<Volume, Error> {
        let began = Instant::now();
        for _ in 1..TRIES {
            let found = self.find_once();
            if !is_worth_another(began, &found) {
                return found;
            }
            self.slow_down();
        }
        self.find_once()
    }

    fn find_once(&mut self) -> Result<Volume, Error> {
        self.session = self.session.wrapping_add(1);
        self.blocks.device().begin();
        let begun = self.blocks.begin();
        if !self.blocks.device().answers() {
            self.halvings = 0;
            return Err(Error::Absent);
        }
        begun?;
        self.blocks.device().hurry(self.halvings);
        find(&mut self.blocks)
    }

    /// Reads at half the speed, for long wires or a level shifter may garble what a card says.
    fn slow_down(&mut self) {
        self.calm = 0;
        if self.halvings < HALVINGS {
            self.halvings += 1;
            debug!("card: an error, read at 1/{} of the speed", 1 << self.halvings);
        }
        self.blocks.device().hurry(self.halvings);
    }

    /// Reads faster again after many chunks without an error, which may have been a single disturbance.
    fn speed_up(&mut self) {
        self.calm += 1;
        if self.halvings > 0 && self.calm >= CALM {
            self.calm = 0;
            self.halvings -= 1;
            self.blocks.device().hurry(self.halvings);
        }
    }

    async fn follow(&mut self, order: Order) {
        match order {
            Order::Open { shelf, opening } => {
                let result = self.open(usize::from(shelf), opening);
                self.card.opened.signal((opening, result));
            }
            Order::Read { shelf, pair, opening, part } => self.read(shelf, pair, opening, part).await,
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
        let began = Instant::now();
        let mut found = self.look_up(&name);
        for _ in 1..TRIES {
            if !is_worth_another(began, &found) {
                break;
            }
            self.slow_down();
            self.look();
            found = self.look_up(&name);
        }
        match found {
            Ok((volume, Some(entry))) if !entry.is_directory => {
                let (session, chain) = (self.session, Chain::of_file(&entry));
                let file = OpenFile { opening, volume, session, entry, chain };
                *self.files.get_mut(shelf).ok_or(OpenError::Failed)? = Some(file);
                Ok(entry.len)
            }
            Ok(_) | Err(Error::Absent) => Err(OpenError::NotFound),
            Err(error) => {
                warn!("card: {} cannot be opened: {}", name.path.as_str(), error);
                Err(OpenError::Failed)
            }
        }
    }

    /// The file of that name, and the volume that has it.
    fn look_up(&mut self, name: &Name) -> Result<(Volume, Option<Entry>), Error> {
        let volume = self.volume.ok_or(self.said.unwrap_or(Error::Absent))?;
        let mut own = None;
        if let Some(prefix) = name.own {
            let mut directory = String::<17>::new();
            let _fits = write!(directory, "{prefix}");
            own = volume.look_up(&mut self.blocks, None, &directory)?;
        }
        let directory = match pi::Place::from(own.as_ref().filter(|entry| entry.is_directory)) {
            pi::Place::Own(directory) => Some(directory),
            pi::Place::Shared => None, // the card's root
        };
        Ok((volume, volume.look_up(&mut self.blocks, directory, &name.path)?))
    }

    async fn read(&mut self, shelf: u8, pair: u8, opening: u32, part: u32) {
        let Some((chunk, filled)) = self.card.place(pair, part) else { return };
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
        self.card.wake();
    }

    /// Reads again after an error of the card, which may have been a disturbance.
    fn fill(&mut self, shelf: usize, opening: u32, part: u32, blocks: &mut [Block]) -> Result<(), Error> {
        let began = Instant::now();
        let mut result = self.fill_once(shelf, opening, part, blocks);
        for _ in 1..TRIES {
            if !is_worth_another(began, &result) {
                break;
            }
            self.slow_down();
            self.look();
            result = self.fill_once(shelf, opening, part, blocks);
        }
        match result {
            Ok(()) => self.speed_up(),
            Err(error) => warn!("card: cannot be read on: {}", error),
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
        let volume = self.volume.ok_or(Error::Absent)?;
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

/// Whether a card that answers with errors is to be read once more, at a lower speed.
fn is_worth_another<T>(began: Instant, result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Device)) && began.elapsed() < PATIENCE
}

/// The intervals of the checks for the same card and for a new one; the latter takes most of a second.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_FOR_ONE: Duration = Duration::from_secs(4);

/// The longest that attempts go on: the server waits meanwhile, and the watchdog for the server (`liveness`).
const PATIENCE: Duration = Duration::from_secs(1);

/// Attempts to read from a card that answers with errors, each at half the speed of the one before.
const TRIES: usize = 4;
const HALVINGS: u8 = TRIES as u8 - 1;

/// Chunks without an error after which the speed is doubled again: 1 MiB. An error costs less than a millisecond.
const CALM: u32 = (1 << 20) / CHUNK_LEN;

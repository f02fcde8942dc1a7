//! The load: the requests of a client, and the checks of the replies.

use std::time::{Duration, Instant};

use super::client::{Client, FLUSH, READ, WRITE};
use super::peer::Peer;
use super::row::{Done, Size};
use crate::Failed;
use crate::server::Server;

/// A part of the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// Never written.
    Image,
    /// Written from front to back.
    Sequential,
    /// Written in pieces of 4 KiB, all over.
    Scattered,
}

/// A client with its disk, and what was written there.
pub(super) struct Load<'a> {
    peer: &'a Peer,
    server: &'a Server,
    pub(super) size: Size,
    client: Box<dyn Client>,
    /// How often each area was written.
    version: [u8; 3],
    /// Pieces of the scattered area that are written.
    written: u64,
    memory_before: u64,
    hundred: Vec<Box<dyn Client>>,
}

impl<'a> Load<'a> {
    pub(super) fn new(peer: &'a Peer, server: &'a Server, size: Size) -> Result<Self, Failed> {
        let client = peer.connect(0, size)?;
        let memory_before = server.memory();
        Ok(Self {
            peer,
            server,
            size,
            client,
            version: [0; 3],
            written: 0,
            memory_before,
            hundred: Vec::new(),
        })
    }

    pub(super) fn read_all(&mut self, area: Area, depth: u64) -> Result<Done, Failed> {
        let count = PASSES * self.size.area / MIB;
        let all = self.size.area / MIB;
        let start = self.start(area);
        let at = |number| start + number % all * MIB;
        drive(&mut *self.client, count, depth, |number| (READ, at(number), MIB), self.version[area as usize])
    }

    pub(super) fn read_some(&mut self, area: Area, depth: u64) -> Result<Done, Failed> {
        let (pieces, start, count) = (self.size.area / PIECE, self.start(area), self.count(depth));
        let at = |number| start + scattered(number, pieces) * PIECE;
        let version = self.version[area as usize];
        let done = drive(&mut *self.client, count, depth, |number| (READ, at(number), PIECE), version)?;
        Ok(Done { count: done.requests, ..done })
    }

    pub(super) fn write_all(&mut self, area: Area, depth: u64) -> Result<Done, Failed> {
        self.version[area as usize] += 1;
        let (start, began) = (self.start(area), Instant::now());
        let count = self.size.area / MIB;
        let version = self.version[area as usize];
        let done =
            drive(&mut *self.client, count, depth, |number| (WRITE, start + number * MIB, MIB), version)?;
        drive(&mut *self.client, 1, 1, |_| (FLUSH, 0, 0), 0)?;
        Ok(Done { requests: done.requests + 1, time: began.elapsed(), ..done })
    }

    /// Pieces that were not written before.
    pub(super) fn write_new(&mut self, depth: u64) -> Result<Done, Failed> {
        let (from, count) =
            (self.written, self.count(depth).min(self.size.area / PIECE / 2 - self.size.flushes));
        self.written += count;
        self.write(from, count, depth)
    }

    /// Pieces that were written before.
    pub(super) fn write_some(&mut self, depth: u64) -> Result<Done, Failed> {
        self.write(0, self.count(depth).min(self.written), depth)
    }

    fn write(&mut self, from: u64, count: u64, depth: u64) -> Result<Done, Failed> {
        let (pieces, start) = (self.size.area / PIECE, self.start(Area::Scattered));
        let at = |number| start + scattered(from + number, pieces) * PIECE;
        let done = drive(&mut *self.client, count, depth, |number| (WRITE, at(number), PIECE), 1)?;
        Ok(Done { count: done.requests, ..done })
    }

    /// A piece and a flush, again and again: the count is of both together.
    pub(super) fn write_and_flush(&mut self, new: bool) -> Result<Done, Failed> {
        let (pieces, start) = (self.size.area / PIECE, self.start(Area::Scattered));
        let from = if new { self.written } else { 0 };
        let at = |number| start + scattered(from + number, pieces) * PIECE;
        let request = |number| if number % 2 == 0 { (WRITE, at(number / 2), PIECE) } else { (FLUSH, 0, 0) };
        let done = drive(&mut *self.client, 2 * self.size.flushes, 1, request, 1)?;
        Ok(Done { count: self.size.flushes, ..done })
    }

    pub(super) fn flushes(&mut self) -> Result<Done, Failed> {
        let done = drive(&mut *self.client, self.size.flushes, 1, |_| (FLUSH, 0, 0), 0)?;
        Ok(Done { count: self.size.flushes, ..done })
    }

    /// A hundred clients, each with a disk and one request under way.
    pub(super) fn hundred(&mut self, write: bool) -> Result<Done, Failed> {
        while self.hundred.len() < DISKS {
            self.hundred.push(self.peer.connect(self.hundred.len(), self.size)?);
        }
        let (pieces, start) = (self.size.area / PIECE, self.start(Area::Image));
        let rounds = self.size.small.1 / DISKS as u64;
        let (began, mut data) = (Instant::now(), vec![0; PIECE as usize]);
        for round in 0..rounds {
            let at = start + scattered(round, pieces) * PIECE;
            for client in &mut self.hundred {
                if write {
                    fill(&mut data, at, 1);
                    client.ask(WRITE, round, at, PIECE as u32, &data)?;
                } else {
                    client.ask(READ, round, at, PIECE as u32, &[])?;
                }
                client.send()?;
            }
            for client in &mut self.hundred {
                if client.receive()? != round {
                    return Err("a reply to another request".into());
                }
                if !write {
                    client.data(&mut data)?;
                    check(&data, at, 0)?;
                }
            }
        }
        let requests = rounds * DISKS as u64;
        Ok(Done { requests, count: requests, time: began.elapsed() })
    }

    /// The memory that a disk in use takes when its client makes no requests.
    pub(super) fn idle(&mut self) -> Result<Done, Failed> {
        std::thread::sleep(IDLE);
        let more = self.server.memory().saturating_sub(self.memory_before);
        let count = more * 1024 / self.hundred.len().max(1) as u64;
        Ok(Done { requests: 0, count, time: IDLE })
    }

    fn start(&self, area: Area) -> u64 {
        area as u64 * self.size.area
    }

    const fn count(&self, depth: u64) -> u64 {
        if depth == 1 { self.size.small.0 } else { self.size.small.1 }
    }
}

/// Carries out `count` requests, `depth` at a time; what is read has to be of `version`.
fn drive(
    client: &mut dyn Client,
    count: u64,
    depth: u64,
    request: impl Fn(u64) -> (u16, u64, u64),
    version: u8,
) -> Result<Done, Failed> {
    let (mut asked, mut answered, mut bytes) = (0, 0, 0);
    let mut data = vec![0; MIB as usize];
    let began = Instant::now();
    while answered < count {
        while asked < count && asked - answered < depth {
            let (command, offset, len) = request(asked);
            let payload = if command == WRITE { &mut data[..len as usize] } else { &mut [][..] };
            fill(payload, offset, version);
            client.ask(command, asked, offset, len as u32, payload)?;
            asked += 1;
        }
        client.send()?;
        // All that has come: the next requests go out together.
        loop {
            let cookie = client.receive()?;
            let (command, offset, len) = request(cookie);
            if command == READ {
                let data = &mut data[..len as usize];
                client.data(data)?;
                check(data, offset, version)?;
            }
            answered += 1;
            bytes += len;
            if answered == asked || !client.has_more() {
                break;
            }
        }
    }
    Ok(Done { requests: count, count: bytes, time: began.elapsed() })
}

/// Writes the mark of each piece: its offset and its version.
pub(super) fn fill(data: &mut [u8], offset: u64, version: u8) {
    for (number, piece) in data.chunks_mut(PIECE as usize).enumerate() {
        piece[..8].copy_from_slice(&(offset + number as u64 * PIECE).to_be_bytes());
        piece[8] = version;
    }
}

fn check(data: &[u8], offset: u64, version: u8) -> Result<(), Failed> {
    for (number, piece) in data.chunks(PIECE as usize).enumerate() {
        if piece[..8] != (offset + number as u64 * PIECE).to_be_bytes() || piece[8] != version {
            return Err(format!("wrong data at {offset}, piece {number}").into());
        }
    }
    Ok(())
}

/// All numbers below `count`, each once, in an order without neighbours.
const fn scattered(number: u64, count: u64) -> u64 {
    // A prime.
    number.wrapping_mul(7_368_787) % count
}

pub(super) const PIECE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Readings of an area.
const PASSES: u64 = 4;
pub(super) const DISKS: usize = 100;
/// The time after which all servers' clients count as idle.
const IDLE: Duration = Duration::from_secs(7);

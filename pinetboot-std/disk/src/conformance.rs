//! The contract of [`Disk`] as a test suite, which every implementation runs.

use crate::disk::{Disk, DiskError};

/// Checks a writable disk of 64 KiB to 16 MiB against a model in memory: random operations in an order that `seed` decides.
///
/// # Errors
///
/// The first operation that breaks the contract.
pub fn check_disk(disk: &dyn Disk, seed: u64, operations: usize) -> Result<(), String> {
    let len = usize::try_from(disk.len()).map_err(|_| "too long".to_owned())?;
    let mut model = vec![0; len];
    disk.read_at(&mut model, 0).map_err(|error| format!("first read: {error}"))?;
    bounds(disk, &model)?;
    let mut random = Random(seed);
    for number in 0..operations {
        operation(disk, &mut model, &mut random)
            .map_err(|why| format!("operation {number} of seed {seed}: {why}"))?;
    }
    disk.flush().map_err(|error| format!("flush: {error}"))?;
    same(disk, &model, 0, len)?;
    beside_each_other(disk, &mut model)?;
    same(disk, &model, 0, len)
}

/// Checks that a read-only disk takes no change.
///
/// # Errors
///
/// The first operation that breaks the contract.
pub fn check_read_only(disk: &dyn Disk) -> Result<(), String> {
    let refused = [
        disk.write_at(&[1], 0),
        disk.write_zeroes(0, 1, true),
        disk.write_zeroes(0, 1, false),
        disk.trim(0, disk.len()),
    ];
    if !disk.is_read_only() || refused != [Err(DiskError::ReadOnly); 4] {
        return Err(format!("changes of a read-only disk: {refused:?}"));
    }
    disk.flush().map_err(|error| format!("flush of a read-only disk: {error}"))
}

fn operation(disk: &dyn Disk, model: &mut [u8], random: &mut Random) -> Result<(), String> {
    // Of all lengths, and often at the boundaries of sectors, clusters and tables.
    let most = [1, 700, 5000, 300_000][random.below(4)].min(model.len());
    let mut len = 1 + random.below(most);
    let mut offset = random.below(model.len() - len + 1);
    if random.below(2) == 0 {
        let unit = [512, 4096, 65536][random.below(3)];
        offset = offset / unit * unit;
        len = len.next_multiple_of(unit).min(model.len() - offset);
    }
    let (at, length) = (offset as u64, len as u64);
    let place = &mut model[offset..offset + len];
    let failed = |error: DiskError| format!("{at} + {length}: {error}");
    match random.below(10) {
        0..=4 => {
            for byte in place.iter_mut() {
                *byte = random.byte();
            }
            disk.write_at(place, at).map_err(failed)?;
        }
        5 => {
            place.fill(0);
            disk.write_zeroes(at, length, random.below(2) == 0).map_err(failed)?;
        }
        6 => {
            disk.trim(at, length).map_err(failed)?;
            let mut now = vec![0; len];
            disk.read_at(&mut now, at).map_err(failed)?;
            if now.iter().zip(place.iter()).any(|(new, old)| *new != 0 && new != old) {
                return Err(format!("{at} + {length} was trimmed and is neither as before nor zero"));
            }
            place.copy_from_slice(&now);
        }
        // Seldom: a flush waits for a storage device.
        7 if random.below(3) == 0 => disk.flush().map_err(failed)?,
        8 => extents(disk, model, at, length)?,
        _ => disk.prefetch(at, length),
    }
    let around = offset.saturating_sub(5000);
    let end = (offset + len + 5000).min(model.len());
    same(disk, model, around, end)
}

fn same(disk: &dyn Disk, model: &[u8], from: usize, to: usize) -> Result<(), String> {
    let mut content = vec![0xee; to - from];
    disk.read_at(&mut content, from as u64).map_err(|error| format!("read {from}..{to}: {error}"))?;
    match content.iter().zip(&model[from..to]).position(|(is, should)| is != should) {
        Some(at) => Err(format!("byte {} is {}, not {}", from + at, content[at], model[from + at])),
        None => Ok(()),
    }
}

fn extents(disk: &dyn Disk, model: &[u8], offset: u64, len: u64) -> Result<(), String> {
    let (mut at, end) = (offset, offset + len);
    while at < end {
        let extent = disk.extent(at, end - at).map_err(|error| format!("extent at {at}: {error}"))?;
        if extent.len == 0 || extent.len > end - at {
            return Err(format!("extent at {at} has {} bytes of {}", extent.len, end - at));
        }
        let range = usize::try_from(at).unwrap_or(0)..usize::try_from(at + extent.len).unwrap_or(0);
        if extent.zero && model[range].iter().any(|byte| *byte != 0) {
            return Err(format!("extent at {at} + {} is not zero", extent.len));
        }
        at += extent.len;
    }
    Ok(())
}

fn bounds(disk: &dyn Disk, model: &[u8]) -> Result<(), String> {
    let len = disk.len();
    for (offset, count) in [(len, 1), (len - 1, 2), (u64::MAX, 1), (u64::MAX - 1, 2), (len + 1, 0)] {
        let bytes = vec![1; usize::try_from(count).unwrap_or(0)];
        let results = [
            disk.read_at(&mut bytes.clone(), offset),
            disk.write_at(&bytes, offset),
            disk.write_zeroes(offset, count, false),
            disk.trim(offset, count),
            disk.extent(offset, count).map(drop),
        ];
        if results != [Err(DiskError::OutOfRange); 5] {
            return Err(format!("{offset} + {count} of {len}: {results:?}"));
        }
    }
    for offset in [0, len] {
        let results = [
            disk.read_at(&mut [], offset),
            disk.write_at(&[], offset),
            disk.write_zeroes(offset, 0, false),
            disk.trim(offset, 0),
        ];
        if results != [Ok(()); 4] {
            return Err(format!("nothing at {offset} of {len}: {results:?}"));
        }
    }
    same(disk, model, 0, model.len())
}

/// Threads that write different parts, read and flush at once.
fn beside_each_other(disk: &dyn Disk, model: &mut [u8]) -> Result<(), String> {
    const THREADS: usize = 4;
    let part = model.len() / THREADS;
    std::thread::scope(|scope| {
        let threads: Vec<_> = model
            .chunks_exact_mut(part)
            .take(THREADS)
            .enumerate()
            .map(|(index, place)| {
                scope.spawn(move || {
                    let mut random = Random(index as u64);
                    let start = index * part;
                    for _ in 0..50 {
                        let len = 1 + random.below(part.min(20_000));
                        let offset = random.below(part - len + 1);
                        let bytes = &mut place[offset..offset + len];
                        bytes.fill(random.byte());
                        let at = (start + offset) as u64;
                        let done = match random.below(8) {
                            0 if random.below(3) == 0 => disk.write_at(bytes, at).and_then(|()| disk.flush()),
                            1 => {
                                bytes.fill(0);
                                disk.write_zeroes(at, len as u64, false)
                            }
                            _ => disk.write_at(bytes, at),
                        };
                        let mut now = vec![0; len];
                        done.and_then(|()| disk.read_at(&mut now, at)).map_err(|error| error.to_string())?;
                        if now != *bytes {
                            return Err(format!("a thread does not see its own write at {at} + {len}"));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// Numbers that a seed decides (xorshift).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

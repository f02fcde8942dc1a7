//! A file and a log in memory, whose operations end at any point: the process is killed, or the power fails.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::header::{Header, Identity};
use super::medium::{Log, Medium};
use super::{OpenError, Overlay};
use crate::boot::Boot;
use crate::disk::{Disk, DiskError};
use crate::image::Access;
use crate::memory::MemoryDisk;

/// A file and a log.
#[derive(Clone, Debug)]
pub(super) struct Simulated(Arc<Mutex<Content>>);

#[derive(Debug)]
pub(super) struct Content {
    /// The content, as a process sees it.
    pub(super) current: Vec<u8>,
    /// The content on the storage device, and the later writes, in order.
    pub(super) synced: Vec<u8>,
    pub(super) unsynced: Vec<(usize, Vec<u8>)>,
    pub(super) log: Vec<u8>,
    /// Operations until the process is killed: the last one writes half of its bytes.
    pub(super) left: usize,
    /// The longest file.
    most: usize,
}

impl Simulated {
    pub(super) fn new(content: Vec<u8>, log: Vec<u8>, left: usize, most: usize) -> Self {
        let synced = content.clone();
        Self(Arc::new(Mutex::new(Content {
            current: content,
            synced,
            unsynced: Vec::new(),
            log,
            left,
            most,
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Begins an operation; `None` once the process is killed, and the part of `bytes` that are written.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], io::Result<()>) {
        let killed = Err(io::Error::other("killed"));
        match self.left {
            0 => (&[], killed),
            1 => {
                self.left = 0;
                (&bytes[..bytes.len() / 2 / 512 * 512], killed)
            }
            _ => {
                self.left -= 1;
                (bytes, Ok(()))
            }
        }
    }

    pub(super) fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
        if content.len() < at + bytes.len() {
            content.resize(at + bytes.len(), 0);
        }
        content[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl Medium for Simulated {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state();
        let rest =
            usize::try_from(offset).ok().and_then(|offset| state.current.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> bool {
        self.read_at(buf, offset).is_ok_and(|read| read == buf.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let at = usize::try_from(offset).ok().filter(|at| at.saturating_add(bytes.len()) <= state.most);
        let at = at.ok_or(io::Error::from_raw_os_error(28))?;
        let (bytes, result) = state.step(bytes);
        Content::write(&mut state.current, at, bytes);
        state.unsynced.push((at, bytes.to_vec()));
        result
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step(&[]).1?;
        state.synced = state.current.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) {
        let end = self.state().current.len() as u64;
        let len = usize::try_from(len.min(end.saturating_sub(offset))).unwrap_or(0);
        let _killed = self.write_at(&vec![0; len], offset.min(end));
    }
}

impl Log for Simulated {
    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(self.state().log.clone())
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let (bytes, result) = state.step(bytes);
        state.log.extend(bytes);
        result
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step(&[]).1?;
        state.log = bytes.to_vec();
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        self.replace(&[])
    }
}

/// The bytes of an overlay file without changes.
pub(crate) fn overlay_file(len: u64) -> Vec<u8> {
    let identity = Identity::parse(&[1; 64]);
    let bytes = identity
        .and_then(|identity| super::empty("base.img", "raw", identity, len, super::SMALL_CLUSTER).ok());
    bytes.unwrap_or_default()
}

/// Opens hostile bytes as an overlay and its log, and carries out operations: for fuzzing. No file grows beyond 4 MiB.
pub(crate) fn carry_out(file: &[u8], log: &[u8], operations: &[(u8, u64, u16)]) -> Result<(), OpenError> {
    let medium = Simulated::new(file.to_vec(), log.to_vec(), usize::MAX, 4 << 20);
    let header = Header::parse(&file[..file.len().min(super::HEADER)])?;
    let id = header.identity.as_ref().map_or(0, |identity| identity.id);
    if medium.state().log.len() > 4 {
        // So that the log holds.
        let head = super::records::head([0; 16], id);
        medium.state().log.splice(..0, head);
    }
    let base = Arc::new(MemoryDisk::new(vec![1; 100_000]));
    let log = Box::new(medium.clone());
    let mut overlay =
        Overlay::assemble(base, Arc::new(medium), log, header, Access::ReadWrite, Boot([0; 16]))?;
    let mut buf = vec![0; 1 << 16];
    for &(kind, offset, len) in operations {
        let bytes = &mut buf[..usize::from(len)];
        let _result: Result<(), DiskError> = match kind % 7 {
            0 => overlay.read_at(bytes, offset),
            1 => overlay.write_at(bytes, offset),
            2 => overlay.trim(offset, len.into()),
            3 => overlay.write_zeroes(offset, len.into(), false),
            4 => overlay.flush(),
            5 => overlay.extent(offset, len.into()).map(drop),
            _ => overlay.resize(offset),
        };
    }
    Ok(())
}

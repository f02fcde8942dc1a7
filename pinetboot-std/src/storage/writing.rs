//! An upload whose bytes other threads write.

use std::io;
use std::mem;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use pinetboot_core::{Upload, block_on};

use super::Disk;
use super::Incoming;
use super::later::Later;
use super::pool::Task;

/// An upload under way. The loop appends to a buffer, and a thread writes the buffer before.
#[derive(Debug)]
pub struct Writing {
    state: State,
    /// Bytes that no thread has yet.
    buffer: Vec<u8>,
    is_last: bool,
    disk: Option<Disk>,
    client: SocketAddrV4,
    place: PathBuf,
}

#[derive(Debug)]
enum State {
    Idle(Incoming),
    /// A thread writes, and finishes the file if these are its last bytes.
    Busy {
        later: Later<io::Result<Incoming>>,
        is_last: bool,
    },
    /// Finished or failed.
    Over,
}

impl Writing {
    /// An upload of this client to `place`; without `disk` the loop writes by itself.
    pub(super) const fn new(
        incoming: Incoming,
        disk: Option<Disk>,
        client: SocketAddrV4,
        place: PathBuf,
    ) -> Self {
        Self { state: State::Idle(incoming), buffer: Vec::new(), is_last: false, disk, client, place }
    }

    fn task(&self) -> Task {
        let tree = self.disk.as_ref().map_or(0, |disk| disk.pool.number("uploads"));
        Task { client: *self.client.ip(), place: self.place.clone(), directory: 0, tree }
    }

    /// Has a thread write the buffer, if there is enough to do.
    fn write_on(&mut self) {
        let Some(disk) = &self.disk else { return };
        if self.buffer.len() < CHUNK && !self.is_last {
            return;
        }
        let mut incoming = match mem::replace(&mut self.state, State::Over) {
            State::Idle(incoming) => incoming,
            other => return self.state = other,
        };
        let (bytes, is_last) = (mem::take(&mut self.buffer), self.is_last);
        let later = disk.pool.run(self.task(), &disk.arrivals, move || {
            block_on(incoming.write(&bytes))?;
            if is_last {
                block_on(incoming.finish())?;
            }
            Ok(incoming)
        });
        self.state = State::Busy { later, is_last };
    }
}

impl Upload for Writing {
    type Error = io::Error;

    fn expect(&mut self, len: u64) -> io::Result<()> {
        match &mut self.state {
            State::Idle(incoming) => incoming.expect(len),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, _: &[u8]) {}

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match (&mut self.state, &self.disk) {
            (State::Idle(incoming), None) => incoming.write(bytes).await,
            // A window may arrive while a thread writes; a client that sends on without an ACK is no TFTP client.
            _ if self.buffer.len() > MOST => Err(io::ErrorKind::StorageFull.into()),
            _ => {
                self.buffer.extend_from_slice(bytes);
                self.write_on();
                Ok(())
            }
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        match (&mut self.state, &self.disk) {
            (State::Idle(incoming), None) => incoming.finish().await,
            _ => {
                self.is_last = true;
                self.write_on();
                Ok(())
            }
        }
    }

    fn settled(&mut self) -> Option<io::Result<()>> {
        let State::Busy { later, is_last } = &self.state else { return Some(Ok(())) };
        let is_whole = *is_last;
        let Some(result) = later.poll(self.client) else {
            // The next window goes into the buffer while the thread writes.
            return (!self.is_last && self.buffer.len() < CHUNK).then_some(Ok(()));
        };
        self.state = State::Over;
        match result {
            Ok(Ok(_)) if is_whole => Some(Ok(())),
            Ok(Ok(incoming)) => {
                self.state = State::Idle(incoming);
                self.write_on();
                self.settled()
            }
            Ok(Err(error)) => Some(Err(error)),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    }
}

/// The temporary file of an upload that ended early is removed by another thread.
impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            disk.pool.discard(&self.task(), mem::replace(&mut self.state, State::Over));
        }
    }
}

/// Bytes for a thread to write at once.
const CHUNK: usize = 64 << 10;

/// The largest window: 64 blocks of 64 KiB.
const MOST: usize = 4 << 20;

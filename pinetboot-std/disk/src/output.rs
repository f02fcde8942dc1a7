//! The way of replies to a client: they are gathered as long as more requests are there, and sent at once.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A stream to a client.
pub(crate) trait Stream: Write {
    /// Sends bytes of a file; returns their number, less than `len` where the file ends.
    fn send_file(&mut self, file: &File, offset: u64, len: usize) -> io::Result<usize>;
}

/// The replies of a connection.
#[derive(Debug)]
pub(crate) struct Output<S> {
    stream: S,
    /// Replies that are not sent yet.
    gathered: Vec<u8>,
}

/// The replies of a connection, for the thread that carries out a request.
pub(crate) struct Replies<'a, S> {
    pub(crate) output: &'a Mutex<Output<S>>,
    /// Called before an operation that may wait for the storage device: sends what is gathered, and lets another thread go on
    /// with the next request.
    pub(crate) waits: &'a dyn Fn() -> io::Result<()>,
}

impl<S: Stream> Output<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, gathered: Vec::new() }
    }

    pub(crate) const fn stream(&self) -> &S {
        &self.stream
    }

    /// Adds a reply.
    pub(crate) fn add(&mut self, reply: &[u8]) -> io::Result<()> {
        self.make_room(reply.len())?;
        self.gathered.extend_from_slice(reply);
        Ok(())
    }

    /// Adds a reply of `len` bytes, which `fill` writes. The bytes of the reply are those up to the length that it returns; `None` leaves
    /// all as it was.
    pub(crate) fn add_filled<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> io::Result<Result<bool, E>> {
        self.make_room(len)?;
        let from = self.gathered.len();
        self.gathered.resize(from + len, 0);
        let filled = fill(self.gathered.get_mut(from..).unwrap_or_default());
        let used = filled.as_ref().map_or(0, |used| used.unwrap_or(0));
        self.gathered.truncate(from + used);
        Ok(filled.map(|used| used.is_some()))
    }

    /// Sends what is gathered, and then `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { stream, gathered } = self;
        let mut done = 0;
        while done < gathered.len() && !bytes.is_empty() {
            let slices = [IoSlice::new(gathered.get(done..).unwrap_or_default()), IoSlice::new(bytes)];
            match stream.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => done += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let of_bytes = done.saturating_sub(gathered.len());
        stream.write_all(gathered.get(done..).unwrap_or_default())?;
        gathered.clear();
        stream.write_all(bytes.get(of_bytes..).unwrap_or_default())
    }

    /// Sends what is gathered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() { Ok(()) } else { self.send(&[]) }
    }

    /// Sends what is gathered, and then bytes of a file, all of which must be there.
    pub(crate) fn send_file(&mut self, file: &File, mut offset: u64, len: u64) -> io::Result<()> {
        self.flush()?;
        let end = offset.saturating_add(len);
        while offset < end {
            let piece = usize::try_from(end - offset).unwrap_or(MOST_SENT).min(MOST_SENT);
            match self.stream.send_file(file, offset, piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                sent => offset += sent as u64,
            }
        }
        Ok(())
    }

    /// Gives back the memory that only saves time.
    pub(crate) fn rest(&mut self) {
        if self.gathered.is_empty() {
            self.gathered = Vec::new();
        }
    }

    fn make_room(&mut self, len: usize) -> io::Result<()> {
        if self.gathered.len() + len > MOST_GATHERED { self.flush() } else { Ok(()) }
    }
}

impl<S: Stream> Replies<'_, S> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Output<S>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "testing")]
impl Stream for Vec<u8> {
    fn send_file(&mut self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        let from = self.len();
        self.resize(from + len, 0);
        let read =
            std::os::unix::fs::FileExt::read_at(file, self.get_mut(from..).unwrap_or_default(), offset)?;
        self.truncate(from + read);
        Ok(read)
    }
}

/// Bytes of replies that are gathered.
const MOST_GATHERED: usize = 128 << 10;
/// Bytes of a file sent by one call.
const MOST_SENT: usize = 1 << 20;

//! An image as bytes at random places, whatever it comes in.
//!
//! A compressed one is unpacked by a thread into a file that has no name and so is gone when the process is, however that
//! ends. Who reads beyond what is unpacked so far waits for it: reading the file systems begins at once, and a look at
//! the first few of them unpacks no more than it needs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::container::Container;
use super::source::ReadAt;
use super::stop::Stop;

/// An image.
#[derive(Debug)]
pub struct Image {
    bytes: File,
    unpacking: Arc<Unpacking>,
    thread: Option<JoinHandle<()>>,
    packed: bool,
}

/// How far a compressed image is unpacked.
#[derive(Debug, Default)]
struct Unpacking {
    /// Bytes that are there.
    ready: AtomicU64,
    /// What is at or beyond this is not kept.
    wanted: AtomicU64,
    /// Nobody wants any of it.
    is_dropped: AtomicBool,
    end: Mutex<End>,
    progress: Condvar,
}

/// How it ended.
#[derive(Debug, Default)]
enum End {
    #[default]
    NotYet,
    /// The SHA-256 of the file.
    Whole(String),
    Failed(io::ErrorKind, String),
}

impl Image {
    /// Opens an image; what has to be unpacked is, in `directory`. The bar is told of each byte of the file that is read.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(path: &Path, directory: &Path, stop: Stop, bar: ProgressBar) -> io::Result<Self> {
        let mut file = File::open(path)?;
        bar.set_length(file.metadata()?.len());
        let container = Container::recognise(&mut file)?;
        let packed = container != Container::Raw;
        let bytes = if packed { tempfile::tempfile_in(directory)? } else { File::open(path)? };
        let unpacking = Arc::new(Unpacking { wanted: AtomicU64::new(u64::MAX), ..Unpacking::default() });
        let source = Source { file, at: 0, hashed: 0, hash: Sha256::new(), bar, stop };
        let (shared, sink) = (Arc::clone(&unpacking), packed.then(|| bytes.try_clone()).transpose()?);
        let thread = thread::Builder::new().name("unpack".into()).spawn(move || {
            let end = match shared.run(container, source, sink) {
                Ok(hash) => End::Whole(hash),
                Err(error) => End::Failed(error.kind(), error.to_string()),
            };
            *shared.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
            shared.progress.notify_all();
        })?;
        Ok(Self { bytes, unpacking, thread: Some(thread), packed })
    }

    /// Whether it is unpacked into a file, which takes space.
    pub const fn is_packed(&self) -> bool {
        self.packed
    }

    /// Nothing at or beyond this place will be read.
    pub fn want(&self, end: u64) {
        self.unpacking.wanted.store(end, Ordering::Relaxed);
    }

    /// Waits until all of the file has been read and found whole, and returns its SHA-256.
    ///
    /// # Errors
    ///
    /// If it is not whole.
    pub fn finish(&mut self) -> io::Result<String> {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        match &*self.unpacking.end.lock().unwrap_or_else(PoisonError::into_inner) {
            End::Whole(hash) => Ok(hash.clone()),
            End::Failed(kind, why) => Err(io::Error::new(*kind, why.clone())),
            End::NotYet => Err(io::Error::other("the thread that unpacks ended without a word")),
        }
    }
}

impl ReadAt for Image {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.packed {
            let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.unpacking.wait_for(end)?;
        }
        FileExt::read_exact_at(&self.bytes, buf, offset)
    }
}

impl Unpacking {
    /// Until so many bytes are there.
    fn wait_for(&self, bytes: u64) -> io::Result<()> {
        if self.ready.load(Ordering::Acquire) >= bytes {
            return Ok(());
        }
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.ready.load(Ordering::Acquire) >= bytes {
                return Ok(());
            }
            match &*end {
                End::NotYet => end = self.progress.wait(end).unwrap_or_else(PoisonError::into_inner),
                End::Whole(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                End::Failed(kind, why) => return Err(io::Error::new(*kind, why.clone())),
            }
        }
    }

    /// Reads all of the file, unpacks it into `sink` if there is one, and returns its hash.
    fn run(&self, container: Container, mut source: Source, sink: Option<File>) -> io::Result<String> {
        match sink {
            Some(sink) => container.unpack(&mut source, &mut |piece| self.write(&sink, piece))?,
            None => Container::Raw.unpack(&mut source, &mut |_| self.check())?,
        }
        source.hash()
    }

    fn check(&self) -> io::Result<()> {
        if self.is_dropped.load(Ordering::Relaxed) { Err(io::Error::other("dropped")) } else { Ok(()) }
    }

    fn write(&self, sink: &File, piece: &[u8]) -> io::Result<()> {
        self.check()?;
        let at = self.ready.load(Ordering::Relaxed);
        let end = at + piece.len() as u64;
        if at < self.wanted.load(Ordering::Relaxed) {
            write_sparse(sink, piece, at).and_then(|()| sink.set_len(end)).map_err(|error| {
                let kind = error.kind();
                io::Error::new(kind, format!("cannot unpack the image beside its target: {error}"))
            })?;
        }
        let guard = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.ready.store(end, Ordering::Release);
        drop(guard);
        self.progress.notify_all();
        Ok(())
    }
}

/// Writes what is not zeros; the file is zeros there.
pub(super) fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let zeros = run(rest, true);
        let data = run(&rest[zeros..], false);
        file.write_all_at(&rest[zeros..zeros + data], offset + (at + zeros) as u64)?;
        at += zeros + data;
    }
    Ok(())
}

/// How many bytes at the beginning are in pages that are, or are not, all zeros.
fn run(bytes: &[u8], zeros: bool) -> usize {
    bytes.chunks(PAGE).take_while(|page| is_zero(page) == zeros).map(<[u8]>::len).sum()
}

fn is_zero(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

const PAGE: usize = 4096;

/// The file as it is read: hashed in order whatever the order it is read in, and seen by the bar.
struct Source {
    file: File,
    at: u64,
    /// Bytes that are in the hash.
    hashed: u64,
    hash: Sha256,
    bar: ProgressBar,
    stop: Stop,
}

impl Source {
    /// Reads what has not been read yet, and returns the hash of all.
    fn hash(mut self) -> io::Result<String> {
        self.seek(SeekFrom::Start(self.hashed))?;
        let mut piece = vec![0; 1 << 20];
        while self.read(&mut piece)? > 0 {}
        self.bar.finish();
        Ok(self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        let len = self.file.read(buf)?;
        // What is read for the first time, in order.
        let end = self.at + len as u64;
        if let Some(new) = end.checked_sub(self.hashed).filter(|_| self.at <= self.hashed) {
            let known = len - usize::try_from(new).unwrap_or(len).min(len);
            self.hash.update(&buf[known..len]);
            self.hashed = end;
            self.bar.set_position(end);
        }
        self.at = end;
        Ok(len)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.unpacking.is_dropped.store(true, Ordering::Relaxed);
    }
}

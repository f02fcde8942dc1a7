//! An image with random access to its content: a file, compressed or not; a stream; or a block device.
//!
//! A thread unpacks a compressed image into an unnamed temporary file, which the kernel removes when the process ends. A
//! read beyond the unpacked part waits for the thread, so file systems can be read from the first block on. The same thread
//! hashes the file.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

use crate::{Container, ReadAt, write_sparse};

/// An opened image file.
///
/// Dropping it stops the thread at its next block.
#[derive(Debug)]
pub struct ImageFile {
    bytes: File,
    unpacking: Arc<Unpacking>,
    thread: Option<JoinHandle<()>>,
    packed: bool,
}

/// The state that the thread and the readers share.
#[derive(Debug, Default)]
struct Unpacking {
    /// Unpacked bytes.
    ready: AtomicU64,
    /// Bytes at or beyond this offset are not kept.
    wanted: AtomicU64,
    /// The [`ImageFile`] was dropped.
    is_dropped: AtomicBool,
    /// Of the unpacked bytes, if wanted.
    content: Option<Mutex<Sha256>>,
    end: Mutex<End>,
    progress: Condvar,
}

/// The thread's result.
#[derive(Debug, Default)]
enum End {
    #[default]
    NotYet,
    /// The SHA-256 of the file.
    Whole(String),
    Failed(io::ErrorKind, String),
}

impl ImageFile {
    /// Opens an image file and starts the thread, which reads all of it. A compressed image is unpacked into `directory`,
    /// which needs room for the whole image, holes not counted.
    ///
    /// `progress` is called from the thread before each read, with the number of bytes of the file read and hashed so far;
    /// an error that it returns ends the thread.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(
        path: &Path,
        directory: &Path,
        progress: impl FnMut(u64) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let container = Container::recognise(&mut file)?;
        let packed = container != Container::Raw;
        let bytes = if packed { tempfile::tempfile_in(directory)? } else { File::open(path)? };
        let source = HashedFile::new(file, progress);
        let sink = packed.then(|| bytes.try_clone()).transpose()?;
        Self::start(bytes, packed, false, move |unpacking| unpacking.run(container, source, sink))
    }

    /// Reads an image, compressed or not, from a stream that cannot be rewound, such as standard input. `directory` needs room
    /// for the whole unpacked image, and of a zip file for the file too.
    ///
    /// `progress` is as in [`open`](Self::open). With `hash_content` the unpacked image is hashed too.
    ///
    /// # Errors
    ///
    /// The system's, and those of the stream.
    pub fn from_stream(
        stream: impl Read + Send + 'static,
        directory: &Path,
        hash_content: bool,
        progress: impl FnMut(u64) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let bytes = tempfile::tempfile_in(directory)?;
        let sink = bytes.try_clone()?;
        let (source, directory) = (HashedFile::new(stream, progress), directory.to_owned());
        Self::start(bytes, true, hash_content, move |unpacking| {
            unpacking.run_stream(source, &sink, directory)
        })
    }

    /// An image on a block device, such as a card in a reader. It is not hashed.
    pub fn of_device(device: File) -> Self {
        let unpacking = Unpacking { end: Mutex::new(End::Whole(String::new())), ..Unpacking::default() };
        Self { bytes: device, unpacking: Arc::new(unpacking), thread: None, packed: false }
    }

    fn start(
        bytes: File,
        packed: bool,
        hash_content: bool,
        run: impl FnOnce(&Unpacking) -> io::Result<String> + Send + 'static,
    ) -> io::Result<Self> {
        let unpacking = Arc::new(Unpacking {
            wanted: AtomicU64::new(u64::MAX),
            content: hash_content.then(Mutex::default),
            ..Unpacking::default()
        });
        let shared = Arc::clone(&unpacking);
        let thread = thread::Builder::new().name("unpack".into()).spawn(move || {
            let end = match run(&shared) {
                Ok(hash) => End::Whole(hash),
                Err(error) => End::Failed(error.kind(), error.to_string()),
            };
            *shared.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
            shared.progress.notify_all();
        })?;
        Ok(Self { bytes, unpacking, thread: Some(thread), packed })
    }

    /// Whether the image is compressed, and so takes disk space for its unpacked content.
    pub const fn is_packed(&self) -> bool {
        self.packed
    }

    /// Promises that no byte at or beyond offset `end` will be read: the thread stops keeping them.
    pub fn keep_until(&self, end: u64) {
        self.unpacking.wanted.store(end, Ordering::Relaxed);
    }

    /// Waits until the thread has read all of the file, and returns the file's SHA-256 in 64 hexadecimal digits; of a block device,
    /// the empty string.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, its compression is damaged or cut off, or `progress` returned an error.
    pub fn finish(&mut self) -> io::Result<String> {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        match &*self.unpacking.end.lock().unwrap_or_else(PoisonError::into_inner) {
            End::Whole(hash) => Ok(hash.clone()),
            End::Failed(kind, why) => Err(io::Error::new(*kind, why.clone())),
            End::NotYet => Err(io::Error::other("the unpacking thread panicked")),
        }
    }

    /// The SHA-256 of the unpacked image, after [`finish`](Self::finish); `None` if it is not hashed.
    pub fn content_sha256(&self) -> Option<String> {
        let content = self.unpacking.content.as_ref()?;
        Some(hexadecimal(content.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

impl ReadAt for ImageFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.packed {
            let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.unpacking.wait_for(end)?;
        }
        FileExt::read_exact_at(&self.bytes, buf, offset)
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        self.unpacking.is_dropped.store(true, Ordering::Relaxed);
    }
}

impl Unpacking {
    /// Waits until `bytes` bytes are unpacked.
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

    /// Reads all of the file, unpacks it into `sink` if given, and returns the file's hash.
    fn run(
        &self,
        container: Container,
        mut source: HashedFile<File, impl FnMut(u64) -> io::Result<()>>,
        sink: Option<File>,
    ) -> io::Result<String> {
        match sink {
            Some(sink) => container.unpack(&mut source, &mut |piece| self.write(&sink, piece))?,
            None => Container::Raw.unpack(&mut source, &mut |_| self.check())?,
        }
        source.seek(SeekFrom::Start(source.hashed))?;
        source.hash()
    }

    /// Reads all of the stream, unpacks it into `sink`, and returns the stream's hash.
    fn run_stream(
        &self,
        mut source: HashedFile<impl Read, impl FnMut(u64) -> io::Result<()>>,
        sink: &File,
        directory: PathBuf,
    ) -> io::Result<String> {
        let mut start = Vec::new();
        source.by_ref().take(RECOGNISED).read_to_end(&mut start)?;
        let container = Container::of(&start);
        let mut all = Cursor::new(start).chain(&mut source);
        if container == Container::Zip {
            // Its directory is at its end.
            let mut file = tempfile::tempfile_in(directory)?;
            io::copy(&mut all, &mut file)?;
            container.unpack(file, &mut |piece| self.write(sink, piece))?;
        } else {
            let all = BufReader::with_capacity(PIECE, all);
            container.unpack_stream(all, &mut |piece| self.write(sink, piece))?;
        }
        source.hash()
    }

    fn check(&self) -> io::Result<()> {
        if self.is_dropped.load(Ordering::Relaxed) { Err(io::Error::other("dropped")) } else { Ok(()) }
    }

    fn write(&self, sink: &File, piece: &[u8]) -> io::Result<()> {
        self.check()?;
        if let Some(content) = &self.content {
            content.lock().unwrap_or_else(PoisonError::into_inner).update(piece);
        }
        let at = self.ready.load(Ordering::Relaxed);
        let end = at + piece.len() as u64;
        if at < self.wanted.load(Ordering::Relaxed) {
            write_sparse(sink, piece, at).and_then(|()| sink.set_len(end)).map_err(|error| {
                let kind = error.kind();
                io::Error::new(kind, format!("cannot unpack the image: {error}"))
            })?;
        }
        let guard = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.ready.store(end, Ordering::Release);
        drop(guard);
        self.progress.notify_all();
        Ok(())
    }
}

/// The file, hashed in order whatever the order of the reads: a zip file's directory is at its end.
struct HashedFile<F, P> {
    file: F,
    at: u64,
    /// Bytes in the hash.
    hashed: u64,
    hash: Sha256,
    progress: P,
}

impl<F: Read, P: FnMut(u64) -> io::Result<()>> HashedFile<F, P> {
    fn new(file: F, progress: P) -> Self {
        Self { file, at: 0, hashed: 0, hash: Sha256::new(), progress }
    }

    /// Reads the rest, and returns the hash of all.
    fn hash(mut self) -> io::Result<String> {
        let mut piece = vec![0; 1 << 20];
        while self.read(&mut piece)? > 0 {}
        Ok(hexadecimal(self.hash))
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<F: Read, P: FnMut(u64) -> io::Result<()>> Read for HashedFile<F, P> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (self.progress)(self.hashed)?;
        let len = self.file.read(buf)?;
        let end = self.at + len as u64;
        if let Some(new) = end.checked_sub(self.hashed).filter(|_| self.at <= self.hashed) {
            let known = len - usize::try_from(new).unwrap_or(len).min(len);
            self.hash.update(&buf[known..len]);
            self.hashed = end;
        }
        self.at = end;
        Ok(len)
    }
}

impl<F: Seek, P> Seek for HashedFile<F, P> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

/// Bytes by which a container is recognised.
const RECOGNISED: u64 = 512;
const PIECE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// 3 MiB of content in an xz file, and the file's hash.
    fn packed(directory: &Path) -> (std::path::PathBuf, Vec<u8>, String) {
        let content: Vec<u8> = (0..3u32 << 20).map(|i| (i / 5) as u8).collect();
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(&content).unwrap();
        let bytes = encoder.finish().unwrap();
        let path = directory.join("image.img.xz");
        std::fs::write(&path, &bytes).unwrap();
        (path, content, hexadecimal(Sha256::new_with_prefix(&bytes)))
    }

    #[test]
    fn reads_wait_for_the_thread_and_the_file_is_hashed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, content, hash) = packed(directory.path());
        let mut image = ImageFile::open(&path, directory.path(), |_| Ok(())).unwrap();
        let mut read = vec![0; 1000];
        image.read_exact_at(&mut read, 2 << 20).unwrap();
        assert!(read == content[2 << 20..][..1000]);
        let error = image.read_exact_at(&mut read, (3 << 20) - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(image.finish().unwrap(), hash);
        assert!(image.is_packed());
    }

    #[test]
    fn a_stream_gives_what_a_file_gives() {
        let directory = tempfile::tempdir().unwrap();
        let (path, content, hash) = packed(directory.path());
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a.img", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&content).unwrap();
        let zip = zip.finish().unwrap().into_inner();
        for (stream, hash) in
            [(std::fs::read(path).unwrap(), Some(hash)), (zip, None), (content.clone(), None)]
        {
            let mut image =
                ImageFile::from_stream(Cursor::new(stream), directory.path(), true, |_| Ok(())).unwrap();
            let mut read = vec![0; 1000];
            image.read_exact_at(&mut read, 2 << 20).unwrap();
            assert!(read == content[2 << 20..][..1000]);
            let found = image.finish().unwrap();
            assert!(hash.is_none_or(|hash| hash == found));
            assert_eq!(image.content_sha256(), Some(hexadecimal(Sha256::new_with_prefix(&content))));
        }
    }

    #[test]
    fn an_error_of_the_callback_ends_the_thread_and_every_read() {
        let directory = tempfile::tempdir().unwrap();
        let (path, ..) = packed(directory.path());
        let stop = |_| Err(io::Error::other("stopped"));
        let mut image = ImageFile::open(&path, directory.path(), stop).unwrap();
        assert_eq!(image.finish().unwrap_err().to_string(), "stopped");
        assert_eq!(image.read_exact_at(&mut [0; 1], 0).unwrap_err().to_string(), "stopped");
    }
}

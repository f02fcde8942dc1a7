//! Storages and files: the file system, flash archive or card that a server reads from.
//!
//! # Later
//!
//! One client's file may take long to come, or never come, while others wait for the loop. A storage that knows better than
//! to wait says "later" and returns at once: [`OpenError::Later`] for a request, [`File::is_ready`] for bytes to send,
//! [`Upload::settled`] for received ones. The loop goes on with the others; neither ERROR nor retransmission nor place comes
//! of it. When the storage has what was waited for, it names the client ([`Storage::resumed`]), and must have seen to it that
//! [`Net::recv`](crate::Net::recv) returns. How long a client may wait is the storage's decision: at the end, the operation
//! fails. A storage that never says "later" implements none of these.

mod refusal;
mod then;

use core::convert::Infallible;
use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

pub use refusal::{OpenError, Refusal};
pub use then::{OneOf, Then};

use crate::BootPath;

/// A place with boot files.
#[allow(async_fn_in_trait)] // See `Net`.
pub trait Storage {
    /// A file opened for reading.
    type File: File;
    /// A file being written: [`NoUpload`] for a read-only storage.
    type Upload: Upload;
    /// The reason for not opening a file: [`OpenError`] for a storage that knows no more than the client is told.
    type Refusal: Refusal + From<OpenError>;

    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// The reason for a refusal. The client receives the TFTP error of the same meaning.
    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, Self::Refusal>;

    /// Creates a file to be written. The default refuses: a boot server is read-only.
    ///
    /// # Errors
    ///
    /// The reason for a refusal. The client receives the TFTP error of the same meaning.
    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, Self::Refusal> {
        let _ = request;
        Err(OpenError::Denied.into())
    }

    /// The next client that waited and can go on; `None`: no more. The loop asks in each turn, so the call must be short.
    fn resumed(&mut self) -> Option<SocketAddrV4> {
        None
    }
}

/// The file to open and the client that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenRequest<'a> {
    /// The name, proven relative and clean.
    pub path: BootPath<'a>,
    /// The client.
    pub peer: SocketAddrV4,
    /// The server's address that received the request, if the network knows ([`Net::address`](crate::Net::address)).
    pub asked: Option<Ipv4Addr>,
    /// For a file to be written: its length in bytes, if the client announced it (`tsize`).
    pub len: Option<u64>,
    /// The file is read whole before its transfer begins (mode netascii): [`File::is_ready`] is not asked.
    pub whole: bool,
}

impl<'a> OpenRequest<'a> {
    /// A request of this client for a file.
    pub const fn new(path: BootPath<'a>, peer: SocketAddrV4) -> Self {
        Self { path, peer, asked: None, len: None, whole: false }
    }

    /// The same for another file.
    #[must_use]
    pub const fn with_path(self, path: BootPath<'a>) -> Self {
        Self { path, ..self }
    }

    /// The same with the server's address that received the request.
    #[must_use]
    pub const fn with_asked(self, asked: Option<Ipv4Addr>) -> Self {
        Self { asked, ..self }
    }

    /// The same with the length in bytes that the client announced.
    #[must_use]
    pub const fn with_len(self, len: Option<u64>) -> Self {
        Self { len, ..self }
    }
}

/// A file opened for reading. Dropping it closes it.
///
/// The file stays one version from open to drop: an implementation that finds the file changed fails, and mixes no old
/// bytes with new ones.
#[allow(async_fn_in_trait)] // See `Net`.
pub trait File {
    /// A failure to read. It ends the transfer with an ERROR.
    type Error: fmt::Debug;

    /// The length in bytes, fixed when the file was opened.
    fn len(&self) -> u64;

    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `len` bytes from `offset` on can be read without waiting. If not, the storage fetches them, and names the
    /// client in [`Storage::resumed`].
    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        let _ = (offset, len);
        true
    }

    /// Fills `buf` with the bytes from `offset` on, in bytes. The caller stays within [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// The bytes cannot be read, or belong to another version than the opened one.
    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error>;
}

/// A borrowed storage is a storage.
impl<S: Storage> Storage for &mut S {
    type File = S::File;
    type Upload = S::Upload;
    type Refusal = S::Refusal;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, Self::Refusal> {
        (**self).open(request).await
    }

    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, Self::Refusal> {
        (**self).create(request).await
    }

    fn resumed(&mut self) -> Option<SocketAddrV4> {
        (**self).resumed()
    }
}

/// A borrowed file is a file.
impl<F: File> File for &mut F {
    type Error = F::Error;

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    fn is_ready(&mut self, offset: u64, len: u16) -> bool {
        (**self).is_ready(offset, len)
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read_exact_at(offset, buf).await
    }
}

/// A file being written. [`finish`](Self::finish) makes it visible; dropped before that, it leaves nothing behind.
#[allow(async_fn_in_trait)] // See `Net`.
pub trait Upload {
    /// A failure to write. It ends the transfer with ERROR 3, disk full or allocation exceeded.
    type Error: fmt::Debug;

    /// The other side announces the length in bytes, before the first byte (`tsize`).
    ///
    /// # Errors
    ///
    /// The file is too long.
    fn expect(&mut self, len: u64) -> Result<(), Self::Error>;

    /// The other side ended the transfer with an ERROR, whose text is `message`: any bytes, or none.
    fn ended(&mut self, message: &[u8]);

    /// Takes the next bytes. They come in order, each once.
    ///
    /// # Errors
    ///
    /// The bytes cannot be kept.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Completes the file after its last byte. The last block is acknowledged only after this.
    ///
    /// # Errors
    ///
    /// The file cannot be completed.
    async fn finish(&mut self) -> Result<(), Self::Error>;

    /// Whether what was written and finished so far may be acknowledged. `None`: later; the storage names the client in
    /// [`Storage::resumed`].
    ///
    /// # Errors
    ///
    /// What [`write`](Self::write) or [`finish`](Self::finish) left to do failed.
    fn settled(&mut self) -> Option<Result<(), Self::Error>> {
        Some(Ok(()))
    }
}

/// The upload of a read-only [`Storage`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "it has no value")]
pub enum NoUpload {}

impl Upload for NoUpload {
    type Error = Infallible;

    fn expect(&mut self, _: u64) -> Result<(), Self::Error> {
        match *self {}
    }

    fn ended(&mut self, _: &[u8]) {
        match *self {}
    }

    async fn write(&mut self, _: &[u8]) -> Result<(), Self::Error> {
        match *self {}
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        match *self {}
    }
}

/// A borrowed upload is an upload: its owner keeps it when the transfer is over.
impl<U: Upload> Upload for &mut U {
    type Error = U::Error;

    fn expect(&mut self, len: u64) -> Result<(), Self::Error> {
        (**self).expect(len)
    }

    fn ended(&mut self, message: &[u8]) {
        (**self).ended(message);
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        (**self).write(bytes).await
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        (**self).finish().await
    }

    fn settled(&mut self) -> Option<Result<(), Self::Error>> {
        (**self).settled()
    }
}

/// A file in memory.
impl File for &[u8] {
    type Error = OutOfBounds;

    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        let start = usize::try_from(offset).map_err(|_| OutOfBounds)?;
        let end = start.checked_add(buf.len()).ok_or(OutOfBounds)?;
        buf.copy_from_slice(self.get(start..end).ok_or(OutOfBounds)?);
        Ok(())
    }
}

/// A read past the end of a file in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::exhaustive_structs, reason = "it says all")]
pub struct OutOfBounds;

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read past the end of the file")
    }
}

impl core::error::Error for OutOfBounds {}

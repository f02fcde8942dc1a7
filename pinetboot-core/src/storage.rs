//! Where the bytes are: what a server asks of a file system, a flash archive or a card.

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
    /// A file being written: [`NoUpload`] where nothing ever is.
    type Upload: Upload;
    /// Why a file is not opened: [`OpenError`] where no more is known than what the client is told.
    type Refusal: Refusal + From<OpenError>;

    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// Why not; the client is told by the TFTP error of the same meaning.
    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, Self::Refusal>;

    /// Makes a file to be written. The default refuses: a boot server is read-only unless it says otherwise.
    ///
    /// # Errors
    ///
    /// Why not; the client is told by the TFTP error of the same meaning.
    async fn create(&mut self, request: &OpenRequest<'_>) -> Result<Self::Upload, Self::Refusal> {
        let _ = request;
        Err(OpenError::Denied.into())
    }
}

/// What is to be opened, and for whom.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OpenRequest<'a> {
    /// The name, proven harmless.
    pub path: BootPath<'a>,
    /// The client.
    pub peer: SocketAddrV4,
    /// The address of ours that it asked, if the network knows ([`Net::address`](crate::Net::address)).
    pub asked: Option<Ipv4Addr>,
    /// For a file to be written: its length in bytes, if the client said so (`tsize`).
    pub len: Option<u64>,
}

impl<'a> OpenRequest<'a> {
    /// A request of this client for a file, of which no more is known.
    pub const fn new(path: BootPath<'a>, peer: SocketAddrV4) -> Self {
        Self { path, peer, asked: None, len: None }
    }

    /// The same for another file.
    #[must_use]
    pub const fn with_path(self, path: BootPath<'a>) -> Self {
        Self { path, ..self }
    }

    /// The same, with the address of ours that the client asked.
    #[must_use]
    pub const fn with_asked(self, asked: Option<Ipv4Addr>) -> Self {
        Self { asked, ..self }
    }

    /// The same, with the length in bytes that the client announced.
    #[must_use]
    pub const fn with_len(self, len: Option<u64>) -> Self {
        Self { len, ..self }
    }
}

/// A file opened for reading. Dropping it closes it.
///
/// One version of the file is seen from open to drop: an implementation that finds the file changed under it fails
/// rather than mix old bytes with new.
#[allow(async_fn_in_trait)] // See `Net`.
pub trait File {
    /// What can go wrong while reading. The transfer then ends with an ERROR.
    type Error: fmt::Debug;

    /// The length in bytes, fixed when the file was opened.
    fn len(&self) -> u64;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on. The caller stays within [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// If the bytes cannot be had, or no longer belong to the version that was opened.
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

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read_exact_at(offset, buf).await
    }
}

/// A file being written. It comes to be when [`finish`](Self::finish) says so; dropped before that, it never was.
#[allow(async_fn_in_trait)] // See `Net`.
pub trait Upload {
    /// What can go wrong while writing. The transfer then ends with ERROR 3, disk full or allocation exceeded.
    type Error: fmt::Debug;

    /// The length in bytes, when the other side announces it before the first byte (`tsize`).
    ///
    /// # Errors
    ///
    /// If that is known to be too long.
    fn expect(&mut self, len: u64) -> Result<(), Self::Error>;

    /// The other side ended the transfer with an ERROR, whose text is `message`: any bytes, or none.
    fn ended(&mut self, message: &[u8]);

    /// Takes the next bytes. They come in order, each once.
    ///
    /// # Errors
    ///
    /// If they cannot be kept.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// All bytes are there: makes the file be. The last block is acknowledged only after this.
    ///
    /// # Errors
    ///
    /// If it cannot.
    async fn finish(&mut self) -> Result<(), Self::Error>;
}

/// The upload of a [`Storage`] that takes none.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there is none")]
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

/// A borrowed upload is one, so that its owner still has it when the transfer is over.
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
}

/// Bytes in memory are a file.
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

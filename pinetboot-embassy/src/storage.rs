//! Where boot files are on a board, and in which order they are looked for.

use pinetboot_core::pi::Lookup;
use pinetboot_core::{File, NoUpload, OpenError, OpenRequest, Storage};

use crate::archive::Archive;

/// A file that knows in what memory of the board it is.
pub trait Placed: File {
    /// Where, as it is said after the file's name.
    fn place(&self) -> &'static str;
}

/// Boot files in flash.
#[derive(Clone, Copy, Debug)]
pub struct Flash<'a>(pub Archive<'a>);

impl<'a> Storage for Flash<'a> {
    type File = &'a [u8];
    type Upload = NoUpload;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<&'a [u8], OpenError> {
        let lookup = Lookup::new(request.path);
        let found = self.0.look_up(lookup.prefix(), &lookup.file());
        let file = if found.has_directory { found.own } else { found.shared };
        file.ok_or(OpenError::NotFound)
    }
}

impl Placed for &[u8] {
    fn place(&self) -> &'static str {
        "in flash"
    }
}

/// Two storages: a file that the first has not is looked for in the second.
#[derive(Clone, Copy, Debug)]
pub struct Then<A, B>(pub A, pub B);

impl<A: Storage, B: Storage> Storage for Then<A, B> {
    type File = OneOf<A::File, B::File>;
    type Upload = NoUpload;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<Self::File, OpenError> {
        match self.0.open(request).await {
            Err(OpenError::NotFound) => self.1.open(request).await.map(OneOf::Second),
            first => first.map(OneOf::First),
        }
    }
}

/// A file of one of two storages.
#[derive(Clone, Copy, Debug)]
pub enum OneOf<A, B> {
    /// Of the first.
    First(A),
    /// Of the second.
    Second(B),
}

impl<A: File, B: File> File for OneOf<A, B> {
    type Error = OneOf<A::Error, B::Error>;

    fn len(&self) -> u64 {
        match self {
            Self::First(file) => file.len(),
            Self::Second(file) => file.len(),
        }
    }

    async fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        match self {
            Self::First(file) => file.read_exact_at(offset, buf).await.map_err(OneOf::First),
            Self::Second(file) => file.read_exact_at(offset, buf).await.map_err(OneOf::Second),
        }
    }
}

impl<A: Placed, B: Placed> Placed for OneOf<A, B> {
    fn place(&self) -> &'static str {
        match self {
            Self::First(file) => file.place(),
            Self::Second(file) => file.place(),
        }
    }
}

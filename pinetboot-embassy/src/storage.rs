//! Where boot files are on a board.

pub use pinetboot_core::Then;
use pinetboot_core::pi::{Lookup, Place};
use pinetboot_core::{File, NoUpload, OneOf, OpenError, OpenRequest, Storage};

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
    type Refusal = OpenError;

    async fn open(&mut self, request: &OpenRequest<'_>) -> Result<&'a [u8], OpenError> {
        let lookup = Lookup::new(request.path);
        let found = self.0.look_up(lookup.prefix(), &lookup.file());
        match lookup.place(|_| found.own) {
            Place::Own(file) => file,
            Place::Shared => found.shared,
        }
        .ok_or(OpenError::NotFound)
    }
}

impl Placed for &[u8] {
    fn place(&self) -> &'static str {
        "in flash"
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

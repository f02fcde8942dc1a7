//! Where boot files are on a board, and in which order they are looked for.

use pinetboot_core::pi::Lookup;
use pinetboot_core::{NoUpload, OpenError, OpenRequest, Storage};

use crate::archive::Archive;

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

//! The storage of boot files on a board.

pub use pinetboot_core::Then;
use pinetboot_core::pi::{Lookup, Place};
use pinetboot_core::{File, NoUpload, OneOf, OpenError, OpenRequest, Storage};

use crate::archive::Archive;
use crate::config::find_archive;

/// A file that knows the board's memory that holds it.
pub trait Placed: File {
    /// The place, in words that follow the file's name.
    fn place(&self) -> &'static str;
}

/// Boot files in flash.
#[derive(Clone, Copy, Debug)]
pub struct Flash<'a>(pub Archive<'a>);

impl<'a> Flash<'a> {
    /// The files of the first archive in this flash, and their place: the offset of the header and the length of the archive. No files
    /// without an archive.
    pub fn find(flash: &'a [u8]) -> (Self, Option<(u32, u32)>) {
        match find_archive(flash, 0) {
            Some((at, bytes)) => {
                let archive = Archive::new(bytes);
                info!("{} bytes of files in flash, behind {}", archive.size(), at);
                // Two blocks of zeros end an archive.
                if bytes.len().saturating_sub(archive.size()) > 1024 {
                    error!(
                        "the files in flash are damaged after {} of {} bytes",
                        archive.size(),
                        bytes.len()
                    );
                }
                (Self(archive), Some((at as u32, bytes.len() as u32)))
            }
            None => {
                info!("no files in flash");
                (Self(Archive::new(&[])), None)
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use pinetboot_core::{block_on, conformance};

    use super::*;

    /// As `tar --format=ustar` makes it (POSIX.1-1988, section 10.1.1).
    fn ustar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, bytes) in files {
            let mut header = [0; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..136].copy_from_slice(std::format!("{:011o}\0", bytes.len()).as_bytes());
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            archive.extend(header);
            archive.extend(*bytes);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        archive.resize(archive.len() + 1024, 0);
        archive
    }

    #[test]
    fn conforms() {
        let archive = ustar(conformance::FILES);
        block_on(conformance::storage(&mut Flash(Archive::new(&archive))));
    }
}

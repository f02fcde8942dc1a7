//! Why an image cannot be read.

use std::error::Error;
use std::fmt;
use std::io;

use crate::metadata::Metadata;

/// Why an image cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// Reading or unpacking failed. `UnexpectedEof`: the image ends before a byte that its own structures name.
    Io(io::Error),
    /// The image contradicts itself; the text names the structure.
    Corrupt(&'static str),
    /// A checksum of its ext4 is wrong: the image is damaged there.
    Checksum(Metadata),
    /// The system on the image was not shut down: its ext4 needs its journal.
    NotShutDown,
    /// The image uses a feature that this crate does not read; the text names the feature and the remedy.
    Unsupported(&'static str),
    /// The image's partitions cannot be booted from; the text lists them.
    Layout(String),
}

impl ImageError {
    /// The error for an implementation of `Read`.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            error => io::Error::other(error),
        }
    }
}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the image ends too early. Download it again")
            }
            Self::Io(error) => error.fmt(f),
            Self::Corrupt(what) => write!(f, "the image is damaged: {what}"),
            Self::Checksum(what) => write!(
                f,
                "the image is damaged: its ext4 has a wrong checksum in the {what}. Get the image again, or repair a copy \
                 (losetup -P --find --show IMAGE; e2fsck -f on its second partition)"
            ),
            Self::NotShutDown => f.write_str(
                "the image was taken from a system that was not shut down: its ext4 needs its journal. Boot it once and shut it \
                 down, or repair a copy (losetup -P --find --show IMAGE; e2fsck -f on its second partition)",
            ),
            Self::Unsupported(what) => f.write_str(what),
            Self::Layout(what) => f.write_str(what),
        }
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Corrupt(_)
            | Self::Checksum(_)
            | Self::NotShutDown
            | Self::Unsupported(_)
            | Self::Layout(_) => None,
        }
    }
}

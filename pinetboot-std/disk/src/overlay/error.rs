//! The reason why an overlay cannot be opened or made.

use core::fmt;
use std::io;
use std::path::PathBuf;

use crate::disk::DiskError;

/// The reason why an overlay cannot be opened or made.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The system's.
    Io(io::Error),
    /// The file's header holds a value that no sound file has.
    Damaged(&'static str),
    /// A sound qcow2 file with something that this crate does not do.
    Unsupported(&'static str),
    /// The base changed since the overlay was made: the overlay would be garbage on it.
    BaseChanged(PathBuf),
    /// The base is outside of the directory of base images and of the overlay's.
    BaseElsewhere(PathBuf),
    /// An operation on the file failed.
    Disk(DiskError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Damaged(what) => write!(f, "the overlay is damaged: {what}"),
            Self::Unsupported(what) => write!(f, "the overlay is not supported: {what}"),
            Self::BaseChanged(path) => write!(
                f,
                "the base image {} changed since the overlay was made: restore the image, or make a new overlay",
                path.display()
            ),
            Self::BaseElsewhere(path) => {
                write!(f, "the base image {} is outside of the directory of images", path.display())
            }
            Self::Disk(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for OpenError {}

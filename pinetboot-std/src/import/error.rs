//! Errors of an import.

use std::fmt;
use std::io;

use pinetboot_image::ImageError;

/// The error of an import, with the file's path.
#[derive(Debug)]
pub struct ImportError {
    /// The file in the image; empty if the error is not about one file.
    path: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Image(ImageError),
    Write(io::Error),
}

impl ImportError {
    pub(super) fn image(path: &[u8], error: impl Into<ImageError>) -> Self {
        Self { path: String::from_utf8_lossy(path).into_owned(), why: Why::Image(error.into()) }
    }

    pub(super) fn write(path: &[u8], error: io::Error) -> Self {
        Self { path: String::from_utf8_lossy(path).into_owned(), why: Why::Write(error) }
    }
}

impl From<ImageError> for ImportError {
    fn from(error: ImageError) -> Self {
        Self::image(b"", error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Image(error) if self.path.is_empty() => error.fmt(f),
            Why::Image(error) => write!(f, "/{}: {error}", self.path.escape_debug()),
            Why::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                write!(f, "/{}: the image is damaged: that name occurs twice", self.path.escape_debug())
            }
            Why::Write(error) => write!(f, "cannot write /{}: {error}", self.path.escape_debug()),
        }
    }
}

impl std::error::Error for ImportError {}

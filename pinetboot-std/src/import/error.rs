//! Errors of an import.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

use pinetboot_image::ImageError;

use crate::text::shown;

/// The error of an import, with the file's path.
#[derive(Debug)]
pub struct ImportError {
    /// The file in the image; empty if the error is not about one file.
    path: OsString,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Image(ImageError),
    Write(io::Error),
}

impl ImportError {
    pub(super) fn image(path: &[u8], error: impl Into<ImageError>) -> Self {
        Self { path: OsStr::from_bytes(path).to_owned(), why: Why::Image(error.into()) }
    }

    pub(super) fn write(path: &[u8], error: io::Error) -> Self {
        Self { path: OsStr::from_bytes(path).to_owned(), why: Why::Write(error) }
    }
}

impl From<ImageError> for ImportError {
    fn from(error: ImageError) -> Self {
        Self::image(b"", error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match &self.why {
            Why::Image(error) if self.path.is_empty() => error.fmt(f),
            Why::Image(error) => write!(f, "/{path}: {error}"),
            Why::Write(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                write!(f, "/{path}: the image is damaged: that name occurs twice")
            }
            Why::Write(error) => write!(f, "cannot write /{path}: {error}"),
        }
    }
}

impl std::error::Error for ImportError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_act_on_a_terminal() {
        let error =
            ImportError::image("etc/\u{9b}2J\x1b]0;owned\x07\u{202e}".as_bytes(), ImageError::Corrupt("x"));
        assert_eq!(
            error.to_string(),
            "/etc/\\u{9b}2J\\u{1b}]0;owned\\u{7}\\u{202e}: the image is damaged: x"
        );
        let error = ImportError::write(b"odd-\xff", io::ErrorKind::AlreadyExists.into());
        assert!(error.to_string().starts_with("/odd-\\xff: "), "{error}");
    }
}

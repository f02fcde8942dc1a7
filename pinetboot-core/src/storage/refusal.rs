//! A storage's reason for not opening a file: the error for the client, and more for the server's log.

use core::fmt;

use crate::tftp::ErrorCode;

/// A storage's reason for not opening a file. The client is told [`error`](Self::error) alone; the rest is for the log.
pub trait Refusal: fmt::Debug {
    /// The error that the client receives.
    fn error(&self) -> OpenError;

    /// The place where the storage looked for the file, in the storage's words.
    fn place(&self) -> Option<&str> {
        None
    }

    /// The error of the system beneath the storage.
    fn reason(&self) -> Option<&dyn fmt::Display> {
        None
    }
}

/// A refusal that knows no more than the client is told.
impl Refusal for OpenError {
    fn error(&self) -> OpenError {
        *self
    }
}

/// The reasons for not opening or creating a file that TFTP has an error for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// The file does not exist. A Pi often gets this answer: many of its files are optional.
    NotFound,
    /// This client may not open the file.
    Denied,
    /// The storage is full.
    NoSpace,
    /// The file exists and is not overwritten.
    Exists,
    /// The name of a file to be written is too long.
    NameTooLong,
    /// Reading or writing failed.
    Failed,
    /// Not known yet. The client receives nothing: the network [holds](crate::Net::hold) the request back, and the client
    /// repeats it.
    Later,
}

impl OpenError {
    /// The TFTP error of this meaning (RFC 1350, appendix).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::FILE_NOT_FOUND,
            Self::Denied => ErrorCode::ACCESS_VIOLATION,
            Self::NoSpace => ErrorCode::DISK_FULL,
            Self::Exists => ErrorCode::FILE_EXISTS,
            Self::NameTooLong | Self::Failed | Self::Later => ErrorCode::NOT_DEFINED,
        }
    }

    /// The text that the client receives.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "file not found",
            Self::Denied => "access denied",
            Self::NoSpace => "no space left",
            Self::Exists => "file exists already",
            Self::NameTooLong => "name too long",
            Self::Failed => "input/output error",
            Self::Later => "not known yet",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for OpenError {}

//! Why a storage does not open a file: what the client is told, and what the log of the server says.

use core::fmt;

use crate::tftp::ErrorCode;

/// A storage's reason for not opening a file. The client is told [`error`](Self::error) alone; the rest is for the log.
pub trait Refusal: fmt::Debug {
    /// What the client is told.
    fn error(&self) -> OpenError;

    /// Where the file was looked for, as the storage names places.
    fn place(&self) -> Option<&str> {
        None
    }

    /// What the system beneath the storage said.
    fn reason(&self) -> Option<&dyn fmt::Display> {
        None
    }
}

/// No more than what the client is told.
impl Refusal for OpenError {
    fn error(&self) -> OpenError {
        *self
    }
}

/// Why a file cannot be opened or made: the TFTP errors that a server can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file. For a Pi this is an ordinary answer: many files are optional.
    NotFound,
    /// It is there, or would be, but not for this client.
    Denied,
    /// No room for it.
    NoSpace,
    /// It is there already and is not overwritten.
    Exists,
    /// Reading or writing failed.
    Failed,
}

impl OpenError {
    /// The TFTP error that tells the client so (RFC 1350, appendix).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::FILE_NOT_FOUND,
            Self::Denied => ErrorCode::ACCESS_VIOLATION,
            Self::NoSpace => ErrorCode::DISK_FULL,
            Self::Exists => ErrorCode::FILE_EXISTS,
            Self::Failed => ErrorCode::NOT_DEFINED,
        }
    }

    /// What the client is told.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "file not found",
            Self::Denied => "access denied",
            Self::NoSpace => "no space left",
            Self::Exists => "file exists already",
            Self::Failed => "input/output error",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for OpenError {}

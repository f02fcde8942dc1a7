//! A file that is not served, and why.

use std::fmt;
use std::io;
use std::path::Path;

use pinetboot_core::{OpenError, Refusal};

/// A file that cannot be served.
#[derive(Debug)]
pub struct Miss {
    /// What the client is told.
    pub error: OpenError,
    /// Where the file was looked for, if anywhere.
    pub place: Option<String>,
    /// What the system said, if it was asked.
    pub reason: Option<io::Error>,
}

impl Miss {
    pub(super) fn new(error: OpenError, place: &Path, reason: io::Error) -> Self {
        Self { error, place: Some(place.display().to_string()), reason: Some(reason) }
    }

    /// A file that is made for one Pi, and not given to this client.
    pub(super) fn withheld(why: impl fmt::Display) -> Self {
        Self { error: OpenError::Denied, place: None, reason: Some(io::Error::other(why.to_string())) }
    }
}

impl Refusal for Miss {
    fn error(&self) -> OpenError {
        self.error
    }

    fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    fn reason(&self) -> Option<&dyn fmt::Display> {
        self.reason.as_ref().map(|reason| reason as _)
    }
}

impl From<OpenError> for Miss {
    fn from(error: OpenError) -> Self {
        Self { error, place: None, reason: None }
    }
}

//! A refused file, and the reason.

use std::fmt;
use std::io;
use std::path::Path;

use pinetboot_core::{OpenError, Refusal};

use super::later::TimedOut;
use crate::text::shown;

/// A refused file.
#[derive(Debug)]
pub struct Miss {
    /// The error that the client receives.
    pub error: OpenError,
    /// The path of the look-up, if one happened.
    pub place: Option<String>,
    /// The system's reason, if a system call failed.
    pub reason: Option<io::Error>,
}

impl Miss {
    pub(super) fn new(error: OpenError, place: &Path, reason: io::Error) -> Self {
        Self { error, place: Some(shown(place).to_string()), reason: Some(reason) }
    }

    /// A disk's answer: what is not known now stays unknown.
    pub(super) fn known(self) -> Self {
        match self.error {
            OpenError::Later => Self { error: OpenError::Failed, ..self },
            _ => self,
        }
    }

    /// The disk did not answer.
    pub(super) fn timed_out(why: TimedOut) -> Self {
        Self { error: OpenError::Failed, place: None, reason: Some(io::Error::other(why)) }
    }

    /// A file rendered for one Pi, and refused to this client.
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

//! Why the machine cannot go on.

use core::fmt;

/// What failed, and the remedy.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    remedy: &'static str,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what, self.remedy)
    }
}

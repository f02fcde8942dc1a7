//! Errors in a configuration file.

use core::fmt;

use pinetboot_core::dhcp::NetworkError;

/// An error, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// The line, counted from 1.
    pub line: u16,
    /// The cause.
    pub why: Why<'a>,
}

/// The cause of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why<'a> {
    /// No setting or section has this name at this place.
    Unknown(&'a str),
    /// A setting or section occurs twice.
    Twice(&'a str),
    /// The addresses contradict each other.
    Network(NetworkError),
    /// Any other cause, in a sentence with the remedy.
    Is(&'static str),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown setting '{name}'"),
            Self::Twice(name) => write!(f, "'{name}' is set twice"),
            Self::Network(error) => write!(f, "{error}"),
            Self::Is(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Error<'_> {}

#[cfg(feature = "defmt")]
impl defmt::Format for Error<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self.why {
            Why::Unknown(name) => defmt::write!(f, "line {}: unknown setting '{}'", self.line, name),
            Why::Twice(name) => defmt::write!(f, "line {}: '{}' is set twice", self.line, name),
            Why::Network(error) => defmt::write!(f, "line {}: {}", self.line, error),
            Why::Is(what) => defmt::write!(f, "line {}: {}", self.line, what),
        }
    }
}

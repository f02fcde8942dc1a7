//! What can be wrong with the file.

use core::fmt;

use pinetboot_core::dhcp::NetworkError;

/// Something wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// The line, counted from 1.
    pub line: u16,
    /// What.
    pub why: Why<'a>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why<'a> {
    /// A setting or section of this name is not known, or not at this place.
    Unknown(&'a str),
    /// This was set before, or there was such a section.
    Twice(&'a str),
    /// The addresses do not go together.
    Network(NetworkError),
    /// This.
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
            Self::Unknown(name) => write!(f, "there is no setting '{name}' here"),
            Self::Twice(name) => write!(f, "'{name}' is there twice"),
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
            Why::Unknown(name) => defmt::write!(f, "line {}: there is no setting '{}' here", self.line, name),
            Why::Twice(name) => defmt::write!(f, "line {}: '{}' is there twice", self.line, name),
            Why::Network(error) => defmt::write!(f, "line {}: {}", self.line, error),
            Why::Is(what) => defmt::write!(f, "line {}: {}", self.line, what),
        }
    }
}

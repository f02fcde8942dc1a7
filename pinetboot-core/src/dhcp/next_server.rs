//! The boot server that clients are told: its address, and the boot file's name for the clients that need one.

use core::fmt;
use core::net::Ipv4Addr;

use super::emit::Emitter;
use super::message::{FILE_LEN, Message};
use super::option::OptionCode;
use super::pxe;
use super::reply::echo;

/// The TFTP server that a reply names (`siaddr`, which routers call "next server"), and the boot file.
///
/// ```
/// use core::net::Ipv4Addr;
/// use pinetboot_core::dhcp::{BootFileName, NextServer};
///
/// let next_server = NextServer::new(Ipv4Addr::new(10, 77, 0, 1));
/// let for_pxe_clients = next_server.with_file(BootFileName::parse(b"boot.efi").unwrap());
/// # let _ = for_pxe_clients;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NextServer<'a> {
    address: Ipv4Addr,
    file: Option<BootFileName<'a>>,
    options: &'a [(OptionCode, &'a [u8])],
}

impl<'a> NextServer<'a> {
    /// The TFTP server at this address. A Pi names its files itself.
    pub const fn new(address: Ipv4Addr) -> Self {
        Self { address, file: None, options: &[] }
    }

    /// Names a boot file too. Clients that are no Pi need it; a Pi is not told.
    #[must_use]
    pub const fn with_file(self, file: BootFileName<'a>) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Adds options to each reply.
    #[must_use]
    pub const fn with_options(self, options: &'a [(OptionCode, &'a [u8])]) -> Self {
        Self { options, ..self }
    }

    /// The TFTP server's address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The boot file's name.
    pub const fn file(&self) -> Option<BootFileName<'a>> {
        self.file
    }

    /// Adds what makes the client boot from this server, if the client is one that boots.
    ///
    /// A Pi is told in all ways at once in which a Pi was ever seen to take a boot server. The header names the server in
    /// `siaddr` already; option 66 has no NUL, option 43 has the three spaces, and option 97 is the request's.
    pub(super) fn emit(&self, request: &Message<'_>, reply: &mut Emitter<'_>) -> Option<()> {
        for (code, value) in self.options {
            reply.option(*code, value)?;
        }
        if request.pi().is_some() {
            reply.option(OptionCode::VENDOR_CLASS, pxe::CLIENT)?;
            reply.option(OptionCode::VENDOR, &pxe::RASPBERRY_PI)?;
            let mut text = [0; "255.255.255.255".len()];
            reply.option(OptionCode::TFTP_SERVER_NAME, dotted(self.address, &mut text))?;
            return echo(request, OptionCode::MACHINE_ID, reply);
        }
        if let Some(file) = self.file {
            reply.boot_file(file.as_bytes())?;
            if request.is_pxe() {
                reply.option(OptionCode::VENDOR_CLASS, pxe::CLIENT)?;
                reply.option(OptionCode::VENDOR, &pxe::BOOT_FILE_ONLY)?;
                echo(request, OptionCode::MACHINE_ID, reply)?;
            }
        }
        Some(())
    }
}

/// The name of a boot file, proven to fit the field `file` (RFC 2131, section 2): 1 to 127 bytes, none of them NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootFileName<'a>(&'a [u8]);

impl<'a> BootFileName<'a> {
    /// The longest name, in bytes: the field `file` less the NUL that ends it.
    pub const MAX_LEN: usize = FILE_LEN - 1;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than [`MAX_LEN`](Self::MAX_LEN) bytes, or has a NUL in it.
    pub fn parse(name: &'a [u8]) -> Result<Self, BootFileNameError> {
        if name.is_empty() {
            Err(BootFileNameError::Empty)
        } else if name.len() > Self::MAX_LEN {
            Err(BootFileNameError::TooLong)
        } else if name.contains(&0) {
            Err(BootFileNameError::Nul)
        } else {
            Ok(Self(name))
        }
    }

    /// The name's bytes.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for BootFileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for BootFileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for BootFileName<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=[u8]:a}", self.0);
    }
}

/// Why a name is no boot file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BootFileNameError {
    /// The name is empty.
    Empty,
    /// The name is longer than [`BootFileName::MAX_LEN`] bytes.
    TooLong,
    /// The name has a NUL in it.
    Nul,
}

impl fmt::Display for BootFileNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the boot file's name is empty",
            Self::TooLong => "the boot file's name is longer than 127 bytes",
            Self::Nul => "the boot file's name holds a NUL",
        })
    }
}

impl core::error::Error for BootFileNameError {}

fn dotted(address: Ipv4Addr, text: &mut [u8; 15]) -> &[u8] {
    let mut len = 0;
    for (index, octet) in address.octets().into_iter().enumerate() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let first = digits.iter().position(|digit| *digit != 0).unwrap_or(2);
        let dot = (index > 0).then_some(b'.');
        for byte in dot.into_iter().chain(digits.into_iter().skip(first).map(|digit| b'0' + digit)) {
            if let Some(place) = text.get_mut(len) {
                *place = byte;
                len += 1;
            }
        }
    }
    text.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    #[test]
    fn addresses_are_written_as_a_pi_reads_them() {
        for address in [[0, 0, 0, 0], [255; 4], [10, 77, 0, 1], [192, 168, 100, 200], [1, 20, 3, 109]] {
            let address = Ipv4Addr::from(address);
            let mut text = [0; 15];
            assert_eq!(String::from_utf8_lossy(dotted(address, &mut text)), address.to_string());
        }
    }

    #[test]
    fn a_boot_files_name_fits_its_field() {
        assert_eq!(BootFileName::parse(b""), Err(BootFileNameError::Empty));
        assert_eq!(BootFileName::parse(&[b'x'; 128]), Err(BootFileNameError::TooLong));
        assert_eq!(BootFileName::parse(b"boot\0"), Err(BootFileNameError::Nul));
        assert_eq!(BootFileName::parse(&[b'x'; 127]).map(|name| name.as_bytes().len()), Ok(127));
        assert_eq!(BootFileName::parse(b"boot.efi").unwrap().to_string(), "boot.efi");
    }
}

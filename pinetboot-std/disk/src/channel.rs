//! The bytes to and from a client: a TCP connection, with or without TLS.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::sendfile;
use rustix::io::Errno;

use crate::output::Stream;
#[cfg(feature = "tls")]
use crate::tls::Encrypted;

/// The bytes to and from a client. A clone is for another thread: one reads, and one at a time writes.
#[derive(Debug)]
pub(crate) enum Channel {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Encrypted(Encrypted),
}

impl Channel {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => stream.try_clone().map(Self::Plain),
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => Ok(Self::Encrypted(encrypted.clone())),
        }
    }

    pub(crate) fn set_read_timeout(&self, within: Option<Duration>) -> io::Result<()> {
        self.stream().set_read_timeout(within)
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream().shutdown(how)
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => encrypted.stream(),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}

impl Read for Channel {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => encrypted.read(buf),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => encrypted.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write_vectored(bufs),
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => {
                encrypted.write(bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Channel {
    fn send_file(&mut self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => {
                let mut at = offset;
                loop {
                    match sendfile(&*stream, file, Some(&mut at), len) {
                        Err(Errno::INTR) => {}
                        sent => return Ok(sent?),
                    }
                }
            }
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; len.min(PIECE)];
                let read = file.read_at(&mut bytes, offset)?;
                encrypted.write_all(bytes.get(..read).unwrap_or_default())?;
                Ok(read)
            }
        }
    }
}

/// Bytes of a file in memory, on their way to be encrypted.
#[cfg(feature = "tls")]
const PIECE: usize = 64 << 10;

//! TLS for the connections of clients that ask for it (`NBD_OPT_STARTTLS`): by certificates (X.509), with rustls.
//!
//! A client's certificate says that the client may connect; which disk the client has is [`Exports`](crate::Exports)' to say, as without TLS.
//! Not done: pre-shared keys, which rustls lacks.

use core::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

/// The certificate of a server, and what clients must have.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    is_required: bool,
}

/// The reason why certificates cannot be used.
#[derive(Debug)]
pub struct TlsError(String);

impl Tls {
    /// TLS with a certificate (with those of its issuers behind it) and its key, in PEM.
    ///
    /// # Errors
    ///
    /// The fault.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::with(certificate, key, None)
    }

    /// The same, for clients with a certificate that one of `issuers` has signed, in PEM.
    ///
    /// # Errors
    ///
    /// The fault.
    pub fn for_clients_of(certificate: &[u8], key: &[u8], issuers: &[u8]) -> Result<Self, TlsError> {
        Self::with(certificate, key, Some(issuers))
    }

    /// Refuses clients without TLS.
    #[must_use]
    pub fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    pub(crate) const fn is_required(&self) -> bool {
        self.is_required
    }

    fn with(certificate: &[u8], key: &[u8], issuers: Option<&[u8]>) -> Result<Self, TlsError> {
        let wrong = |what: &str, why: &dyn fmt::Display| TlsError(format!("{what}: {why}"));
        let certificates = |what, pem| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let read = read.map_err(|error| wrong(what, &error))?;
            if read.is_empty() { Err(wrong(what, &"no certificate in PEM")) } else { Ok(read) }
        };
        let chain = certificates("the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("the key", &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("TLS", &error))?;
        let builder = match issuers {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for issuer in certificates("the issuers of clients' certificates", pem)? {
                    roots.add(issuer).map_err(|error| wrong("an issuer of clients' certificates", &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| wrong("the issuers of clients' certificates", &error))?,
                )
            }
        };
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|error| wrong("the certificate and its key", &error))?;
        Ok(Self { config: Arc::new(config), is_required: false })
    }

    /// Shakes hands.
    pub(crate) fn accept(&self, mut stream: TcpStream) -> io::Result<Encrypted> {
        let mut state = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        while state.is_handshaking() {
            state.complete_io(&mut stream)?;
        }
        let connection = Connection { stream, state: Mutex::new(state), wire: Mutex::default() };
        Ok(Encrypted { connection: Arc::new(connection), arrived: Vec::new(), taken: 0 })
    }
}

/// A TCP connection with TLS. The bytes that arrive are waited for without a lock: a client that reads nothing can still write.
#[derive(Debug)]
pub(crate) struct Encrypted {
    connection: Arc<Connection>,
    /// Bytes that arrived, for the one clone that reads; rustls takes some of them at a time.
    arrived: Vec<u8>,
    taken: usize,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    state: Mutex<ServerConnection>,
    /// Held by the thread that sends, so that records are on the wire in the order in which they were encrypted.
    wire: Mutex<Vec<u8>>,
}

impl Encrypted {
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.connection.stream
    }

    fn state(&self) -> MutexGuard<'_, ServerConnection> {
        self.connection.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts `bytes`, and sends them with whatever else TLS has to send.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut wire = self.connection.wire.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut state = self.state();
            state.writer().write_all(bytes)?;
            while state.wants_write() {
                state.write_tls(&mut *wire)?;
            }
        }
        let sent = (&self.connection.stream).write_all(&wire);
        wire.clear();
        sent
    }
}

impl Clone for Encrypted {
    fn clone(&self) -> Self {
        Self { connection: self.connection.clone(), arrived: Vec::new(), taken: 0 }
    }
}

impl Read for Encrypted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state().reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A connection that is cut off has no orderly end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            if self.taken == self.arrived.len() {
                self.arrived.resize(RECORD, 0);
                self.taken = RECORD;
                let received = (&self.connection.stream).read(&mut self.arrived);
                self.arrived.truncate(*received.as_ref().unwrap_or(&0));
                self.taken = 0;
                received?;
            }
            let mut rest = self.arrived.get(self.taken..).unwrap_or_default();
            let before = rest.len();
            let must_send = {
                let mut state = self.state();
                state.read_tls(&mut rest)?;
                state.process_new_packets().map_err(io::Error::other)?;
                state.wants_write()
            };
            self.taken += before - rest.len();
            if must_send {
                self.send(&[])?;
            }
        }
    }
}

impl Write for Encrypted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let piece = buf.get(..buf.len().min(PIECE)).unwrap_or_default();
        self.send(piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_required", &self.is_required).finish_non_exhaustive()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for TlsError {}

/// Bytes received at once.
const RECORD: usize = 16 << 10;
/// Bytes encrypted at once: some records, within the limit of what rustls keeps (64 KiB).
const PIECE: usize = 48 << 10;

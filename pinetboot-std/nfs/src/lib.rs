//! An NFSv3 server, for the root file systems of machines that boot from the network.
//!
//! RFC 1813 (NFS version 3, MOUNT), RFC 5531 (RPC), RFC 4506 (XDR), RFC 1833 (portmapper), over TCP and UDP. One way from the
//! wire to the file and back:
//!
//! ```text
//! record / datagram -> rpc -> portmap | mount | nfs3 -> Exports -> FileSystem
//! ```
//!
//! [`start`] runs one for some [`Exports`]; [`OneExport`] of a [`DirectoryTree`] is the simplest. Another kind of file system
//! stands behind [`FileSystem`] without the procedures knowing. What happens is told to an [`Observer`], and nowhere else.
//! The feature `testing` has a file system in memory, and the server without a network.
//!
//! Deliberately not here: file locking (NLM; mount with `nolock`, as kernels do for their root), NFSv4, RPCSEC_GSS, and the
//! NFSACL side protocol; clients are told that these programs are not available. AUTH_SYS believes what a client says:
//! root on any machine of the network may say any user. A source port below 1024, which is asked for, keeps out the other users
//! of a client, and no more. What a client gets is for [`Exports`] to bound.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arguments;
mod connection;
mod datagrams;
mod export;
mod file_system;
mod handle;
#[cfg(feature = "testing")]
mod memory;
mod message;
mod mount;
mod nfs3;
mod observe;
#[cfg(feature = "testing")]
mod offline;
mod portmap;
mod record;
mod register;
mod replays;
mod reply;
mod rpc;
mod server;
mod service;
mod tree;
mod write_verifier;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;

pub use self::export::{Absent, Export, Exports, MountError, MountErrorKind, OneExport, Permission};
pub use self::file_system::{
    Attributes, Caller, CreateHow, Device, DirectoryEntry, FileId, FileKind, FileSystem, Found, FsError,
    Listed, Node, Place, Result, Rights, SetAttributes, SetTime, Stable, Time, Usage,
};
pub use self::handle::{Handles, load_key};
#[cfg(feature = "testing")]
pub use self::memory::MemoryTree;
pub use self::observe::{
    CallRefusal, CallRefused, Closing, Connected, Disconnected, Event, FirstRead, HandleRefusal,
    HandleRefused, MountRefused, MountStatus, Mounted, Observer, Trouble, Unmounted,
};
#[cfg(feature = "testing")]
pub use self::offline::Offline;
pub use self::tree::{DirectoryTree, OpenError};

use self::message::Programs;
use self::portmap::Mappings;
use self::register::Registered;
use self::server::Server;
use self::service::Service;

/// Where to answer, whom, and whom to tell.
#[derive(Clone)]
pub struct NfsConfig {
    /// The address to listen on; unspecified for all.
    pub listen: Ipv4Addr,
    /// The port of NFS and MOUNT, 0 for any. 2049 is NFS's own.
    pub port: u16,
    /// How clients find that port.
    pub portmap: Portmap,
    /// With which key handles are sealed.
    pub handles: Handles,
    /// Answers MNT and NFS from any source port (`insecure` of exports(5)). Otherwise only from ports below 1024, which take
    /// root on the client: kernels and klibc's nfsmount use those.
    pub insecure: bool,
    /// Answers NFS by UDP, too. Otherwise only MOUNT and the portmapper are there by UDP, whose answers are small: the source
    /// of a datagram may be forged, and the answer to READ or READDIRPLUS be a hundred times as long as the call.
    pub udp: bool,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
}

/// How clients find out on which port NFS and MOUNT are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portmap {
    /// Be the portmapper, on port 111; if there is one already, register with it. Debian's initramfs needs this.
    System,
    /// Be a portmapper on this port, 0 for any.
    Port(u16),
    /// They do not; they are told by mount options.
    Off,
}

/// A server as it runs; ends when dropped.
#[derive(Debug)]
pub struct Running {
    server: Server,
    port: u16,
    portmap: Option<u16>,
    _registered: Option<Registered>,
}

/// Why a server cannot be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be had.
    Bind {
        /// Which one.
        address: SocketAddrV4,
        /// Why.
        error: io::Error,
    },
    /// The system's portmapper does not help.
    Register(io::Error),
    /// The system lacks something else.
    System(io::Error),
}

/// Begins to serve.
///
/// # Errors
///
/// What keeps it from serving.
pub fn start(config: NfsConfig, exports: Arc<dyn Exports>) -> core::result::Result<Running, StartError> {
    let (listener, socket, port) = bind(config.listen, config.port)?;
    let mut listeners = vec![(listener, Programs::Files)];
    let mut sockets = vec![(socket, Programs::Files)];
    let mut mappings = Mappings::of_programs(port, config.udp);
    let (mut registered, mut portmap) = (None, None);
    let wanted = match config.portmap {
        Portmap::System => Some(PORTMAP_PORT),
        Portmap::Port(port) => Some(port),
        Portmap::Off => None,
    };
    if let Some(wanted) = wanted {
        match bind(config.listen, wanted) {
            Ok((listener, socket, port)) => {
                listeners.push((listener, Programs::Portmap));
                sockets.push((socket, Programs::Portmap));
                mappings = mappings.with_portmap(port);
                portmap = Some(port);
            }
            Err(StartError::Bind { error, .. })
                if error.kind() == io::ErrorKind::AddrInUse && config.portmap == Portmap::System =>
            {
                registered = Some(register(&config, &mappings)?);
            }
            Err(error) => return Err(error),
        }
    }
    let service = Service::new(config, exports, mappings);
    let service = service.map_err(|error| StartError::System(error.into()))?;
    let server = Server::start(service, listeners, sockets).map_err(StartError::System)?;
    Ok(Running { server, port, portmap, _registered: registered })
}

impl NfsConfig {
    /// All addresses, port 2049, the system's portmapper, reserved source ports only, NFS by TCP only, and nothing told.
    #[must_use]
    pub fn new(handles: Handles) -> Self {
        Self {
            listen: Ipv4Addr::UNSPECIFIED,
            port: NFS_PORT,
            portmap: Portmap::System,
            handles,
            insecure: false,
            udp: false,
            observer: Arc::new(()),
        }
    }
}

impl Running {
    /// The port of NFS and MOUNT.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the portmapper, if this is one.
    #[must_use]
    pub fn portmap_port(&self) -> Option<u16> {
        self.portmap
    }

    /// Open TCP connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.connections()
    }
}

fn register(config: &NfsConfig, mappings: &Mappings) -> core::result::Result<Registered, StartError> {
    Registered::new(mappings.clone(), config.observer.clone()).map_err(StartError::Register)
}

/// TCP and UDP on the same port.
fn bind(address: Ipv4Addr, port: u16) -> core::result::Result<(TcpListener, UdpSocket, u16), StartError> {
    let mut tries = 0;
    loop {
        let wanted = SocketAddrV4::new(address, port);
        let failed = |error| StartError::Bind { address: wanted, error };
        let listener = TcpListener::bind(wanted).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?.port();
        match UdpSocket::bind((address, bound)) {
            Ok(socket) => return Ok((listener, socket, bound)),
            // The system's choice for TCP is someone's for UDP.
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < 100 => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

impl fmt::Debug for NfsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, port, portmap, handles, insecure, udp, observer: _ } = self;
        f.debug_struct("NfsConfig")
            .field("listen", listen)
            .field("port", port)
            .field("portmap", portmap)
            .field("handles", handles)
            .field("insecure", insecure)
            .field("udp", udp)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => write!(f, "cannot serve NFS on {address}: {error}"),
            Self::Register(error) => write!(f, "cannot register with the system's portmapper: {error}"),
            Self::System(error) => write!(f, "cannot serve NFS: {error}"),
        }
    }
}

impl core::error::Error for StartError {}

const NFS_PORT: u16 = 2049;
const PORTMAP_PORT: u16 = 111;

// So that its example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

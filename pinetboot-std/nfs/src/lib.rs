//! An NFSv3 server, for the root file systems of machines that boot from the network.
//!
//! RFC 1813 (NFS version 3, MOUNT), RFC 5531 (RPC), RFC 4506 (XDR), RFC 1833 (portmapper), over TCP and UDP. The way
//! from the wire to the file and back:
//!
//! ```text
//! record / datagram -> rpc -> portmap | mount | nfs3 -> Exports -> FileSystem
//! ```
//!
//! [`start`] runs a server for some [`Exports`]; the simplest are [`OneExport`] of a [`DirectoryTree`]. Other kinds of file systems
//! implement [`FileSystem`]. The server reports to an [`Observer`] only. The feature `testing` has a file system in memory, and
//! the server without a network.
//!
//! Not done, deliberately: file locking (NLM; mount with `nolock`, as kernels do for their root), NFSv4, RPCSEC_GSS, and the NFSACL
//! side protocol; such calls are refused. AUTH_SYS trusts the client: root on any
//! machine of the network can name any user. The required source port below 1024 keeps out only the other users of a client.
//! [`Exports`] bounds the files of each client.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arguments;
mod clients;
mod connection;
mod counts;
mod datagrams;
mod disks;
mod export;
mod file_system;
mod handle;
mod listening;
#[cfg(feature = "testing")]
mod memory;
mod message;
mod mount;
mod nfs3;
mod observe;
#[cfg(feature = "testing")]
mod offline;
mod portmap;
pub mod project;
mod record;
mod register;
mod replays;
mod reply;
mod rpc;
mod server;
mod service;
mod tcp_info;
mod tree;
mod write_verifier;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::counts::CallCounts;
pub use self::export::{Absent, Export, Exports, MountError, MountErrorKind, OneExport, Permission};
pub use self::file_system::{
    Attributes, Caller, CreateHow, Device, DirectoryEntry, FileId, FileKind, FileSystem, Found, FsError,
    Listed, Node, Place, Result, Rights, SetAttributes, SetTime, Stable, Time, Usage,
};
pub use self::handle::{Handles, load_key};
#[cfg(feature = "testing")]
pub use self::memory::MemoryTree;
pub use self::observe::{
    CallRefusal, CallRefused, Closing, Connected, Disconnected, Event, FirstRead, FirstWrite, HandleRefusal,
    HandleRefused, LookedUp, MountRefused, MountStatus, Mounted, Observer, Trouble, Unacknowledged,
    Unmounted,
};
#[cfg(feature = "testing")]
pub use self::offline::Offline;
pub use self::server::Turns;
pub use self::tree::{DirectoryTree, FileNumbers, OpenError};

use self::listening::{Bound, Listening};
use self::message::Programs;
use self::portmap::Mappings;
use self::register::{Registered, Registration};
use self::server::Server;
use self::service::Service;

/// Configuration of a server.
#[derive(Clone)]
pub struct NfsConfig {
    /// The addresses to listen on; unspecified for all.
    pub listen: Vec<Ipv4Addr>,
    /// The network interfaces to listen on (`SO_BINDTODEVICE`); empty for all.
    pub interfaces: Vec<String>,
    /// The port of NFS and MOUNT, 0 for any; 2049 is the registered one.
    pub port: u16,
    /// The way in which clients find that port.
    pub portmap: Portmap,
    /// The key that seals handles.
    pub handles: Handles,
    /// Accepts MNT and NFS calls from any source port (`insecure` of exports(5)). Otherwise only from ports below 1024, which
    /// require root on the client: kernels and klibc's nfsmount use those.
    pub insecure: bool,
    /// Serves NFS by UDP too. Otherwise UDP has only MOUNT and the portmapper, with short answers: the source of a datagram may be
    /// forged, and the answer to READ or READDIRPLUS be a hundred times as long as the call.
    pub udp: bool,
    /// Most connections, and at most a quarter of the process's descriptors: beyond this limit a connection is closed for each new one. A
    /// Pi with its root has one or two.
    pub most_connections: usize,
    /// Receives the server's events.
    pub observer: Arc<dyn Observer>,
    /// Counts the calls; the caller keeps a clone to read them.
    pub counts: Arc<CallCounts>,
    /// Runs when a thread of the server has ended although the server was not stopped, on that thread, with its name: the server may
    /// no longer answer, and its process should end. Calls that panic do not end their thread.
    pub on_thread_end: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The way in which clients find the port of NFS and MOUNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portmap {
    /// Serve the portmapper on port 111, or register with the system's if that holds the port. Debian's initramfs needs this.
    System,
    /// Serve a portmapper on this port, 0 for any.
    Port(u16),
    /// No portmapper: mount options name the port.
    Off,
}

/// A running server; dropping it [stops](Self::stop) the server within two seconds.
#[derive(Debug)]
pub struct Running {
    server: Server,
    port: u16,
    portmap: Option<u16>,
    bound: Bound,
    _registered: Option<Registered>,
}

/// The reason why a server cannot start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be bound.
    Bind {
        /// The address.
        address: SocketAddrV4,
        /// The system's reason.
        error: io::Error,
    },
    /// The registration with the system's portmapper failed.
    Register(io::Error),
    /// Another system call failed.
    System(io::Error),
}

/// A server with its ports, which takes no call and has no thread yet: the process may give up the right to open ports.
pub struct Opened {
    config: NfsConfig,
    listening: Listening,
    mappings: Mappings,
    port: u16,
    portmap: Option<u16>,
    registration: Option<Registration>,
}

/// Starts a server.
///
/// # Errors
///
/// The reason why the server cannot start.
pub fn start(config: NfsConfig, exports: Arc<dyn Exports>) -> core::result::Result<Running, StartError> {
    Opened::new(config)?.start(exports)
}

impl Opened {
    /// Binds the ports, and makes NFS known to the portmapper.
    ///
    /// # Errors
    ///
    /// The reason why the server cannot start.
    pub fn new(config: NfsConfig) -> core::result::Result<Self, StartError> {
        Self::with_sockets(config, Vec::new())
    }

    /// The same, with sockets that another process has bound, such as the service manager: TCP sockets listen. A socket that has no
    /// address of the configuration is closed.
    ///
    /// # Errors
    ///
    /// The reason why the server cannot start.
    pub fn with_sockets(config: NfsConfig, sockets: Vec<OwnedFd>) -> core::result::Result<Self, StartError> {
        let mut listening = Listening::with(sockets);
        let port = listening.open(&config, config.port, Programs::Files)?;
        let mut mappings = Mappings::of_programs(port, config.udp);
        let (mut registration, mut portmap) = (None, None);
        let wanted = match config.portmap {
            Portmap::System => Some(PORTMAP_PORT),
            Portmap::Port(port) => Some(port),
            Portmap::Off => None,
        };
        if let Some(wanted) = wanted {
            match listening.open(&config, wanted, Programs::Portmap) {
                Ok(port) => {
                    mappings = mappings.with_portmap(port);
                    portmap = Some(port);
                }
                Err(StartError::Bind { error, .. })
                    if error.kind() == io::ErrorKind::AddrInUse && config.portmap == Portmap::System =>
                {
                    let made = Registration::new(mappings.clone(), config.observer.clone());
                    registration = Some(made.map_err(StartError::Register)?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { config, listening, mappings, port, portmap, registration })
    }

    /// The port of NFS and MOUNT.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of this server's portmapper; `None` without one.
    #[must_use]
    pub fn portmap_port(&self) -> Option<u16> {
        self.portmap
    }

    /// Starts the server's threads: it takes calls.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn start(self, exports: Arc<dyn Exports>) -> core::result::Result<Running, StartError> {
        let Self { config, listening, mappings, port, portmap, registration } = self;
        let on_thread_end = config.on_thread_end.clone();
        let registered = registration.map(|made| made.keep_up(on_thread_end.clone())).transpose();
        let registered = registered.map_err(StartError::System)?;
        let most_connections = config.most_connections;
        let service = Service::new(config, exports, mappings);
        let service = service.map_err(|error| StartError::System(error.into()))?;
        let Listening { listeners, sockets, bound, .. } = listening;
        let server = Server::start(service, listeners, sockets, most_connections, on_thread_end)
            .map_err(StartError::System)?;
        Ok(Running { server, port, portmap, bound, _registered: registered })
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("config", &self.config)
            .field("port", &self.port)
            .field("portmap", &self.portmap)
            .finish_non_exhaustive()
    }
}

impl NfsConfig {
    /// All addresses, port 2049, the system's portmapper, reserved source ports only, NFS by TCP only, 1024 connections, and no
    /// observer.
    #[must_use]
    pub fn new(handles: Handles) -> Self {
        Self {
            listen: vec![Ipv4Addr::UNSPECIFIED],
            interfaces: Vec::new(),
            port: NFS_PORT,
            portmap: Portmap::System,
            handles,
            insecure: false,
            udp: false,
            most_connections: MOST_CONNECTIONS,
            observer: Arc::new(()),
            counts: Arc::default(),
            on_thread_end: Arc::new(|_| ()),
        }
    }
}

impl Running {
    /// The port of NFS and MOUNT.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of this server's portmapper; `None` without one.
    #[must_use]
    pub fn portmap_port(&self) -> Option<u16> {
        self.portmap
    }

    /// Binds the sockets to this interface again, which was removed and made again. New connections only: those over the interface
    /// that was removed are dead.
    ///
    /// # Errors
    ///
    /// The system's; it takes CAP_NET_RAW.
    pub fn bind_again(&self, interface: &str) -> io::Result<()> {
        self.bound.again(interface)
    }

    /// The number of open TCP connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// A question whether the server still takes calls, for a watchdog.
    #[must_use]
    pub fn turns(&self) -> Turns {
        self.server.turns()
    }

    /// Whether a thread has ended although the server was not stopped; [`NfsConfig::on_thread_end`] reports that at once.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.server.has_failed()
    }

    /// Stops the server: closes its ports and connections, and waits for its threads, but no longer than `within`. A thread that
    /// waits for a disk is left behind, and ends when the disk answers. Returns whether all threads have ended.
    #[expect(clippy::must_use_candidate, reason = "a caller that only stops the server needs no result")]
    pub fn stop(self, within: Duration) -> bool {
        self.server.stop(Instant::now() + within)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stop(Instant::now() + STOP_WITHIN);
    }
}

impl fmt::Debug for NfsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, interfaces, port, portmap, handles, insecure, udp, most_connections, .. } = self;
        f.debug_struct("NfsConfig")
            .field("listen", listen)
            .field("interfaces", interfaces)
            .field("port", port)
            .field("portmap", portmap)
            .field("handles", handles)
            .field("insecure", insecure)
            .field("udp", udp)
            .field("most_connections", most_connections)
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

const STOP_WITHIN: Duration = Duration::from_secs(2);
const MOST_CONNECTIONS: usize = 1024;
const NFS_PORT: u16 = 2049;
const PORTMAP_PORT: u16 = 111;

// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! NFS beside TFTP: exports the roots on TFTP's addresses and interfaces.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pinetboot_nfs::{Handles, NfsConfig, Portmap, Running, StartError};

use super::bind;
use super::following::{Change, Follow};
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, NfsMode};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::net::{BindError, holder_of};
use crate::observe::NfsObserver;
use crate::roots::{RootExports, Roots};
use crate::supervisor::Supervisor;

/// The running NFS service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct NfsService {
    server: Option<Arc<Running>>,
    /// Listening addresses, for the `ready` line.
    addresses: Vec<String>,
    bus: Bus,
}

impl NfsService {
    /// Follows the interfaces that the sockets are bound to.
    pub(super) fn follow(&self, supervisor: &Supervisor) -> Follow {
        let server = self.server.as_ref().map(Arc::downgrade).unwrap_or_default();
        let supervisor = supervisor.clone();
        Box::new(move |change| {
            if let (Change::Back(interface), Some(server)) = (change, server.upgrade())
                && let Err(error) = server.bind_again(interface)
            {
                let why = format!("NFS cannot bind to the interface {interface} again: {error}");
                supervisor.give_up(Failed::new(Exit::Bind, why));
            }
        })
    }
}

/// Starts NFS; `None` without roots.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn start(
    config: &Config,
    roots: Option<Arc<Roots>>,
    bus: &Bus,
) -> Result<Option<NfsService>, Failed> {
    let Some(roots) = roots else { return Ok(None) };
    let state = roots.state().dir().to_owned();
    let handles = Handles::load(&state).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("cannot store the file-handle key in {}: {error}", state.display()),
        )
    })?;
    let mode = roots.mode();
    let exports = RootExports::new(roots, bus.clone(), config.root.nfs_sync).map_err(|why| {
        Failed::new(Exit::Tree, format!("{why}. Serve boot files only with --nfs-mode off"))
    })?;
    let observer = Arc::new(NfsObserver::new(bus.clone(), exports.clone()));
    let exports = Arc::new(exports);
    let ends = bus.clone();
    let on_thread_end: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |thread| {
        ends.emit(None, events::Server::ThreadEnded { thread: thread.to_owned(), why: "ended".into() });
    });
    let mut listen: Vec<_> = config.listen.iter().map(|address| *address.ip()).collect();
    listen.dedup();
    let interfaces = config.net.interfaces.clone();
    let server = NfsConfig {
        listen: listen.clone(),
        interfaces: interfaces.clone(),
        port: config.root.nfs_port,
        portmap: config.root.portmap_port.map_or(Portmap::System, Portmap::Port),
        insecure: config.root.nfs_insecure,
        udp: config.root.nfs_udp,
        observer,
        on_thread_end,
        ..NfsConfig::new(handles)
    };
    let server = pinetboot_nfs::start(server, exports).map_err(cannot_start)?;
    match (server.portmap_port(), config.root.portmap_port) {
        (None, _) => bus.emit(None, events::Server::Portmapper { port: None }),
        (Some(port), Some(_)) => bus.emit(None, events::Server::Portmapper { port: Some(port) }),
        (Some(_), None) => {}
    }
    let port = server.port();
    let named = |address: &Ipv4Addr| match interfaces.as_slice() {
        [] => vec![format!("{address}:{port}")],
        named => named.iter().map(|interface| format!("{address}%{interface}:{port}")).collect(),
    };
    let addresses = listen.iter().flat_map(named).collect();
    let running = NfsService { server: Some(Arc::new(server)), addresses, bus: bus.clone() };
    let how = match mode {
        NfsMode::Overlay => "each Pi gets its own copy-on-write root (overlay)",
        NfsMode::SharedRo => "all Pis share one read-only root (shared-ro)",
        NfsMode::Rw => "one Pi has the root read-write (rw)",
        NfsMode::Off => "off",
    };
    bus.emit(None, events::Server::RootsServed { how });
    Ok(Some(running))
}

impl Service for NfsService {
    fn name(&self) -> &'static str {
        "nfs"
    }

    fn describe(&self) -> Option<String> {
        Some(format!("nfs {}", self.addresses.join(" ")))
    }
}

impl Drop for NfsService {
    fn drop(&mut self) {
        let server = self.server.take().and_then(Arc::into_inner);
        if !server.is_none_or(|server| server.stop(STOP_WITHIN)) {
            let threads = vec!["nfs".to_owned()];
            let overdue = events::Server::StopOverdue { service: "nfs", threads, within: STOP_WITHIN };
            self.bus.emit(None, overdue);
        }
    }
}

fn cannot_start(error: StartError) -> Failed {
    let message = error.to_string();
    match error {
        StartError::Bind { address, error } => {
            let way_out = match address.port() {
                111 => "choose another port with --portmap-port (Debian's initramfs looks on port 111 only)",
                _ => "choose another port with --nfs-port, or serve boot files only with --nfs-mode off",
            };
            let advice = bind::advice(&BindError { address, error }, way_out);
            Failed::new(Exit::Bind, format!("{message}: {advice}"))
        }
        StartError::Register(_) => {
            let holder =
                holder_of(111).map_or_else(String::new, |holder| format!(". {holder} holds port 111"));
            Failed::new(Exit::Failure, format!("{message}{holder}"))
        }
        _ => Failed::new(Exit::Failure, message),
    }
}

/// The time for calls under way; less than that of the whole stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);

//! NFS beside TFTP: exports the roots on TFTP's addresses.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use pinetboot_nfs::{Handles, NfsConfig, Portmap, StartError};

use super::bind;
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, NfsMode};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::net::{BindError, Interface};
use crate::observe::NfsObserver;
use crate::roots::{RootExports, Roots};

/// The running NFS service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct NfsService {
    servers: Vec<pinetboot_nfs::Running>,
    /// Listening addresses, for the `ready` line.
    addresses: Vec<String>,
    bus: Bus,
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
    let mut running = NfsService { servers: Vec::new(), addresses: Vec::new(), bus: bus.clone() };
    for listen in addresses(config)? {
        let portmap = config.root.portmap_port.map_or(Portmap::System, Portmap::Port);
        let server = NfsConfig {
            listen,
            port: config.root.nfs_port,
            portmap,
            insecure: config.root.nfs_insecure,
            udp: config.root.nfs_udp,
            observer: observer.clone(),
            on_thread_end: on_thread_end.clone(),
            ..NfsConfig::new(handles.clone())
        };
        let server = pinetboot_nfs::start(server, exports.clone()).map_err(cannot_start)?;
        running.addresses.push(SocketAddrV4::new(listen, server.port()).to_string());
        match (server.portmap_port(), config.root.portmap_port) {
            (None, _) => bus.emit(None, events::Server::Portmapper { port: None }),
            (Some(port), Some(_)) => bus.emit(None, events::Server::Portmapper { port: Some(port) }),
            (Some(_), None) => {}
        }
        running.servers.push(server);
    }
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

    fn describe(&self) -> String {
        format!("nfs {}", self.addresses.join(" "))
    }
}

impl Drop for NfsService {
    fn drop(&mut self) {
        for server in self.servers.drain(..) {
            if !server.stop(STOP_WITHIN) {
                let threads = vec!["nfs".to_owned()];
                let overdue = events::Server::StopOverdue { service: "nfs", threads, within: STOP_WITHIN };
                self.bus.emit(None, overdue);
            }
        }
    }
}

/// The addresses of TFTP; with `--interface` those of the interfaces.
fn addresses(config: &Config) -> Result<Vec<Ipv4Addr>, Failed> {
    let mut addresses: Vec<Ipv4Addr> = config.listen.iter().map(|address| *address.ip()).collect();
    if !config.net.interfaces.is_empty() && addresses.iter().any(Ipv4Addr::is_unspecified) {
        let interfaces =
            Interface::choose(&config.net.interfaces).map_err(|message| Failed::new(Exit::Usage, message))?;
        addresses = interfaces.into_iter().map(|interface| interface.address).collect();
    }
    addresses.dedup();
    Ok(addresses)
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
        _ => Failed::new(Exit::Failure, message),
    }
}

/// The time for calls under way; less than that of the whole stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);

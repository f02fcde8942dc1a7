//! Disks by NBD: the port, the directory of the disks, and the running service.

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, setsockopt, socket,
    sockopt,
};
use pinetboot_disk::{Limits, Server};

use super::bind::cannot_bind;
use super::service::Service;
use crate::bus::Bus;
use crate::config::Config;
use crate::disks::{DiskExports, DiskObserver, DiskUsage, Disks, Place, check, init};
use crate::events;
use crate::exit::{Exit, Failed};
use crate::handed::Handed;
use crate::net::BindError;
use crate::roots::configured;
use crate::supervisor::Supervisor;

/// The disks and their port, which is open.
#[derive(Debug)]
pub(super) struct Bound {
    disks: Arc<Disks>,
    listeners: Vec<TcpListener>,
    addresses: Vec<String>,
}

/// The running service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct DiskService {
    server: Server,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    addresses: Vec<String>,
    bus: Bus,
}

/// Opens the port of NBD, and takes the directory of the disks; `None` if no Pi has a disk.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn prepare(config: &Config, handed: &mut Handed, bus: &Bus) -> Result<Option<Bound>, Failed> {
    if config.disk_images().is_empty() {
        return Ok(None);
    }
    let init = init(&config.disk).map_err(|why| {
        // A file that is no image needs no init.
        let wrong = config.disk_images().iter().find_map(|image| check(image).err());
        wrong.map_or_else(|| Failed::new(Exit::Usage, why), |wrong| Failed::new(Exit::Tree, wrong))
    })?;
    let state = configured::state(config);
    let cannot = |error: io::Error| {
        let why = format!("cannot keep disks: {error}. Name another directory with --state DIR");
        Failed::new(Exit::Tree, why)
    };
    let place = Place::take(state.dir()).map_err(cannot)?;
    let mut listeners = take(handed, config.disk.port);
    if listeners.is_empty() {
        let interfaces: Vec<_> = config.net.interfaces.iter().map(|name| Some(name.as_str())).collect();
        let interfaces = if interfaces.is_empty() { vec![None] } else { interfaces };
        for address in config.listen_addresses() {
            for interface in &interfaces {
                let address = SocketAddrV4::new(address, config.disk.port);
                let opened = open(address, *interface).map_err(|error| {
                    let failure = BindError { address, error };
                    cannot_bind(&failure, "choose another port with --disk-port")
                });
                listeners.push(opened?);
            }
        }
    }
    let local = |listener: &TcpListener| {
        let address = getsockname::<SockaddrIn>(listener.as_raw_fd()).map(SocketAddrV4::from);
        address.map_err(|errno| cannot(errno.into()))
    };
    let addresses = listeners.iter().map(local).collect::<Result<Vec<_>, _>>()?;
    let port = addresses.first().map_or(config.disk.port, SocketAddrV4::port);
    let disks = Disks::new(config, place, port, init, bus.clone()).map_err(cannot)?;
    let addresses = addresses.iter().map(ToString::to_string).collect();
    Ok(Some(Bound { disks: Arc::new(disks), listeners, addresses }))
}

impl Bound {
    /// The disks.
    pub(super) const fn disks(&self) -> &Arc<Disks> {
        &self.disks
    }

    /// Opens the images, and unpacks what is packed: in the sandbox, as an image may be hostile.
    ///
    /// # Errors
    ///
    /// The image and the fault.
    pub(super) fn configure(&self, config: &Config, bus: &Bus) -> Result<(), Failed> {
        self.disks.configure(config).map_err(|why| Failed::new(Exit::Tree, why))?;
        let images = config.disk_images().iter().map(|image| image.display().to_string()).collect();
        let place = self.disks.place().path().display().to_string();
        bus.emit(None, events::Server::DisksServed { images, place });
        Ok(())
    }

    /// Starts the service.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn start(self, supervisor: &Supervisor, bus: &Bus) -> Result<DiskService, Failed> {
        let failed = |error: io::Error| Failed::new(Exit::Failure, error);
        let exports = Arc::new(DiskExports::new(self.disks, bus.clone()));
        let observer = Arc::new(DiskObserver::new(bus.clone()));
        let server = Server::start(self.listeners, exports.clone(), Limits::default(), observer);
        let server = server.map_err(failed)?;
        let (counts, telling) = (server.counts(), bus.clone());
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stops = stop.clone();
        let tell = move || {
            let (stop, rings) = &*stops;
            let mut usage = DiskUsage::default();
            let mut stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stopped {
                stopped = rings
                    .wait_timeout(stopped, TELL_EVERY)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(stopped, _)| stopped);
                exports.tell();
                usage.tell(&counts, exports.place(), &telling);
            }
            Ok(())
        };
        let thread = Some(supervisor.spawn(bus, "nbd", tell).map_err(failed)?);
        Ok(DiskService { server, stop, thread, addresses: self.addresses, bus: bus.clone() })
    }
}

impl Service for DiskService {
    fn name(&self) -> &'static str {
        "nbd"
    }

    fn describe(&self) -> Option<String> {
        Some(format!("nbd {}", self.addresses.join(" ")))
    }
}

impl Drop for DiskService {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if !self.server.stop(STOPS_WITHIN) {
            let threads = vec!["nbd".to_owned()];
            self.bus
                .emit(None, events::Server::StopOverdue { service: "nbd", threads, within: STOPS_WITHIN });
        }
        if let Some(thread) = self.thread.take() {
            let _reported = thread.join();
        }
    }
}

/// The listening sockets of the service manager with this port.
fn take(handed: &mut Handed, port: u16) -> Vec<TcpListener> {
    let blocking = |socket: OwnedFd| {
        rustix::io::ioctl_fionbio(&socket, false).ok()?;
        Some(TcpListener::from(socket))
    };
    handed.take_ports(&[port]).into_iter().filter_map(blocking).collect()
}

fn open(address: SocketAddrV4, interface: Option<&str>) -> io::Result<TcpListener> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(interface) = interface {
        setsockopt(&socket, sockopt::BindToDevice, &interface.into())?;
    }
    // Connections of an earlier server do not hold the port (TIME_WAIT).
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(TcpListener::from(socket))
}

/// Time between two reports of the Pis that have their disks: short beside the silence after which a Pi counts as gone.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Time in which requests under way end.
const STOPS_WITHIN: Duration = Duration::from_millis(1500);

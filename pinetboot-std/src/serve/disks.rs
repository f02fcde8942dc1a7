//! Disks by NBD: the port, the directory of the disks, and the running service.

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, setsockopt, socket,
    sockopt,
};
use pinetboot_disk::{Limits, Server};

use super::bind::cannot_bind;
use super::following::{Change, Follow};
use super::lines::Lines;
use super::service::Service;
use crate::bus::Bus;
use crate::config::Config;
use crate::disks::{DiskExports, DiskObserver, DiskUsage, Disks, FirstPrograms, Place, check};
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
    /// Their addresses, and the interface that each is bound to.
    bound: Vec<(SocketAddrV4, Option<String>)>,
    /// Where nothing is overheard.
    lines: Option<Lines>,
}

/// The running service; dropping it stops the service.
#[derive(Debug)]
pub(super) struct DiskService {
    server: Arc<Server>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    bound: Vec<(SocketAddrV4, Option<String>)>,
    bus: Bus,
}

/// Opens the port of NBD, and takes the directory of the disks; `None` if no Pi has a disk. `overhears`: frames are read anyway, and
/// the Pis' lines with them.
///
/// # Errors
///
/// The obstacle and the remedy.
pub(super) fn prepare(
    config: &Config,
    handed: &mut Handed,
    overhears: bool,
    bus: &Bus,
) -> Result<Option<Bound>, Failed> {
    if config.disk_images().is_empty() {
        return Ok(None);
    }
    let init = FirstPrograms::of(&config.disk).map_err(|why| {
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
    let mut listeners: Vec<_> =
        take(handed, config.disk.port).into_iter().map(|listener| (listener, None)).collect();
    if listeners.is_empty() {
        let interfaces: Vec<_> = config.net.interfaces.iter().cloned().map(Some).collect();
        let interfaces = if interfaces.is_empty() { vec![None] } else { interfaces };
        for address in config.listen_addresses() {
            for interface in &interfaces {
                let address = SocketAddrV4::new(address, config.disk.port);
                let opened = open(address, interface.as_deref()).map_err(|error| {
                    let failure = BindError { address, error };
                    cannot_bind(&failure, "choose another port with --disk-port")
                });
                listeners.push((opened?, interface.clone()));
            }
        }
    }
    let local = |listener: &TcpListener| {
        let address = getsockname::<SockaddrIn>(listener.as_raw_fd()).map(SocketAddrV4::from);
        address.map_err(|errno| cannot(errno.into()))
    };
    let (listeners, interfaces): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
    let addresses = listeners.iter().map(local).collect::<Result<Vec<_>, _>>()?;
    let port = addresses.first().map_or(config.disk.port, SocketAddrV4::port);
    let disks = Disks::new(config, place, port, init, bus.clone()).map_err(cannot)?;
    let bound = addresses.into_iter().zip(interfaces).collect();
    let lines = (!overhears).then(|| Lines::open(config.listen_addresses()));
    Ok(Some(Bound { disks: Arc::new(disks), listeners, bound, lines }))
}

impl Bound {
    /// The disks.
    pub(super) const fn disks(&self) -> &Arc<Disks> {
        &self.disks
    }

    /// The ports that are opened anew with an interface that was removed and made again.
    pub(super) fn ports_of_interfaces(&self) -> Vec<u16> {
        self.bound.iter().filter(|(_, interface)| interface.is_some()).map(|(at, _)| at.port()).collect()
    }

    /// Opens the images, and unpacks what is packed: in the sandbox, as an image may be hostile.
    ///
    /// # Errors
    ///
    /// The image and the fault.
    pub(super) fn configure(&self, config: &Config, bus: &Bus) -> Result<(), Failed> {
        self.disks.configure(config).map_err(|why| Failed::new(Exit::Tree, why))?;
        for (image, mode) in config.disk_uses() {
            let (image, place) =
                (image.display().to_string(), self.disks.place().path().display().to_string());
            bus.emit(None, events::Server::DisksServed { image, mode, place });
        }
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
        let observer = Arc::new(DiskObserver::new(&exports));
        let server = Server::start(self.listeners, exports.clone(), Limits::default(), observer);
        let server = Arc::new(server.map_err(failed)?);
        let (counts, telling) = (server.counts(), bus.clone());
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (stops, lines) = (stop.clone(), self.lines);
        let tell = move || {
            let (stop, rings) = &*stops;
            let mut usage = DiskUsage::default();
            let mut stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stopped {
                stopped = rings
                    .wait_timeout(stopped, TELL_EVERY)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(stopped, _)| stopped);
                exports.tell();
                if let Some(lines) = &lines {
                    lines.tell(&telling);
                }
                usage.tell(&counts, exports.place(), &telling);
            }
            Ok(())
        };
        let thread = Some(supervisor.spawn(bus, "nbd", tell).map_err(failed)?);
        Ok(DiskService { server, stop, thread, bound: self.bound, bus: bus.clone() })
    }
}

impl DiskService {
    /// Follows the interfaces that the sockets are bound to.
    ///
    /// To bind a socket to another interface takes CAP_NET_RAW, which this process has given up; a new socket has none yet.
    pub(super) fn follow_interfaces(&self, supervisor: &Supervisor) -> Follow {
        let (server, bound): (Weak<Server>, _) = (Arc::downgrade(&self.server), self.bound.clone());
        let supervisor = supervisor.clone();
        Box::new(move |change| {
            let (Change::Back(interface), Some(server)) = (change, server.upgrade()) else { return };
            for (index, (address, _)) in
                bound.iter().enumerate().filter(|(_, (_, of))| of.as_deref() == Some(interface))
            {
                match open(*address, Some(interface)) {
                    Ok(listener) => server.replace_listener(index, listener),
                    // Gone once more.
                    Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {}
                    Err(error) => {
                        let why = format!("NBD cannot bind to the interface {interface} again: {error}");
                        supervisor.give_up(Failed::new(Exit::Bind, why));
                    }
                }
            }
        })
    }
}

impl Service for DiskService {
    fn name(&self) -> &'static str {
        "nbd"
    }

    fn describe(&self) -> Option<String> {
        let named = |(at, interface): &(SocketAddrV4, Option<String>)| match interface {
            Some(interface) => format!("{}%{interface}:{}", at.ip(), at.port()),
            None => at.to_string(),
        };
        Some(format!("nbd {}", self.bound.iter().map(named).collect::<Vec<_>>().join(" ")))
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
    if interface.is_some() {
        // The address may come after the interface.
        setsockopt(&socket, sockopt::IpFreebind, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(TcpListener::from(socket))
}

/// Time between two reports of the Pis that have their disks: short beside the silence after which a Pi counts as gone.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Time in which requests under way end.
const STOPS_WITHIN: Duration = Duration::from_millis(1500);

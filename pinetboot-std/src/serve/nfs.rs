//! The process of NFS beside that of TFTP and DHCP: its start, its facts and questions, its end.

use std::io::{BufReader, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::Shutdown;

use super::following::{Change, Follow};
use super::service::Service;
use crate::bus::Bus;
use crate::config::{Config, NfsMode, Settings};
use crate::ears::Ear;
use crate::events::{self, Server};
use crate::exit::{Exit, Failed};
use crate::handed::Handed;
use crate::net::is_waiting;
use crate::roots::lines::{read_escaped_line, write_line};
use crate::roots::messages::{LONGEST, Message, NFS_STOPS_WITHIN, NFSD, Setup};
use crate::roots::registry::answer;
use crate::roots::{BaseImages, BootRoots, configured, packets};
use crate::supervisor::{Supervisor, Turns, task};

/// The process of NFS, which listens.
#[derive(Debug)]
pub(super) struct Nfsd {
    messages: BufReader<UnixStream>,
    /// The same socket as that of the roots.
    stop: OwnedFd,
    roots: Arc<BootRoots>,
    /// Listening addresses, for the `ready` line.
    addresses: Vec<String>,
    missing: Vec<(String, String)>,
}

/// The running service; dropping it stops the process of NFS.
#[derive(Debug)]
pub(super) struct NfsService {
    stop: OwnedFd,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    addresses: Vec<String>,
    bus: Bus,
}

impl Nfsd {
    /// Starts the process, and answers its questions until it listens.
    ///
    /// # Errors
    ///
    /// The obstacle and the remedy.
    pub(super) fn start(
        config: &Config,
        settings: Settings,
        base_images: BaseImages,
        watchdog: Option<Duration>,
        handed: &mut Handed,
        bus: &Bus,
    ) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| {
            Failed::new(Exit::Failure, format!("cannot start the process of NFS: {error}"))
        };
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        let (boots, their_boots) = packets::pair().map_err(|error| failed(&error))?;
        let stop = boots.try_clone().map_err(|error| failed(&error))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(NFSD).stdin(OwnedFd::from(theirs)).stdout(Stdio::from(their_boots));
        // The service manager hears of this process alone.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        // The process ends when these sockets close, however this process ends.
        let _ends_by_itself = command.spawn().map_err(|error| failed(&error))?;
        drop(command);
        let mut messages = BufReader::new(ours);
        let turns = watchdog.map(|period| period / TURNS);
        let sockets = handed.take_ports(&[config.root.nfs_port, config.root.portmap_port.unwrap_or(PORTMAP)]);
        for socket in &sockets {
            packets::send(&boots, &(), Some(socket.as_fd())).map_err(|error| failed(&error))?;
        }
        let setup = Setup::new(settings, turns, sockets.len());
        write_line(messages.get_mut(), &setup).map_err(|error| failed(&error))?;
        let ready = loop {
            match read_escaped_line(&mut messages, LONGEST).map_err(|error| failed(&error))? {
                None => return Err(failed(&"it ended")),
                Some(Message::Failed(why)) => return Err(why),
                Some(Message::Ready(ready)) => break ready,
                Some(message) => hear(message, messages.get_mut(), bus).map_err(|error| failed(&error))?,
            }
        };
        match (ready.portmapper, config.root.portmap_port) {
            (None, _) => bus.emit(None, Server::Portmapper { port: None }),
            (Some(port), Some(_)) => bus.emit(None, Server::Portmapper { port: Some(port) }),
            (Some(_), None) => {}
        }
        let mode = config.root.mode;
        let how = match mode {
            NfsMode::Overlay => "each Pi gets its own copy-on-write root (overlay)",
            NfsMode::SharedRo => "all Pis share one read-only root (shared-ro)",
            NfsMode::Rw => "one Pi has the root read-write (rw)",
            NfsMode::Off => "off",
        };
        bus.emit(None, Server::RootsServed { how });
        let roots = BootRoots::new(mode, base_images, &configured::state(config), boots);
        let roots = Arc::new(roots.map_err(|error| failed(&error))?);
        let port = ready.port;
        let interfaces = config.net.interfaces.as_slice();
        let named = |address: &Ipv4Addr| match interfaces {
            [] => vec![format!("{address}:{port}")],
            named => named.iter().map(|interface| format!("{address}%{interface}:{port}")).collect(),
        };
        let addresses = config.listen_addresses().iter().flat_map(named).collect();
        Ok(Self { messages, stop, roots, addresses, missing: ready.missing })
    }

    /// The roots.
    pub(super) const fn roots(&self) -> &Arc<BootRoots> {
        &self.roots
    }

    /// The parts of the sandbox that the process of NFS lacks, each with the reason.
    pub(super) fn missing(&self) -> &[(String, String)] {
        &self.missing
    }

    /// Follows the process in a thread.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn follow(self, supervisor: &Supervisor, bus: &Bus) -> Result<NfsService, Failed> {
        let Self { mut messages, stop, addresses, .. } = self;
        let (end, ended) = mpsc::channel();
        let turns = NfsTurns::default();
        supervisor.watch(THREAD, turns.clone());
        let idle = Arc::new(AtomicBool::new(false));
        if let Ok(socket) = messages.get_ref().try_clone() {
            bus.hear_by(THREAD, Facts { socket, idle: idle.clone() });
        }
        let emits = bus.clone();
        let follow = move || {
            let _dropped_at_the_end = end;
            loop {
                idle.store(messages.buffer().is_empty(), Ordering::Release);
                let message = read_escaped_line(&mut messages, LONGEST);
                idle.store(false, Ordering::Release);
                match message.map_err(|error| format!("the process of NFS: {error}"))? {
                    // Its end, with its files closed; it said so before.
                    None => return Ok(()),
                    Some(Message::Turn) => turns.turned(),
                    Some(message) => hear(message, messages.get_mut(), &emits)
                        .map_err(|error| format!("the process of NFS: {error}"))?,
                }
            }
        };
        let thread =
            supervisor.spawn(bus, THREAD, follow).map_err(|error| Failed::new(Exit::Failure, error))?;
        Ok(NfsService { stop, ended, thread: Some(thread), addresses, bus: bus.clone() })
    }
}

/// Follows the interfaces that the sockets of NFS are bound to.
pub(super) fn follow_interfaces(roots: &Arc<BootRoots>, supervisor: &Supervisor, bus: &Bus) -> Follow {
    let (roots, supervisor, bus) = (Arc::downgrade(roots), supervisor.clone(), bus.clone());
    Box::new(move |change| {
        if let (Change::Back(interface), Some(roots)) = (change, roots.upgrade()) {
            let (interface, supervisor) = (interface.to_owned(), supervisor.clone());
            let bind = move || {
                if let Err(error) = roots.bind_again(&interface) {
                    let why = format!("NFS cannot bind to the interface {interface} again: {error}");
                    supervisor.give_up(Failed::new(Exit::Bind, why));
                }
            };
            let _no_thread = task(&bus, "nfs bind", bind);
        }
    })
}

/// Emits a fact, or answers a question.
fn hear(message: Message, to: &mut impl Write, bus: &Bus) -> std::io::Result<()> {
    match message {
        Message::Ask(question) => write_line(to, &answer(bus, question))?,
        Message::Tell { client, report } => bus.emit(client, report),
        Message::Turn | Message::Ready(_) | Message::Failed(_) => {}
    }
    Ok(())
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
        let _has_ended = rustix::net::shutdown(self.stop.as_fd(), Shutdown::Both);
        let within = NFS_STOPS_WITHIN + STOP_LATE;
        if self.ended.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
            let threads = vec![THREAD.to_owned()];
            self.bus.emit(None, events::Server::StopOverdue { service: "nfs", threads, within });
        } else if let Some(thread) = self.thread.take() {
            // It may be reporting its end.
            let _reported = thread.join();
        }
    }
}

/// The turns of NFS, as its process tells them.
#[derive(Debug, Clone, Default)]
struct NfsTurns(Arc<AtomicBool>);

impl NfsTurns {
    fn turned(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Turns for NfsTurns {
    fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_turned(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// The facts that the process of NFS sends.
struct Facts {
    socket: UnixStream,
    /// The thread that reads them waits for the next.
    idle: Arc<AtomicBool>,
}

impl Ear for Facts {
    fn ask(&self) {}

    fn has_heard(&self) -> bool {
        !is_waiting(self.socket.as_fd()) && self.idle.load(Ordering::Acquire)
    }

    fn lost(&self) -> u64 {
        0
    }
}

const THREAD: &str = "nfs";
/// The port of portmappers (RFC 1833).
const PORTMAP: u16 = 111;
/// Turns in the period of the watchdog, which asks twice in it.
const TURNS: u32 = 8;
/// The time between the end of the threads of NFS and that of its process.
const STOP_LATE: Duration = Duration::from_millis(500);

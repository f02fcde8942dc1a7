//! Notifications to the service manager: the protocol of sd_notify(3), WATCHDOG_USEC of sd_watchdog_enabled(3), and the file of
//! [health] for managers of containers.
//!
//! A socket opened once at the start, rather than the crate sd-notify: that one opens the path for each message, which
//! fails once the process has left the file system behind, has no abstract socket names, and waits for a manager that does not read.

mod socket;
mod status;

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::events::{Boot, Event, Fact, Listener, Root, Server};
use crate::health::{self, Health};
use crate::pis::{Count, Pis};
use socket::Socket;
use status::Status;

/// The service manager's socket and file; without a manager, messages go nowhere.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    manager: Option<Arc<Manager>>,
    health: Option<Arc<Health>>,
}

#[derive(Debug)]
struct Manager {
    socket: Socket,
    pis: OnceLock<Pis>,
    status: Mutex<Status>,
}

impl Notify {
    /// The socket that NOTIFY_SOCKET names, and the file that PINETBOOT_HEALTH names; none if the variable is not set.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn from_environment() -> io::Result<Self> {
        let socket = env::var_os("NOTIFY_SOCKET").map_or(Ok(Self::default()), |name| Self::to(&name))?;
        Ok(Self { health: Health::from_environment()?.map(Arc::new), ..socket })
    }

    /// A path, or an abstract name after an `@`.
    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        let socket = Socket::new(socket)?;
        let (pis, status) = (OnceLock::new(), Mutex::default());
        Ok(Self { manager: Some(Arc::new(Manager { socket, pis, status })), health: None })
    }

    /// The status line counts these Pis.
    pub fn count(&self, pis: &Pis) {
        if let Some(manager) = &self.manager {
            manager.pis.get_or_init(|| pis.clone());
        }
    }

    /// The start takes this much longer from now on (EXTEND_TIMEOUT_USEC).
    pub(crate) fn extend_start(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    /// The service feeds the watchdog. The status line follows what time alone changes: a Pi that became quiet.
    pub(crate) fn feed_watchdog(&self) {
        self.send("WATCHDOG=1");
        self.tell_status();
        self.works();
    }

    /// The service stops.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
        if let Some(health) = &self.health {
            health.stops();
        }
    }

    /// The service reads its configuration again; READY=1 follows.
    pub(crate) fn reloading(&self) {
        // > MONOTONIC_USEC=.. must be included in the same message as RELOADING=1
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        if let Some(manager) = &self.manager {
            manager.socket.deliver(format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
        }
    }

    /// The file of health says that all loops turn.
    fn works(&self) {
        if let Some(health) = &self.health {
            health.works();
        }
    }

    /// The server is ready, with the status line. Another thread may have the registry: the Pis are then those of the last line.
    fn tell_ready(&self) {
        let Some(manager) = &self.manager else { return };
        if let Some(line) = manager.status().line(manager.count(), true) {
            manager.socket.deliver(format!("READY=1\nSTATUS={}", one_line(&line)));
        }
    }

    /// Sends the status line if the line has changed.
    fn tell_status(&self) {
        let Some(manager) = &self.manager else { return };
        let line = manager.status().line(manager.count(), false);
        if let Some(line) = line {
            self.send(&format!("STATUS={}", one_line(&line)));
        }
    }

    /// A manager that does not read loses messages: no thread waits for it.
    fn send(&self, message: &str) {
        if let Some(manager) = &self.manager {
            manager.socket.send(message);
        }
    }
}

impl Manager {
    /// The Pis; `None` while another thread has the registry, for whose lock no thread waits here.
    fn count(&self) -> Option<Count> {
        self.pis.get().map_or(Some(Count::default()), Pis::count)
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// READY=1 and the status line follow from events.
impl Listener for Notify {
    fn listen(&self, event: &Event) {
        if matches!(event.fact, Fact::Server(Server::Ready { .. })) {
            self.works();
        }
        let Some(manager) = &self.manager else { return };
        manager.status().learn(event);
        match &event.fact {
            Fact::Server(Server::Ready { .. } | Server::Reloaded { .. } | Server::NotReloaded { .. }) => {
                self.tell_ready();
            }
            Fact::Server(Server::Unpacking { image, percent }) => {
                self.extend_start(UNPACKS_A_TENTH);
                self.send(&format!("STATUS=unpacking {}: {percent} %", one_line(image)));
            }
            Fact::Server(Server::Waits { why }) => self.send(&format!("STATUS=waiting: {}", one_line(why))),
            Fact::Server(_)
            | Fact::Boot(Boot::Began { .. })
            | Fact::Root(
                Root::Mounted { .. }
                | Root::DiskOpened { .. }
                | Root::Unmounted { .. }
                | Root::DiskFilling { .. },
            ) => {
                self.tell_status();
            }
            _ => {}
        }
    }
}

/// A tenth of 16 GB from a slow disk.
const UNPACKS_A_TENTH: Duration = Duration::from_secs(600);

/// A newline would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The period within which the manager expects WATCHDOG=1, or a write to the file of health; `None` if it expects none from this process.
pub fn watchdog_period() -> Option<Duration> {
    let variable = |name| env::var(name).ok();
    let usec = variable("WATCHDOG_USEC");
    let period = period(usec.as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id());
    period.into_iter().chain(health::period()).min()
}

fn period(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    // > UINT64_MAX and 0 are refused.
    let usec = usec?.parse().ok().filter(|usec| !matches!(*usec, 0 | u64::MAX))?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_named_process_alone() {
        assert_eq!(period(None, None, 7), None);
        assert_eq!(period(Some("3000000"), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(period(Some("3000000"), Some("7"), 7), Some(Duration::from_secs(3)));
        assert_eq!(period(Some("3000000"), Some("8"), 7), None);
        for usec in ["0", "", "-1", "18446744073709551615", "18446744073709551616", "many"] {
            assert_eq!(period(Some(usec), None, 7), None, "{usec}");
        }
        assert!(period(Some("18446744073709551614"), None, 7).is_some());
    }

    #[test]
    fn messages_arrive_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("@pinetboot-notify-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&abstract_name[1..]).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in [(at_path, path.as_os_str()), (at_name, OsStr::new(&abstract_name))] {
            let notify = Notify::to(name).unwrap();
            notify.reloading();
            let mut message = [0; 256];
            let len = socket.recv(&mut message).unwrap();
            let message = std::str::from_utf8(&message[..len]).unwrap();
            let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(usec.parse::<u64>().unwrap() > 0);
        }
        assert!(Notify::to(OsStr::new("vsock:2:1")).is_err());
    }

    #[test]
    fn a_manager_that_does_not_read_delays_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str()).unwrap();
        (0..10_000).for_each(|_| notify.feed_watchdog());
    }

    fn listening() -> (tempfile::TempDir, UnixDatagram, Notify) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str()).unwrap();
        (directory, manager, notify)
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let len = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..len].to_vec()).unwrap()
    }

    fn happens(notify: &Notify, fact: Server) {
        let (at, pi, boot, client, again) = (Duration::ZERO, None, None, None, false);
        notify.listen(&Event { at, pi, boot, client, again, fact: fact.into() });
    }

    fn ready() -> Server {
        Server::Ready { serving: "/srv/pi".into() }
    }

    #[test]
    fn ready_is_told_while_another_thread_has_the_registry() {
        let (_directory, manager, notify) = listening();
        let pis = Pis::default();
        notify.count(&pis);
        let registry = pis.lock();
        manager.set_nonblocking(true).unwrap();
        happens(&notify, ready());
        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving /srv/pi");
        notify.reloading();
        assert!(heard(&manager).starts_with("RELOADING=1\n"));
        happens(&notify, Server::Reloaded { serving: "/srv/two".into() });
        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving /srv/two");
        drop(registry);
    }

    #[test]
    fn a_manager_that_reads_late_hears_of_ready_and_reload_in_order() {
        let (_directory, manager, notify) = listening();
        (0..10_000).for_each(|_| notify.feed_watchdog());
        happens(&notify, ready());
        notify.reloading();
        happens(&notify, Server::NotReloaded { error: "line 3".into() });
        manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut states = (0..).map(|_| heard(&manager)).filter(|message| !message.starts_with("WATCHDOG=1"));
        let states: Vec<_> = states.by_ref().take(3).collect();
        let begins: Vec<_> = states.iter().filter_map(|message| message.split('=').next()).collect();
        assert_eq!(begins, ["READY", "RELOADING", "READY"], "{states:?}");
    }
}

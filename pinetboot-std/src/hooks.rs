//! `on-event`: a verdict, a boot that goes on, and a system that is up are told to an address by POST, or to a program.
//!
//! ```text
//! pinetboot serve: event -> packet (never waits) -> pinetboot hooks: deadline, retries -> curl, or the program
//! ```
//!
//! The server may start no program once its rights are given up, so a process that has only this work starts before (`delivery`). The
//! address, or the program, is settled at its start; the server sends facts alone. The socket's buffer is the queue, and its bound: an
//! event that finds the queue full is dropped and counted.

mod delivery;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::bus::Bus;
use crate::config::Config;
use crate::events::{Boot, Event, Fact, Listener, Server};
use crate::exit::{Exit, Failed};
use crate::live::VerdictStatus;
use crate::roots::packets;
use crate::time;
pub use delivery::run;

/// The listener; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Hooks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    process: OwnedFd,
    /// Events that found the queue full.
    dropped: AtomicU64,
}

/// The first packet to the process.
#[derive(Debug, Serialize, Deserialize)]
struct Setup {
    /// An address, or a program with its arguments.
    target: Vec<String>,
    /// The user to become.
    user: Option<String>,
}

/// The delivered form of an event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Told {
    schema: u32,
    event: String,
    pi: String,
    id: String,
    boot: String,
    address: Option<String>,
    at: String,
    verdict: Option<VerdictStatus>,
}

/// A packet of the process: why an event was not delivered.
type Failure = String;

impl Hooks {
    /// Starts the process; `None`: the configuration has no `on-event`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn start(config: &Config) -> Result<Option<Self>, Failed> {
        if config.web.on_event.is_empty() {
            return Ok(None);
        }
        let process = start(config).map_err(|error| {
            Failed::new(Exit::Failure, format!("cannot start the process of on-event: {error}"))
        })?;
        Ok(Some(Self(Arc::new(Shared { process, dropped: AtomicU64::new(0) }))))
    }

    /// Logs what is not delivered, in a thread that ends with the process.
    pub(crate) fn follow(&self, bus: &Bus) {
        let (shared, emits) = (Arc::clone(&self.0), bus.clone());
        let follow = move || loop {
            match packets::receive::<Failure>(&shared.process) {
                Ok(Some((why, _))) => {
                    let dropped = shared.dropped.swap(0, Ordering::Relaxed);
                    emits.emit(None, Server::NotDelivered { why, dropped });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&shared.process),
                Ok(None) | Err(_) => return emits.emit(None, Server::HooksEnded),
            }
        };
        if let Err(error) = thread::Builder::new().name("hooks".into()).spawn(follow) {
            let why = format!("no thread follows them: {error}");
            bus.emit(None, Server::NotDelivered { why, dropped: 0 });
        }
    }
}

impl Listener for Hooks {
    fn listen(&self, event: &Event) {
        let Some(told) = Told::of(event) else { return };
        if packets::send(&self.0.process, &told, None).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Told {
    fn of(event: &Event) -> Option<Self> {
        let (name, verdict) = match &event.fact {
            Fact::Boot(Boot::Stuck { verdict, details, .. }) => {
                ("stuck", Some(VerdictStatus::of(verdict, details)))
            }
            Fact::Boot(Boot::GoesOn { verdict, .. }) => ("goes-on", Some(VerdictStatus::of(verdict, &[]))),
            Fact::Boot(Boot::Up { .. }) => ("up", None),
            _ => return None,
        };
        let boot = event.boot?;
        Some(Self {
            schema: 1,
            event: name.into(),
            pi: event.pi.as_deref().map_or_else(|| boot.pi.to_string(), str::to_owned),
            id: boot.pi.to_string(),
            boot: boot.to_string(),
            address: event.client.map(|address| address.to_string()),
            at: time::now(),
            verdict,
        })
    }
}

fn start(config: &Config) -> io::Result<OwnedFd> {
    let (ours, theirs) = packets::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).stdin(theirs).stdout(Stdio::null());
    // The service manager hears of the server alone. A signal to the terminal's processes is the server's, which ends this one.
    command
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .process_group(0);
    // The process ends when this socket closes, however the server ends.
    let _ends_by_itself = command.spawn()?;
    let setup = Setup { target: config.web.on_event.clone(), user: config.user.clone() };
    packets::send(&ours, &setup, None)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(ours)
}

/// Waits until there is something to read.
fn wait(socket: &OwnedFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let _again = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
}

/// Whether a target is an address, rather than a program with its arguments.
pub(crate) fn is_address(target: &[String]) -> bool {
    let is_http = |text: &String| text.starts_with("https://") || text.starts_with("http://");
    matches!(target, [address] if is_http(address))
}

/// The name of the command of the process.
const COMMAND: &str = "hooks";
/// The time for one attempt.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pauses before the second attempt and the third.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

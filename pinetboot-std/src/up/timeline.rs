//! The phases of each Pi's boot on standard output, a line each, in the words of the log. Warnings and errors are the log's.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::BOOTLOADER;
use crate::events::{Boot, Event, Fact, Listener, Server};
use crate::log::phase;
use crate::output;

/// Shows boots.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The user of the imported image.
    user: Option<String>,
    boots: Mutex<HashMap<String, Progress>>,
}

/// The boot of a client.
#[derive(Debug, Default)]
struct Progress {
    began: Duration,
    /// The address, once the client has one.
    address: Option<Ipv4Addr>,
    is_up: bool,
}

impl Timeline {
    pub(super) fn new(user: Option<String>) -> Self {
        Self { user, boots: Mutex::default() }
    }

    /// The lines for an event.
    fn lines(&self, event: &Event) -> Option<String> {
        if matches!(event.fact, Fact::Server(Server::Ready { .. })) {
            return Some(format!("\n{WAITING}\n{BOOTLOADER}\n"));
        }
        let client = match (&event.pi, event.client) {
            (Some(pi), _) => pi.to_string(),
            (None, Some(client)) => client.to_string(),
            (None, None) => return None,
        };
        let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
        if boots.len() >= MOST && !boots.contains_key(&client) {
            return None;
        }
        if matches!(event.fact, Fact::Boot(Boot::Began { .. })) {
            boots.insert(client.clone(), Progress { began: event.at, ..Progress::default() });
        }
        let phase = phase(&event.fact)?;
        let boot = boots.entry(client.clone()).or_insert(Progress { began: event.at, ..Progress::default() });
        boot.address = event.client.filter(|address| !address.is_unspecified()).or(boot.address);
        let seconds = event.at.saturating_sub(boot.began).as_secs_f64();
        let mut lines = format!("{seconds:7.1} s  {client}  {phase}\n");
        if matches!(event.fact, Fact::Boot(Boot::Up { .. })) && !boot.is_up {
            boot.is_up = true;
            lines += &self.up(&client, boot.address);
        }
        Some(lines)
    }

    fn up(&self, client: &str, address: Option<Ipv4Addr>) -> String {
        let login = match (&self.user, address) {
            (Some(user), Some(address)) => format!(" To log in: ssh {user}@{address}"),
            _ => String::new(),
        };
        format!(
            "\n{client} runs its system.{login}\nThe server goes on; ctrl-C stops it. To serve from each start of this machine: sudo pinetboot service install\n\n"
        )
    }
}

impl Listener for Timeline {
    fn listen(&self, event: &Event) {
        if let Some(lines) = self.lines(event) {
            let out = &mut output::stdout();
            // Without a reader the server goes on.
            let _no_reader = write!(out, "{lines}").and_then(|()| out.finish());
        }
    }
}

const WAITING: &str =
    "Ready. Connect a Pi to this network and switch it on; each phase of its boot is a line here.";

/// The most clients that are followed; the log has all.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::{Prefix, Stage};

    use super::*;
    use crate::events::{Cause, Evidence, Root};

    fn event(at: u64, pi: &str, fact: impl Into<Fact>) -> Event {
        Event {
            at: Duration::from_millis(at),
            pi: Some(pi.into()),
            client: Some(Ipv4Addr::new(10, 0, 0, 5)),
            again: false,
            fact: fact.into(),
        }
    }

    fn mounted() -> Root {
        let pi = Prefix::parse("bd989ae1").unwrap();
        Root::Mounted { pi, path: "/bd989ae1".into(), mac: None, evidence: Evidence::Fetched }
    }

    #[test]
    fn a_boot_is_told_until_its_root_and_the_login() {
        let timeline = Timeline::new(Some("ada".into()));
        let began = Boot::Began { number: 1, by: Cause::Request };
        assert_eq!(timeline.lines(&event(1000, "kitchen", began.clone())), None);
        let stage = Boot::Stage { stage: Stage::Config, seconds: 0.0 };
        let line = timeline.lines(&event(1500, "kitchen", stage)).unwrap();
        assert_eq!(line, "    0.5 s  kitchen  reached stage: config\n");
        let line = timeline.lines(&event(9000, "kitchen", mounted())).unwrap();
        assert_eq!(
            line, "    8.0 s  kitchen  root /bd989ae1 mounted\n",
            "a mount is not yet a system that runs"
        );
        let is_up = || Boot::Up { seconds: 29.0 };
        let up = timeline.lines(&event(30_000, "kitchen", is_up())).unwrap();
        let begins = "   29.0 s  kitchen  up, 29 s after the boot began\n\nkitchen runs its system.";
        assert!(up.starts_with(begins) && up.contains("ssh ada@10.0.0.5"), "{up}");
        let again = timeline.lines(&event(31_000, "kitchen", is_up())).unwrap();
        assert!(!again.contains("ssh"), "{again}");
        assert_eq!(timeline.lines(&event(40_000, "kitchen", began)), None);
        assert!(timeline.lines(&event(41_000, "kitchen", is_up())).unwrap().contains("ssh"));
    }

    #[test]
    fn made_up_clients_do_not_fill_the_memory() {
        let timeline = Timeline::new(None);
        for number in 0..200 {
            let began = Boot::Began { number: 1, by: Cause::Request };
            let _line = timeline.lines(&event(0, &format!("pi-{number}"), began));
        }
        assert_eq!(timeline.boots.lock().unwrap().len(), MOST);
    }
}

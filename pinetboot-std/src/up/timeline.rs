//! The steps of each Pi's boot on standard output, a line each, as events tell them. Warnings and errors are the log's.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::DecimalBytes;

use crate::events::{Boot, Cause, Event, Fact, Listener, Root, Server};
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
    is_up: bool,
}

impl Timeline {
    pub(super) fn new(user: Option<String>) -> Self {
        Self { user, boots: Mutex::default() }
    }

    /// The lines for an event.
    fn lines(&self, event: &Event) -> Option<String> {
        if matches!(event.fact, Fact::Server(Server::Ready { .. })) {
            return Some(WAITING.into());
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
            boots.insert(client.clone(), Progress { began: event.at, is_up: false });
        }
        let step = step(&event.fact)?;
        let boot = boots.entry(client.clone()).or_insert(Progress { began: event.at, is_up: false });
        let seconds = event.at.saturating_sub(boot.began).as_secs_f64();
        let mut lines = format!("{seconds:7.1} s  {client}  {step}\n");
        if matches!(event.fact, Fact::Root(Root::Mounted { .. })) && !boot.is_up {
            boot.is_up = true;
            lines += &self.up(&client, event.client);
        }
        Some(lines)
    }

    fn up(&self, client: &str, address: Option<impl Display>) -> String {
        let login = match (&self.user, address) {
            (Some(user), Some(address)) => format!(" To log in: ssh {user}@{address}"),
            _ => String::new(),
        };
        format!(
            "\n{client} is up: it has its root, and starts its system.{login}\nThe server goes on; ctrl-C stops it. To serve from each start of this machine: sudo pinetboot service install\n\n"
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

/// The step of a boot that a fact is.
fn step(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Boot(Boot::Began { by: Cause::Discover { hardware, identity }, .. }) => {
            format!("asks for an address: {identity}, {hardware}")
        }
        Fact::Boot(Boot::Stage { stage, .. }) => format!("fetches: {stage}"),
        Fact::Boot(Boot::KernelSent { files, bytes, seconds, .. }) => {
            format!("has its kernel: files: {files}, {} in {seconds:.1} s", DecimalBytes(*bytes))
        }
        Fact::Boot(Boot::KernelAsks { .. }) => "runs its kernel, which asks for an address".into(),
        Fact::Root(Root::LayerMade { image, .. }) => format!("gets a root on {image}"),
        Fact::Root(Root::Mounted { .. }) => "mounts its root".into(),
        Fact::Root(Root::Unmounted { .. }) => {
            "was a trial ('pinetboot simulate'), and took its mount back".into()
        }
        _ => return None,
    })
}

const WAITING: &str = "\
\nReady. Connect a Pi to this network and switch it on; each step of its boot is a line here.
A Pi that never booted from the network has to be told once: in Raspberry Pi Imager choose Misc utility images,
Bootloader, Network boot, and start the Pi with that card. No line within a minute: pinetboot probe says why.\n\n";

/// The most clients that are followed; the log has all.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use pinetboot_core::pi::{Prefix, Stage};

    use super::*;
    use crate::events::Evidence;

    fn event(at: u64, pi: &str, fact: impl Into<Fact>) -> Event {
        Event {
            at: Duration::from_millis(at),
            pi: Some(pi.into()),
            boot: None,
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
        assert_eq!(line, "    0.5 s  kitchen  fetches: config\n");
        let up = timeline.lines(&event(9000, "kitchen", mounted())).unwrap();
        assert!(up.starts_with("    8.0 s  kitchen  mounts its root\n\nkitchen is up"), "{up}");
        assert!(up.contains("ssh ada@10.0.0.5"), "{up}");
        let again = timeline.lines(&event(9100, "kitchen", mounted())).unwrap();
        assert_eq!(again, "    8.1 s  kitchen  mounts its root\n");
        assert_eq!(timeline.lines(&event(20_000, "kitchen", began)), None);
        assert!(timeline.lines(&event(21_000, "kitchen", mounted())).unwrap().contains("1.0 s"));
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

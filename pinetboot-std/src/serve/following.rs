//! Follows the interfaces and addresses of this machine while the server runs.
//!
//! ```text
//! kernel (rtnetlink) -> look at all interfaces -> compare -> an interface is back:   its sockets are bound to it again
//!                                                         -> an address or a route:  DHCP names the address that clients reach
//! ```
//!
//! The same thread looks at the kernel's counters of dropped packets every 10 s.

use std::net::Ipv4Addr;
use std::thread::JoinHandle;

use nix::poll::PollTimeout;

use super::service::Service;
use crate::bus::Bus;
use crate::events::Server;
use crate::exit::{Exit, Failed};
use crate::net::{Changes, Control, Drops, Interrupt, Lack, Link, Links, default_route};
use crate::supervisor::Supervisor;

/// A change that services follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// An interface was made again: sockets that were bound to it are dead.
    Back(&'a str),
    /// This machine may have other addresses or routes.
    Addresses,
}

/// Called at each change; must not wait.
pub(super) type Follow = Box<dyn Fn(Change<'_>) + Send>;

/// The running thread; dropping it stops the thread.
#[derive(Debug)]
pub(super) struct Following {
    control: Control,
    thread: Option<JoinHandle<()>>,
}

/// What the server uses of this machine.
pub(super) struct Used {
    /// The interfaces that its sockets are bound to.
    pub(super) interfaces: Vec<String>,
    /// The addresses that its sockets are bound to.
    pub(super) addresses: Vec<Ipv4Addr>,
    /// The interface of DHCP, if the default route decided.
    pub(super) default_route: Option<String>,
}

struct Follower {
    links: Links,
    used: Used,
    follow: Vec<Follow>,
    bus: Bus,
    /// The interface of the default route, as told last.
    route: Option<String>,
    /// The last look failed.
    is_blind: bool,
    drops: Drops,
    /// Lacks of room that were told.
    told: Vec<Lack>,
}

/// The wait for the next look after one that failed, in milliseconds.
const AGAIN: u16 = 1000;
/// The time between two looks at the counters of dropped packets, in milliseconds.
const COUNT_EVERY: u16 = 10_000;

/// Starts to follow, from the last look at `links` on.
///
/// # Errors
///
/// The system's.
pub(super) fn start(
    (links, changes): (Links, Changes),
    used: Used,
    follow: Vec<Follow>,
    bus: &Bus,
    supervisor: &Supervisor,
) -> Result<Following, Failed> {
    let control = changes.control();
    let route = used.default_route.clone();
    let (drops, told) = (Drops::from_now(), Vec::new());
    let mut follower =
        Follower { links, used, follow, bus: bus.clone(), route, is_blind: false, drops, told };
    supervisor.watch("follow", control.clone());
    let thread = supervisor.spawn(bus, "follow", move || {
        let mut wait = COUNT_EVERY;
        loop {
            match changes.wait(PollTimeout::from(wait)) {
                Ok(changed) => {
                    if changed || follower.is_blind {
                        wait = follower.look();
                    }
                    follower.look_for_drops();
                }
                Err(Interrupt::Stop) => return Ok(()),
                Err(Interrupt::Failed(error)) => {
                    return Err(format!("changes of interfaces cannot be followed: {error}"));
                }
                Err(Interrupt::Reload | Interrupt::Reloaded) => {}
            }
        }
    });
    let thread = thread.map_err(|error| Failed::new(Exit::Failure, error))?;
    Ok(Following { control, thread: Some(thread) })
}

impl Follower {
    /// Follows what has changed; returns the wait for the next look, with or without another change.
    fn look(&mut self) -> u16 {
        let before = match self.links.look() {
            Ok(before) => before,
            // A descriptor or memory lacks: for a while only.
            Err(error) => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    self.bus.emit(None, Server::CannotFollow { error: error.to_string() });
                }
                return AGAIN;
            }
        };
        self.is_blind = false;
        let now = self.links.now();
        for (fact, back) in news(&self.used, &before, &now) {
            if let Some(interface) = back {
                self.tell(Change::Back(interface));
            }
            self.bus.emit(None, fact);
        }
        self.tell(Change::Addresses);
        // Between two routes there is none for a moment.
        if let (Some(interface), Some(now)) = (self.used.default_route.clone(), default_route())
            && self.route.replace(now.clone()).is_some_and(|before| before != now)
        {
            self.bus.emit(None, Server::DefaultRoute { interface, now });
        }
        COUNT_EVERY
    }

    fn look_for_drops(&mut self) {
        for (lack, packets) in self.drops.look() {
            if !self.told.contains(&lack) {
                self.told.push(lack);
                self.bus.emit(None, Server::KernelDrops { lack, packets });
            }
        }
    }

    fn tell(&self, change: Change<'_>) {
        self.follow.iter().for_each(|follow| follow(change));
    }
}

/// What changed of the used interfaces and addresses; with an interface that is back, its name.
fn news<'a>(used: &'a Used, before: &[Link], now: &[Link]) -> Vec<(Server, Option<&'a str>)> {
    let mut news = Vec::new();
    for name in &used.interfaces {
        let index = |links: &[Link]| links.iter().find(|link| link.name == *name).map(|link| link.index);
        let interface = name.clone();
        match (index(before), index(now)) {
            (Some(index), None) => {
                let renamed = now.iter().find(|link| link.index == index).map(|link| link.name.clone());
                let fact = match renamed {
                    Some(now) => Server::InterfaceRenamed { interface, now },
                    None => Server::InterfaceGone { interface },
                };
                news.push((fact, None));
            }
            (before, Some(now)) if before != Some(now) => {
                news.push((Server::InterfaceBack { interface }, Some(name.as_str())));
            }
            _ => {}
        }
    }
    for address in &used.addresses {
        let has =
            |links: &[Link]| links.iter().flat_map(|link| &link.addresses).any(|(own, _)| own == address);
        let is_there = has(now);
        if has(before) != is_there {
            news.push((Server::ListenAddress { address: *address, is_there }, None));
        }
    }
    news
}

impl Service for Following {
    fn name(&self) -> &'static str {
        "follow"
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.control.stop();
        if let Some(thread) = self.thread.take() {
            let _reported = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    fn link(name: &str, index: usize, address: Option<Ipv4Addr>) -> Link {
        let addresses = address.map(|address| (address, 24)).into_iter().collect();
        Link { name: name.into(), index, up: true, loopback: false, addresses }
    }

    #[test]
    fn only_what_the_server_uses_is_news() {
        let used = Used { interfaces: vec!["eth0".into()], addresses: vec![ONE], default_route: None };
        let (old, new) = ([link("eth0", 2, Some(ONE))], [link("eth0", 5, None)]);
        let gone = (Server::InterfaceGone { interface: "eth0".into() }, None);
        let back = (Server::InterfaceBack { interface: "eth0".into() }, Some("eth0"));
        let listen = |is_there| (Server::ListenAddress { address: ONE, is_there }, None);
        assert_eq!(news(&used, &old, &[]), [gone, listen(false)]);
        assert_eq!(news(&used, &[], &old), [back.clone(), listen(true)]);
        assert_eq!(news(&used, &old, &new), [back, listen(false)]);
        let other = [link("eth0", 2, Some(ONE)), link("wlan0", 3, None)];
        assert_eq!(news(&used, &old, &other), []);
        let moved = [link("eth1", 3, Some(ONE)), link("eth0", 2, None)];
        assert_eq!(news(&used, &old, &moved), [], "the address is still this machine's");
        let renamed = [link("lan0", 2, Some(ONE))];
        let now = "lan0".into();
        assert_eq!(
            news(&used, &old, &renamed),
            [(Server::InterfaceRenamed { interface: "eth0".into(), now }, None)]
        );
        // Another interface has the name now: its sockets are bound.
        let swapped = [link("lan0", 2, Some(ONE)), link("eth0", 3, None)];
        let back = (Server::InterfaceBack { interface: "eth0".into() }, Some("eth0"));
        assert_eq!(news(&used, &old, &swapped), [back]);
    }
}

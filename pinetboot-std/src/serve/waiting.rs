//! The wait for interfaces and addresses at the start: a server may start before its network.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::bus::Bus;
use crate::config::Config;
use crate::events::Server;
use crate::exit::{Exit, Failed};
use crate::net::{Changes, Interface, Link, Links, default_route};
use crate::notify::Notify;
use crate::supervisor;

/// The interfaces that DHCP serves.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chosen {
    pub(super) interfaces: Vec<Interface>,
    /// Whether the default route decided.
    pub(super) by_route: bool,
}

/// The obstacle to a choice.
#[derive(Debug, PartialEq)]
enum Obstacle {
    /// An interface or an address is missing, and may come.
    NotYet(String),
    /// The configuration has to name an interface.
    Ambiguous(String),
}

/// Waits until this machine has the interfaces of the configuration, and those of DHCP have an address. Returns the interfaces of
/// DHCP; `None`: a signal ended the wait.
///
/// # Errors
///
/// If the configuration has to name an interface; the system's.
pub(super) fn wait(
    config: &Config,
    (links, changes): (&Links, &Changes),
    notify: &Notify,
    bus: &Bus,
) -> Result<Option<Chosen>, Failed> {
    let failure = |error: &dyn std::fmt::Display| {
        Failed::new(Exit::Failure, format!("cannot list the network interfaces: {error}"))
    };
    let mut signals = None;
    let mut told = String::new();
    loop {
        links.look().map_err(|error| failure(&error))?;
        match choose(config, &links.now(), default_route().as_deref()) {
            Ok(chosen) => {
                if chosen.by_route {
                    let names = chosen.interfaces.iter().map(|interface| interface.name.clone());
                    names.for_each(|interface| bus.emit(None, Server::InterfaceChosen { interface }));
                }
                return Ok(Some(chosen));
            }
            Err(Obstacle::Ambiguous(why)) => return Err(Failed::new(Exit::Usage, why)),
            Err(Obstacle::NotYet(why)) if why == told => {}
            Err(Obstacle::NotYet(why)) => {
                bus.emit(None, Server::Waits { why: why.clone() });
                told = why;
            }
        }
        let signals = match &signals {
            Some(signals) => signals,
            None => signals.insert(
                SignalFd::with_flags(&supervisor::signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
                    .map_err(|error| failure(&error))?,
            ),
        };
        notify.extend_start(2 * LOOK_EVERY);
        let mut ready =
            [changes.as_fd(), signals.as_fd()].map(|source| PollFd::new(source, PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::NONE);
        let _interrupted = poll(&mut ready, timeout);
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo != Signal::SIGHUP as u32 {
                return Ok(None);
            }
        }
        changes.drain();
    }
}

/// The interfaces of DHCP: those that are named; else that of the default route, else the only one with an address.
fn choose(config: &Config, links: &[Link], default_route: Option<&str>) -> Result<Chosen, Obstacle> {
    let named = &config.net.interfaces;
    if let Some(missing) = named.iter().find(|name| links.iter().all(|link| link.name != **name)) {
        let there: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        let there = there.join(", ");
        return Err(Obstacle::NotYet(format!(
            "no interface has the name {missing}; this machine has {there}"
        )));
    }
    if config.dhcp.is_none() {
        return Ok(Chosen::default());
    }
    let usable = Interface::all(links);
    let find = |name: &str| usable.iter().find(|interface| interface.name == name).cloned();
    if !named.is_empty() {
        let found = named.iter().map(|name| {
            find(name).ok_or_else(|| Obstacle::NotYet(format!("{name} is down or has no IPv4 address")))
        });
        return Ok(Chosen { interfaces: found.collect::<Result<_, _>>()?, by_route: false });
    }
    match usable.as_slice() {
        [] => Err(Obstacle::NotYet("DHCP needs an interface that is up and has an IPv4 address".into())),
        [only] => Ok(Chosen { interfaces: vec![only.clone()], by_route: false }),
        several => match default_route.and_then(find) {
            Some(found) => Ok(Chosen { interfaces: vec![found], by_route: true }),
            None => {
                let names: Vec<_> = several.iter().map(|interface| interface.name.as_str()).collect();
                let names = names.join(", ");
                Err(Obstacle::Ambiguous(format!(
                    "several interfaces have an address, and no default route exists. Choose one for DHCP with --interface: {names}"
                )))
            }
        },
    }
}

/// The time between two looks, and two notifications to the service manager, if the kernel tells of no change.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Settings;

    fn link(name: &str, last: Option<u8>) -> Link {
        let addresses = last.map(|last| (Ipv4Addr::new(10, 77, 0, last), 24)).into_iter().collect();
        Link { name: name.into(), index: 1, up: true, loopback: name == "lo", addresses }
    }

    fn chosen(settings: &str, links: &[(&str, Option<u8>)], route: Option<&str>) -> Result<String, String> {
        let settings: Settings = toml::from_str(&format!("tree = '/srv'\n{settings}")).unwrap();
        let links: Vec<_> = links.iter().map(|(name, last)| link(name, *last)).collect();
        match choose(&settings.resolve().unwrap(), &links, route) {
            Ok(Chosen { interfaces, by_route }) => {
                let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
                Ok(format!("{}{}", names.join(" "), if by_route { " by route" } else { "" }))
            }
            Err(Obstacle::NotYet(why)) => Err(why),
            Err(Obstacle::Ambiguous(why)) => Err(format!("usage: {why}")),
        }
    }

    #[test]
    fn the_named_ones_else_that_of_the_default_route_else_the_only_one() {
        let docker = [("lo", Some(1)), ("eth0", Some(2)), ("docker0", Some(3)), ("eth1", None)];
        let dhcp = "dhcp = 'proxy'";
        assert_eq!(chosen("", &docker, None).unwrap(), "");
        assert_eq!(chosen(dhcp, &docker, Some("eth0")).unwrap(), "eth0 by route");
        assert_eq!(chosen(dhcp, &docker[..2], None).unwrap(), "eth0");
        assert!(chosen(dhcp, &docker, None).unwrap_err().starts_with("usage: "));
        assert!(chosen(dhcp, &docker, Some("eth1")).unwrap_err().starts_with("usage: "));
        assert_eq!(
            chosen("dhcp = 'proxy'\ninterface = ['docker0', 'eth0']", &docker, None).unwrap(),
            "docker0 eth0"
        );
    }

    #[test]
    fn what_is_missing_is_waited_for() {
        let links = [("lo", Some(1)), ("eth0", None)];
        let on_eth0 = "dhcp = 'lease'\ninterface = 'eth0'";
        assert_eq!(chosen(on_eth0, &links, None).unwrap_err(), "eth0 is down or has no IPv4 address");
        let missing = chosen("interface = 'eth1'", &links, None).unwrap_err();
        assert_eq!(missing, "no interface has the name eth1; this machine has lo, eth0");
        assert!(chosen("dhcp = 'proxy'", &links, None).unwrap_err().contains("IPv4 address"));
        assert_eq!(chosen("interface = 'eth0'", &links, None).unwrap(), "", "TFTP needs no address");
    }
}

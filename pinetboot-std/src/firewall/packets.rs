//! The firewall, tried by packets: a copy of this machine's rules in two namespaces that exist for the test alone.
//!
//! ```text
//! namespace of the machine: its rules, the interface's name and address, sockets  <- veth ->  namespace of a Pi: DHCP, UDP, TCP
//! ```
//!
//! The kernel itself judges the packets, by interface, source and order of the rules. Nothing of this machine's network changes, and no
//! packet leaves the machine. The namespaces have no name, and end with their threads. Not seen: rules of bridges and of `netdev` tables,
//! eBPF, and firewalls of other machines; a closed port by TCP is not told from an answer that is dropped.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::gettid;

use super::Port;

/// The interface that Pis come by.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    /// Its name.
    pub(crate) interface: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// The length of the network's prefix.
    pub(crate) prefix_len: u8,
}

/// The fate of a Pi's packet to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The packet and its answer arrived.
    Answered,
    /// The packet arrived, its answer did not.
    AnswerLost,
    /// The packet did not arrive.
    Dropped,
}

/// Sends a packet to each port, as from a Pi.
///
/// # Errors
///
/// The reason why nothing was tried: a missing right or program, or rules that cannot be copied.
pub(crate) fn try_ports(entrance: &Entrance, ports: &[Port]) -> Result<Vec<(Port, Fate)>, String> {
    let rules = Rules::of_machine()?;
    let pi_address = neighbour(entrance).ok_or("the network of the interface has no second address")?;
    let ((to_machine, from_pi), (to_pi, from_machine)) = (channel(), channel());
    let (arrived, answered) = thread::scope(|scope| {
        let machine = scope.spawn(move || machine(entrance, &rules, ports, &to_pi, &from_pi));
        let pi = scope.spawn(move || pi(entrance, pi_address, ports, to_machine, &from_machine));
        let broken = |_| Err(BROKEN_OFF.to_owned());
        // The machine's reason is the cause of the other.
        Ok::<_, String>((machine.join().unwrap_or_else(broken)?, pi.join().unwrap_or_else(broken)?))
    })?;
    let fate = |port: &Port| match (arrived.contains(port), answered.contains(port)) {
        // A broadcast answer to a client without an address is not judged.
        (true, _) if port.1 == DHCP => Fate::Answered,
        (_, true) => Fate::Answered,
        (true, false) => Fate::AnswerLost,
        (false, false) => Fate::Dropped,
    };
    Ok(ports.iter().map(|port| (*port, fate(port))).collect())
}

/// The machine's side: answers datagrams until the Pi has tried all ports. Returns the ports of the datagrams that arrived.
fn machine(
    entrance: &Entrance,
    rules: &Rules,
    ports: &[Port],
    to_pi: &Sender<()>,
    from_pi: &Receiver<i32>,
) -> Result<BTreeSet<Port>, String> {
    own_network()?;
    let pi = from_pi.recv().map_err(|_| BROKEN_OFF)?.to_string();
    let (name, address) = (&entrance.interface, format!("{}/{}", entrance.address, entrance.prefix_len));
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", name, "type", "veth", "peer", "name", PI, "netns", &pi])?;
    ip(&["addr", "add", &address, "broadcast", "+", "dev", name])?;
    ip(&["link", "set", name, "up"])?;
    rules.load(name)?;
    let text = |error: io::Error| format!("a socket of the test: {error}");
    let (mut datagrams, mut listeners) = (Vec::new(), Vec::new());
    for port in ports {
        let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port.1);
        if port.0 == "udp" {
            let socket = UdpSocket::bind(at).map_err(text)?;
            socket.set_nonblocking(true).map_err(text)?;
            datagrams.push((*port, socket));
        } else {
            listeners.push(TcpListener::bind(at).map_err(text)?);
        }
    }
    to_pi.send(()).map_err(|_| BROKEN_OFF)?;
    let (mut arrived, mut buf) = (BTreeSet::new(), [0; 16]);
    loop {
        for (port, socket) in &datagrams {
            if let Ok((_, from)) = socket.recv_from(&mut buf) {
                arrived.insert(*port);
                // A firewall may refuse that: the Pi tells the answers that arrive.
                let _perhaps_refused = socket.send_to(ANSWER, from);
            }
        }
        match from_pi.recv_timeout(STEP) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(arrived),
        }
    }
}

/// The Pi's side. Returns the ports that answered.
fn pi(
    entrance: &Entrance,
    address: Ipv4Addr,
    ports: &[Port],
    to_machine: Sender<i32>,
    from_machine: &Receiver<()>,
) -> Result<BTreeSet<Port>, String> {
    own_network()?;
    to_machine.send(gettid().as_raw()).map_err(|_| BROKEN_OFF)?;
    from_machine.recv().map_err(|_| BROKEN_OFF)?;
    ip(&["link", "set", PI, "up"])?;
    let text = |error: io::Error| format!("a socket of the test: {error}");
    if ports.contains(&("udp", DHCP)) {
        // A client has no address yet: the source is 0.0.0.0 (RFC 2131, section 4.1).
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DHCP + 1)).map_err(text)?;
        socket.set_broadcast(true).map_err(text)?;
        setsockopt(&socket, sockopt::BindToDevice, &PI.into()).map_err(|errno| text(errno.into()))?;
        socket.send_to(ASKED, (Ipv4Addr::BROADCAST, DHCP)).map_err(text)?;
    }
    let own = format!("{address}/{}", entrance.prefix_len);
    ip(&["addr", "add", &own, "broadcast", "+", "dev", PI])?;
    let mut answered = BTreeSet::new();
    let mut asked = Vec::new();
    for port in ports.iter().filter(|(protocol, port)| *protocol == "udp" && *port != DHCP) {
        let socket = UdpSocket::bind((address, 0)).map_err(text)?;
        socket.set_nonblocking(true).map_err(text)?;
        // Connected: an ICMP error of a rule that rejects is heard.
        socket.connect((entrance.address, port.1)).map_err(text)?;
        socket.send(ASKED).map_err(text)?;
        asked.push((*port, socket));
    }
    for port in ports.iter().filter(|(protocol, _)| *protocol == "tcp") {
        let to = SocketAddrV4::new(entrance.address, port.1).into();
        match TcpStream::connect_timeout(&to, WITHIN) {
            Ok(_) => drop(answered.insert(*port)),
            Err(error) if is_of_firewall(&error) => {}
            Err(error) => return Err(text(error)),
        }
    }
    for _ in 0..WITHIN.as_millis() / STEP.as_millis() {
        asked.retain(|(port, socket)| match socket.recv(&mut [0; 16]) {
            Ok(_) => !answered.insert(*port),
            Err(_) => true,
        });
        if asked.is_empty() {
            break;
        }
        thread::sleep(STEP);
    }
    drop(to_machine); // ends the machine's side
    Ok(answered)
}

/// Whether a connection failed as by a rule that drops or rejects.
fn is_of_firewall(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut};
    matches!(
        error.kind(),
        TimedOut | ConnectionRefused | HostUnreachable | NetworkUnreachable | PermissionDenied
    )
}

/// This machine's rules for IPv4, as texts for the programs that load them.
#[derive(Debug, Default)]
struct Rules {
    parts: Vec<(&'static str, String)>,
}

impl Rules {
    fn of_machine() -> Result<Self, String> {
        let mut rules = Self::default();
        let all = output("nft", &["list", "ruleset"])?;
        let mut own = String::new();
        for table in all.split_inclusive("\n}\n") {
            let head = table.lines().find(|line| line.starts_with("table ")).unwrap_or_default();
            let mut words = head.split(' ').skip(1);
            match (words.next(), words.next()) {
                // Matches of iptables that nft prints and does not read.
                (Some("ip"), Some(name)) if table.contains(" xt match ") || table.contains(" xt target ") => {
                    rules.parts.push(("iptables-nft-restore", output("iptables-nft-save", &["-t", name])?));
                }
                (Some("ip" | "inet"), _) => own.push_str(table),
                _ => {}
            }
        }
        rules.parts.push(("nft", own));
        // Kernel and program of the older kind need not be there.
        let legacy = output("iptables-legacy-save", &[]).unwrap_or_default();
        if !legacy.is_empty() {
            rules.parts.push(("iptables-legacy-restore", legacy));
        }
        Ok(rules)
    }

    /// Loads the rules into this thread's namespace, which has the interface `entrance`.
    fn load(&self, entrance: &str) -> Result<(), String> {
        // `iif` names an interface that has to exist.
        let texts = self.parts.iter().flat_map(|(_, text)| text.split("if \"").skip(1));
        let names: BTreeSet<&str> = texts.filter_map(|rest| rest.split('"').next()).collect();
        for name in names.into_iter().filter(|name| *name != entrance && *name != "lo") {
            ip(&["link", "add", name, "type", "dummy"])?;
        }
        for (program, text) in &self.parts {
            let arguments: &[&str] = if *program == "nft" { &["-f", "-"] } else { &[] };
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| format!("{program}: {error}"))?;
            if let Some(mut stdin) = child.stdin.take() {
                let _ended_early = stdin.write_all(text.as_bytes());
            }
            said(program, child.wait_with_output())?;
        }
        Ok(())
    }
}

fn own_network() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("a network namespace: {}; run as root", errno.desc()))
}

/// Runs ip(8) in this thread's namespace.
fn ip(arguments: &[&str]) -> Result<(), String> {
    output("ip", arguments).map(drop)
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    said(program, done)
}

fn said(program: &str, done: io::Result<std::process::Output>) -> Result<String, String> {
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&done.stderr);
    Err(format!("{program}: {}", text.lines().next().unwrap_or("ended without a reason")))
}

/// Another address of the network.
fn neighbour(entrance: &Entrance) -> Option<Ipv4Addr> {
    let mask = u32::MAX.checked_shl(32 - u32::from(entrance.prefix_len)).unwrap_or(0);
    let (network, broadcast) = (entrance.address.to_bits() & mask, entrance.address.to_bits() | !mask);
    (network.checked_add(1)?..broadcast).map(Ipv4Addr::from_bits).find(|address| *address != entrance.address)
}

const DHCP: u16 = 67;
/// The interface of the Pi.
const PI: &str = "pi";
const ASKED: &[u8] = b"?";
const ANSWER: &[u8] = b"!";
const STEP: Duration = Duration::from_millis(10);
/// Time for an answer. Within a machine it takes less than a millisecond.
const WITHIN: Duration = Duration::from_secs(1);
const BROKEN_OFF: &str = "the test was broken off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pi_gets_another_address_of_the_network() {
        let of = |address: &str, prefix_len| {
            neighbour(&Entrance { interface: "eth0".into(), address: address.parse().unwrap(), prefix_len })
        };
        assert_eq!(of("10.0.0.9", 24), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(of("10.0.0.1", 24), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(of("10.0.0.1", 30), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(of("10.0.0.1", 32), None);
    }
}

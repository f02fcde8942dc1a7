//! The test bed that measures a server alone: the clients answer below the sockets, on a core of their own.
//!
//! On a veth pair, the core that sends a packet also delivers the packet, to the sockets of the other end; a cable would not. Here an XDP
//! program answers DATA with its ACK, at a fraction of a socket's cost, and RPS (Documentation/networking/scaling.rst of Linux) chooses
//! the core on which each end receives:
//!
//! * *apart*: the server's packets on its core, the clients' on theirs, as with two network cards. To hand a packet over takes an
//!   interrupt between processors, which a virtual machine pays dearly for: far more than a card's doorbell costs.
//! * *together*: both on the server's core. No interrupt, but the server's core runs the program, for all servers alike.
//!
//! The program runs in generic mode. Native mode of veth processes packets on the sender's core, or in a kernel thread, which cannot be
//! pinned from a process namespace; and its ring of 256 packets is too short for a thousand clients.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::Failed;
use crate::world;

/// The bed; dropping the value restores the cable.
pub(crate) struct Bed(());

impl Bed {
    /// For `clients` clients that take blocks of this size, on a core of their own or on the server's.
    pub(crate) fn new(clients: usize, block_size: u16, apart: bool) -> Result<Self, Failed> {
        let (server_core, client_core) = world::cores();
        if apart && server_core == client_core {
            return Err("the test bed takes two cores".into());
        }
        compile(clients, block_size)?;
        let bed = Self(());
        steer("s", Some(server_core))?;
        steer("c", Some(if apart { client_core } else { server_core }))?;
        world::ip(&format!("link set dev c xdpgeneric object {OBJECT} section xdp"))?;
        Ok(bed)
    }

    /// Removes the program: from now on all packets reach the sockets.
    pub(crate) fn detach(&self) -> Result<(), Failed> {
        world::ip("link set dev c xdpgeneric off")
    }

    /// The packets that came to the clients' interface so far.
    pub(crate) fn received(&self) -> u64 {
        let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("c:"));
        line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for undone in [self.detach(), steer("s", None), steer("c", None)] {
            if let Err(failed) = undone {
                eprintln!("  {failed}");
            }
        }
    }
}

/// Compiles the program.
fn compile(clients: usize, block_size: u16) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| {
        Failed::from(format!("cannot compile the clients' program: {error}; apt-get install clang"))
    };
    let mut clang = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-Wall", "-Wextra", "-Werror", "-c", "-o", OBJECT, "-x", "c"])
        .arg(format!("-DCLIENTS={clients}"))
        .arg(format!("-DFIRST_CLIENT={}u", world::client(0).to_bits()))
        .arg(format!("-DBLOCK={block_size}"))
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = clang.stdin.take() {
        stdin.write_all(include_bytes!("load/xdp.c")).map_err(|error| failed(&error))?;
    }
    let status = clang.wait().map_err(|error| failed(&error))?;
    if status.success() { Ok(()) } else { Err(failed(&status)) }
}

/// Lets packets that come to this end of the cable be received on this core; `None`: on the sender's.
fn steer(end: &str, core: Option<usize>) -> Result<(), Failed> {
    // A bit mask, in hexadecimal words of 32 bits.
    let mask = core
        .map_or("0".into(), |core| format!("{:x}{}", 1_u32 << (core % 32), ",00000000".repeat(core / 32)));
    let write = format!("echo {mask} > /sys/class/net/{end}/queues/rx-0/rps_cpus");
    // /sys shows the interfaces of the namespace in which it was mounted; `ip netns exec` mounts it.
    let status = match end {
        "s" => world::at_server("sh").args(["-c", &write]).status(),
        _ => {
            let script = format!("mount -t sysfs sysfs /sys && {write}");
            Command::new("unshare").args(["--mount", "sh", "-c", &script]).status()
        }
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot steer the packets of {end} to a core: {status}").into()),
        Err(error) => Err(format!("cannot run unshare: {error}").into()),
    }
}

const OBJECT: &str = "/run/xdp.o";

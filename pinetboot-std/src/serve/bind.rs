//! The causes of a failed bind, with the remedies.

use nix::errno::Errno;
use pinetboot_core::tftp;
use rustix::thread::CapabilitySet;

use crate::exit::{Exit, Failed};
use crate::net::{BindError, KERNEL, holder_of};
use crate::sandbox::{in_a_container, lacking};

/// The failure and its remedy; `way_out` is an imperative that avoids the address.
pub(super) fn cannot_bind(failure: &BindError, way_out: &str) -> Failed {
    Failed::new(Exit::Bind, format!("{failure}: {}", advice(failure, way_out)))
}

/// The same for TFTP's port.
pub(super) fn cannot_bind_tftp(failure: &BindError) -> Failed {
    let is_taken = failure.error.raw_os_error() == Some(Errno::EADDRINUSE as i32);
    let way_out = match failure.address.port() {
        // A Pi requests from no other port.
        tftp::PORT if is_taken => "listen on another address of this machine with --listen",
        tftp::PORT => "for a trial without a Pi, choose another port with --tftp-port",
        _ => "choose another port with --tftp-port",
    };
    cannot_bind(failure, way_out)
}

/// The remedy.
pub(crate) fn advice(failure: &BindError, way_out: &str) -> String {
    let BindError { address, error } = failure;
    let port = address.port();
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EADDRINUSE) => match holder_of(port) {
            // The only servers in the kernel, which have no process.
            Some(holder) if holder == KERNEL => format!(
                "the kernel's NFS server holds port {port}. Run 'systemctl disable --now nfs-server', or {way_out}"
            ),
            holder => {
                let holder = holder.unwrap_or_else(|| "another process".into());
                format!("{holder} holds port {port}. Stop that process, or {way_out}")
            }
        },
        Some(Errno::EACCES) => format!(
            "port {port} requires the capability CAP_NET_BIND_SERVICE. Run pinetboot with sudo, or grant the capability once with 'sudo setcap \
             cap_net_bind_service,cap_net_raw=+ep {}', or {way_out}; {}",
            std::env::current_exe().unwrap_or_default().display(),
            in_a_container(CapabilitySet::NET_BIND_SERVICE),
        ),
        Some(Errno::EADDRNOTAVAIL) => {
            "no interface of this machine has that address; 'ip addr' lists the addresses".into()
        }
        Some(Errno::ENODEV) => {
            format!("this machine has no interface of that name; it has {}", interfaces())
        }
        Some(Errno::EPERM) => match lacking(CapabilitySet::NET_RAW) {
            Some(lacking) => format!("binding to an interface requires {lacking}"),
            None => "the system refuses it, although this process has the capability CAP_NET_RAW".into(),
        },
        _ => "see 'pinetboot serve --help' for --listen, --tftp-port and --interface".into(),
    }
}

/// The names of this machine's interfaces (sysfs(5)).
fn interfaces() -> String {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(", ")
}

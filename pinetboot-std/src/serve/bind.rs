//! Why an address cannot be listened on, and what to do about it.

use nix::errno::Errno;

use crate::exit::{Exit, Failed};
use crate::net::{BindError, holder_of};

/// The failure in words; `way_out` is how to do without that address.
pub(super) fn cannot_bind(failure: &BindError, way_out: &str) -> Failed {
    Failed::new(Exit::Bind, format!("{failure}: {}", advice(failure, way_out)))
}

/// What to do about it.
pub(super) fn advice(failure: &BindError, way_out: &str) -> String {
    let BindError { address, error } = failure;
    let port = address.port();
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EADDRINUSE) => {
            let holder = holder_of(port).unwrap_or_else(|| "another process".into());
            format!("{holder} holds the port. Stop it, or {way_out}")
        }
        Some(Errno::EACCES) => format!(
            "port {port} takes a privilege. Run it with sudo, or give the program the privilege once with 'sudo setcap \
             cap_net_bind_service,cap_net_raw=+ep {}', or {way_out}",
            std::env::current_exe().unwrap_or_default().display(),
        ),
        Some(Errno::EADDRNOTAVAIL) => {
            "no interface of this machine has that address; 'ip addr' lists them".into()
        }
        Some(Errno::ENODEV) => "there is no interface of that name; 'ip link' lists them".into(),
        Some(Errno::EPERM) => "choosing an interface takes a privilege: run it with sudo".into(),
        _ => "see 'pinetboot serve --help' for --listen, --tftp-port and --interface".into(),
    }
}

//! The causes of a failed bind, with the remedies.

use nix::errno::Errno;

use crate::exit::{Exit, Failed};
use crate::net::{BindError, holder_of};

/// The failure and its remedy; `way_out` is an imperative that avoids the address.
pub(super) fn cannot_bind(failure: &BindError, way_out: &str) -> Failed {
    Failed::new(Exit::Bind, format!("{failure}: {}", advice(failure, way_out)))
}

/// The remedy.
pub(crate) fn advice(failure: &BindError, way_out: &str) -> String {
    let BindError { address, error } = failure;
    let port = address.port();
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EADDRINUSE) => {
            let holder = holder_of(port).unwrap_or_else(|| "another process".into());
            format!("{holder} holds port {port}. Stop that process, or {way_out}")
        }
        Some(Errno::EACCES) => format!(
            "port {port} requires the capability CAP_NET_BIND_SERVICE. Run pinetboot with sudo, or grant the capability once with 'sudo setcap \
             cap_net_bind_service,cap_net_raw=+ep {}', or {way_out}",
            std::env::current_exe().unwrap_or_default().display(),
        ),
        Some(Errno::EADDRNOTAVAIL) => {
            "no interface of this machine has that address; 'ip addr' lists the addresses".into()
        }
        Some(Errno::ENODEV) => {
            "this machine has no interface of that name; 'ip link' lists the interfaces".into()
        }
        Some(Errno::EPERM) => {
            "binding to an interface requires the capability CAP_NET_RAW: run pinetboot with sudo".into()
        }
        _ => "see 'pinetboot serve --help' for --listen, --tftp-port and --interface".into(),
    }
}

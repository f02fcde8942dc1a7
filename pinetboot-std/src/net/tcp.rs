//! TCP connections from a port below 1024, as kernels make them to NFS servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, setsockopt, socket, sockopt,
};

/// Connects within `timeout`, from a port below 1024 if the process may bind one, else from any port. Reads and writes end with an
/// error after the same time.
///
/// # Errors
///
/// The system's; [`TimedOut`](io::ErrorKind::TimedOut) without an answer.
pub fn connect_reserved(to: SocketAddrV4, timeout: Duration) -> io::Result<TcpStream> {
    // Not the same port each time: a port of a closed connection to the same server stays reserved for a minute.
    let first = std::process::id() as u16;
    let ports = (0..PORTS).map(|index| FIRST_PORT + (first.wrapping_add(index)) % PORTS);
    let mut stream = None;
    for port in ports {
        match connect_from(port, to, timeout) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            done => {
                stream = Some(done?);
                break;
            }
        }
    }
    let stream = match stream {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&to.into(), timeout)?,
    };
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn connect_from(port: u16, to: SocketAddrV4, timeout: Duration) -> io::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            let millis = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
            if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], millis)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match getsockopt(&socket, sockopt::SocketError)? {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The ports that Linux's client uses (sunrpc.min_resvport, sunrpc.max_resvport).
const FIRST_PORT: u16 = 665;
const PORTS: u16 = 1023 - 665 + 1;

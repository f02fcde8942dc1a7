//! A server whose standard output and standard error are full pipes.

use std::io::{BufRead, BufReader, Write, pipe};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

/// A server; dropping the value kills the process.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Writes to a pipe until its next writer would wait.
fn fill(mut pipe: impl Write + AsFd) {
    // "POLLOUT: Writing is now possible, though a write larger than the available space in a socket or pipe will still block"
    // (poll(2)): a page is available.
    while poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO) == Ok(1) {
        pipe.write_all(&[b'x'; 4096]).unwrap();
    }
}

/// A message of a client has four lines and more in the log: a server that waited for the reader of one would answer nobody.
#[test]
#[ignore = "needs root and network namespaces; run by .ci/run"]
fn leases_are_given_while_nobody_reads_the_log() {
    let home = Home::new();
    let leases = home.files.leases();
    let ((unread, log), (told, output)) = (pipe().unwrap(), pipe().unwrap());
    let program = std::env::var_os("PINETBOOT_PROGRAM").unwrap_or_else(|| PINETBOOT.into());
    let mut command = home.server.command(program);
    command.args(["serve", "-vv", "--dhcp", "lease", "--dhcp-clients", "all", "--interface", "lan"]);
    command.args(["--lease-file", &leases]).arg(home.files.tree());
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    let mut server = Server(command.spawn().unwrap());
    let mut told = BufReader::new(told);
    let mut ready = String::new();
    told.read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready tftp "), "{ready}");
    fill(&log);
    fill(&output);

    let mut addresses = Vec::new();
    for number in 0..4 {
        home.client.ip("addr flush dev eth");
        home.client.ip(&format!("link set eth address 02:00:00:00:00:{number:02x}"));
        let address = home.udhcpc(&[]).split(' ').next().unwrap().to_owned();
        home.fetch();
        assert_eq!(home.udhcpc(&[]).split(' ').next().unwrap(), address);
        let written = fs::read_to_string(&leases).unwrap();
        assert!(written.contains(&format!("02:00:00:00:00:{number:02x} {address} ")), "{written}");
        addresses.push(address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 4);
    let is_full = |pipe: &dyn AsFd| {
        poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO) == Ok(0)
    };
    assert!(is_full(&log) && is_full(&output), "both pipes are full to the end");

    let began = Instant::now();
    kill(Pid::from_raw(server.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let (status, took) = (server.0.wait().unwrap(), began.elapsed());
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop((unread, told));
}

//! A file that hangs, and SIGTERM.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{Operation, Peer, Serving, SickDisk};

/// The kernel keeps a process until its last thread has left the hung file system. All else of the server is gone within 5 s: the
/// ports too, so that another server can start.
#[test]
#[ignore = "needs root and /dev/fuse; run by .ci/run"]
fn a_server_with_a_hung_file_ends_when_told_to() {
    for operation in [Operation::Open, Operation::Read] {
        let disk = SickDisk::new(&[("config.txt", b""), ("hung", &[0; 2000])]);
        disk.hang(operation, "hung");
        let serving = Serving::start(disk.path(), &["--threads", "2"]);
        let client = Peer::of(serving.address());
        client.say("RRQ hung octet");
        disk.wait_for_hanging(1);
        let began = Instant::now();
        serving.signal(Signal::SIGTERM);
        let stat = format!("/proc/{}/stat", serving.id());
        // Field 3 is the state of the main thread, after the name in parentheses (proc_pid_stat(5)).
        let is_zombie = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        while !is_zombie() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("{operation:?}: {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(5), "{operation:?}: {:?}", began.elapsed());
        while UdpSocket::bind(serving.address()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(5), "{operation:?}: the port is not free");
        }
        disk.release();
        let code = serving.wait().code;
        assert!(matches!(code, Some(0 | 12)), "{operation:?}: {code:?}");
    }
}

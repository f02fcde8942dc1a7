//! Forbidden things, tried from within.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::{env, thread};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use pinetboot::sandbox::{Calls, Paths, Remains, enter};
use rustix::thread::CapabilitySet;

use crate::common::Folder;

/// The variable with the directory of a process in the sandbox.
const INSIDE: &str = "PINETBOOT_TEST_INSIDE";

#[test]
fn what_is_not_left_is_refused_and_the_rest_works() {
    if let Some(directory) = env::var_os(INSIDE) {
        return inside(&directory.into_string().unwrap());
    }
    let folder = Folder::new(&[("read/file", b"boot"), ("write/old", b""), ("other/file", b"secret")]);
    // One thread at the beginning of the test: the threads of the test harness are not in the sandbox.
    let name = "inside::what_is_not_left_is_refused_and_the_rest_works";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains(" 1 passed"), "{said}");
}

fn inside(directory: &str) {
    let path = |name: &str| format!("{directory}/{name}");
    let paths =
        Paths { read: vec![path("read").into()], write: vec![path("write").into()], ..Paths::default() };
    let remains = Remains {
        account: None,
        capabilities: CapabilitySet::empty(),
        paths: Some(paths),
        calls: Calls::Network,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let missing = enter(&remains).unwrap();
    let lacks = |part: &str| missing.iter().any(|missing| missing.part == part);

    assert_eq!(fs::read(path("read/file")).unwrap(), b"boot");
    fs::write(path("write/new"), "new").unwrap();
    fs::rename(path("write/new"), path("write/old")).unwrap();
    fs::remove_file(path("write/old")).unwrap();
    thread::spawn(|| UdpSocket::bind("127.0.0.1:0").unwrap()).join().unwrap();

    if !lacks("landlock") {
        refused(File::open(path("other/file")), ErrorKind::PermissionDenied);
        refused(File::create(path("read/file")), ErrorKind::PermissionDenied);
        refused(File::open("/etc/passwd"), ErrorKind::PermissionDenied);
        refused(TcpStream::connect(listener.local_addr().unwrap()), ErrorKind::PermissionDenied);
    }
    if !lacks("seccomp") {
        assert!(Command::new("/bin/true").spawn().is_err());
        let flags = SockFlag::empty();
        let raw = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        assert_eq!(raw.unwrap_err(), nix::errno::Errno::ENOSYS);
        assert_eq!(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS), Err(nix::errno::Errno::ENOSYS));
    }
}

fn refused<T>(done: io::Result<T>, kind: ErrorKind) {
    assert_eq!(done.err().map(|error| error.kind()), Some(kind));
}

//! The standard library's sockets and files keep the promises of the traits, and a server and a client run on them.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::fs;
use std::net::SocketAddr;
use std::thread;

use pinetboot_core::adapter::std::{Directory, UdpPort};
use pinetboot_core::conformance::{self, End};
use pinetboot_core::tftp::{Client, Limits, Options, Outcome, Request, Server};
use pinetboot_core::{Net, block_on};

fn port() -> (UdpPort, core::net::SocketAddrV4) {
    let port = UdpPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let SocketAddr::V4(address) = port.local_addr().unwrap() else { panic!("IPv4") };
    (port, address)
}

/// The files of the suite, in a directory that is removed when the test is over.
struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let root = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _none = fs::remove_dir_all(&root);
        for (name, bytes) in conformance::FILES {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Self(root)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_socket_is_a_network() {
    let ((mut tested, address), (mut other, other_address)) = (port(), port());
    let peer = End { net: &mut other, local: (), address: other_address };
    block_on(conformance::net(&mut tested, address, peer));
}

#[test]
fn a_directory_is_a_storage() {
    let files = Files::new("storage");
    block_on(conformance::storage(&mut Directory::open(&files.0).unwrap()));
    assert!(Directory::open(files.0.join("missing")).is_err());
}

#[cfg(unix)]
#[test]
fn a_link_leads_nowhere_else() {
    let files = Files::new("links");
    std::os::unix::fs::symlink("/", files.0.join("away")).unwrap();
    std::os::unix::fs::symlink("kernel8.img", files.0.join("kernel")).unwrap();
    let mut storage = Directory::open(&files.0).unwrap();
    let mut open = |name: &str| {
        use pinetboot_core::{BootPath, File, OpenRequest, Storage};
        let path = BootPath::parse(name.as_bytes()).unwrap();
        let request = OpenRequest::new(path, "192.0.2.1:49152".parse().unwrap());
        block_on(storage.open(&request)).map(|file| file.len())
    };
    assert_eq!(open("kernel"), Ok(9001));
    assert_eq!(open("away/etc/passwd"), Err(pinetboot_core::OpenError::Denied));
}

#[test]
fn a_server_serves_a_client() {
    let files = Files::new("server");
    let (net, server) = port();
    let storage = Directory::open(&files.0).unwrap();
    // Ends with the process.
    thread::spawn(move || {
        let mut places = [const { None }; 4];
        block_on(Server::<_, _, _, 4>::new(net, storage, (), Limits::default(), &mut places).run())
    });
    let (net, _) = port();
    assert!(net.max_payload((), server) > 1000);
    let mut client = Client::new(net, (), server);
    let mut bytes = Vec::new();
    let options = Options::RASPBERRY_PI.with_window_size(4);
    let report = block_on(client.get(&Request::octet(b"kernel8.img", options), &mut bytes)).unwrap();
    assert_eq!(report.outcome, Outcome::Complete { bytes: 9001 });
    assert_eq!(
        Some(&bytes[..]),
        conformance::FILES.iter().find(|(name, _)| *name == "kernel8.img").map(|(_, is)| *is)
    );

    let missing = block_on(client.get(&Request::octet(b"missing", options), &mut bytes)).unwrap();
    let error = missing.into_result().unwrap_err();
    assert_eq!(error.to_string(), "the other side says error 1, file not found");
}

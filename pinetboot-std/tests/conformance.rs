//! The core's suites for every network and every storage, on those of Linux.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use pinetboot::bus::Bus;
use pinetboot::net::{LinuxNet, Options, Ports};
use pinetboot::storage::{BootStorage, BootTree, Budget, Sources, Trees};
use pinetboot_core::block_on;
use pinetboot_core::conformance::{self, End, FILES};

#[test]
fn sockets() {
    for ports in [Ports::PerTransfer, Ports::Single] {
        for listen in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            let options = Options { ports, ..Options::default() };
            let mut net = LinuxNet::listen(&[SocketAddrV4::new(listen, 0)], options).unwrap();
            let mut other = LinuxNet::client(None).unwrap();
            let at = |net: &LinuxNet| {
                let port = net.addresses().unwrap()[0].port();
                SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
            };
            let (tested, address) = (at(&net), at(&other));
            let peer = End { net: &mut other, local: LinuxNet::client_port(), address };
            block_on(conformance::net(&mut net, tested, peer));
        }
    }
}

#[test]
fn files_on_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in FILES {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let tree = BootTree::open_at(directory.path()).unwrap();
    let trees = Trees::new(Sources::directory(tree), Bus::silent());
    block_on(conformance::storage(&mut BootStorage::new(Arc::new(trees), None, Budget::default())));
}

//! Calls as such: twice, many at once, unknown, by datagram, to a server that ends.

use std::io::Read;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Pack, Unpack, Void};
use pinetboot_nfs::{Export, MemoryTree, NfsConfig, OneExport, Portmap};

use crate::nfs_client::{self, Client, entry};
use crate::world::{MIB, config, export, serve, world};

#[test]
fn a_second_remove_of_the_same_call_is_answered_like_the_first_even_on_a_new_connection() {
    let (running, mut client, root) = world();
    client.make(&root, "file");
    let mut arguments = Vec::new();
    REMOVE3args { object: entry(&root, "file") }.pack(&mut arguments).unwrap();
    client.xid = 0x1234;
    let message = client.message(PROGRAM, VERSION, 12, &arguments);
    client.send_message(&message);
    let first = client.receive();
    assert_eq!(first.body[16..20], [0; 4], "removed");
    for mut again in [client, Client::connect(running.port())] {
        again.send_message(&message);
        assert_eq!(again.receive().body, first.body);
    }
    // Another call for the same is another call.
    let mut other = Client::connect(running.port());
    assert_eq!(other.remove(&root, "file"), Err(nfsstat3::NFS3ERR_NOENT));
}

#[test]
fn the_write_verifier_is_another_after_a_restart_and_handles_are_the_same() {
    let exports = Arc::new(OneExport::new(export(1, "/")));
    let running = pinetboot_nfs::start(config(), exports.clone()).unwrap();
    let mut client = Client::connect(running.port());
    let root = client.mount("/").unwrap();
    let file = client.make(&root, "file");
    let before = client.write(&file, 0, b"x", stable_how::UNSTABLE).unwrap().verf;
    assert_eq!(client.commit(&file).unwrap(), before);
    drop(running);
    let running = pinetboot_nfs::start(config(), exports).unwrap();
    let mut client = Client::connect(running.port());
    assert_ne!(client.commit(&file).unwrap(), before);
}

#[test]
fn the_write_verifier_is_another_once_a_commit_has_failed() {
    let tree = Arc::new(MemoryTree::new(MIB));
    let running = serve(OneExport::new(Export { tree: tree.clone(), ..export(1, "/") }));
    let (mut client, mut other) = (Client::connect(running.port()), Client::connect(running.port()));
    let root = client.mount("/").unwrap();
    let file = client.make(&root, "file");
    let before = client.write(&file, 0, b"x", stable_how::UNSTABLE).unwrap().verf;
    assert_eq!(other.write(&file, 1, b"y", stable_how::UNSTABLE).unwrap().verf, before);
    // An error of the call alone loses no data.
    assert!(client.commit(&root).is_err());
    tree.fail_commits(1);
    assert_eq!(client.commit(&file), Err(nfsstat3::NFS3ERR_IO));
    // The other client was told nothing, and its commit succeeds: the kernel counts the data that it could not write as written.
    let after = other.commit(&file).unwrap();
    assert_ne!(after, before);
    assert_eq!(other.write(&file, 1, b"y", stable_how::UNSTABLE).unwrap().verf, after);
    assert_eq!(other.commit(&file).unwrap(), after);
}

#[test]
fn what_is_not_here_is_said_so() {
    let (running, mut client, _) = world();
    let ended = |answer: nfs_client::Answer| answer.body[12..].to_vec();
    // NLM and NFSACL.
    assert_eq!(ended(client.call_raw(100_021, 4, 0, &Void)), [0, 0, 0, 1]);
    assert_eq!(ended(client.call_raw(100_227, 3, 0, &Void)), [0, 0, 0, 1]);
    assert_eq!(ended(client.call_raw(100_003, 4, 0, &Void)), [0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3]);
    assert_eq!(ended(client.call_raw(100_005, 4, 0, &Void)), [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]);
    assert_eq!(ended(client.call_raw(100_003, 3, 22, &Void)), [0, 0, 0, 3]);
    assert_eq!(ended(client.call_raw(100_003, 3, 1, &Void)), [0, 0, 0, 4], "no arguments");
    assert_eq!(ended(client.call_raw(100_003, 3, 1, &u32::MAX)), [0, 0, 0, 4], "a length of 4 GiB");
    client.null();
    // Each program on its own port.
    let mut portmap = Client::connect(running.portmap_port().unwrap());
    assert_eq!(ended(portmap.call_raw(100_003, 3, 0, &Void)), [0, 0, 0, 1]);
}

#[test]
fn datagrams_are_answered_too_and_with_no_more_than_a_kernel_asks_for_its_root() {
    let running =
        pinetboot_nfs::start(NfsConfig { udp: true, ..config() }, Arc::new(OneExport::new(export(1, "/"))))
            .unwrap();
    let mut client = Client::connect(running.port());
    let root = client.mount("/").unwrap();
    let file = client.make(&root, "file");
    client.write(&file, 0, &vec![5; MIB], stable_how::FILE_SYNC).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, running.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut arguments = Vec::new();
    READ3args { file, offset: 0, count: u32::MAX }.pack(&mut arguments).unwrap();
    let message = client.message(PROGRAM, VERSION, 6, &arguments);
    socket.send(&message).unwrap();
    let mut answer = vec![0; 65_536];
    let len = socket.recv(&mut answer).unwrap();
    let (result, _) = READ3res::unpack(&mut &answer[24..len]).unwrap();
    let result = nfs_client::flat(result).unwrap();
    assert_eq!((result.count, result.eof), (4 * 1024, false));
    assert_eq!(len, 24 + 4 + 88 + 12 + 4 * 1024, "the answer to a call of {} bytes", message.len());
    // Only a call is answered, or two servers could be made to talk to each other.
    for noise in [&[][..], &[0; 3], &[0xff; 100], &answer[..len.min(1000)]] {
        socket.send(noise).unwrap();
    }
    socket.send(&client.message(PROGRAM, VERSION, 0, &[])).unwrap();
    assert_eq!(socket.recv(&mut answer).unwrap(), 24);
}

#[test]
fn many_calls_are_under_way_at_once() {
    let (_running, mut client, root) = world();
    let file = client.make(&root, "file");
    client.write(&file, 0, &vec![5; MIB], stable_how::FILE_SYNC).unwrap();
    let arguments = READ3args { file, offset: 0, count: 4096 };
    let mut asked: Vec<_> = (0..500).map(|_| client.send(PROGRAM, VERSION, 6, &arguments)).collect();
    let mut answered: Vec<_> = (0..500).map(|_| client.receive().xid).collect();
    asked.sort_unstable();
    answered.sort_unstable();
    assert_eq!(asked, answered);
}

#[test]
fn stopping_ends_connections_and_frees_the_port() {
    let (running, mut client, _) = world();
    client.null();
    let port = running.port();
    drop(running);
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap_or(0), 0);
    let config = NfsConfig { port, portmap: Portmap::Off, ..config() };
    let again = pinetboot_nfs::start(config, Arc::new(OneExport::new(export(1, "/")))).unwrap();
    assert_eq!(again.port(), port);
}

//! Hostile and faulty clients: no path leads outside, and no other client waits.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::Opaque;

use crate::nfs_client::{Client, mode};
use crate::world::{KEY, MIB, Two, eventually, export, sealed, serve, world};

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    let (_running, mut client, root) = world();
    for name in ["", "a/b", "/etc", "../x", "a\0b"] {
        assert_eq!(client.lookup(&root, name), Err(nfsstat3::NFS3ERR_INVAL), "{name:?}");
        let made = client.create(&root, name, createhow3::UNCHECKED(mode(0o644)));
        assert_eq!(made.map(drop), Err(nfsstat3::NFS3ERR_INVAL), "{name:?}");
    }
    for name in [".", ".."] {
        let made = client.mkdir(&root, name, mode(0o755));
        assert_eq!(made, Err(nfsstat3::NFS3ERR_EXIST), "{name:?}");
        assert!(client.rmdir(&root, name).is_err());
        assert!(client.rename((&root, name), (&root, "x")).is_err());
    }
    let long = "x".repeat(256);
    assert_eq!(client.lookup(&root, &long), Err(nfsstat3::NFS3ERR_NAMETOOLONG));
    client.make(&root, &long[..255]);
}

#[test]
fn forged_handles_are_refused() {
    let (_running, mut client, root) = world();
    let bad = nfsstat3::NFS3ERR_BADHANDLE;
    let good = root.data.into_owned();
    let handle = |bytes: &[u8]| nfs_fh3 { data: Opaque::owned(bytes.into()) };
    for bit in 0..good.len() * 8 {
        let mut forged = good.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(client.attributes(&handle(&forged)).map(drop), Err(bad), "bit {bit}");
    }
    for forged in [&[][..], &[0; 64], &[0xff; 65], &[1; 1000], &good[..good.len() - 1]] {
        assert_eq!(client.attributes(&handle(forged)).map(drop), Err(bad));
    }
    assert!(client.attributes(&handle(&good)).is_ok());
}

#[test]
fn a_client_that_is_not_permitted_gets_nothing_with_a_good_handle() {
    let closed = Arc::new(export(2, "/closed"));
    let two = Two(Arc::new(export(1, "/")), closed, true.into());
    let root = pinetboot_nfs::FileSystem::root(&*two.1.tree);
    let running = serve(two);
    let mut client = Client::connect(running.port());
    let handle = sealed(KEY, 2, &root);
    assert_eq!(client.attributes(&handle).map(drop), Err(nfsstat3::NFS3ERR_ACCES));
}

#[test]
fn who_does_not_read_holds_up_only_themselves_and_loses_nothing() {
    let (running, mut client, root) = world();
    let file = client.make(&root, "file");
    client.write(&file, 0, &vec![5; MIB], stable_how::FILE_SYNC).unwrap();
    let arguments = READ3args { file: file.clone(), offset: 0, count: u32::try_from(MIB).unwrap() };
    let mut slow: Vec<_> = (0..4).map(|_| Client::connect(running.port())).collect();
    for slow in &mut slow {
        for _ in 0..64 {
            slow.send(PROGRAM, VERSION, 6, &arguments);
        }
    }
    for _ in 0..100 {
        assert_eq!(client.read(&file, 0, 10).unwrap().0, [5; 10]);
    }
    for slow in &mut slow {
        for _ in 0..64 {
            assert_eq!(slow.receive().body.len(), MIB + 16 + 4 + 88 + 12);
        }
    }
}

#[test]
fn a_thousand_connections_are_served_and_their_number_is_bounded() {
    let (running, mut client, root) = world();
    let mut clients: Vec<_> = (0..1000).map(|_| Client::connect(running.port())).collect();
    for client in &mut clients {
        client.send(PROGRAM, VERSION, 1, &GETATTR3args { object: root.clone() });
    }
    for client in &mut clients {
        client.receive().results::<GETATTR3res>().unwrap();
    }
    assert_eq!(running.connections(), 1001);
    client.null();
    let more: Vec<_> =
        (0..100).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, running.port())).unwrap()).collect();
    let mut last = Client::connect(running.port());
    last.null();
    assert!(running.connections() <= 1024, "{}", running.connections());
    drop((clients, more));
    eventually("connections that are gone are forgotten", || running.connections() <= 2);
}

#[test]
fn half_a_record_holds_up_no_client_and_too_long_a_record_ends_the_connection() {
    let (running, mut client, _) = world();
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, running.port())).unwrap();
    let mut halves: Vec<_> = (0..50).map(|_| connect()).collect();
    for half in &mut halves {
        half.write_all(&0x8000_0400u32.to_be_bytes()).unwrap();
        half.write_all(&[0; 100]).unwrap();
    }
    client.null();
    for mark in [0xffff_ffffu32, 0x7fff_ffff, 0x8020_0000] {
        let mut hostile = connect();
        hostile.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        hostile.write_all(&mark.to_be_bytes()).unwrap();
        assert_eq!(hostile.read(&mut [0; 1]).unwrap_or(0), 0, "{mark:08x}");
    }
    // In two fragments, each in pieces.
    let message = client.message(PROGRAM, VERSION, 0, &[]);
    let (first, second) = message.split_at(10);
    let mut pieces = connect();
    for piece in [&[0, 0][..], &[0, 10], first, &[0x80, 0, 0], &[u8::try_from(second.len()).unwrap()], second]
    {
        pieces.write_all(piece).unwrap();
    }
    let mut answer = [0; 28];
    pieces.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], [0x80, 0, 0, 24]);
}

#[test]
fn credentials_of_an_impossible_length_get_an_answer_and_cost_no_connection() {
    let (_running, mut client, _) = world();
    let message = client.message(PROGRAM, VERSION, 0, &[]);
    for (at, status) in [(28, 1), (message.len() - 4, 3)] {
        let mut hostile = message.clone();
        hostile[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        client.send_message(&hostile);
        // MSG_DENIED, AUTH_ERROR, then AUTH_BADCRED or AUTH_BADVERF.
        assert_eq!(client.receive().body, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, status]);
    }
    client.null();
}

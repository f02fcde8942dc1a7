//! An NFS client that holds on to a file handle: by TCP, from a source port below 1024, as the kernel's.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use nfs3_types::nfs3::{Nfs3Option, createhow3, nfs_fh3, nfsstat3, sattr3, stable_how};
use nfs3_types::xdr_codec::Opaque;

use pinetboot_core::dhcp::{Profile, Selected};
use pinetboot_core::pi::PiIdentity;

use super::nfs_client::{Client, mode};
use crate::namespace::dhcp_client;

/// `NFS3_OK`, and MOUNT's.
pub(crate) const GRANTED: u32 = 0;
/// `NFS3ERR_ACCES`, and MOUNT's: what a client is told that has another's handle.
pub(crate) const DENIED: u32 = 13;
/// `NFS3ERR_STALE`: what a client is told whose layer is gone.
pub(crate) const STALE: u32 = 70;

/// `mount SERVER PATH FILE STATUS` puts the handle into the file; `attributes SERVER FILE STATUS` uses it; the status has to
/// be that. `change SERVER FILE` changes and renames things in the directory `etc` beneath that handle, and sees that all
/// stay what they are.
pub(crate) fn ask(what: &str) {
    let words: Vec<_> = what.split(' ').collect();
    match words[..] {
        ["mount", server, path, file, status] => {
            let mounted = connect(server).mount(&format!("/{path}"));
            let said = mounted.as_ref().map_or_else(|status| *status as u32, |_| GRANTED);
            assert_eq!(said.to_string(), status);
            if let Ok(handle) = mounted {
                fs::write(file, handle.data.as_ref()).unwrap();
            }
        }
        ["attributes", server, file, status] => {
            let (mut client, handle) = (connect(server), read(file));
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                match client.attributes(&handle) {
                    Err(nfsstat3::NFS3ERR_JUKEBOX) if Instant::now() < until => std::thread::yield_now(),
                    said => {
                        let said = said.map_or_else(|status| status as u32, |_| GRANTED);
                        return assert_eq!(said.to_string(), status);
                    }
                }
            }
        }
        ["forge", address, serial] => forge(address, serial),
        ["read", server, path] => {
            let root = connect(server).mount(&format!("/{path}")).unwrap();
            connect(server).lookup(&root, "etc").unwrap();
        }
        ["work", server, path] => {
            let mut client = connect(server);
            let root = client.mount(&format!("/{path}")).unwrap();
            let refused = work(&mut client, &root);
            assert!(refused.is_empty(), "refused: {refused:?}");
        }
        ["change", server, file] => change(&mut connect(server), &read(file)),
        _ => panic!("{what}"),
    }
}

/// Says by DHCP that a board with this serial number, and a MAC address that is made up, takes an address.
fn forge(address: &str, serial: &str) {
    let serial = u32::from_str_radix(serial, 16).unwrap();
    let profile = Profile::Pi(PiIdentity::repeated(serial).unwrap());
    let mac = [2, 0xf0, 0, 0, 0, 1];
    let selected = Selected::new(address.parse().unwrap(), Ipv4Addr::new(192, 0, 2, 99));
    let socket = dhcp_client();
    let mut message = [0; 1500];
    let len = profile.discover(mac, 77, 0, &mut message).unwrap();
    socket.send_to(&message[..len], "10.77.3.255:67").unwrap();
    let len = profile.request(mac, 77, 0, &selected, &mut message).unwrap();
    socket.send_to(&message[..len], "10.77.3.255:67").unwrap();
}

/// A file that this copies into the layer, and renames there, stays the same file to its client all the time.
fn change(client: &mut Client, root: &nfs_fh3) {
    let etc = client.lookup(root, "etc").unwrap();
    let (file, directory) = (client.lookup(&etc, "hosts").unwrap(), client.lookup(root, "opt").unwrap());
    let ids = |client: &mut Client| {
        [&file, &directory, &etc].map(|handle| client.attributes(handle).unwrap().fileid)
    };
    let before = ids(client);
    client.set(&file, mode(0o600), Nfs3Option::None).unwrap();
    assert_eq!(client.lookup(&etc, "hosts").unwrap(), file, "copied into the layer");
    client.rename((&etc, "hosts"), (root, "elsewhere")).unwrap();
    client.rename((root, "opt"), (&etc, "moved")).unwrap();
    assert_eq!(client.lookup(root, "elsewhere").unwrap(), file);
    assert_eq!(client.lookup(&etc, "moved").unwrap(), directory);
    assert_eq!(ids(client), before);
}

/// What a Pi's root and its users do with files; returns the steps that failed.
fn work(client: &mut Client, root: &nfs_fh3) -> Vec<(&'static str, nfsstat3)> {
    let mut refused = Vec::new();
    let mut step = |what, done: Result<(), nfsstat3>| {
        if let Err(status) = done {
            refused.push((what, status));
        }
    };
    let owned = |uid, gid, bits| sattr3 {
        uid: Nfs3Option::Some(uid),
        gid: Nfs3Option::Some(gid),
        mode: Nfs3Option::Some(bits),
        ..sattr3::default()
    };
    step("root makes a user's directory", client.mkdir(root, "home", owned(1000, 1000, 0o700)).map(drop));
    let Ok(home) = client.lookup(root, "home") else { return refused };
    client.act_as(1000, 1000, &[]);
    let file = client.create(&home, "file", createhow3::GUARDED(mode(0o600)));
    step("a user makes a file", file.map(drop));
    client.act_as(0, 0, &[]);
    let made = client.create(&home, "roots", createhow3::GUARDED(mode(0o644)));
    step("root makes a file in a user's directory", made.map(drop));
    if let Ok(file) = client.lookup(&home, "file") {
        step("root writes to a user's file", client.write(&file, 0, b"x", stable_how::FILE_SYNC).map(drop));
        step(
            "root changes the mode of a user's file",
            client.set(&file, mode(0o640), Nfs3Option::None).map(drop),
        );
        step(
            "root gives a file away",
            client.set(&file, owned(1001, 1001, 0o4755), Nfs3Option::None).map(drop),
        );
        let kept = client.attributes(&file).map(|now| now.mode & 0o6000);
        step("a setuid bit is kept", if kept == Ok(0o4000) { Ok(()) } else { Err(nfsstat3::NFS3ERR_PERM) });
    }
    let group = client.create(root, "setgid", createhow3::GUARDED(owned(0, 1002, 0o755)));
    step("root makes a file of another group", group.map(drop));
    if let Ok(file) = client.lookup(root, "setgid") {
        step("root sets a setgid bit", client.set(&file, mode(0o2755), Nfs3Option::None).map(drop));
        let kept = client.attributes(&file).map(|now| now.mode & 0o6000);
        step("a setgid bit is kept", if kept == Ok(0o2000) { Ok(()) } else { Err(nfsstat3::NFS3ERR_PERM) });
    }
    if let Ok(bin) = client.lookup(root, "bin") {
        let capable = client.lookup(&bin, "capable").unwrap();
        step(
            "a file with capabilities is changed",
            client.set(&capable, mode(0o711), Nfs3Option::None).map(drop),
        );
    }
    refused
}

fn connect(server: &str) -> Client {
    Client::connect_reserved(SocketAddrV4::new(server.parse().unwrap(), 2049))
}

fn read(file: &str) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(fs::read(file).unwrap()) }
}

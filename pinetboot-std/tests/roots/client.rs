//! An NFS client that holds on to a file handle: by TCP, from a source port below 1024, as the kernel's.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nfs3_types::nfs3::{Nfs3Option, nfs_fh3, nfsstat3};
use nfs3_types::xdr_codec::Opaque;

use pinetboot_core::dhcp::{Profile, Selected};
use pinetboot_core::pi::PiIdentity;

use super::nfs_client::{Client, mode};

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
    let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
    socket.set_broadcast(true).unwrap();
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

fn connect(server: &str) -> Client {
    Client::connect_reserved(SocketAddrV4::new(server.parse().unwrap(), 2049))
}

fn read(file: &str) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(fs::read(file).unwrap()) }
}

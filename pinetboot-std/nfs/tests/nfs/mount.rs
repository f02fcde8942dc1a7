//! Exports, MOUNT and the portmapper.

use std::net::Ipv4Addr;
use std::sync::Arc;

use nfs3_types::mount::{dirpath, mountstat3};
use nfs3_types::nfs3::*;
use nfs3_types::portmap::{IPPROTO_TCP, IPPROTO_UDP, mapping, pmaplist};
use nfs3_types::xdr_codec::{Opaque, Void};
use pinetboot_nfs::MemoryTree;

use crate::nfs_client::{Client, mode};
use crate::world::{KEY, Two, config, export, sealed, world};

#[test]
fn a_handle_is_good_for_its_own_export_only_and_waits_for_it() {
    let ready = std::sync::atomic::AtomicBool::new(false);
    let two = Arc::new(Two(Arc::new(export(1, "/")), Arc::new(export(2, "/own")), ready));
    let running = pinetboot_nfs::start(config(), two.clone()).unwrap();
    let mut client = Client::connect(running.port());
    let (one, own) = (client.mount("/").unwrap(), client.mount("/own").unwrap());
    assert_eq!(client.mount("/secret").map_err(|status| status as u32), Err(13));
    assert_eq!(client.attributes(&own).map(drop), Err(nfsstat3::NFS3ERR_JUKEBOX));
    two.2.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_ne!(client.attributes(&own).unwrap().fsid, client.attributes(&one).unwrap().fsid);
    client.make(&one, "file");
    assert_eq!(client.rename((&one, "file"), (&own, "file")), Err(nfsstat3::NFS3ERR_XDEV));
    assert!(client.names(&own).is_empty());
    // Sealed with the same key, for an export that is gone.
    let gone = sealed(KEY, 9, &pinetboot_nfs::FileSystem::root(&MemoryTree::new(0)));
    assert_eq!(client.attributes(&gone).map(drop), Err(nfsstat3::NFS3ERR_STALE));
}

#[test]
fn directories_inside_an_export_can_be_mounted_and_nothing_above() {
    let (_running, mut client, root) = world();
    let a = client.mkdir(&root, "a", mode(0o755)).unwrap();
    let b = client.mkdir(&a, "b", mode(0o755)).unwrap();
    client.make(&a, "file");
    client.symlink(&a, "link", "b").unwrap();
    // As klibc's nfsmount asks: without credentials.
    client.act_without_credentials();
    assert_eq!(client.mount("/a/b").unwrap(), b);
    assert_eq!(client.mount("//a///b/").unwrap(), b);
    assert_eq!(client.mount("").unwrap(), root);
    let status = |path: &str, client: &mut Client| client.mount(path).map_err(|status| status as u32);
    assert_eq!(status("/a/none", &mut client), Err(mountstat3::MNT3ERR_NOENT as u32));
    assert_eq!(status("/a/file", &mut client), Err(mountstat3::MNT3ERR_NOTDIR as u32));
    assert_eq!(status("/a/link", &mut client), Err(mountstat3::MNT3ERR_NOTDIR as u32));
    assert_eq!(status("/a/../..", &mut client), Err(mountstat3::MNT3ERR_INVAL as u32));
    assert_eq!(status("etc", &mut client), Err(mountstat3::MNT3ERR_NOENT as u32));
    assert_eq!(status(&"/x".repeat(600), &mut client), Err(mountstat3::MNT3ERR_NAMETOOLONG as u32));
}

#[test]
fn mounts_and_exports_are_listed() {
    let (_running, mut client, root) = world();
    client.mkdir(&root, "a", mode(0o755)).unwrap();
    client.mount("/a").unwrap();
    for version in [1, 3] {
        let exports = client.call_raw(100_005, version, 5, &Void).body;
        assert_eq!(exports[16..], *b"\0\0\0\x01\0\0\0\x01/\0\0\0\0\0\0\0\0\0\0\0", "version {version}");
        let mounts: nfs3_types::mount::mountlist<'_, '_> = client.call(100_005, version, 2, &Void);
        let paths: Vec<_> = mounts.0.iter().map(|mount| mount.ml_directory.0.to_vec()).collect();
        assert_eq!(paths, [&b"/"[..], b"/a"]);
    }
    let Void = client.call(100_005, 3, 3, &dirpath(Opaque::borrowed(b"/a")));
    let mounts: nfs3_types::mount::mountlist<'_, '_> = client.call(100_005, 3, 2, &Void);
    assert_eq!(mounts.0.len(), 1);
    let Void = client.call(100_005, 3, 4, &Void);
    let mounts: nfs3_types::mount::mountlist<'_, '_> = client.call(100_005, 3, 2, &Void);
    assert!(mounts.is_empty());
}

#[test]
fn a_client_is_told_of_its_mounts_alone_and_keeps_a_few() {
    let (running, mut client, root) = world();
    let mut other = Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), running.port());
    let mut third = Client::connect_from(Ipv4Addr::new(127, 0, 0, 3), running.port());
    other.mount("/").unwrap();
    let listed = |client: &mut Client| {
        let mounts: nfs3_types::mount::mountlist<'_, '_> = client.call(100_005, 3, 2, &Void);
        let each = mounts.0.iter().map(|mount| {
            [&mount.ml_hostname.0, &mount.ml_directory.0]
                .map(|part| String::from_utf8(part.to_vec()).unwrap())
        });
        each.collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut client), [["127.0.0.1", "/"]]);
    assert_eq!(listed(&mut other), [["127.0.0.2", "/"]]);
    assert_eq!(listed(&mut third), [[""; 2]; 0]);
    // A client that mounts everything leaves the others room.
    for number in 0..40 {
        client.mkdir(&root, &format!("{number}"), mode(0o755)).unwrap();
        client.mount(&format!("/{number}")).unwrap();
    }
    assert_eq!(listed(&mut client).len(), 16);
    // Nor does a client remove another client's entry from the list.
    let Void = client.call(100_005, 3, 4, &Void);
    assert_eq!((listed(&mut client).len(), listed(&mut other).len()), (0, 1));
}

#[test]
fn the_portmapper_tells_where_things_are_and_takes_no_orders() {
    let (running, _, _) = world();
    let port = running.portmap_port().unwrap();
    let mut client = Client::connect(port);
    let known: pmaplist = client.call(100_000, 2, 4, &Void);
    let known: Vec<_> =
        known.0.iter().map(|known| (known.prog, known.vers, known.prot, known.port)).collect();
    let files = u32::from(running.port());
    for (program, version, port) in
        [(100_000, 2, u32::from(port)), (100_003, 3, files), (100_005, 1, files), (100_005, 3, files)]
    {
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            // NFS over UDP is off by default.
            let off = (program, protocol) == (100_003, IPPROTO_UDP);
            assert_eq!(known.contains(&(program, version, protocol, port)), !off, "{program} {version}");
            let asked = mapping { prog: program, vers: version, prot: protocol, port: 0 };
            assert_eq!(client.call::<u32>(100_000, 2, 3, &asked), if off { 0 } else { port });
            for order in [1, 2] {
                assert!(!client.call::<bool>(100_000, 2, order, &asked));
            }
        }
    }
    let unknown = mapping { prog: 100_021, vers: 4, prot: IPPROTO_TCP, port: 0 };
    assert_eq!(client.call::<u32>(100_000, 2, 3, &unknown), 0);
    // Attackers use CALLIT to make portmappers flood others.
    assert_eq!(client.call_raw(100_000, 2, 5, &unknown).body[12..16], [0, 0, 0, 3]);
    // rpcbind's versions.
    assert_eq!(client.call_raw(100_000, 4, 3, &Void).body[12..], [0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]);
}

//! The NFS server over loopback, on a tree in memory: what the protocols say, and what a hostile client gets. Takes no
//! privileges. What the kernel's files do behind it is in `nfs_directory.rs`.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod nfs_client;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nfs_client::{Client, entry, mode};
use nfs3_types::mount::{dirpath, mountstat3};
use nfs3_types::nfs3::*;
use nfs3_types::portmap::{IPPROTO_TCP, IPPROTO_UDP, mapping, pmaplist};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack, Void};
use pinetboot::nfs::{
    self, Absent, Export, Exports, Handles, MemoryTree, MountError, NfsConfig, OneExport, Portmap, Running,
};

const KEY: [u8; 16] = [7; 16];
const MIB: usize = 1024 * 1024;

fn export(id: u32, path: &str) -> Export {
    Export {
        id,
        path: PathBuf::from(path),
        tree: Arc::new(MemoryTree::new(64 * MIB)),
        read_only: false,
        root_squash: false,
    }
}

fn config() -> NfsConfig {
    let (listen, handles) = (Ipv4Addr::LOCALHOST, Handles::new(KEY));
    NfsConfig { listen, port: 0, portmap: Portmap::Port(0), handles }
}

fn serve(exports: impl Exports + 'static) -> Running {
    nfs::start(config(), Arc::new(exports)).unwrap()
}

/// A server of one export, a client of it, and its root.
fn world() -> (Running, Client, nfs_fh3) {
    let running = serve(OneExport::new(export(1, "/")));
    let mut client = Client::connect(running.port());
    let root = client.mount("/").unwrap();
    (running, client, root)
}

/// Waits until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn files_are_made_written_read_and_removed() {
    let (_running, mut client, root) = world();
    let file = client.make(&root, "file");
    let data: Vec<u8> = (0..3 * MIB).map(|at| (at % 251) as u8).collect();
    for (number, part) in data.chunks(MIB).enumerate() {
        client.write(&file, (number * MIB) as u64, part, stable_how::UNSTABLE).unwrap();
    }
    client.commit(&file).unwrap();
    assert_eq!(client.attributes(&file).unwrap().size, 3 * MIB as u64);
    for (number, part) in data.chunks(MIB).enumerate() {
        let (read, eof) = client.read(&file, (number * MIB) as u64, u32::MAX).unwrap();
        assert_eq!((read == part, eof), (true, number == 2));
    }
    assert_eq!(client.read(&file, 3 * MIB as u64 - 3, 10).unwrap(), (data[3 * MIB - 3..].into(), true));
    assert_eq!(client.read(&file, 1 << 40, 10).unwrap(), (vec![], true));
    client.remove(&root, "file").unwrap();
    assert_eq!(client.read(&file, 0, 1), Err(nfsstat3::NFS3ERR_STALE));
    assert_eq!(client.lookup(&root, "file"), Err(nfsstat3::NFS3ERR_NOENT));
}

#[test]
fn every_kind_of_file_has_its_place() {
    let (_running, mut client, root) = world();
    let device = |major| devicedata3 {
        dev_attributes: mode(0o600),
        spec: specdata3 { specdata1: major, specdata2: 3 },
    };
    for (name, what, kind) in [
        ("null", mknoddata3::NF3CHR(device(1)), ftype3::NF3CHR),
        ("disk", mknoddata3::NF3BLK(device(8)), ftype3::NF3BLK),
        ("fifo", mknoddata3::NF3FIFO(mode(0o600)), ftype3::NF3FIFO),
        ("sock", mknoddata3::NF3SOCK(mode(0o600)), ftype3::NF3SOCK),
    ] {
        let node = client.mknod(&root, name, what).unwrap();
        assert_eq!(client.attributes(&node).unwrap().type_, kind);
    }
    let dir = client.mkdir(&root, "dir", mode(0o700)).unwrap();
    let link = client.symlink(&dir, "link", "../../etc/passwd").unwrap();
    assert_eq!(client.read_link(&link).unwrap(), b"../../etc/passwd");
    assert_eq!(client.lookup(&dir, "..").unwrap(), root);
    assert_eq!(client.lookup(&root, "..").unwrap(), root);
    let file = client.make(&root, "file");
    client.link(&file, &dir, "other").unwrap();
    assert_eq!(client.attributes(&file).unwrap().nlink, 2);
    client.rename((&root, "file"), (&dir, "moved")).unwrap();
    assert_eq!(client.names(&dir), ["link", "moved", "other"]);
    assert_eq!(client.rmdir(&root, "dir"), Err(nfsstat3::NFS3ERR_NOTEMPTY));
    assert_eq!(client.names(&root), ["dir", "disk", "fifo", "null", "sock"]);
}

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
fn exclusive_creates_know_their_own() {
    let (_running, mut client, root) = world();
    let how = |verifier| createhow3::EXCLUSIVE(createverf3([verifier; 8]));
    let first = client.create(&root, "lock", how(1)).unwrap().obj.unwrap();
    // Sent again by a client that saw no answer, with another xid.
    assert_eq!(client.create(&root, "lock", how(1)).unwrap().obj.unwrap(), first);
    assert_eq!(client.create(&root, "lock", how(2)).map(drop), Err(nfsstat3::NFS3ERR_EXIST));
    let guarded = client.create(&root, "lock", createhow3::GUARDED(mode(0o644)));
    assert_eq!(guarded.map(drop), Err(nfsstat3::NFS3ERR_EXIST));
    assert_eq!(client.create(&root, "lock", createhow3::UNCHECKED(mode(0o644))).unwrap().obj.unwrap(), first);
}

#[test]
fn a_guard_keeps_a_change_from_what_has_changed() {
    let (_running, mut client, root) = world();
    let file = client.make(&root, "file");
    let seen = client.attributes(&file).unwrap().ctime;
    client.set(&file, mode(0o600), Nfs3Option::Some(seen)).unwrap();
    client.set(&file, mode(0o644), Nfs3Option::None).unwrap();
    assert_eq!(
        client.set(&file, mode(0o777), Nfs3Option::Some(seen)).map(drop),
        Err(nfsstat3::NFS3ERR_NOT_SYNC)
    );
    assert_eq!(client.attributes(&file).unwrap().mode, 0o644);
}

#[test]
fn answers_tell_a_directory_before_and_after_a_change() {
    let (_running, mut client, root) = world();
    let before = client.attributes(&root).unwrap();
    let made = client.create(&root, "file", createhow3::UNCHECKED(mode(0o644))).unwrap();
    let after = client.attributes(&root).unwrap();
    assert_eq!(made.dir_wcc.before.unwrap().ctime, before.ctime);
    assert_eq!(made.dir_wcc.after.unwrap().ctime, after.ctime);
}

#[test]
fn cookies_stay_good_while_entries_go() {
    let (_running, mut client, root) = world();
    for number in 0..200 {
        client.make(&root, &format!("file-{number:03}"));
    }
    let (mut seen, mut cookie, mut verifier) = (0, 0, cookieverf3::default());
    loop {
        let part = client.list_part(&root, cookie, verifier, 2000).unwrap();
        verifier = part.cookieverf;
        for entry in part.reply.entries.0 {
            cookie = entry.cookie;
            if entry.name.as_ref().starts_with(b"file") {
                seen += 1;
                // As rm -r does.
                client.remove(&root, str::from_utf8(entry.name.as_ref()).unwrap()).unwrap();
            }
        }
        if part.reply.eof {
            break;
        }
    }
    assert_eq!(seen, 200);
    assert!(client.names(&root).is_empty());
    assert_eq!(client.list_part(&root, 0, verifier, 50).map(drop), Err(nfsstat3::NFS3ERR_TOOSMALL));
}

#[test]
fn a_read_only_export_is_not_changed() {
    let running = serve(OneExport::new(Export { read_only: true, ..export(1, "/") }));
    let mut client = Client::connect(running.port());
    let root = client.mount("/").unwrap();
    let rofs = nfsstat3::NFS3ERR_ROFS;
    assert_eq!(client.mkdir(&root, "x", mode(0o755)), Err(rofs));
    assert_eq!(client.set(&root, mode(0o777), Nfs3Option::None).map(drop), Err(rofs));
    assert_eq!(client.write(&root, 0, b"x", stable_how::FILE_SYNC).map(drop), Err(rofs));
    assert_eq!(client.remove(&root, "x"), Err(rofs));
    assert_eq!(client.access(&root, 0x3f).unwrap(), ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_EXECUTE);
}

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
    let running = nfs::start(config(), exports.clone()).unwrap();
    let mut client = Client::connect(running.port());
    let root = client.mount("/").unwrap();
    let file = client.make(&root, "file");
    let before = client.write(&file, 0, b"x", stable_how::UNSTABLE).unwrap().verf;
    assert_eq!(client.commit(&file).unwrap(), before);
    drop(running);
    let running = nfs::start(config(), exports).unwrap();
    let mut client = Client::connect(running.port());
    assert_ne!(client.commit(&file).unwrap(), before);
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

/// Two exports; the second is for nobody but who mounts it as `/own`, and not ready at first.
struct Two(Arc<Export>, Arc<Export>, std::sync::atomic::AtomicBool);

impl Exports for Two {
    fn mount(&self, path: &std::path::Path, _: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        match path.starts_with("/own") {
            true => Ok(self.1.clone()),
            false if path == std::path::Path::new("/secret") => Err(MountError::Denied),
            false => Ok(self.0.clone()),
        }
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        match id {
            1 => Ok(self.0.clone()),
            2 if self.2.load(std::sync::atomic::Ordering::SeqCst) => Ok(self.1.clone()),
            2 => Err(Absent::NotYet),
            _ => Err(Absent::Unknown),
        }
    }

    fn permits(&self, export: &Export, _: Ipv4Addr) -> bool {
        export.path != std::path::Path::new("/closed")
    }

    fn list(&self) -> Vec<PathBuf> {
        vec![self.0.path.clone(), self.1.path.clone()]
    }
}

#[test]
fn a_handle_is_good_for_its_own_export_only_and_waits_for_it() {
    let ready = std::sync::atomic::AtomicBool::new(false);
    let two = Arc::new(Two(Arc::new(export(1, "/")), Arc::new(export(2, "/own")), ready));
    let running = nfs::start(config(), two.clone()).unwrap();
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
    let gone = Handles::new(KEY).seal(9, &nfs::FileSystem::root(&MemoryTree::new(0)));
    assert_eq!(client.attributes(&gone).map(drop), Err(nfsstat3::NFS3ERR_STALE));
}

#[test]
fn a_client_that_is_not_permitted_gets_nothing_with_a_good_handle() {
    let closed = Arc::new(export(2, "/closed"));
    let two = Two(Arc::new(export(1, "/")), closed, true.into());
    let root = nfs::FileSystem::root(&*two.1.tree);
    let running = serve(two);
    let mut client = Client::connect(running.port());
    let handle = Handles::new(KEY).seal(2, &root);
    assert_eq!(client.attributes(&handle).map(drop), Err(nfsstat3::NFS3ERR_STALE));
}

#[test]
fn directories_inside_an_export_can_be_mounted_and_nothing_above() {
    let (_running, mut client, root) = world();
    let a = client.mkdir(&root, "a", mode(0o755)).unwrap();
    let b = client.mkdir(&a, "b", mode(0o755)).unwrap();
    client.make(&a, "file");
    client.symlink(&a, "link", "b").unwrap();
    // As klibc's nfsmount asks: without credentials.
    client.act_as_nobody_in_particular();
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
            assert!(known.contains(&(program, version, protocol, port)), "{program} {version}");
            let asked = mapping { prog: program, vers: version, prot: protocol, port: 0 };
            assert_eq!(client.call::<u32>(100_000, 2, 3, &asked), port);
            for order in [1, 2] {
                assert!(!client.call::<bool>(100_000, 2, order, &asked));
            }
        }
    }
    let unknown = mapping { prog: 100_021, vers: 4, prot: IPPROTO_TCP, port: 0 };
    assert_eq!(client.call::<u32>(100_000, 2, 3, &unknown), 0);
    // CALLIT is how portmappers are made to flood others.
    assert_eq!(client.call_raw(100_000, 2, 5, &unknown).body[12..16], [0, 0, 0, 3]);
    // rpcbind's versions.
    assert_eq!(client.call_raw(100_000, 4, 3, &Void).body[12..], [0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]);
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
fn datagrams_are_answered_too_and_with_no_more_than_fits() {
    let (running, mut client, root) = world();
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
    assert_eq!((result.count, result.eof), (32 * 1024, false));
    // Nothing that is no call is answered, or two servers could be made to talk to each other.
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
fn a_thousand_connections_are_served_and_there_is_a_bound() {
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
fn half_a_record_holds_up_nobody_and_too_much_of_one_ends_the_connection() {
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
    // In two fragments, and those in pieces.
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
fn stopping_ends_connections_and_frees_the_port() {
    let (running, mut client, _) = world();
    client.null();
    let port = running.port();
    drop(running);
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap_or(0), 0);
    let config = NfsConfig { port, portmap: Portmap::Off, ..config() };
    let again = nfs::start(config, Arc::new(OneExport::new(export(1, "/")))).unwrap();
    assert_eq!(again.port(), port);
}

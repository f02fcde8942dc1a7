//! The events that an observer gets, and those that it does not get.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nfs3_types::mount::{dirpath, mountstat3};
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Opaque, Void};
use pinetboot_nfs::{Absent, Export, Exports, MemoryTree, MountError, NfsConfig, OneExport, Running};

use crate::nfs_client::{Client, mode};
use crate::world::{KEY, Told, Two, config, eventually, export, sealed};

/// A server, its events, and a client of it.
fn watched(exports: impl Exports + 'static) -> (Running, Arc<Told>, Client) {
    let told = Arc::new(Told::default());
    let config = NfsConfig { observer: told.clone(), ..config() };
    let running = pinetboot_nfs::start(config, Arc::new(exports)).unwrap();
    let client = Client::connect(running.port());
    (running, told, client)
}

#[test]
fn connections_with_how_long_they_lasted_and_why_they_ended() {
    let (running, told, mut client) = watched(OneExport::new(export(1, "/")));
    let address = client.stream.local_addr().unwrap();
    for _ in 0..5 {
        client.null();
    }
    assert_eq!(told.of("Connected"), [format!("Connected {{ peer: {address} }}")]);
    drop(client);
    eventually("an end is told", || !told.of("Disconnected").is_empty());
    let ended = told.of("Disconnected").remove(0);
    assert!(
        ended.starts_with(&format!("Disconnected {{ peer: {address}, why: Client, open_for: ")),
        "{ended}"
    );
    assert!(ended.ends_with(", calls: 5 }"), "{ended}");

    let mut hostile = Client::connect(running.port());
    hostile.stream.write_all(&[0xff; 4]).unwrap();
    eventually("another end is told", || told.of("Disconnected").len() == 2);
    assert!(told.of("Disconnected")[1].contains(" why: RecordTooLong, "), "{:?}", told.of("Disconnected"));

    let mut last = Client::connect(running.port());
    last.null();
    drop(running);
    assert!(told.of("Disconnected")[2].contains(" why: Stopped, "), "{:?}", told.of("Disconnected"));
    assert_eq!((told.of("Connected").len(), told.of("Disconnected").len()), (3, 3));
}

#[test]
fn the_idlest_connection_makes_room_and_that_is_told() {
    let (running, told, _client) = watched(OneExport::new(export(1, "/")));
    let _clients: Vec<_> = (0..1100).map(|_| Client::connect(running.port())).collect();
    eventually("connections make room", || told.of("Connected").len() == 1101);
    let made_room = told.of("Disconnected");
    assert_eq!(made_room.iter().filter(|ended| ended.contains(" why: MadeRoom, ")).count(), 1101 - 1024);
}

#[test]
fn mounts_and_what_keeps_a_client_from_one() {
    let (_running, told, mut client) = watched(OneExport::new(export(7, "/")));
    let address = client.stream.local_addr().unwrap();
    let root = client.mount("/").unwrap();
    client.mkdir(&root, "etc", mode(0o755)).unwrap();
    client.mount("/etc").unwrap();
    let mounted = |path: &str| format!("Mounted {{ client: {address}, path: {path:?}, export: 7 }}");
    assert_eq!(told.of("Mounted"), [mounted("/"), mounted("/etc")]);
    assert!(told.of("MountRefused").is_empty());
    // The export exists and is the client's; the directory in it does not exist.
    assert_eq!(client.mount("/none").map_err(|status| status as u32), Err(2));
    assert_eq!(told.of("Mounted").len(), 2);
    let refused = told.of("MountRefused");
    let head = format!("MountRefused {{ client: {address}, path: \"/none\", status: NotFound, why: \"none: ");
    assert!(refused.len() == 1 && refused[0].starts_with(&head), "{refused:?}");
    // Version 1 hands out handles of NFS version 2.
    let answer = client.call_raw(100_005, 1, 1, &dirpath(Opaque::borrowed(b"/"))).body;
    assert_eq!(answer[16..], 13u32.to_be_bytes());
    let refused = told.of("MountRefused").remove(1);
    assert!(refused.contains("asks for a handle of NFS version 2"), "{refused}");
    let Void = client.call(100_005, 3, 3, &dirpath(Opaque::borrowed(b"/etc")));
    let Void = client.call(100_005, 3, 4, &Void);
    let unmounted = |path: &str| format!("Unmounted {{ client: {address}, path: {path}, by_tcp: true }}");
    assert_eq!(told.of("Unmounted"), [unmounted("Some(\"/etc\")"), unmounted("None")]);
    assert_eq!(told.of("Mounted").len(), 2);
}

#[test]
fn the_reasons_of_exports_reach_the_operator() {
    let (_running, told, mut client) =
        watched(Two(Arc::new(export(1, "/")), Arc::new(export(2, "/later")), true.into()));
    let address = client.stream.local_addr().unwrap();
    let acces = mountstat3::MNT3ERR_ACCES as u32;
    assert_eq!(client.mount("/secret").map_err(|status| status as u32), Err(acces));
    assert_eq!(client.mount("/own").map_err(|status| status as u32), Err(acces));
    let refused = |path: &str, why: &str| {
        format!("MountRefused {{ client: {address}, path: {path:?}, status: Denied, why: {why:?} }}")
    };
    let later = refused("/own", "the permission of this client is not decided yet");
    assert_eq!(told.of("MountRefused"), [refused("/secret", "it is a secret"), later]);
    assert!(told.of("Mounted").is_empty());
}

#[test]
fn calls_of_what_is_not_here() {
    let (running, told, mut client) = watched(OneExport::new(export(1, "/")));
    let address = client.stream.local_addr().unwrap();
    let mut expected = Vec::new();
    for (program, version, procedure, why) in [
        (100_003, 4, 0, "NoSuchVersion { low: 3, high: 3 }"),
        (100_003, 2, 0, "NoSuchVersion { low: 3, high: 3 }"),
        (100_005, 4, 0, "NoSuchVersion { low: 1, high: 3 }"),
        (100_227, 3, 0, "NoSuchProgram"),
        (100_003, 3, 22, "NoSuchProcedure"),
        (100_003, 3, 1, "GarbageArguments"),
    ] {
        client.call_raw(program, version, procedure, &Void);
        expected.push(format!(
            "CallRefused {{ client: {address}, program: {program}, version: {version}, procedure: {procedure}, why: {why} }}"
        ));
    }
    // The version of RPC is behind the number and the kind of the message, the flavor of credentials behind the procedure.
    for (at, value, why) in [(11, 3, "RpcVersion(3)"), (27, 6, "Flavor(6)"), (31, 0, "BadCredentials")] {
        let mut message = client.message(100_003, 3, 0, &[]);
        message[at] = value;
        client.send_message(&message);
        let _denied = client.receive();
        expected.push(format!(
            "CallRefused {{ client: {address}, program: 100003, version: 3, procedure: 0, why: {why} }}"
        ));
    }
    assert_eq!(told.of("CallRefused"), expected);
    let mut portmap = Client::connect(running.portmap_port().unwrap());
    portmap.call_raw(100_000, 4, 3, &Void);
    let refused = told.of("CallRefused").pop().unwrap();
    assert!(
        refused
            .ends_with("program: 100000, version: 4, procedure: 3, why: NoSuchVersion { low: 2, high: 2 } }")
    );
}

#[test]
fn handles_that_are_refused_and_why() {
    let closed = Arc::new(Export { path: PathBuf::from("/closed"), ..export(1, "/") });
    let two = Two(closed, Arc::new(export(2, "/later")), false.into());
    let two = Arc::new(two);
    let told = Arc::new(Told::default());
    let running =
        pinetboot_nfs::start(NfsConfig { observer: told.clone(), ..config() }, two.clone()).unwrap();
    let mut client = Client::connect(running.port());
    let address = client.stream.local_addr().unwrap();
    let file = pinetboot_nfs::FileSystem::root(&MemoryTree::new(0));
    let of = |export| sealed(KEY, export, &file);
    let refused = |procedure: u32, why: &str, export: &str| {
        format!("HandleRefused {{ client: {address}, procedure: {procedure}, why: {why}, export: {export} }}")
    };
    let forged = sealed([8; 16], 1, &file);
    assert_eq!(client.attributes(&forged).map(drop), Err(nfsstat3::NFS3ERR_BADHANDLE));
    assert_eq!(client.access(&of(9), 1), Err(nfsstat3::NFS3ERR_STALE));
    assert_eq!(client.lookup(&of(2), "x").map(drop), Err(nfsstat3::NFS3ERR_JUKEBOX));
    two.2.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(client.read(&of(2), 0, 1).map(drop), Err(nfsstat3::NFS3ERR_JUKEBOX));
    assert_eq!(client.rename((&of(1), "a"), (&of(1), "b")), Err(nfsstat3::NFS3ERR_ACCES));
    let expected = [
        refused(1, "Forged", "None"),
        refused(4, "Unknown", "Some(9)"),
        refused(3, "NotReady", "Some(2)"),
        refused(6, "Undecided", "Some(2)"),
        refused(14, "Denied", "Some(1)"),
    ];
    assert_eq!(told.of("HandleRefused"), expected);
    assert!(told.of("FirstRead").is_empty() && told.of("CallRefused").is_empty());
}

#[test]
fn the_first_read_of_a_connection_and_no_other_call() {
    let (running, told, mut client) = watched(OneExport::new(export(5, "/")));
    let root = client.mount("/").unwrap();
    let file = client.make(&root, "file");
    client.write(&file, 0, b"content", stable_how::FILE_SYNC).unwrap();
    assert!(client.read(&root, 0, 1).is_err(), "a directory");
    assert!(told.of("FirstRead").is_empty());
    let mut other = Client::connect(running.port());
    let mut expected = Vec::new();
    for client in [&mut client, &mut other] {
        let address = client.stream.local_addr().unwrap();
        for _ in 0..3 {
            client.read(&file, 0, 100).unwrap();
        }
        expected.push(format!("FirstRead {{ client: {address}, export: 5 }}"));
    }
    assert_eq!(told.of("FirstRead"), expected);
}

#[test]
fn names_that_are_looked_up() {
    let (_running, told, mut client) = watched(OneExport::new(export(5, "/")));
    let root = client.mount("/").unwrap();
    client.make(&root, "init");
    client.lookup(&root, "init").unwrap();
    assert_eq!(client.lookup(&root, "absent").map(drop), Err(nfsstat3::NFS3ERR_NOENT));
    assert_eq!(client.lookup(&root, "a/b").map(drop), Err(nfsstat3::NFS3ERR_INVAL));
    let address = client.stream.local_addr().unwrap();
    let event = |name: &str, found| {
        format!("LookedUp {{ client: {address}, export: 5, name: {:?}, found: {found} }}", name.as_bytes())
    };
    let told = told.of("LookedUp");
    assert!(told.ends_with(&[event("init", true), event("absent", false)]), "{told:?}");
}

/// Exports with a bug.
struct Broken;

impl Exports for Broken {
    fn mount(&self, _: &Path, _: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        panic!("this is what is tested")
    }

    fn find(&self, _: u32) -> Result<Arc<Export>, Absent> {
        Err(Absent::Unknown)
    }

    fn list(&self, _: Ipv4Addr) -> Vec<PathBuf> {
        vec![]
    }
}

#[test]
fn a_bug_costs_the_connection_that_met_it_and_no_other() {
    let (running, told, mut other) = watched(Broken);
    // More often than the server has threads.
    for number in 1..=50 {
        let mut client = Client::connect(running.port());
        let address = client.stream.local_addr().unwrap();
        client.send(100_005, 3, 1, &dirpath(Opaque::borrowed(b"/")));
        eventually("the connection ends", || told.of("Disconnected").len() == number);
        let ended = told.of("Disconnected").pop().unwrap();
        assert!(ended.starts_with(&format!("Disconnected {{ peer: {address}, why: Panicked, ")), "{ended}");
        assert_eq!(told.of("Trouble").len(), number);
    }
    other.null();
}

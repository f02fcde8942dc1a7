//! The shares of clients: a client whose disk hangs, or who does not read, leaves workers, memory and connections to the others.

use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Opaque, Pack};
use nix::sys::socket::{setsockopt, sockopt};
use pinetboot_nfs::{
    Absent, Event, Export, Exports, MemoryTree, MountError, NfsConfig, Observer, OneExport, Running,
};

use crate::nfs_client::Client;
use crate::world::{MIB, Told, config, eventually, export, serve};

/// A tree of which writes wait on command at `/frozen`, and one that always answers at `/`.
struct Trees {
    frozen: Arc<MemoryTree>,
    exports: [Arc<Export>; 2],
}

impl Trees {
    fn new() -> Self {
        let frozen = Arc::new(MemoryTree::new(64 * MIB));
        let exports = [Export { tree: frozen.clone(), ..export(1, "/frozen") }, export(2, "/")].map(Arc::new);
        Self { frozen, exports }
    }
}

struct Both([Arc<Export>; 2]);

impl Exports for Both {
    fn mount(&self, path: &Path, _: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        let mounted = self.0.iter().find(|export| path.starts_with(&export.path)).unwrap();
        Ok(mounted.clone())
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        self.0.iter().find(|export| export.id == id).cloned().ok_or(Absent::Unknown)
    }

    fn list(&self, _: Ipv4Addr) -> Vec<PathBuf> {
        vec![]
    }
}

/// The client of this number, from an address of its own.
fn client(running: &Running, number: u16) -> Client {
    let [high, low] = number.to_be_bytes();
    let client = Client::connect_from(Ipv4Addr::new(127, 0, 1 + high, low), running.port());
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// A client's connections, each with eight writes that wait.
fn stick(running: &Running, number: u16, file: &nfs_fh3, connections: usize) -> Vec<Client> {
    let data = [1; 10];
    let arguments = WRITE3args {
        file: file.clone(),
        offset: 0,
        count: 10,
        stable: stable_how::UNSTABLE,
        data: Opaque::borrowed(&data),
    };
    let mut clients: Vec<_> = (0..connections).map(|_| client(running, number)).collect();
    for client in &mut clients {
        for _ in 0..8 {
            client.send(PROGRAM, VERSION, 7, &arguments);
        }
    }
    clients
}

fn all_answered(clients: Vec<Client>) {
    for mut client in clients {
        for _ in 0..8 {
            let written: WRITE3res = client.receive().results();
            crate::nfs_client::flat(written).unwrap();
        }
    }
}

fn is_served(mut client: Client) {
    let root = client.mount("/").unwrap();
    client.attributes(&root).unwrap();
    let file = client.lookup(&root, "golden").unwrap();
    assert_eq!(client.read(&file, 0, 100).unwrap().0, b"golden");
}

/// A server of both trees, with a file in each; the handle of the frozen tree's.
fn world(trees: &Trees) -> (Running, nfs_fh3) {
    let running = serve(Both(trees.exports.clone()));
    let mut client = client(&running, 1);
    let root = client.mount("/").unwrap();
    let golden = client.make(&root, "golden");
    client.write(&golden, 0, b"golden", stable_how::FILE_SYNC).unwrap();
    let frozen = client.mount("/frozen").unwrap();
    let file = client.make(&frozen, "file");
    trees.frozen.freeze();
    (running, file)
}

#[test]
fn calls_of_one_client_that_wait_for_its_disk_are_eight_over_all_its_connections() {
    let trees = Trees::new();
    let (running, file) = world(&trees);
    let stuck = stick(&running, 2, &file, 3);
    eventually("eight calls wait", || trees.frozen.waiting() == 8);
    is_served(client(&running, 3));
    let turns = running.turns();
    turns.ask();
    eventually("a worker takes an event", || turns.has_turned());
    assert_eq!(trees.frozen.waiting(), 8, "no more of them were begun meanwhile");
    trees.frozen.thaw();
    all_answered(stuck);
    is_served(client(&running, 2));
}

#[test]
fn however_many_clients_wait_for_their_disk_the_next_one_is_served() {
    let trees = Trees::new();
    let (running, file) = world(&trees);
    let stuck: Vec<_> = (10..50).flat_map(|number| stick(&running, number, &file, 2)).collect();
    eventually("each has a worker", || trees.frozen.waiting() >= 160);
    let begun = Instant::now();
    for number in 100..110 {
        is_served(client(&running, number));
    }
    eprintln!("ten clients were served in {:?}", begun.elapsed());
    assert!(trees.frozen.waiting() < 256);
    trees.frozen.thaw();
    all_answered(stuck);
}

#[test]
fn a_disk_that_hangs_leaves_workers_to_calls_that_do_not_need_it() {
    let trees = Trees::new();
    let (running, file) = world(&trees);
    let data = [1; 10];
    let data = Opaque::borrowed(&data);
    let arguments = WRITE3args { file, offset: 0, count: 10, stable: stable_how::UNSTABLE, data };
    let mut stuck: Vec<_> = (10..310).map(|number| client(&running, number)).collect();
    for client in &mut stuck {
        client.send(PROGRAM, VERSION, 7, &arguments);
    }
    eventually("the disk has its share of the workers", || trees.frozen.waiting() >= 192);
    for number in 400..410 {
        client(&running, number).null();
        is_served(client(&running, number));
    }
    assert_eq!(trees.frozen.waiting(), 192);
    trees.frozen.thaw();
    let answers =
        stuck.iter_mut().map(|client| crate::nfs_client::flat(client.receive().results::<WRITE3res>()));
    let (written, refused): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
    assert!(written.len() >= 192, "{}", written.len());
    let told_to_repeat = |answer: &_| matches!(answer, Err(nfsstat3::NFS3ERR_JUKEBOX));
    assert!(refused.iter().all(told_to_repeat), "{refused:?}");
}

#[test]
fn stopping_waits_no_longer_than_it_is_told_for_a_disk_that_hangs() {
    let trees = Trees::new();
    let (running, file) = world(&trees);
    let mut stuck = stick(&running, 2, &file, 1);
    eventually("calls wait", || trees.frozen.waiting() == 8);
    let port = running.port();
    assert!(!running.stop(Duration::from_millis(100)), "threads wait for the disk");
    assert_eq!(std::io::Read::read(&mut stuck[0].stream, &mut [0; 1]).unwrap_or(0), 0);
    let again = pinetboot_nfs::start(NfsConfig { port, ..config() }, Arc::new(Both(trees.exports.clone())));
    assert_eq!(again.unwrap().port(), port, "the port is free");
    assert_eq!(trees.frozen.waiting(), 8);
    trees.frozen.thaw();
    eventually("they end when the disk answers", || trees.frozen.waiting() == 0);
    assert!(
        serve(OneExport::new(export(1, "/"))).stop(Duration::from_secs(20)),
        "without a hanging disk all end"
    );
}

#[test]
fn datagrams_that_wait_for_a_disk_are_few_and_those_of_others_are_answered() {
    let trees = Trees::new();
    let config = NfsConfig { udp: true, ..config() };
    let running = pinetboot_nfs::start(config, Arc::new(Both(trees.exports.clone()))).unwrap();
    let mut tcp = client(&running, 2);
    let frozen = tcp.mount("/frozen").unwrap();
    let file = tcp.make(&frozen, "file");
    trees.frozen.freeze();
    let socket = |number: u8| {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, number), 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, running.port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    };
    let data = Opaque::borrowed(b"x");
    let write = WRITE3args { file, offset: 0, count: 1, stable: stable_how::UNSTABLE, data };
    let mut arguments = Vec::new();
    write.pack(&mut arguments).unwrap();
    // Every client has four places for datagrams; the rest is dropped, and repeated by a client.
    let hostile: Vec<_> = (10..13).map(socket).collect();
    for socket in &hostile {
        for _ in 0..10 {
            socket.send(&tcp.message(PROGRAM, VERSION, 7, &arguments)).unwrap();
        }
    }
    eventually("four of each wait", || trees.frozen.waiting() == 12);
    let honest = socket(20);
    honest.send(&tcp.message(PROGRAM, VERSION, 0, &[])).unwrap();
    assert_eq!(honest.recv(&mut [0; 64]).unwrap(), 24);
    assert_eq!(trees.frozen.waiting(), 12);
    trees.frozen.thaw();
    for socket in &hostile {
        for _ in 0..4 {
            socket.recv(&mut [0; 400]).unwrap();
        }
    }
}

/// Panics on the next new connection, on command: outside of any call.
#[derive(Default)]
struct Explosive(AtomicBool);

impl Observer for Explosive {
    fn observe(&self, event: &Event<'_>) {
        assert!(
            !(matches!(event, Event::Connected(_)) && self.0.swap(false, Ordering::SeqCst)),
            "this is tested"
        );
    }
}

#[test]
fn a_thread_that_ends_is_reported() {
    let (explosive, ended) = (Arc::new(Explosive::default()), Arc::new(Mutex::new(Vec::new())));
    let names = ended.clone();
    let config = NfsConfig {
        observer: explosive.clone(),
        on_thread_end: Arc::new(move |name| names.lock().unwrap().push(name.to_owned())),
        ..config()
    };
    let running = pinetboot_nfs::start(config, Arc::new(OneExport::new(export(1, "/")))).unwrap();
    client(&running, 1).null();
    assert!(!running.has_failed() && ended.lock().unwrap().is_empty());
    explosive.0.store(true, Ordering::SeqCst);
    let _refused = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port()));
    eventually("the end is reported", || !ended.lock().unwrap().is_empty());
    assert!(running.has_failed());
    let names = ended.lock().unwrap().clone();
    assert!(names.len() == 1 && names[0].starts_with("nfs "), "{names:?}");
    drop(running);
    assert_eq!(ended.lock().unwrap().len(), 1, "a stop is no failure");
}

#[test]
fn who_does_not_read_loses_connections_and_others_lose_none() {
    let told = Arc::new(Told::default());
    let config = NfsConfig { observer: told.clone(), ..config() };
    let running = pinetboot_nfs::start(config, Arc::new(OneExport::new(export(1, "/")))).unwrap();
    let mut honest = client(&running, 1);
    let root = honest.mount("/").unwrap();
    let file = honest.make(&root, "file");
    honest.write(&file, 0, &vec![5; MIB], stable_how::FILE_SYNC).unwrap();
    let arguments = READ3args { file: file.clone(), offset: 0, count: u32::try_from(MIB).unwrap() };
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut slow = client(&running, 2);
            // Answers stay with the server, and not in the kernel.
            setsockopt(&slow.stream, sockopt::RcvBuf, &4096).unwrap();
            for _ in 0..16 {
                slow.send(PROGRAM, VERSION, 6, &arguments);
            }
            slow
        })
        .collect();
    let for_memory = || told.of("Disconnected").iter().filter(|ended| ended.contains("why: Memory")).count();
    eventually("connections of the client that does not read are closed", || for_memory() > 0);
    for mut client in [honest, client(&running, 1), client(&running, 2)] {
        for _ in 0..10 {
            assert_eq!(client.read(&file, 0, u32::try_from(MIB).unwrap()).unwrap().0.len(), MIB);
        }
    }
    let ended = told.of("Disconnected");
    let for_memory = ended.iter().filter(|ended| ended.contains("why: Memory"));
    assert!(for_memory.clone().all(|ended| ended.contains("peer: 127.0.1.2:")), "{ended:?}");
    drop(slow);
}

#[test]
fn the_client_with_most_connections_makes_room_and_no_idle_one() {
    let running = serve(OneExport::new(export(1, "/")));
    let mut idle = client(&running, 1);
    idle.null();
    let crowd: Vec<_> = (0..1200).map(|_| client(&running, 2)).collect();
    client(&running, 3).null();
    assert!(running.connections() <= 1024);
    idle.null();
    drop(crowd);
}

#[test]
fn many_connections_of_few_clients_lose_no_call() {
    let running = serve(OneExport::new(export(1, "/")));
    let mut clients: Vec<_> = (0..60).map(|number| client(&running, number % 6)).collect();
    let root = clients[0].mount("/").unwrap();
    for client in &mut clients {
        let arguments = GETATTR3args { object: root.clone() };
        for _ in 0..100 {
            client.send(PROGRAM, VERSION, 1, &arguments);
        }
    }
    for client in &mut clients {
        (0..100).for_each(|_| drop(client.receive()));
    }
}

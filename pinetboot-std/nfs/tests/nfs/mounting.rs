//! Many first mounts at once: few are under way, and calls of clients that run already find a worker.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nfs3_types::mount;
use nfs3_types::xdr_codec::Opaque;
use pinetboot_nfs::{Absent, Export, Exports, MountError};

use crate::nfs_client::Client;
use crate::world::{eventually, export, serve};

/// An export at `/`, whose mounts from 127.0.2.0/24 wait on command.
#[derive(Clone)]
struct Slow {
    export: Arc<Export>,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    inside: usize,
    most: usize,
    free: bool,
}

impl Slow {
    fn new() -> Self {
        Self { export: Arc::new(export(1, "/")), state: Arc::default() }
    }

    fn inside(&self) -> usize {
        self.state.0.lock().unwrap().inside
    }

    fn most(&self) -> usize {
        self.state.0.lock().unwrap().most
    }

    fn set_free(&self) {
        self.state.0.lock().unwrap().free = true;
        self.state.1.notify_all();
    }
}

impl Exports for Slow {
    fn mount(&self, _: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        if client.octets()[2] == 2 {
            let (state, freed) = &*self.state;
            let mut state = state.lock().unwrap();
            state.inside += 1;
            state.most = state.most.max(state.inside);
            state = freed.wait_while(state, |state| !state.free).unwrap();
            state.inside -= 1;
        }
        Ok(self.export.clone())
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        if id == 1 { Ok(self.export.clone()) } else { Err(Absent::Unknown) }
    }

    fn list(&self, _: Ipv4Addr) -> Vec<PathBuf> {
        vec![]
    }
}

/// `number` clients that asked for a mount each.
fn ask(port: u16, number: u8) -> Vec<Client> {
    let path = mount::dirpath(Opaque::borrowed(b"/"));
    let clients = (1..=number).map(|number| {
        let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 2, number), port);
        client.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        client.send(mount::PROGRAM, mount::VERSION, 1, &path);
        client
    });
    clients.collect()
}

fn all_mounted(clients: Vec<Client>) {
    for mut client in clients {
        let mounted: mount::mountres3<'_> = client.receive().results();
        assert!(matches!(mounted, mount::mountres3::Ok(_)), "{mounted:?}");
        client.null();
    }
}

#[test]
fn few_of_many_first_mounts_are_under_way_and_all_succeed() {
    let slow = Slow::new();
    let running = serve(slow.clone());
    let mut up = Client::connect(running.port());
    let root = up.mount("/").unwrap();
    let begun = Instant::now();
    let clients = ask(running.port(), 250);
    eventually("mounts wait", || slow.inside() >= 8);
    for _ in 0..100 {
        up.attributes(&root).unwrap();
    }
    // One more for each half second in which none ends.
    let most = 9 + (begun.elapsed().as_millis() / 500) as usize;
    assert!(slow.most() <= most, "{} mounts at once, after {:?}", slow.most(), begun.elapsed());
    slow.set_free();
    all_mounted(clients);
}

#[test]
fn mounts_that_hang_do_not_keep_later_ones_waiting() {
    let slow = Slow::new();
    let running = serve(slow.clone());
    let hanging = ask(running.port(), 12);
    let mut next = Client::connect(running.port());
    next.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    next.mount("/").unwrap();
    slow.set_free();
    all_mounted(hanging);
}

#[test]
fn the_client_of_a_waiting_mount_may_leave() {
    let slow = Slow::new();
    let running = serve(slow.clone());
    let clients = ask(running.port(), 40);
    eventually("mounts wait", || slow.inside() >= 8);
    drop(clients);
    eventually("their connections are closed", || running.connections() == 0);
    slow.set_free();
    eventually("the mounts end", || slow.inside() == 0);
    all_mounted(ask(running.port(), 40));
}

/// An export that notes the scheduling policy of the threads that mount it, and of those that look it up for other calls.
#[derive(Clone)]
struct Scheduled(Slow, Arc<Mutex<[Vec<u32>; 2]>>);

impl Exports for Scheduled {
    fn mount(&self, path: &Path, client: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        self.1.lock().unwrap()[0].push(policy());
        self.0.mount(path, client)
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        self.1.lock().unwrap()[1].push(policy());
        self.0.find(id)
    }

    fn list(&self, client: Ipv4Addr) -> Vec<PathBuf> {
        self.0.list(client)
    }
}

/// The scheduling policy of this thread (proc_pid_stat(5), field 41).
fn policy() -> u32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().nth(41 - 3).unwrap().parse().unwrap()
}

#[test]
fn a_mount_interrupts_no_other_call() {
    const OTHER: u32 = 0;
    const BATCH: u32 = 3;
    let seen = Arc::default();
    let running = serve(Scheduled(Slow::new(), Arc::clone(&seen)));
    let mut client = Client::connect(running.port());
    for _ in 0..50 {
        let root = client.mount("/").unwrap();
        client.attributes(&root).unwrap();
    }
    let [mounts, others] = &*seen.lock().unwrap();
    assert_eq!(mounts, &[BATCH; 50]);
    assert!(others.len() >= 50 && others.iter().all(|policy| *policy == OTHER), "{others:?}");
}

//! The descriptors of served directories: bounded for the process, and closed at rest. A process of its own, since the limit is the
//! process's. Needs root; `.ci/run nfs` runs it.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod nfs_client;
mod nfs_system;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nfs_client::Client;
use nfs_system::{config, export};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pinetboot_nfs::{Caller, DirectoryTree, FileSystem, NfsConfig, OneExport, Place};

#[test]
#[ignore = "needs root"]
fn the_tree_with_most_open_files_closes_its_own_and_rest_closes_all() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (many, few) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    (0..1000).for_each(|number| fs::write(many.path().join(number.to_string()), "many").unwrap());
    fs::write(few.path().join("file"), "few").unwrap();
    limit(LIMIT);
    let (many, few) = (tree(many.path()), tree(few.path()));
    let at_rest = descriptors();
    let file = few.lookup(&Caller::ROOT, &few.root(), b"file").unwrap().id;
    for number in 0..1000 {
        let id = many.lookup(&Caller::ROOT, &many.root(), number.to_string().as_bytes()).unwrap().id;
        let mut content = [0; 4];
        assert_eq!(many.read(&Caller::ROOT, &id, 0, &mut content), Ok(4));
        assert!(descriptors() <= LIMIT * 2 / 3, "{} open", descriptors());
        let mut content = [0; 3];
        assert_eq!(few.read(&Caller::ROOT, &file, 0, &mut content), Ok(3));
    }
    // All that is left is taken by others: one more file opens all the same.
    let mut others = Vec::new();
    while let Ok(other) = fs::File::open("/") {
        others.push(other);
    }
    let id = many.lookup(&Caller::ROOT, &many.root(), b"0").unwrap().id;
    assert_eq!(many.read(&Caller::ROOT, &id, 0, &mut [0; 4]), Ok(4));
    drop(others);

    [&many, &few].into_iter().for_each(FileSystem::rest);
    assert_eq!(descriptors(), at_rest - 2, "the top directories are closed too");
    assert_eq!(few.read(&Caller::ROOT, &file, 0, &mut [0; 3]), Ok(3), "the same file, by the same id");
    let mut names = 0;
    let mut take = |_: pinetboot_nfs::DirectoryEntry<'_>| {
        names += 1;
        true
    };
    few.list(&Caller::ROOT, &few.root(), Place::default(), true, &mut take).unwrap();
    assert_eq!(names, 3);
}

/// Limits the descriptors of this process. The hard limit stays: not every root may raise it again for the next test.
fn limit(descriptors: usize) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, descriptors as u64, hard).unwrap();
}

/// A server process with few descriptors; it ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "serves_with_few_descriptors", "--nocapture"]);
        command.env(SERVED, directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("port ")?.parse().ok());
        Self { process, port: port.unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ended = self.process.wait();
    }
}

#[test]
#[ignore = "a server of another test"]
fn serves_with_few_descriptors() {
    let Some(directory) = env::var_os(SERVED) else { return };
    limit(LIMIT);
    let exports = OneExport::new(export(1, "/", Path::new(&directory), false));
    let running = pinetboot_nfs::start(NfsConfig { insecure: true, ..config() }, Arc::new(exports)).unwrap();
    println!("\nport {}", running.port());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
#[ignore = "needs root"]
fn connections_beyond_the_descriptors_take_no_file_and_no_place_of_other_clients() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    limit(4 * LIMIT);
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    names.iter().for_each(|name| fs::write(directory.path().join(name), name).unwrap());
    let server = Server::start(directory.path());
    let client = |last| Client::connect_from(Ipv4Addr::new(127, 0, 1, last), server.port);
    let mut first = client(1);
    let root = first.mount("/").unwrap();
    let file = first.lookup(&root, "7").unwrap();
    assert_eq!(first.read(&file, 0, 10).unwrap().0, b"7");
    // The client with most connections loses some of them.
    let crowd: Vec<_> = (0..3 * LIMIT).map(|_| client(2)).collect();
    for mut client in [client(3), first, client(4)] {
        assert_eq!(client.mount("/").unwrap(), root);
        for name in &names {
            let file = client.lookup(&root, name).unwrap();
            assert_eq!(client.read(&file, 0, 10).unwrap().0, name.as_bytes());
        }
    }
    drop(crowd);
}

fn tree(path: &Path) -> DirectoryTree {
    DirectoryTree::open(path, 4096).unwrap()
}

fn descriptors() -> usize {
    // Without the one that lists.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// The limit is the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const LIMIT: usize = 150;
/// Names the directory that a server process serves.
const SERVED: &str = "PINETBOOT_TEST_SERVED";

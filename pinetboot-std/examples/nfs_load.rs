//! How fast is an NFSv3 server? The same load on one or several, one after the other in each round, so that what else
//! the machine does strikes all alike. Over loopback, as a client that needs no kernel.
//!
//! ```text
//! cargo run --release --example nfs_load -- ROUNDS NAME=NFSPORT:MOUNTPORT:PATH [NAME=NFSPORT:MOUNTPORT:PATH ..]
//! ```
//!
//! Every server gets a directory `load` of its own in PATH, which is removed in the end. The table has the median of the
//! rounds, and for every server after the first its ratio to the first.

#[path = "../tests/nfs_client/mod.rs"]
mod nfs_client;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use nfs_client::{Client, entry, flat, mode};
use nfs3_types::nfs3::{self, *};
use nfs3_types::xdr_codec::Opaque;

struct Target {
    name: String,
    client: Client,
    root: nfs_fh3,
    dir: nfs_fh3,
    file: nfs_fh3,
}

/// One row of the table: what it is, its unit, and how to do it once; the result is in units per second.
type Row = (&'static str, &'static str, fn(&mut Target) -> f64);

const ROWS: &[Row] = &[
    ("write 1 MiB, 4 at once, commit", "MiB/s", write_large),
    ("read 1 MiB, 4 at once", "MiB/s", read_large),
    ("read 1 MiB, one by one", "MiB/s", read_large_alone),
    ("random read 4 KiB, one by one", "1/s", |target| read_small(target, 1)),
    ("random read 4 KiB, 16 at once", "1/s", |target| read_small(target, 16)),
    ("random write 4 KiB, one by one", "1/s", |target| write_small(target, 1)),
    ("random write 4 KiB, 16 at once", "1/s", |target| write_small(target, 16)),
    ("create, one by one", "1/s", |target| create(target, 1)),
    ("lookup, one by one", "1/s", |target| lookup(target, 1)),
    ("stat, one by one", "1/s", |target| stat(target, 1)),
    ("list with attributes", "entries/s", list),
    ("unlink, one by one", "1/s", |target| unlink(target, 1)),
    ("create, 8 at once", "1/s", |target| create(target, 8)),
    ("lookup, 8 at once", "1/s", |target| lookup(target, 8)),
    ("stat, 8 at once", "1/s", |target| stat(target, 8)),
    ("unlink, 8 at once", "1/s", |target| unlink(target, 8)),
];

const FILE: u64 = 64 * MIB;
const MIB: u64 = 1024 * 1024;
const SMALL: u64 = 4000;
const FILES: u64 = 2000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().and_then(|rounds| rounds.parse().ok()).expect("how many rounds?");
    let mut targets: Vec<_> = arguments.map(|argument| Target::open(&argument)).collect();
    assert!(!targets.is_empty(), "which servers?");
    let mut results = vec![vec![Vec::new(); targets.len()]; ROWS.len()];
    for round in 0..rounds {
        for ((_, _, run), results) in ROWS.iter().zip(&mut results) {
            // Each goes first as often as the others.
            for turn in 0..targets.len() {
                let index = (turn + round) % targets.len();
                results[index].push(run(&mut targets[index]));
            }
        }
    }
    print!("{:34}", "");
    for (index, target) in targets.iter().enumerate() {
        print!("{:>12}{}", target.name, if index > 0 { "   ratio" } else { "" });
    }
    println!();
    for ((what, unit, _), results) in ROWS.iter().zip(results) {
        print!("{what:34}");
        let medians: Vec<f64> = results.into_iter().map(median).collect();
        for (index, value) in medians.iter().enumerate() {
            print!("{value:12.0}");
            if index > 0 {
                print!("{:8.2}", value / medians[0]);
            }
        }
        println!(" {unit}");
    }
    targets.iter_mut().for_each(Target::clean);
}

impl Target {
    fn open(argument: &str) -> Self {
        let (name, place) = argument.split_once('=').expect("NAME=NFSPORT:MOUNTPORT:PATH");
        let [port, mount_port, path] = place.splitn(3, ':').collect::<Vec<_>>()[..] else {
            panic!("ports, path")
        };
        let port = port.parse().expect("a port");
        let root =
            Client::connect(mount_port.parse().expect("a port")).mount(path).expect("it can be mounted");
        let mut client = Client::connect(port);
        let dir = match client.lookup(&root, "load") {
            Ok(dir) => dir,
            Err(_) => client.mkdir(&root, "load", mode(0o755)).expect("a directory can be made"),
        };
        for name in client.names(&dir) {
            client.remove(&dir, &name).expect("what an earlier run left can be removed");
        }
        let file = client.make(&dir, "file");
        Self { name: name.into(), client, root, dir, file }
    }

    fn clean(&mut self) {
        self.client.remove(&self.dir, "file").expect("the file can be removed");
        self.client.rmdir(&self.root, "load").expect("the directory can be removed");
    }

    /// Sends `count` calls with up to `depth` of them under way; calls per second.
    fn drive(
        &mut self,
        count: u64,
        depth: usize,
        mut send: impl FnMut(&mut Client, u64),
        check: fn(&[u8]),
    ) -> f64 {
        let start = Instant::now();
        let mut under_way = VecDeque::new();
        for number in 0..count {
            send(&mut self.client, number);
            under_way.push_back(());
            if under_way.len() == depth {
                check(&self.client.receive().body);
                under_way.pop_front();
            }
        }
        for () in under_way {
            check(&self.client.receive().body);
        }
        count as f64 / start.elapsed().as_secs_f64()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// RPC's head and NFS's status are all zero.
fn successful(body: &[u8]) {
    assert_eq!(body[..20], [0; 20]);
}

fn send(client: &mut Client, procedure: NFS_PROGRAM, arguments: &impl nfs3_types::xdr_codec::Pack) {
    client.send(nfs3::PROGRAM, nfs3::VERSION, procedure as u32, arguments);
}

fn write_large(target: &mut Target) -> f64 {
    let (file, data) = (target.file.clone(), vec![7; MIB as usize]);
    let start = Instant::now();
    target.drive(
        FILE / MIB,
        4,
        |client, number| {
            let (offset, count, stable) = (number * MIB, MIB as u32, stable_how::UNSTABLE);
            let data = Opaque::borrowed(&data);
            let arguments = WRITE3args { file: file.clone(), offset, count, stable, data };
            send(client, NFS_PROGRAM::NFSPROC3_WRITE, &arguments);
        },
        successful,
    );
    target.client.commit(&file).expect("it is committed");
    (FILE / MIB) as f64 / start.elapsed().as_secs_f64()
}

fn read_large(target: &mut Target) -> f64 {
    read(target, FILE / MIB, 4, MIB, |number| number * MIB)
}

fn read_large_alone(target: &mut Target) -> f64 {
    read(target, FILE / MIB, 1, MIB, |number| number * MIB)
}

fn read_small(target: &mut Target, depth: usize) -> f64 {
    read(target, SMALL, depth, 4096, scattered)
}

fn read(target: &mut Target, times: u64, depth: usize, count: u64, place: fn(u64) -> u64) -> f64 {
    let file = target.file.clone();
    target.drive(
        times,
        depth,
        |client, number| {
            let arguments = READ3args { file: file.clone(), offset: place(number), count: count as u32 };
            send(client, NFS_PROGRAM::NFSPROC3_READ, &arguments);
        },
        |body| {
            successful(body);
            black_box(body);
        },
    )
}

fn write_small(target: &mut Target, depth: usize) -> f64 {
    let (file, data) = (target.file.clone(), [9; 4096]);
    target.drive(
        SMALL,
        depth,
        |client, number| {
            let (offset, count, stable) = (scattered(number), 4096, stable_how::UNSTABLE);
            let data = Opaque::borrowed(&data);
            let arguments = WRITE3args { file: file.clone(), offset, count, stable, data };
            send(client, NFS_PROGRAM::NFSPROC3_WRITE, &arguments);
        },
        successful,
    )
}

fn create(target: &mut Target, depth: usize) -> f64 {
    let dir = target.dir.clone();
    target.drive(
        FILES,
        depth,
        |client, number| {
            let (name, how) = (name(number), createhow3::GUARDED(mode(0o644)));
            let arguments = CREATE3args { where_: entry(&dir, &name), how };
            send(client, NFS_PROGRAM::NFSPROC3_CREATE, &arguments);
        },
        successful,
    )
}

fn lookup(target: &mut Target, depth: usize) -> f64 {
    let dir = target.dir.clone();
    target.drive(
        FILES,
        depth,
        |client, number| {
            send(client, NFS_PROGRAM::NFSPROC3_LOOKUP, &LOOKUP3args { what: entry(&dir, &name(number)) });
        },
        successful,
    )
}

fn stat(target: &mut Target, depth: usize) -> f64 {
    let files: Vec<_> = (0..FILES)
        .step_by(10)
        .map(|number| target.client.lookup(&target.dir, &name(number)).expect("it is there"))
        .collect();
    target.drive(
        FILES,
        depth,
        |client, number| {
            let object = files[number as usize % files.len()].clone();
            send(client, NFS_PROGRAM::NFSPROC3_GETATTR, &GETATTR3args { object });
        },
        successful,
    )
}

fn list(target: &mut Target) -> f64 {
    let start = Instant::now();
    let (mut entries, mut cookie, mut verifier) = (0, 0, cookieverf3::default());
    loop {
        let arguments = READDIRPLUS3args {
            dir: target.dir.clone(),
            cookie,
            cookieverf: verifier,
            dircount: 65_536,
            maxcount: 65_536,
        };
        let result: READDIRPLUS3res<'static> =
            target.client.nfs(NFS_PROGRAM::NFSPROC3_READDIRPLUS, &arguments);
        let part = flat(result).expect("it can be listed");
        verifier = part.cookieverf;
        entries += part.reply.entries.0.len();
        cookie = part.reply.entries.0.last().map_or(cookie, |entry| entry.cookie);
        if part.reply.eof {
            assert!(entries as u64 >= FILES, "{entries} entries");
            return entries as f64 / start.elapsed().as_secs_f64();
        }
    }
}

fn unlink(target: &mut Target, depth: usize) -> f64 {
    let dir = target.dir.clone();
    target.drive(
        FILES,
        depth,
        |client, number| {
            send(client, NFS_PROGRAM::NFSPROC3_REMOVE, &REMOVE3args { object: entry(&dir, &name(number)) });
        },
        successful,
    )
}

fn name(number: u64) -> String {
    format!("some-file-{number:05}")
}

fn scattered(number: u64) -> u64 {
    (number.wrapping_mul(2_654_435_761) % (FILE / 4096)) * 4096
}

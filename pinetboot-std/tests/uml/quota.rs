//! The limit of a layer, enforced by the file system: user-mode Linux has quotas where the kernel of this machine may lack them.
//!
//! The server and its client run in one machine, which also has the disk. The test starts itself again in that machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Instant;

use nfs3_types::nfs3::{createhow3, nfs_fh3, nfsstat3, stable_how};
use nix::mount::{MsFlags, mount};

use super::disk::run;
use super::machine::{MINUTES, Uml};
use super::power::{SERIAL, plant, serve};
use crate::namespace::{Namespace, PINETBOOT, SOON, part};
use crate::nfs_client::{Client, mode};

/// Each disk: the program that makes the file system, its mount option, and what the server and the client say at the limit.
const DISKS: [(&str, &str, &str, nfsstat3); 3] = [
    (EXT4_WITH_QUOTAS, "prjquota", BY_QUOTA, nfsstat3::NFS3ERR_DQUOT),
    // The file system counts, and enforces nothing.
    (EXT4_WITH_QUOTAS, "", COUNTED, nfsstat3::NFS3ERR_NOSPC),
    ("mkfs.ext4 -q -F", "", COUNTED, nfsstat3::NFS3ERR_NOSPC),
];
const EXT4_WITH_QUOTAS: &str = "mkfs.ext4 -q -F -O quota,project -E quotatype=prjquota";
const BY_QUOTA: &str = "the file system limits each new layer to max-root-size, by a project quota";
const COUNTED: &str = "the server counts the size of each layer for max-root-size";

#[test]
#[ignore = "needs root, network namespaces and user-mode Linux; run by .ci/run"]
fn the_file_system_enforces_the_limit_of_a_layer_if_it_has_project_quotas() {
    let test = "uml::quota::the_file_system_enforces_the_limit_of_a_layer_if_it_has_project_quotas";
    let Some(_) = part() else {
        let network = Namespace::new("quota");
        let mut machine = Uml::boot(&network, None, "overlay quota_tree quota_v2");
        machine.start(test, "disks");
        println!("{}", machine.finish(MINUTES));
        return;
    };
    run("modprobe", &["--dirname", "/mnt", "brd", "rd_nr=3", "rd_size=49152"]);
    for (number, (make, option, told, status)) in DISKS.into_iter().enumerate() {
        let (place, disk) = (format!("/run/disk{number}"), format!("/dev/ram{number}"));
        let words: Vec<_> = make.split(' ').chain([disk.as_str()]).collect();
        run(words[0], &words[1..]);
        fs::create_dir(&place).unwrap();
        mount(Some(disk.as_str()), Path::new(&place), Some("ext4"), MsFlags::empty(), Some(option)).unwrap();
        reach_the_limit(&place, told, status);
    }
}

fn reach_the_limit(place: &str, told: &str, status: nfsstat3) {
    let (base, state) = (format!("{place}/base"), format!("{place}/state"));
    plant(Path::new(&base));
    fs::write(format!("{base}/home/large"), [7; 1 << 16]).unwrap();
    let options = ["--nfs", &base, "--state", &state, "--max-root-size", "1MiB"];
    let mut server = serve(&options);
    run(PINETBOOT, &["get", "-q", "-o", "/run/got", &format!("tftp://127.0.0.1/{SERIAL}/kernel8.img")]);
    server.line(" files: ", SOON); // from here on the client is that Pi
    let nfs = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2049);
    let mut client = Client::connect_reserved(nfs);
    let root = client.mount(&format!("/{SERIAL}")).unwrap();

    let home = client.lookup(&root, "home").unwrap();
    let (written, refused) = fill(&mut client, &home, "much");
    assert_eq!(refused, status);
    assert!((800_000..=1 << 20).contains(&written), "{written}");
    // The first change of a file of the base image would copy the file.
    let large = client.lookup(&home, "large").unwrap();
    assert_eq!(client.write(&large, 0, b"x", stable_how::FILE_SYNC).unwrap_err(), status);
    // What is removed makes room, and renaming goes on.
    client.rename((&home, "much"), (&root, "moved")).unwrap();
    client.remove(&root, "moved").unwrap();
    let began = Instant::now(); // a server that counts measures once a second
    while fill(&mut client, &home, "again").0 < 800_000 {
        assert!(began.elapsed() < SOON, "the space of the removed file is usable");
    }
    drop(client);

    // The limit is the layer's after a restart, too: the space is full still.
    let log = server.stop();
    assert!(log.contains(told), "{log}");
    assert!(log.contains("its layer has reached its limit of 1.05 MB"), "{log}");
    let server = serve(&options);
    let mut client = Client::connect_reserved(nfs);
    while client.lookup(&home, "again") == Err(nfsstat3::NFS3ERR_JUKEBOX) {
        std::thread::yield_now(); // until the layer is mounted again
    }
    let (more, refused) = fill(&mut client, &home, "more");
    assert!(more < 100_000 && refused == status, "{more} {refused:?}");
    drop(client);
    server.stop();
}

/// Writes a new file until the server refuses. Returns the bytes, and the refusal.
fn fill(client: &mut Client, directory: &nfs_fh3, name: &str) -> (u64, nfsstat3) {
    let file = match client.create(directory, name, createhow3::UNCHECKED(mode(0o644))) {
        Ok(made) => made.obj.unwrap(),
        Err(refused) => return (0, refused),
    };
    let block = [7; 4096];
    let mut written = 0;
    loop {
        if let Err(refused) = client.write(&file, written, &block, stable_how::FILE_SYNC) {
            return (written, refused);
        }
        written += 4096;
        assert!(written < 40 << 20, "no limit");
    }
}

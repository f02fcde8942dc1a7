//! The NFS server on disks that fail, hang, or lose their power. Needs root and loop devices; `.ci/run nfs` runs it.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod nfs_client;
mod nfs_system;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nfs_client::{Client, mode};
use nfs_system::{config, connect, export, own_mounts, run, serve, serve_export};
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::Opaque;
use pinetboot_nfs::{Absent, Export, Exports, MountError, NfsConfig};
use tempfile::TempDir;

#[test]
#[ignore = "needs root, and a loop device"]
fn what_a_disk_loses_is_told_to_all_who_wrote() {
    own_mounts();
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("memory")).unwrap();
    fs::create_dir(path("disk")).unwrap();
    // A disk of 64 MiB, of which 8 can be written.
    run("mount", &["-t", "tmpfs", "-o", "size=8m", "none", &path("memory")]);
    let image = path("memory/image");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    run("mke2fs", &["-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", &image]);
    run("mount", &["-o", "loop", &image, &path("disk")]);
    let running = serve(Path::new(&path("disk")), false);
    let (mut client, mut other) = (connect(running.port()), connect(running.port()));
    let root = client.mount("/").unwrap();
    let file = client.make(&root, "file");
    let mut before = other.write(&file, 0, b"x", stable_how::UNSTABLE).unwrap().verf;
    assert_eq!(other.commit(&file).unwrap(), before);
    for number in 0..24 {
        before = client.write(&file, number << 20, &vec![1; 1 << 20], stable_how::UNSTABLE).unwrap().verf;
    }
    assert!(matches!(client.commit(&file), Err(nfsstat3::NFS3ERR_IO | nfsstat3::NFS3ERR_NOSPC)));
    assert_ne!(other.write(&file, 0, b"x", stable_how::UNSTABLE).unwrap().verf, before);
    drop((running, client, other));
    run("umount", &[&path("disk")]);
}

/// A disk in memory with ext4 that writes by itself only after minutes.
struct Disk {
    place: TempDir,
}

impl Disk {
    fn new() -> Self {
        own_mounts();
        let disk = Self { place: tempfile::tempdir().unwrap() };
        for name in ["memory", "disk", "after"] {
            fs::create_dir(disk.path(name)).unwrap();
        }
        run("mount", &["-t", "tmpfs", "-o", "size=200m", "none", &disk.name("memory")]);
        File::create(disk.path("memory/image")).unwrap().set_len(48 << 20).unwrap();
        run("mke2fs", &["-q", "-t", "ext4", "-E", "lazy_itable_init=1", &disk.name("memory/image")]);
        run("mount", &["-o", "loop,commit=300", &disk.name("memory/image"), &disk.name("disk")]);
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// What is on the disk after a power cut now: all that was sent to the device.
    fn after_a_power_cut<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        fs::copy(self.path("memory/image"), self.path("memory/copy")).unwrap();
        run("mount", &["-o", "loop", &self.name("memory/copy"), &self.name("after")]);
        let seen = look(&self.path("after"));
        run("umount", &[&self.name("after")]);
        seen
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[&self.name("disk")]);
    }
}

/// Every change of names and attributes, one after the other, with a look at the disk after each: `below` names the directory of the disk
/// in which the served one has its changes.
fn changes_are_on_the_disk(disk: &Disk, client: &mut Client, below: &str) {
    let root = client.mount("/").unwrap();
    let there = |name: &str| {
        let name = Path::new(below).join(name);
        disk.after_a_power_cut(|after| fs::symlink_metadata(after.join(name)).ok())
    };
    let dir = client.mkdir(&root, "dir", mode(0o2750)).unwrap();
    assert_eq!(there("dir").unwrap().mode() & 0o7777, 0o2750);
    let file = client.make(&root, "file");
    assert!(there("file").is_some());
    let how = createhow3::EXCLUSIVE(createverf3([7; 8]));
    client.create(&root, "lock", how).unwrap();
    assert_eq!(there("lock").unwrap().mtime(), 0x0707_0707);
    let link = client.symlink(&root, "link", "file").unwrap();
    assert!(there("link").unwrap().is_symlink());
    let fifo = client.mknod(&root, "fifo", mknoddata3::NF3FIFO(mode(0o600))).unwrap();
    assert!(there("fifo").unwrap().file_type().is_fifo());
    client.link(&file, &dir, "other").unwrap();
    assert_eq!(there("dir/other").unwrap().nlink(), 2);
    for (name, node) in [("file", &file), ("dir", &dir), ("link", &link), ("fifo", &fifo)] {
        let owner = sattr3 { uid: Nfs3Option::Some(1234), ..sattr3::default() };
        client.set(node, owner, Nfs3Option::None).unwrap();
        assert_eq!(there(name).unwrap().uid(), 1234, "{name}");
    }
    client.write(&file, 0, b"content", stable_how::FILE_SYNC).unwrap();
    assert_eq!(there("file").unwrap().len(), 7);
    client.rename((&root, "file"), (&dir, "moved")).unwrap();
    assert!(there("dir/moved").is_some() && there("file").is_none());
    client.rename((&dir, "moved"), (&root, "lock")).unwrap();
    assert_eq!((there("lock").unwrap().len(), there("dir/moved").is_none()), (7, true));
    client.remove(&dir, "other").unwrap();
    assert!(there("dir/other").is_none());
    client.rmdir(&root, "dir").unwrap();
    assert!(there("dir").is_none());
}

#[test]
#[ignore = "needs root, and a loop device"]
fn what_is_acknowledged_is_on_the_disk() {
    let disk = Disk::new();
    let running = serve(&disk.path("disk"), false);
    changes_are_on_the_disk(&disk, &mut connect(running.port()), "");
    // Without that the disk has none of it: the test can fail.
    drop(running);
    let running = serve_export(export(1, "/", &disk.path("disk"), false));
    let mut client = connect(running.port());
    let root = client.mount("/").unwrap();
    client.make(&root, "unsynced");
    assert!(!disk.after_a_power_cut(|after| after.join("unsynced").exists()));
    drop((running, client));
}

#[test]
#[ignore = "needs root, overlayfs, and a loop device"]
fn what_is_acknowledged_on_an_overlay_is_on_the_disk() {
    let disk = Disk::new();
    for name in ["memory/lower/golden", "disk/upper", "disk/work", "merged"] {
        fs::create_dir_all(disk.path(name)).unwrap();
    }
    fs::write(disk.path("memory/lower/golden/file"), "golden").unwrap();
    run("sync", &[]);
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=on,nfs_export=on,redirect_dir=on",
        disk.name("memory/lower"),
        disk.name("disk/upper"),
        disk.name("disk/work")
    );
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &disk.name("merged")]);
    let running = serve(&disk.path("merged"), false);
    let mut client = connect(running.port());
    changes_are_on_the_disk(&disk, &mut client, "upper");
    // Directories and files of the base image are copied up.
    let root = client.mount("/").unwrap();
    let golden = client.lookup(&root, "golden").unwrap();
    client.make(&golden, "made");
    let there = |name: &str| {
        disk.after_a_power_cut(|after| fs::symlink_metadata(after.join("upper/golden").join(name)).ok())
    };
    assert!(there("made").is_some());
    let file = client.lookup(&golden, "file").unwrap();
    client.set(&file, mode(0o600), Nfs3Option::None).unwrap();
    assert_eq!(there("file").unwrap().mode() & 0o777, 0o600);
    client.remove(&golden, "file").unwrap();
    assert!(there("file").unwrap().file_type().is_char_device(), "a whiteout");
    drop((running, client));
    run("umount", &[&disk.name("merged")]);
}

/// The exports `/frozen` and `/`.
struct Both([Arc<Export>; 2]);

impl Exports for Both {
    fn mount(&self, path: &Path, _: Ipv4Addr) -> Result<Arc<Export>, MountError> {
        Ok(self.0.iter().find(|export| path.starts_with(&export.path)).unwrap().clone())
    }

    fn find(&self, id: u32) -> Result<Arc<Export>, Absent> {
        self.0.iter().find(|export| export.id == id).cloned().ok_or(Absent::Unknown)
    }

    fn list(&self, _: Ipv4Addr) -> Vec<PathBuf> {
        vec![]
    }
}

/// Thaws the disk also when the test fails: nothing could unmount it otherwise.
struct Frozen(String);

impl Frozen {
    fn new(disk: String) -> Self {
        run("fsfreeze", &["--freeze", &disk]);
        Self(disk)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", &self.0]);
    }
}

#[test]
#[ignore = "needs root, and a loop device"]
fn writes_to_a_frozen_disk_leave_the_other_directories_to_other_clients() {
    let disk = Disk::new();
    fs::create_dir(disk.path("golden")).unwrap();
    fs::write(disk.path("golden/file"), "golden").unwrap();
    let exports =
        [export(1, "/frozen", &disk.path("disk"), true), export(2, "/", &disk.path("golden"), true)];
    let config = NfsConfig { insecure: true, ..config() };
    let running = pinetboot_nfs::start(config, Arc::new(Both(exports.map(Arc::new)))).unwrap();
    let client = |number: u8| {
        let client = Client::connect_from(Ipv4Addr::new(127, 0, 1, number), running.port());
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    };
    let mut first = client(1);
    let root = first.mount("/frozen").unwrap();
    let files = [first.make(&root, "a"), first.make(&root, "b"), first.make(&root, "c")];
    let frozen = Frozen::new(disk.name("disk"));
    let mut stuck = Vec::new();
    // Three connections of one client, and 288 calls of other clients.
    let crowd = (100..136).map(|number| (number, files[0].clone()));
    for (number, file) in files.clone().map(|file| (1, file)).into_iter().chain(crowd) {
        let mut client = client(number);
        for number in 0..8 {
            let (file, data) = (file.clone(), Opaque::borrowed(b"content"));
            let arguments =
                WRITE3args { file, offset: number * 4096, count: 7, stable: stable_how::FILE_SYNC, data };
            client.send(PROGRAM, VERSION, 7, &arguments);
        }
        stuck.push(client);
    }
    let mut slowest = Duration::ZERO;
    for number in 2..22 {
        let begun = Instant::now();
        let mut client = client(number);
        let root = client.mount("/").unwrap();
        client.attributes(&root).unwrap();
        let file = client.lookup(&root, "file").unwrap();
        assert_eq!(client.read(&file, 0, 100).unwrap().0, b"golden");
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("the slowest of 20 clients that mount, look up and read: {slowest:?}");
    drop(frozen);
    let (mut done, mut later) = (0, 0);
    for client in &mut stuck {
        for _ in 0..8 {
            match nfs_client::flat(client.receive().results::<WRITE3res>()) {
                Ok(_) => done += 1,
                Err(nfsstat3::NFS3ERR_JUKEBOX) => later += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    eprintln!("{done} stuck writes succeed, {later} have to come again");
    assert!(done >= 24, "{done}");
    assert!(running.stop(Duration::from_secs(20)));
}

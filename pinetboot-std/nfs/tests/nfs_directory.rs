//! The NFS server on a directory of this machine: the properties that only the kernel can show. Needs root, which `cargo test`
//! lacks, so every test is ignored there; `.ci/run nfs` runs them.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod nfs_client;
mod nfs_system;

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nfs_client::{Client, mode};
use nfs_system::{connect, own_mounts, run, serve};
use nfs3_types::nfs3::*;
use pinetboot_nfs::{DirectoryTree, Running};
use tempfile::TempDir;

/// A served directory, and a client that acts as root.
struct World {
    directory: TempDir,
    running: Option<Running>,
    client: Client,
    root: nfs_fh3,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self::of(directory, false)
    }

    fn of(directory: TempDir, root_squash: bool) -> Self {
        let running = serve(directory.path(), root_squash);
        let mut client = connect(running.port());
        let root = client.mount("/").unwrap();
        Self { directory, running: Some(running), client, root }
    }

    /// A path as this machine sees it.
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn restart(&mut self) {
        self.running = None;
        let running = serve(self.directory.path(), false);
        self.client = connect(running.port());
        self.running = Some(running);
    }
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("file-{number:04}"))
}

#[test]
#[ignore = "needs root"]
fn handles_outlive_renames_and_restarts() {
    let mut world = World::new();
    let file = world.client.make(&world.root, "file");
    world.client.write(&file, 0, b"content", stable_how::FILE_SYNC).unwrap();
    let dir = world.client.mkdir(&world.root, "dir", mode(0o755)).unwrap();
    world.client.rename((&world.root, "file"), (&dir, "moved")).unwrap();
    assert_eq!(world.client.read(&file, 0, 100).unwrap(), (b"content".into(), true));
    world.restart();
    assert_eq!(world.client.read(&file, 0, 100).unwrap(), (b"content".into(), true));
    assert_eq!(world.client.lookup(&dir, "moved").unwrap(), file);
    fs::rename(world.path("dir/moved"), world.path("by-others")).unwrap();
    assert_eq!(world.client.read(&file, 0, 100).unwrap(), (b"content".into(), true));
}

#[test]
#[ignore = "needs root"]
fn a_source_port_below_1024_makes_the_difference() {
    let world = World::new();
    let port = world.running.as_ref().unwrap().port();
    let mut unprivileged = Client::connect(port);
    assert_eq!(unprivileged.mount("/").map_err(|status| status as u32), Err(13));
    assert_eq!(unprivileged.attributes(&world.root).map(drop), Err(nfsstat3::NFS3ERR_ACCES));
    let mut privileged = connect(port);
    assert!(privileged.stream.local_addr().unwrap().port() < 1024);
    assert_eq!(privileged.mount("/").unwrap(), world.root);
    assert!(privileged.attributes(&world.root).is_ok());
}

#[test]
#[ignore = "needs root"]
fn what_is_removed_is_stale_and_not_held_open() {
    let mut world = World::new();
    let stale = nfsstat3::NFS3ERR_STALE;
    for by_others in [false, true] {
        let file = world.client.make(&world.root, "file");
        world.client.write(&file, 0, b"content", stable_how::UNSTABLE).unwrap();
        assert_eq!(world.client.read(&file, 0, 100).unwrap().0, b"content");
        match by_others {
            true => fs::remove_file(world.path("file")).unwrap(),
            false => world.client.remove(&world.root, "file").unwrap(),
        }
        assert_eq!(world.client.read(&file, 0, 100), Err(stale));
        assert_eq!(world.client.write(&file, 0, b"x", stable_how::UNSTABLE).map(drop), Err(stale));
        let held =
            fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        let deleted = format!("{} (deleted)", world.path("file").display());
        assert_eq!(held.filter(|path| path.as_os_str() == deleted.as_str()).count(), 0);
    }
    // A new file in the old one's place has another handle.
    let file = world.client.make(&world.root, "file");
    let other = world.client.make(&world.root, "other");
    world.client.write(&other, 0, b"other", stable_how::UNSTABLE).unwrap();
    world.client.rename((&world.root, "other"), (&world.root, "file")).unwrap();
    assert_eq!(world.client.read(&file, 0, 100), Err(stale));
    assert_eq!(world.client.lookup(&world.root, "file").unwrap(), other);
}

#[test]
#[ignore = "needs root"]
fn callers_are_who_they_say_and_may_what_the_kernel_lets_them() {
    let mut world = World::new();
    let (client, root) = (&mut world.client, &world.root);
    let denied = nfsstat3::NFS3ERR_ACCES;
    let secret = client.create(root, "secret", createhow3::GUARDED(mode(0o640))).unwrap().obj.unwrap();
    client.write(&secret, 0, b"secret", stable_how::UNSTABLE).unwrap();
    let dir = client.mkdir(root, "open", mode(0o1777)).unwrap();

    client.act_as(1000, 1000, &[]);
    assert_eq!(client.read(&secret, 0, 10), Err(denied));
    assert_eq!(client.write(&secret, 0, b"x", stable_how::UNSTABLE).map(drop), Err(denied));
    assert_eq!(client.access(&secret, 0x3f).unwrap(), 0);
    assert_eq!(client.mkdir(root, "x", mode(0o755)), Err(denied));
    assert_eq!(client.remove(root, "secret"), Err(denied));
    assert_eq!(client.set(&secret, mode(0o666), Nfs3Option::None).map(drop), Err(nfsstat3::NFS3ERR_PERM));
    let device = devicedata3 { dev_attributes: mode(0o666), spec: specdata3 { specdata1: 1, specdata2: 3 } };
    assert_eq!(client.mknod(&dir, "null", mknoddata3::NF3CHR(device)), Err(nfsstat3::NFS3ERR_PERM));
    client.mknod(&dir, "fifo", mknoddata3::NF3FIFO(mode(0o600))).unwrap();

    // The owner's file, with any mode: the file may have been open when the mode was set.
    let own = client.create(&dir, "own", createhow3::GUARDED(mode(0o000))).unwrap().obj.unwrap();
    client.write(&own, 0, b"own", stable_how::UNSTABLE).unwrap();
    assert_eq!(client.read(&own, 0, 10).unwrap().0, b"own");
    assert_eq!(client.access(&own, ACCESS3_READ | ACCESS3_MODIFY).unwrap(), 0);
    let attributes = client.attributes(&own).unwrap();
    assert_eq!((attributes.uid, attributes.gid, attributes.mode), (1000, 1000, 0));
    let chown = sattr3 { uid: Nfs3Option::Some(0), ..sattr3::default() };
    assert_eq!(client.set(&own, chown, Nfs3Option::None).map(drop), Err(nfsstat3::NFS3ERR_PERM));

    // By a further group.
    client.act_as(1001, 1001, &[5, 0]);
    assert_eq!(client.read(&secret, 0, 10).unwrap().0, b"secret");
    assert_eq!(client.write(&secret, 0, b"x", stable_how::UNSTABLE).map(drop), Err(denied));
    assert_eq!(client.remove(&dir, "own"), Err(nfsstat3::NFS3ERR_PERM), "a sticky directory");
    client.act_as(0, 0, &[]);
    client.remove(&dir, "own").unwrap();
    client.act_without_credentials();
    assert_eq!(client.read(&secret, 0, 10), Err(denied));
}

#[test]
#[ignore = "needs root"]
fn many_users_at_once_stay_who_they_are() {
    let mut world = World::new();
    let dir = world.client.mkdir(&world.root, "open", mode(0o777)).unwrap();
    let port = world.running.as_ref().unwrap().port();
    std::thread::scope(|scope| {
        for user in 0..8 {
            let dir = &dir;
            scope.spawn(move || {
                let mut client = connect(port);
                client.act_as(2000 + user, 3000 + user, &[4000 + user]);
                for number in 0..100 {
                    let name = format!("{user}-{number}");
                    let made = client.create(dir, &name, createhow3::GUARDED(mode(0o600))).unwrap();
                    let attributes = made.obj_attributes.unwrap();
                    assert_eq!((attributes.uid, attributes.gid), (2000 + user, 3000 + user));
                }
            });
        }
    });
    assert_eq!(world.client.names(&dir).len(), 800);
}

#[test]
#[ignore = "needs root"]
fn a_service_that_answers_any_datagram_gets_no_answer() {
    let world = World::new();
    let server = (Ipv4Addr::LOCALHOST, world.running.as_ref().unwrap().port());
    let null_of_mount = world.client.message(100_005, 3, 0, &[]);
    let from = |port: u16| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.send_to(&null_of_mount, server).unwrap();
        socket
    };
    let unanswered = [7, 13, 17, 19].map(from);
    // Datagrams over loopback are taken in their order: the last one's answer comes after all others would have come.
    let client = from(0);
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(client.recv(&mut [0; 64]).unwrap(), 24);
    for socket in unanswered {
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 64]).is_err(), "{socket:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn root_is_root_unless_squashed() {
    let mut world = World::new();
    let device = |major, minor| devicedata3 {
        dev_attributes: mode(0o640),
        spec: specdata3 { specdata1: major, specdata2: minor },
    };
    world.client.mknod(&world.root, "null", mknoddata3::NF3CHR(device(1, 3))).unwrap();
    world.client.mknod(&world.root, "disk", mknoddata3::NF3BLK(device(259, 70_000))).unwrap();
    world.client.mknod(&world.root, "sock", mknoddata3::NF3SOCK(mode(0o600))).unwrap();
    let null = fs::metadata(world.path("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o640));
    let disk = fs::metadata(world.path("disk")).unwrap();
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(259, 70_000));
    assert!(fs::metadata(world.path("sock")).unwrap().file_type().is_socket());

    let file = world.client.make(&world.root, "suid");
    let owner = sattr3 { uid: Nfs3Option::Some(12), gid: Nfs3Option::Some(34), ..mode(0o6755) };
    world.client.set(&file, owner, Nfs3Option::None).unwrap();
    let made = fs::metadata(world.path("suid")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (12, 34, 0o6755));
    let dir = world.client.mkdir(&world.root, "dir", mode(0o3777)).unwrap();
    assert_eq!(world.client.attributes(&dir).unwrap().mode, 0o3777);

    let World { directory, running, .. } = world;
    drop(running);
    let mut squashed = World::of(directory, true);
    assert_eq!(squashed.client.mkdir(&squashed.root, "x", mode(0o755)), Err(nfsstat3::NFS3ERR_ACCES));
    let dir = squashed.client.lookup(&squashed.root, "dir").unwrap();
    let made = squashed.client.make(&dir, "made");
    assert_eq!(squashed.client.attributes(&made).unwrap().uid, 65_534);
}

#[test]
#[ignore = "needs root"]
fn set_id_bits_go_when_others_write_and_when_the_owner_changes() {
    let mut world = World::new();
    let file = world.client.make(&world.root, "file");
    world.client.set(&file, mode(0o4777), Nfs3Option::None).unwrap();
    world.client.act_as(1000, 1000, &[]);
    world.client.write(&file, 0, b"x", stable_how::UNSTABLE).unwrap();
    assert_eq!(world.client.attributes(&file).unwrap().mode, 0o777);
    world.client.act_as(0, 0, &[]);
    world.client.set(&file, mode(0o4755), Nfs3Option::None).unwrap();
    let owner = sattr3 { uid: Nfs3Option::Some(1000), ..sattr3::default() };
    world.client.set(&file, owner, Nfs3Option::None).unwrap();
    assert_eq!(world.client.attributes(&file).unwrap().mode, 0o755);
    // A new file has the bits that it was asked to have.
    let with = sattr3 { gid: Nfs3Option::Some(1000), ..mode(0o2755) };
    let made = world.client.create(&world.root, "made", createhow3::GUARDED(with)).unwrap();
    let attributes = world.client.attributes(&made.obj.unwrap()).unwrap();
    assert_eq!((attributes.mode, attributes.gid), (0o2755, 1000));
}

#[test]
#[ignore = "needs root"]
fn sizes_and_times_are_set() {
    let mut world = World::new();
    let file = world.client.make(&world.root, "file");
    world.client.write(&file, 0, b"0123456789", stable_how::UNSTABLE).unwrap();
    let time = nfstime3 { seconds: 1_000_000_000, nseconds: 123_456_789 };
    let changes = sattr3 {
        size: Nfs3Option::Some(4),
        atime: set_atime::SET_TO_CLIENT_TIME(time),
        mtime: set_mtime::SET_TO_CLIENT_TIME(time),
        ..sattr3::default()
    };
    world.client.set(&file, changes, Nfs3Option::None).unwrap();
    let attributes = world.client.attributes(&file).unwrap();
    assert_eq!((attributes.size, attributes.atime, attributes.mtime), (4, time, time));
    assert_eq!(fs::read(world.path("file")).unwrap(), b"0123");
    let link = world.client.symlink(&world.root, "link", "file").unwrap();
    let owner = sattr3 { uid: Nfs3Option::Some(12), ..sattr3::default() };
    world.client.set(&link, owner, Nfs3Option::None).unwrap();
    let (link, target) = (fs::symlink_metadata(world.path("link")), fs::metadata(world.path("link")));
    assert_eq!((link.unwrap().uid(), target.unwrap().uid()), (12, 0), "the link, not what it points to");
    let unchecked = createhow3::UNCHECKED(sattr3 { size: Nfs3Option::Some(0), ..mode(0o644) });
    world.client.create(&world.root, "file", unchecked).unwrap();
    assert_eq!(fs::read(world.path("file")).unwrap(), b"");
}

#[test]
#[ignore = "needs root"]
fn exclusive_creates_know_their_own_even_after_a_restart() {
    let mut world = World::new();
    let how = |verifier: u64| createhow3::EXCLUSIVE(createverf3(verifier.to_be_bytes()));
    let first = world.client.create(&world.root, "lock", how(0xfedc_ba98_7654_3210)).unwrap();
    world.restart();
    let again = world.client.create(&world.root, "lock", how(0xfedc_ba98_7654_3210)).unwrap();
    assert_eq!(again.obj.unwrap(), first.obj.unwrap());
    let other = world.client.create(&world.root, "lock", how(0xfedc_ba98_7654_3211));
    assert_eq!(other.map(drop), Err(nfsstat3::NFS3ERR_EXIST));
}

#[test]
#[ignore = "needs root"]
fn nothing_leads_out_of_the_export() {
    own_mounts();
    let outside = tempfile::tempdir().unwrap();
    File::create(outside.path().join("secret")).unwrap();
    let mut world = World::new();
    symlink(outside.path(), world.path("link")).unwrap();
    symlink(outside.path().join("secret"), world.path("file-link")).unwrap();
    fs::create_dir(world.path("inner")).unwrap();
    fs::create_dir_all(world.path("dir/below")).unwrap();
    let link = world.client.lookup(&world.root, "link").unwrap();
    assert_eq!(world.client.attributes(&link).unwrap().type_, ftype3::NF3LNK);
    assert_eq!(world.client.lookup(&link, "secret"), Err(nfsstat3::NFS3ERR_NOTDIR));
    assert!(world.client.mount("/link").is_err());
    let unchecked = createhow3::UNCHECKED(sattr3 { size: Nfs3Option::Some(0), ..mode(0o644) });
    assert_eq!(
        world.client.create(&world.root, "file-link", unchecked).map(drop),
        Err(nfsstat3::NFS3ERR_EXIST)
    );
    let file_link = world.client.lookup(&world.root, "file-link").unwrap();
    assert!(world.client.read(&file_link, 0, 10).is_err());
    assert!(world.client.write(&file_link, 0, b"x", stable_how::UNSTABLE).is_err());

    // The parent of the root is hidden, and so is the parent of a directory that another process moved away.
    assert_eq!(world.client.lookup(&world.root, "..").unwrap(), world.root);
    let dir = world.client.lookup(&world.root, "dir").unwrap();
    let below = world.client.lookup(&dir, "below").unwrap();
    assert_eq!(world.client.lookup(&below, "..").unwrap(), dir);
    fs::rename(world.path("dir/below"), outside.path().join("below")).unwrap();
    assert_eq!(world.client.lookup(&below, ".."), Err(nfsstat3::NFS3ERR_STALE));

    // Another file system mounted inside is not entered. The server was started before: it does not see the new mount unless
    // it lives where the mount is made, so this test starts it anew.
    run("mount", &["-t", "tmpfs", "none", world.path("inner").to_str().unwrap()]);
    File::create(world.path("inner/secret")).unwrap();
    world.restart();
    assert_eq!(world.client.lookup(&world.root, "inner"), Err(nfsstat3::NFS3ERR_ACCES));
    assert!(world.client.names(&world.root).contains(&"inner".to_owned()));
    assert!(world.client.mount("/inner").is_err());
}

#[test]
#[ignore = "needs root"]
fn a_device_or_fifo_is_never_opened() {
    let mut world = World::new();
    let fifo = world.client.mknod(&world.root, "fifo", mknoddata3::NF3FIFO(mode(0o666))).unwrap();
    let spec = specdata3 { specdata1: 1, specdata2: 5 };
    let zero = mknoddata3::NF3CHR(devicedata3 { dev_attributes: mode(0o666), spec });
    let zero = world.client.mknod(&world.root, "zero", zero).unwrap();
    for node in [fifo, zero] {
        assert_eq!(world.client.read(&node, 0, 10), Err(nfsstat3::NFS3ERR_INVAL));
        assert_eq!(
            world.client.write(&node, 0, b"x", stable_how::UNSTABLE).map(drop),
            Err(nfsstat3::NFS3ERR_INVAL)
        );
    }
    let root = world.root.clone();
    assert_eq!(world.client.read(&root, 0, 10), Err(nfsstat3::NFS3ERR_ISDIR));
}

/// Removes the entries while it lists them.
fn empty(client: &mut Client, dir: &nfs_fh3) -> usize {
    let (mut seen, mut cookie, mut verifier) = (0, 0, cookieverf3::default());
    loop {
        let part = client.list_part(dir, cookie, verifier, 4096).unwrap();
        verifier = part.cookieverf;
        for entry in part.reply.entries.0 {
            cookie = entry.cookie;
            if entry.name.as_ref().starts_with(b"file") {
                assert!(entry.name_attributes.is_some() && entry.name_handle.is_some());
                client.remove(dir, str::from_utf8(entry.name.as_ref()).unwrap()).unwrap();
                seen += 1;
            }
        }
        if part.reply.eof {
            return seen;
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_directory_can_be_emptied_while_it_is_listed() {
    let mut world = World::new();
    names(1000).for_each(|name| drop(File::create(world.path(&name)).unwrap()));
    assert_eq!(empty(&mut world.client, &world.root), 1000);
    assert_eq!(fs::read_dir(world.directory.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root, and overlayfs"]
fn an_overlay_is_served_like_any_directory() {
    own_mounts();
    let layers = tempfile::tempdir().unwrap();
    let path = |name: &str| layers.path().join(name).to_str().unwrap().to_owned();
    for name in ["lower/dir", "upper", "work", "merged"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    names(300).for_each(|name| fs::write(path(&format!("lower/dir/{name}")), "golden").unwrap());
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=on,nfs_export=on,redirect_dir=on",
        path("lower"),
        path("upper"),
        path("work")
    );
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &path("merged")]);
    let merged = layers.path().join("merged");
    let running = serve(&merged, false);
    let mut client = connect(running.port());
    let root = client.mount("/").unwrap();
    let dir = client.lookup(&root, "dir").unwrap();
    let file = client.lookup(&dir, "file-0000").unwrap();
    // Read, then written: the file is copied up in between, and keeps its handle and its number.
    let before = client.attributes(&file).unwrap();
    assert_eq!(client.read(&file, 0, 100).unwrap().0, b"golden");
    client.write(&file, 0, b"GOLD", stable_how::UNSTABLE).unwrap();
    assert_eq!(client.read(&file, 0, 100).unwrap().0, b"GOLDen");
    assert_eq!(client.lookup(&dir, "file-0000").unwrap(), file);
    assert_eq!(client.attributes(&file).unwrap().fileid, before.fileid);
    assert_eq!(fs::read(path("lower/dir/file-0000")).unwrap(), b"golden");
    client.rename((&root, "dir"), (&root, "moved")).unwrap();
    names(300).for_each(|name| drop(File::create(merged.join("moved").join(format!("{name}-new"))).unwrap()));
    drop((running, client));
    let running = serve(&merged, false);
    let mut client = connect(running.port());
    assert_eq!(client.read(&file, 0, 100).unwrap().0, b"GOLDen");
    assert_eq!(empty(&mut client, &dir), 600);
    client.rmdir(&root, "moved").unwrap();
    assert_eq!(fs::read_dir(path("lower/dir")).unwrap().count(), 300);
}

#[test]
#[ignore = "needs root"]
fn a_directory_that_cannot_be_served_is_told_apart() {
    let error = DirectoryTree::open(Path::new("/nowhere"), 64).unwrap_err();
    assert!(error.to_string().starts_with("cannot be opened"), "{error}");
    let error = DirectoryTree::open(Path::new("/proc"), 64).map(drop).unwrap_err();
    assert!(error.to_string().contains("file handles"), "{error}");
}

#[test]
#[ignore = "needs root, and libnfs-utils"]
fn libnfs_tools_list_read_and_write() {
    let world = World::new();
    let data: Vec<u8> = (0..3_000_000u32).map(|at| (at % 253) as u8).collect();
    let local = tempfile::NamedTempFile::new().unwrap();
    fs::write(local.path(), &data).unwrap();
    let port = world.running.as_ref().unwrap().port();
    fs::create_dir(world.path("dir")).unwrap();
    // libnfs mounts the part before the last `/`; without a second one in front, that part is empty for a file at the
    // top, and libnfs gives up by itself ("Export is empty", libnfs 4.0.0, nfs_v3.c).
    for dir in ["/", "dir/"] {
        let url = |name: &str| format!("nfs://127.0.0.1/{dir}{name}?nfsport={port}&mountport={port}");
        let here = world.path(dir.trim_start_matches('/')).join("copied");
        run("nfs-cp", &[local.path().to_str().unwrap(), &url("copied")]);
        assert_eq!(fs::read(&here).unwrap(), data);
        chown(&here, Some(12), Some(34)).unwrap();
        let listed = Command::new("nfs-ls").arg(url("")).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("12    34") && listed.contains("3000000 copied"), "{listed}");
        let read = Command::new("nfs-cat").arg(url("copied")).output().unwrap();
        assert!(read.status.success() && read.stdout == data);
    }
}

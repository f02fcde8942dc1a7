//! Files and directories: the effects of NFSv3's procedures.

use nfs3_types::nfs3::*;
use pinetboot_nfs::{Export, OneExport};

use crate::nfs_client::{Client, mode};
use crate::world::{MIB, export, serve, world};

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

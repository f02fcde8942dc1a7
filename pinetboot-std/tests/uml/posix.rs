//! The checks of the Connectathon tests (cthon04: basic, special and lock) for a mounted file system, written anew: Debian has
//! no package of them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::statvfs::statvfs;

use crate::namespace::{PINETBOOT, content};

/// Runs all tests, each in a new directory.
pub(crate) fn check(home: &Path) {
    for (name, test) in TESTS {
        let directory = home.join("test");
        fs::create_dir(&directory).unwrap();
        let began = Instant::now();
        test(&directory);
        println!("{name}: {} ms", began.elapsed().as_millis());
        fs::remove_dir_all(&directory).unwrap();
    }
}

type Test = (&'static str, fn(&Path));

const TESTS: [Test; 18] = [
    ("basic 1-3: a tree made, looked up and removed", tree),
    ("basic 4: attributes set and read", attributes),
    ("basic 5: a large file written and read", large_file),
    ("basic 6: a large directory read", large_directory),
    ("basic 7: links and renames", links_and_renames),
    ("basic 8: symbolic links", symbolic_links),
    ("basic 9: the file system's size", size_of_file_system),
    ("special: a file open and removed, or renamed over", open_and_gone),
    ("special: a file open and its mode changed", open_and_forbidden),
    ("special: exclusive creates", exclusive),
    ("special: a negative position", negative_position),
    ("special: links, renames and removes of one name", again_and_again),
    ("special: truncated and extended", truncated),
    ("special: holes", holes),
    ("special: past 2 and 4 GiB", beyond_32_bits),
    ("special: a directory emptied while it is read", emptied_while_read),
    ("special: a program run from the mount", program),
    ("lock: ranges of bytes", locks),
];

fn tree(directory: &Path) {
    fn grow(at: &Path, depth: u32) {
        for number in 0..4 {
            fs::write(at.join(format!("file-{number}")), "content").unwrap();
        }
        for number in 0..if depth == 0 { 0 } else { 3 } {
            let below = at.join(format!("directory-{number}"));
            fs::create_dir(&below).unwrap();
            grow(&below, depth - 1);
        }
    }
    grow(directory, 2);
    let found: Vec<_> = walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap).collect();
    assert_eq!(found.iter().filter(|entry| entry.file_type().is_dir()).count(), 1 + 3 + 9);
    assert_eq!(found.iter().filter(|entry| entry.file_type().is_file()).count(), 4 * 13);
    assert_eq!(fs::remove_dir(directory).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
}

fn attributes(directory: &Path) {
    for number in 0..5 {
        let path = directory.join(number.to_string());
        let file = File::create(&path).unwrap();
        for mode in [0o400, 0o7777, 0o640] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode(), 0o100_000 + mode);
        }
        let time = UNIX_EPOCH + Duration::new(1_000_000_000 + number, 5000);
        file.set_modified(time).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
        chown(&path, Some(1000), Some(2000)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.size()), (1000, 2000, 0));
    }
}

fn large_file(directory: &Path) {
    let (path, bytes) = (directory.join("file"), content(5_000_003));
    let mut file = File::create(&path).unwrap();
    for part in bytes.chunks(8192) {
        file.write_all(part).unwrap();
    }
    file.sync_all().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().size(), bytes.len() as u64);
    forget();
    assert!(fs::read(&path).unwrap() == bytes);
    let mut part = [0; 9000];
    File::open(&path).unwrap().read_exact_at(&mut part, 3_999_999).unwrap();
    assert!(part == bytes[3_999_999..4_008_999]);
}

fn large_directory(directory: &Path) {
    let mut names: BTreeSet<_> = (0..1000).map(|number| format!("a-name-of-some-length-{number}")).collect();
    names.iter().for_each(|name| drop(File::create(directory.join(name)).unwrap()));
    forget();
    assert_eq!(names_in(directory), names);
    for number in (0..1000).step_by(2) {
        let name = format!("a-name-of-some-length-{number}");
        fs::remove_file(directory.join(&name)).unwrap();
        names.remove(&name);
    }
    assert_eq!(names_in(directory), names);
}

fn links_and_renames(directory: &Path) {
    let [one, two, three] = ["one", "two", "three"].map(|name| directory.join(name));
    fs::write(&one, "content").unwrap();
    fs::hard_link(&one, &two).unwrap();
    assert_eq!(fs::metadata(&one).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(&one).unwrap().ino(), fs::metadata(&two).unwrap().ino());
    fs::rename(&two, &three).unwrap();
    assert_eq!(fs::metadata(&two).unwrap_err().kind(), ErrorKind::NotFound);
    fs::remove_file(&one).unwrap();
    assert_eq!(fs::metadata(&three).unwrap().nlink(), 1);
    assert_eq!(fs::read_to_string(&three).unwrap(), "content");
    fs::create_dir(&one).unwrap();
    fs::create_dir(one.join("below")).unwrap();
    fs::rename(&one, &two).unwrap();
    assert!(two.join("below").is_dir());
    assert_eq!(fs::rename(&three, &two).unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(fs::rename(&two, two.join("below/self")).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn symbolic_links(directory: &Path) {
    for number in 0..20 {
        let (path, target) = (directory.join(format!("link-{number}")), "x/".repeat(number * 20 + 1));
        symlink(&target, &path).unwrap();
        assert_eq!(fs::read_link(&path).unwrap().to_str().unwrap(), target);
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
    }
}

fn size_of_file_system(directory: &Path) {
    let size = statvfs(directory).unwrap();
    assert!(size.blocks() >= size.blocks_free() && size.blocks_free() >= size.blocks_available());
    assert!(size.blocks() > 0 && size.files() > 0 && size.name_max() == 255);
}

fn open_and_gone(directory: &Path) {
    let (path, other) = (directory.join("file"), directory.join("other"));
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(File::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    file.write_all(b"still here").unwrap();
    assert_eq!(read_from_start(&mut file), "still here");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::write(&other, "the other").unwrap();
    fs::rename(&other, &path).unwrap();
    file.write_all(b"renamed over").unwrap();
    assert_eq!(read_from_start(&mut file), "renamed over");
    assert_eq!(fs::read_to_string(&path).unwrap(), "the other");
}

fn open_and_forbidden(directory: &Path) {
    let path = directory.join("file");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    file.write_all(b"allowed when it was opened").unwrap();
    file.sync_all().unwrap();
    forget();
    assert_eq!(read_from_start(&mut file), "allowed when it was opened");
}

fn exclusive(directory: &Path) {
    let path = directory.join("file");
    let new = || OpenOptions::new().write(true).create_new(true).open(&path);
    new().unwrap();
    assert_eq!(new().unwrap_err().kind(), ErrorKind::AlreadyExists);
    fs::remove_file(&path).unwrap();
    new().unwrap();
}

fn negative_position(directory: &Path) {
    let mut file = File::create(directory.join("file")).unwrap();
    assert_eq!(file.seek(SeekFrom::Current(-1)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn again_and_again(directory: &Path) {
    let [one, two] = ["one", "two"].map(|name| directory.join(name));
    for _ in 0..50 {
        fs::write(&one, "x").unwrap();
        fs::hard_link(&one, &two).unwrap();
        fs::remove_file(&one).unwrap();
        fs::rename(&two, &one).unwrap();
        fs::set_permissions(&one, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::hard_link(&one, &one).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&one).unwrap();
        assert_eq!(fs::remove_file(&one).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

fn truncated(directory: &Path) {
    let path = directory.join("file");
    fs::write(&path, content(100_000)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    for len in [70_000, 70_001, 4096, 4095, 0, 50_000] {
        file.set_len(len).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().size(), len);
    }
    forget();
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    drop(OpenOptions::new().write(true).truncate(true).open(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().size(), 0);
}

fn holes(directory: &Path) {
    let path = directory.join("file");
    let file = File::create(&path).unwrap();
    for at in 0..30 {
        file.write_all_at(b"data", at * 10_007).unwrap();
    }
    file.sync_all().unwrap();
    forget();
    let bytes = fs::read(&path).unwrap();
    for (at, part) in bytes.chunks(10_007).enumerate() {
        assert!(part.starts_with(b"data") && part[4..].iter().all(|byte| *byte == 0), "{at}");
    }
}

fn beyond_32_bits(directory: &Path) {
    let path = directory.join("file");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let places = [31, 32, 33].map(|bits| (1_u64 << bits) - 3);
    for (number, at) in (1..).zip(places) {
        file.write_all_at(&[number; 6], at).unwrap();
    }
    file.sync_all().unwrap();
    forget();
    assert_eq!(fs::metadata(&path).unwrap().size(), places[2] + 6);
    for (number, at) in (1..).zip(places) {
        let mut bytes = [0; 7];
        file.read_exact_at(&mut bytes, at - 1).unwrap();
        assert!(bytes[0] == 0 && bytes[1..] == [number; 6], "{bytes:?}");
    }
}

fn emptied_while_read(directory: &Path) {
    (0..300).for_each(|number| drop(File::create(directory.join(format!("file-{number}"))).unwrap()));
    let removed =
        fs::read_dir(directory).unwrap().map(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
    assert_eq!(removed.count(), 300);
    assert!(names_in(directory).is_empty());
}

/// The kernel maps a program's file into memory.
fn program(directory: &Path) {
    let path = directory.join("pinetboot");
    fs::copy(PINETBOOT, &path).unwrap();
    forget();
    let output = Command::new(&path).arg("--version").output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"pinetboot "), "{output:?}");
}

/// The locks are those of open files, not of processes: one process can hold both ends. With `nolock` the client keeps them.
fn locks(directory: &Path) {
    let path = directory.join("file");
    fs::write(&path, "0123456789").unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (one, other) = (open(), open());
    let lock = |file: &File, kind: i32, start, len| {
        let range = libc::flock {
            l_type: kind as _,
            l_whence: libc::SEEK_SET as _,
            l_start: start,
            l_len: len,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
    };
    lock(&one, libc::F_WRLCK, 0, 5).unwrap();
    assert_eq!(lock(&other, libc::F_WRLCK, 4, 1), Err(Errno::EAGAIN));
    assert_eq!(lock(&other, libc::F_RDLCK, 0, 0), Err(Errno::EAGAIN));
    lock(&other, libc::F_WRLCK, 5, 0).unwrap();
    lock(&one, libc::F_UNLCK, 2, 3).unwrap();
    lock(&other, libc::F_RDLCK, 2, 3).unwrap();
    lock(&one, libc::F_RDLCK, 3, 1).unwrap();
    assert_eq!(lock(&one, libc::F_WRLCK, 3, 1), Err(Errno::EAGAIN));
    drop(other);
    lock(&one, libc::F_WRLCK, 0, 0).unwrap();
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn read_from_start(file: &mut File) -> String {
    let mut said = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut said).unwrap();
    said
}

/// Empties the client's cache, so that what follows comes from the server.
fn forget() {
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}
